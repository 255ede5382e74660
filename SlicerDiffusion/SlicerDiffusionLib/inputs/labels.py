"""A mask or labels: a label map, or one segment of a segmentation, handed over on the grid of the scan."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from .. import handover
from ..job import Complaint
from . import Grid, Selector, nodeBox, pair

KIND = "labels"

CLASSES = ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"]


def make(item: Any, changed: Callable[[], None]) -> Selector:
    """A box with the segmentations and label maps of the scene, and below it one with the segments."""
    import qt

    widget = qt.QWidget()
    column = qt.QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    segments = _Segments(item, changed)
    box = nodeBox(item, CLASSES, "Choose a mask", lambda: chosen())
    column.addWidget(box)
    column.addWidget(segments.widget)

    def chosen() -> None:
        segments.follow(box.currentNode())
        changed()

    def get() -> Any:
        node = box.currentNode()
        return (node, segments.current()) if node is not None and isSegmentation(node) else node

    def put(value: Any) -> None:
        node, segment = pair(value)
        box.setCurrentNode(node)
        segments.follow(box.currentNode())
        segments.choose(segment)

    def cleanup() -> None:
        segments.follow(None)
        box.setMRMLScene(None)

    return Selector(widget, get, put, cleanup)


def refuse(chosen: Any) -> None:
    node, segment = pair(chosen)
    name = node.GetName()
    if isSegmentation(node):
        _segmentOf(node, segment)
    elif not node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise Complaint(f"'{name}' is no mask; choose a segmentation or a label map.")
    elif node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise Complaint(f"'{name}' holds no voxels; load its file again.")


def state(chosen: Any) -> tuple[Any, ...]:
    node, segment = pair(chosen)
    if not isSegmentation(node):
        return handover.state(node)
    return stateOf(node, segment or node.GetSegmentation().GetNthSegmentID(0))


def stateOf(node: Any, segment: str) -> tuple[Any, ...]:
    """What is no longer equal when a segment, or the place where it lies, changes."""
    segmentation = node.GetSegmentation()
    part = segmentation.GetSegment(segment)
    drawn = part.GetRepresentation(segmentation.GetSourceRepresentationName()) if part is not None else None
    parent = node.GetParentTransformNode()
    return (
        drawn.GetMTime() if drawn is not None else None,
        (parent.GetID(), parent.GetTransformToWorldMTime()) if parent is not None else None,
    )


def write(chosen: Any, path: Path, grid: Grid | None) -> Generator[None, None, handover.Matrix]:
    """Labels as they are, or 1 inside the segment, by the nearest voxel; what lies off the scan is 0.

    Without a scan the labels keep their own lattice.
    """
    import vtk

    image = inWorld(chosen)
    yield
    if grid is None:
        own = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(own)
        extent = image.GetExtent()
        corner = own.MultiplyPoint((extent[0], extent[2], extent[4], 1.0))
        lattice = vtk.vtkMatrix4x4()
        lattice.DeepCopy(own)
        for row in range(3):
            lattice.SetElement(row, 3, corner[row])
        grid = Grid(handover.rows(lattice), tuple(extent[2 * n + 1] - extent[2 * n] + 1 for n in range(3)))
    yield from handover.writeResampled(onto(image, grid), extentOf(grid), path)
    return grid.affine


def extentOf(grid: Grid) -> tuple[int, int, int, int, int, int]:
    """Of an image with the voxels of a lattice."""
    i, j, k = grid.shape
    return (0, i - 1, 0, j - 1, 0, k - 1)


def isSegmentation(node: Any) -> bool:
    return bool(node.IsA("vtkMRMLSegmentationNode"))


def _segmentOf(node: Any, segment: str) -> str:
    """The id of the segment that is meant: the only one, where none is named."""
    segmentation = node.GetSegmentation()
    if segment and segmentation.GetSegment(segment) is not None:
        return segment
    if segment or segmentation.GetNumberOfSegments() == 0:
        raise Complaint(f"'{node.GetName()}' does not hold the segment; draw it, or choose another one.")
    if segmentation.GetNumberOfSegments() > 1:
        raise Complaint(f"'{node.GetName()}' holds several segments; choose one of them.")
    return str(segmentation.GetNthSegmentID(0))


def inWorld(chosen: Any, value: int = 1) -> Any:
    """The labels as vtkOrientedImageData, hardened under their transforms; a segment is `value` inside."""
    import slicer

    node, segment = pair(chosen)
    parent = node.GetParentTransformNode()
    if isSegmentation(node):
        image = _drawn(node, _segmentOf(node, segment), value)
    else:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        image = logic.CreateOrientedImageDataFromVolumeNode(node, parent)
        image.UnRegister(None)
    if parent is not None:
        _harden(image, parent)
    return image


def _drawn(node: Any, segment: str, value: int) -> Any:
    """A segment as an image of its own, `value` inside, before its transforms."""
    import slicer
    import vtk

    drawn = slicer.vtkOrientedImageData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.GetSegmentBinaryLabelmapRepresentation(node, segment, drawn, False):
        raise Complaint(f"A segment of '{node.GetName()}' cannot be made into a mask; draw it again.")
    own = node.GetSegmentation().GetSegment(segment).GetLabelValue()
    inside = vtk.vtkImageThreshold()  # segments may share an image, each with a value of its own
    inside.SetInputData(drawn)
    inside.ThresholdBetween(own, own)
    inside.SetInValue(value)
    inside.SetOutValue(0)
    inside.SetOutputScalarTypeToUnsignedChar()
    inside.Update()
    mask = slicer.vtkOrientedImageData()
    mask.ShallowCopy(inside.GetOutput())
    mask.CopyDirections(drawn)
    return mask


def _harden(image: Any, parent: Any) -> None:
    import slicer
    import vtk

    if not parent.IsTransformToWorldLinear():
        toWorld = vtk.vtkGeneralTransform()
        parent.GetTransformToWorld(toWorld)
        slicer.vtkOrientedImageDataResample.TransformOrientedImage(image, toWorld)
        return
    # By hand: TransformOrientedImage takes several linear transforms in the wrong order.
    matrix, own = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, None, matrix)
    image.GetImageToWorldMatrix(own)
    vtk.vtkMatrix4x4.Multiply4x4(matrix, own, own)
    image.SetImageToWorldMatrix(own)


def onto(image: Any, grid: Grid) -> Any:
    """A filter that gives labels, as `inWorld`, at the voxels of a lattice."""
    import vtk

    imageToWorld = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(imageToWorld)
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, grid.affine[row][column])
    fromWorld = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(imageToWorld, fromWorld)
    vtk.vtkMatrix4x4.Multiply4x4(fromWorld, matrix, matrix)
    transform = vtk.vtkTransform()
    transform.SetMatrix(matrix)
    plain = vtk.vtkImageData()
    plain.SetExtent(image.GetExtent())
    plain.GetPointData().SetScalars(image.GetPointData().GetScalars())
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(plain)
    reslice.SetResliceTransform(transform)
    reslice.SetInterpolationModeToNearestNeighbor()
    reslice.SetBackgroundLevel(0)
    reslice.SetOutputExtent(extentOf(grid))
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    return reslice


class _Segments:
    """The box with the segments of the chosen segmentation; hidden where there is none."""

    def __init__(self, item: Any, changed: Callable[[], None]):
        import qt
        import slicer

        self._changed = changed
        self._ids: list[str] = []
        self._filling = False
        self._segmentation: Any = None
        self._watch = slicer.util.VTKObservationMixin()
        self.widget = qt.QComboBox()
        self.widget.setObjectName(f"{item.name} segment")
        self.widget.setToolTip(f"The segment that is handed over as '{item.title}'.")
        self.widget.setVisible(False)
        self.widget.currentIndexChanged.connect(lambda: self._picked())

    def current(self) -> str:
        """Id of the chosen segment; empty where there is none."""
        index = self.widget.property("currentIndex")
        return self._ids[index] if 0 <= index < len(self._ids) else ""

    def choose(self, segment: str) -> None:
        if segment in self._ids:
            self.widget.setCurrentIndex(self._ids.index(segment))

    def follow(self, node: Any) -> None:
        """List the segments of a node, and follow as they come, go and change their names."""
        import slicer

        segmentation = node.GetSegmentation() if node is not None and isSegmentation(node) else None
        if segmentation is not self._segmentation:
            self._watch.removeObservers()
            self._segmentation = segmentation
            kinds = slicer.vtkSegmentation
            for event in (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified):
                if segmentation is not None:
                    self._watch.addObserver(segmentation, event, self._fill)
        self._fill()

    def _fill(self, *_: Any) -> None:
        found = self._segmentation
        ids = [] if found is None else [found.GetNthSegmentID(n) for n in range(found.GetNumberOfSegments())]
        before = self.current()
        self._filling = True
        self.widget.clear()
        for identifier in ids:
            self.widget.addItem(found.GetSegment(identifier).GetName())
        self._ids = [str(identifier) for identifier in ids]
        self.choose(before)
        self._filling = False
        self.widget.setVisible(found is not None)

    def _picked(self) -> None:
        if not self._filling:
            self._changed()
