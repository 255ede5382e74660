"""What is seen after a run: layouts to compare, overlays in the slices, jumps, 3D."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import legend, levels, marks

SIDE_BY_SIDE, THREE_PLANES, CHART = 5610, 5611, 5612
COMPARING = (SIDE_BY_SIDE, THREE_PLANES, CHART)
FOUR_UP, ONE_3D = 3, 4

ORIGINAL, RESULT, MAP = "Original", "Result", "Map"
_COLUMNS = ((ORIGINAL, "#8a9199"), (RESULT, "#5b9bd5"), (MAP, "#e8743b"))
# Plane: the standard view that is turned and placed like it.
_PLANES = {"Axial": "Red", "Sagittal": "Yellow", "Coronal": "Green"}
_ROWS = {SIDE_BY_SIDE: ["Axial"], THREE_PLANES: list(_PLANES), CHART: ["Axial"]}
CHART_VIEW = "BrainDiffusionChart"
_VIEW_GROUP = 1
OPACITY = 0.6
# The ball around a box is larger than what is seen of the box.
_CLOSER = 0.85


@dataclass
class Parts:
    """The nodes of a run by what they are for. Each may be missing: a user can delete what he likes.

    image: made-up or changed image, and other: a second one. sequence: images that are stepped through.
    maps: overlays with colours, the main one first. labels, tables: by role.
    """

    input: Any = None
    image: Any = None
    other: Any = None
    sequence: Any = None
    maps: list[Any] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)


def partsOf(nodes: dict[str, Any]) -> Parts:
    """What the nodes {role: node} of a run are for."""
    parts = Parts()
    for role, node in nodes.items():
        artifact = marks.recordOf(node).get("artifact", {})
        kind = artifact.get("kind")
        if kind == "volume" and artifact.get("display", {}).get("colors"):
            parts.maps.append(node)
        elif kind == "volume" and parts.image is None:
            parts.image = node
        elif kind == "volume" and parts.other is None:
            parts.other = node
        elif kind == "sequence" and parts.sequence is None and marks.volumeOf(node) is not None:
            parts.sequence = node
        elif kind in ("labels", "segmentation"):
            parts.labels[role] = node
        elif kind == "table":
            parts.tables[role] = node
        if parts.input is None and artifact.get("of"):
            parts.input = marks.inputOf(node, artifact["of"])
    if parts.image is None and parts.sequence is not None:  # all that there is to see may be a sequence
        parts.image = marks.volumeOf(parts.sequence)
    return parts


def stepColumn(parts: Parts) -> str:
    """The column in which the images of the run's sequence are stepped through: where there is no scan, they
    stand in its place.
    """
    return RESULT if parts.input is not None else ORIGINAL


def behind(parts: Parts, column: str) -> Any:
    """The volume that a column, or with no column any other slice view, shows behind its map: there it is the
    scan with the map of what was found, or else what was made of it.
    """
    steps = marks.volumeOf(parts.sequence) if parts.sequence is not None else None
    first = parts.input or steps or parts.image
    if column == RESULT:
        return parts.image or first
    if column == MAP:
        return parts.other or parts.input or parts.image or first
    return parts.image if column == "" and parts.input and parts.image and _isSpread(parts) else first


def _isSpread(parts: Parts) -> bool:
    """Whether the run's map tells of no places, only of how much the images differ: it would hide them."""
    display = marks.recordOf(parts.maps[0]).get("artifact", {}).get("display") if parts.maps else None
    return display is not None and display.get("threshold") is None


def layoutXml(planes: list[str], chart: bool = False) -> str:
    """Slicer's description of a layout with a row for each plane and columns original, result, map; below
    them a chart.
    """
    rows = "".join(_row(plane) for plane in planes)
    if chart:
        label = '<property name="viewlabel" action="default">Chart</property>'
        rows += f'<item><view class="vtkMRMLPlotViewNode" singletontag="{CHART_VIEW}">{label}</view></item>'
    return f'<layout type="vertical" split="true">{rows}</layout>'


def _row(plane: str) -> str:
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{column}{plane}">'
        f'<property name="orientation" action="default">{plane}</property>'
        f'<property name="viewlabel" action="default">{column}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{_VIEW_GROUP}</property></view></item>'
        for column, color in _COLUMNS
    )
    return f'<item><layout type="horizontal" split="true">{views}</layout></item>'


def registerLayouts(chart: bool = False) -> None:
    """Make the layouts known to the scene's layout node, that of the chart where it is asked for; a closed
    scene forgets them.
    """
    import slicer

    manager = slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode() if manager is not None else None
    if node is None:
        return
    for number, planes in _ROWS.items():
        if not node.IsLayoutDescription(number) and (chart or number != CHART):
            node.AddLayoutDescription(number, layoutXml(planes, number == CHART))


def prepare(number: int) -> Generator[None, None, None]:
    """Make the views of a layout that are not there yet, hidden, one in a step: together they take long."""
    import slicer

    manager = slicer.app.layoutManager()
    if manager is None:
        return
    for plane in _ROWS.get(number, []):
        for column, color in _COLUMNS:
            if manager.sliceWidget(f"{column}{plane}") is None:
                node = sliceNodes().get(f"{column}{plane}") or _addSliceNode(plane, column, color)
                manager.viewWidget(node)
                yield


def _addSliceNode(plane: str, column: str, color: str) -> Any:
    """The node of a view, as `_row` describes it; the layout takes it over."""
    import slicer

    scene = slicer.mrmlScene
    node = scene.CreateNodeByClass("vtkMRMLSliceNode")  # with the scene's defaults
    node.UnRegister(None)
    for setName in (node.SetSingletonTag, node.SetName, node.SetLayoutName):
        setName(f"{column}{plane}")
    node.SetLayoutLabel(column)
    node.SetLayoutColor([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    node.SetViewGroup(_VIEW_GROUP)
    node = scene.AddNode(node)
    node.SetOrientation(plane)
    return node


def setLayout(number: int) -> None:
    """Show a layout, where there is a window."""
    import slicer

    registerLayouts(chart=number == CHART)
    manager = slicer.app.layoutManager()
    if manager is not None:
        manager.setLayout(number)


def composites() -> dict[str, Any]:
    """What each slice view shows: {name of the view: vtkMRMLSliceCompositeNode}."""
    return {
        node.GetLayoutName(): node for node in nodesOf("vtkMRMLSliceCompositeNode") if node.GetLayoutName()
    }


def sliceNodes() -> dict[str, Any]:
    """{name of the view: vtkMRMLSliceNode}."""
    return {node.GetLayoutName(): node for node in nodesOf("vtkMRMLSliceNode") if node.GetLayoutName()}


def show(parts: Parts, overlay: Any = None, opacity: float = OPACITY, columnsOnly: bool = False) -> None:
    """Show a run: the columns to compare, and the map over the scan in all other slice views.

    overlay: which map, the main one where none is given. columnsOnly: leave the other views as they are.
    Where a view showed the scan or an image of the run already, its zoom and place stay.
    """
    overlay = overlay or (parts.maps[0] if parts.maps else None)
    own = {_id(behind(parts, column)) for column in (ORIGINAL, RESULT, MAP, "")}
    over = (MAP,) if _isSpread(parts) else (MAP, "")
    for name, composite in composites().items():
        column = columnOf(name)
        if columnsOnly and not column:
            continue
        back = behind(parts, column)
        front = overlay if column in over else None
        if column:
            _align(name, parts)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
            # A scan that is opened next must not stand where this run's images belong.
            composite.SetDoPropagateVolumeSelection(False)
        refit = back is not None and composite.GetBackgroundVolumeID() not in own
        composite.SetBackgroundVolumeID(_id(back))
        composite.SetForegroundVolumeID(_id(front))
        composite.SetForegroundOpacity(opacity if front is not None else 0.0)
        if refit:
            fit(name, keepPlace=bool(column))
    alike = (parts.image, parts.other, marks.volumeOf(parts.sequence) if parts.sequence is not None else None)
    levels.share([parts.input, *(image for image in alike if _isLikeInput(image))])


def _isLikeInput(image: Any) -> bool:
    """Whether an image has the grey values of the scan that it was made from, and no window of its own."""
    record = marks.recordOf(marks.bearer(image)) if image is not None else {}
    display = record.get("artifact", {}).get("display")
    return display is not None and not display.get("window")


def columnOf(view: str) -> str:
    """Which column a slice view is in: ORIGINAL, RESULT or MAP; empty for all other views."""
    names = {f"{column}{plane}": column for column, _ in _COLUMNS for plane in _PLANES}
    return names.get(view, "")


def fit(view: str, keepPlace: bool) -> None:
    """Fit a slice view to what it shows, so that all of it is seen; the slice stays or goes to the middle."""
    import slicer

    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(view)
    if logic is None:
        return
    place = logic.GetSliceOffset()
    logic.FitSliceToBackground()
    if keepPlace:
        logic.SetSliceOffset(place)


def fitToSizes(parts: Parts) -> None:
    """Fit pictures and legends to the views, once these have their size."""
    for name in composites():
        if columnOf(name):
            fit(name, keepPlace=True)
    fitLegends(parts)


def fitLegends(parts: Parts) -> None:
    """Give the legends a readable size in the views that show their maps."""
    nodes = {node.GetID(): node for node in sliceNodes().values()}
    for volume in parts.maps:
        sizes = [
            nodes[view].GetDimensions()[:2] for view in viewsShowing(volume) if nodes[view].IsMappedInLayout()
        ]
        legend.fit(volume, sizes)


def setOpacity(overlays: list[Any], opacity: float) -> None:
    """Set how much of the scan a map covers, in each view that shows one of these maps in front."""
    wanted = {_id(overlay) for overlay in overlays}
    for composite in composites().values():
        if composite.GetForegroundVolumeID() in wanted:
            composite.SetForegroundOpacity(opacity)


def viewsShowing(volume: Any) -> list[str]:
    """Node IDs of the slice views that show a volume over or behind another."""
    nodes = sliceNodes()
    return [
        nodes[name].GetID()
        for name, composite in composites().items()
        if name in nodes and volume in shownVolumes(composite)
    ]


def shownVolumes(composite: Any) -> list[Any]:
    """The volumes that a slice view shows, those with no opacity left out."""
    import slicer

    layers = (
        (composite.GetBackgroundVolumeID(), 1.0),
        (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()),
        (composite.GetLabelVolumeID(), composite.GetLabelOpacity()),
    )
    found = [slicer.mrmlScene.GetNodeByID(layer) for layer, opacity in layers if layer and opacity > 0]
    return [node for node in found if node is not None]


def jumpTo(ras: tuple[float, float, float]) -> None:
    """Move all slice views and the crosshair to a place in RAS mm; zoom and panning stay."""
    import slicer

    scene = slicer.mrmlScene
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *ras, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras)
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowSmallBasic)


def showSurfaces(segmentation: Any, shown: bool) -> None:
    """Show the segments as surfaces in 3D; they are made at the first time."""
    if shown:
        segmentation.CreateClosedSurfaceRepresentation()
    display = segmentation.GetDisplayNode()
    display.SetVisibility3D(shown)
    if shown:
        display.SetVisibility(True)
        display.SetVisibility2D(False)
        display.SetVisibility2DOutline(False)


def showSlicesIn3D(shown: bool) -> Generator[None, None, None]:
    """Show the three standard slices in 3D, to see where surfaces lie; one in a step."""
    for name, node in sliceNodes().items():
        if name in _PLANES.values() and bool(node.GetSliceVisible()) != shown:
            node.SetSliceVisible(shown)
            yield


def lookAt3D(volume: Any) -> None:
    """See all of a volume's place in 3D, from the side from which it is seen now."""
    import slicer

    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    middle = [(bounds[axis] + bounds[axis + 1]) / 2 for axis in (0, 2, 4)]
    radius = math.dist(bounds[::2], bounds[1::2]) / 2
    for node in nodesOf("vtkMRMLViewNode"):
        camera = slicer.modules.cameras.logic().GetViewActiveCameraNode(node)
        if camera is None:
            continue
        from_ = [p - f for p, f in zip(camera.GetPosition(), camera.GetFocalPoint())]
        length = math.hypot(*from_) or 1.0
        far = _CLOSER * radius / math.sin(math.radians(camera.GetViewAngle() / 2))
        camera.SetFocalPoint(middle)
        camera.SetPosition([m + far * f / length for m, f in zip(middle, from_)])
        camera.ResetClippingRange()


def _align(name: str, parts: Parts) -> None:
    """Turn and place a column's view like the standard view of its plane, and name it."""
    nodes = sliceNodes()
    column = columnOf(name)
    node, like = nodes.get(name), nodes.get(_PLANES[name.removeprefix(column)])
    if node is None:
        return
    node.SetLayoutLabel(_title(parts, column))
    if like is not None:
        node.GetSliceToRAS().DeepCopy(like.GetSliceToRAS())
        node.UpdateMatrices()


def _title(parts: Parts, column: str) -> str:
    """What stands above a column: the role of what it shows."""
    first = None if parts.input is not None else parts.sequence or parts.image
    of = {ORIGINAL: [first], RESULT: [parts.image], MAP: [parts.other, *parts.maps[:1]]}[column]
    shown = [node for node in of if node is not None]
    if not shown and parts.input is None:
        shown = [node for node in (behind(parts, column),) if node is not None]
    titles = [marks.roleOf(node).replace("_", " ") for node in shown]
    return " and ".join(titles).capitalize() or column


def nameSteps(parts: Parts, title: str) -> None:
    """Name the column in which images are stepped through after the one that is shown; "" after its role."""
    column = stepColumn(parts)
    for name, node in sliceNodes().items():
        if columnOf(name) == column:
            node.SetLayoutLabel(title or _title(parts, column))


def openMasks(nodes: Iterable[Any]) -> None:
    """Draw the masks that nodes were made with as outlines only: what fills them is to be seen."""
    for mask in {image.GetID(): image for node in nodes for image in marks.inputsOf(node)}.values():
        if mask.IsA("vtkMRMLSegmentationNode") and mask.GetDisplayNode() is not None:
            mask.GetDisplayNode().SetVisibility2DFill(False)


def nodesOf(kind: str) -> list[Any]:
    """All nodes of a class in the scene."""
    import slicer

    return list(slicer.util.getNodesByClass(kind))


def _id(node: Any) -> str | None:
    return node.GetID() if node is not None else None
