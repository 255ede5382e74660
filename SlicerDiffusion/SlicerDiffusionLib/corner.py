"""The text "SYNTHETIC – research use only" in every view that shows made-up voxels, and nowhere else.

It goes to the upper edge of a view, below the letter for the direction: Slicer itself writes the four
corners.
"""

from __future__ import annotations

from typing import Any

from . import marks, view
from .soon import Soon

TEXT = f"\n{marks.NOTICE}"
_EDGE = 7  # vtkCornerAnnotation::UpperEdge
_NODES = (
    "vtkMRMLSliceCompositeNode",
    "vtkMRMLSliceNode",
    "vtkMRMLViewNode",
    "vtkMRMLDisplayNode",
    "vtkMRMLVolumeNode",
)


class Corner:
    """Keeps the text right while volumes, displays and layouts change."""

    def __init__(self) -> None:
        import slicer

        scene = slicer.mrmlScene
        self._soon = Soon(self._update)
        self._watch = slicer.util.VTKObservationMixin()
        self._asked: set[tuple[str, str | None]] = set()
        for event in (
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
            scene.EndBatchProcessEvent,
            scene.EndCloseEvent,
        ):
            self._watch.addObserver(scene, event, self._soon.ask)
        self._nodes = slicer.util.VTKObservationMixin()
        self._followed: list[Any] = []
        self._manager = slicer.app.layoutManager()
        if self._manager is not None:
            self._manager.layoutChanged.connect(self._soon.ask)
        self._soon.ask()

    def cleanup(self) -> None:
        """Stop watching. The texts stay: the views still show what they show."""
        self._soon.cleanup()
        self._watch.removeObservers()
        self._nodes.removeObservers()
        if self._manager is not None:
            self._manager.layoutChanged.disconnect(self._soon.ask)

    def _update(self) -> None:
        """Write or remove the text in each view, as it is now."""
        import slicer

        manager = slicer.app.layoutManager()
        if manager is None:
            return
        self._follow()
        self._markRead()
        displayed = _displayed()
        composites = view.composites()
        for name in list(manager.sliceViewNames()):
            widget = manager.sliceWidget(name)
            if widget is not None and name in composites:
                made = showsMadeUp(widget.mrmlSliceNode(), composites[name], displayed)
                _write(widget.sliceView(), made)
        for index in range(manager.property("threeDViewCount") or 0):
            widget = manager.threeDWidget(index)
            _write(widget.threeDView(), showsMadeUp3D(widget.mrmlViewNode(), displayed))

    def _follow(self) -> None:
        """Watch the nodes that say what is shown, as many as there are now."""
        import vtk

        now = {node: None for kind in _NODES for node in view.nodesOf(kind)}
        if list(now) != self._followed:
            self._followed = list(now)
            self._nodes.removeObservers()
            for node in now:
                self._nodes.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._soon.ask)

    def _markRead(self) -> None:
        """Mark what was read from files that say of themselves that they are made up; each is asked once."""
        asked, self._asked = self._asked, set()
        for node in (*view.nodesOf("vtkMRMLVolumeNode"), *view.nodesOf("vtkMRMLSegmentationNode")):
            stored = node.GetStorageNode()
            read = (node.GetID(), stored.GetFileName() if stored is not None else None)
            self._asked.add(read)
            if read not in asked:
                marks.markIfFileSaysSo(node)


def showsMadeUp(node: Any, composite: Any, displayed: list[Any]) -> bool:
    """Whether a slice view shows made-up voxels: as a volume, or as an outline, surface or table of
    colours.
    """
    if any(marks.isSynthetic(volume) for volume in view.shownVolumes(composite)):
        return True
    return any(
        display.GetVisibility()
        and display.GetVisibility2D()
        and not display.IsA("vtkMRMLVolumeRenderingDisplayNode")
        and display.IsDisplayableInView(node.GetID())
        for display in displayed
    )


def showsMadeUp3D(node: Any, displayed: list[Any]) -> bool:
    """Whether a 3D view shows made-up voxels: surfaces, a rendered volume, or slices that show some."""
    for display in displayed:
        if (
            display.GetVisibility()
            and display.GetVisibility3D()
            and display.IsDisplayableInView(node.GetID())
        ):
            return True
    nodes = view.sliceNodes()
    return any(
        name in nodes
        and nodes[name].GetSliceVisible()
        and nodes[name].IsDisplayableInThreeDView(node.GetID())
        and any(marks.isSynthetic(volume) for volume in view.shownVolumes(composite))
        for name, composite in view.composites().items()
    )


def _displayed() -> list[Any]:
    """Display nodes that show made-up nodes by themselves, not as a layer of a slice."""
    found = []
    for node in view.nodesOf("vtkMRMLDisplayableNode"):
        if marks.isSynthetic(node):
            displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
            found += [display for display in displays if display is not None and not _isLayer(display)]
    return found


def _isLayer(display: Any) -> bool:
    return display.IsA("vtkMRMLVolumeDisplayNode") or display.IsA("vtkMRMLColorLegendDisplayNode")


def _write(where: Any, made: bool) -> None:
    texts = where.cornerAnnotation()
    wanted = TEXT if made else ""
    if (texts.GetText(_EDGE) or "") != wanted:
        texts.SetText(_EDGE, wanted)
        where.scheduleRender()


_started: Corner | None = None


def start() -> Corner:
    """Keep the texts right from now on, whether or not the module's panel is ever opened."""
    global _started
    if _started is None:
        _started = Corner()
    return _started


def isStarted() -> bool:
    return _started is not None
