"""Labels of which each counts: a label map, or all segments of a segmentation, whose names go with them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from .. import handover
from ..job import Complaint
from . import Grid, Selector, labels, nodeBox

KIND = "segments"

_MOST = 255
"""Values that a segment can have."""


def make(item: Any, changed: Callable[[], None]) -> Selector:
    """A box with the segmentations and label maps of the scene."""
    box = nodeBox(item, labels.CLASSES, "Choose a segmentation", changed)
    return Selector(box, box.currentNode, box.setCurrentNode, lambda: box.setMRMLScene(None))


def refuse(chosen: Any) -> None:
    if not labels.isSegmentation(chosen):
        labels.refuse(chosen)
    elif not 0 < len(_segments(chosen)) <= _MOST:
        raise Complaint(f"'{chosen.GetName()}' holds no segment or too many; draw at least one, and name it.")


def state(chosen: Any) -> tuple[Any, ...]:
    if not labels.isSegmentation(chosen):
        return handover.state(chosen)
    return (*names(chosen).items(), *(labels.stateOf(chosen, one) for one in _segments(chosen)))


def names(chosen: Any) -> dict[int, str]:
    """What the handed labels are called; a label map's have no names."""
    if not labels.isSegmentation(chosen):
        return {}
    of = chosen.GetSegmentation()
    return {n: str(of.GetSegment(one).GetName()) for n, one in enumerate(_segments(chosen), 1)}


def write(chosen: Any, path: Path, grid: Grid | None) -> Generator[None, None, handover.Matrix]:
    """Labels as they are; of a segmentation n in its n-th segment, by the nearest voxel. Where segments
    overlap, the later one counts; what lies off the scan is 0.
    """
    import vtk

    if not labels.isSegmentation(chosen):
        return (yield from labels.write(chosen, path, grid))
    if grid is None:
        raise Complaint("Choose the scan on which the segments were drawn, too.")
    merged = None
    for value, segment in enumerate(_segments(chosen), 1):
        one = labels.onto(labels.inWorld((chosen, segment), value), grid)
        if merged is not None:
            both = vtk.vtkImageMathematics()
            both.SetOperationToMax()
            both.SetInputData(0, merged)
            both.SetInputConnection(1, one.GetOutputPort())
            one = both
        one.Update()
        merged = one.GetOutput()
        yield
    whole = vtk.vtkImageReslice()
    whole.SetInputData(merged)
    yield from handover.writeResampled(whole, labels.extentOf(grid), path)
    return grid.affine


def _segments(node: Any) -> list[str]:
    """The ids of a segmentation's segments."""
    of = node.GetSegmentation()
    return [str(of.GetNthSegmentID(n)) for n in range(of.GetNumberOfSegments())]
