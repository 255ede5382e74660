"""Which nodes a file outside the scene holds as they are now, though MRML does not know of it.

MRML knows of the files that it has written or read one by one: not of those that the gate reads, nor of the
bundle that a whole scene was read from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

_kept: dict[str, tuple[Path, Any]] = {}  # by the node's ID: the file, and the data as they were then


def remember(node: Any, path: str | Path) -> None:
    """A file or folder holds the data of a node as they are now."""
    _kept[node.GetID()] = Path(path), _state(node)


def remember_scene(path: str | Path) -> None:
    """A file holds all that is in the scene now."""
    _kept.clear()
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        remember(node, path)


def is_kept(node: Any) -> bool:
    """Whether the file is still there, and the data are still those that it holds."""
    if any(browser.GetSequenceNode(node) is not None for browser in _browsers()):
        return True  # it only shows an image of a sequence, which is asked for itself
    path, state = _kept.get(node.GetID(), (None, None))
    return path is not None and state is not None and state == _state(node) and path.exists()


def _state(node: Any) -> Any:
    """What changes when the data of a node change, however they are shown; None for kinds not known here.

    Time stamps are made of one counter: no two are the same.
    """
    if node.IsA("vtkMRMLVolumeNode") and node.GetImageData() is not None:
        place = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(place)
        return node.GetImageData().GetMTime(), slicer.util.arrayFromVTKMatrix(place).tolist()
    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        segments = [segmentation.GetNthSegment(i) for i in range(segmentation.GetNumberOfSegments())]
        return [(segment.GetName(), _master(segment)) for segment in segments]
    if node.IsA("vtkMRMLTableNode") and node.GetTable() is not None:
        return node.GetTable().GetMTime(), node.GetTable().GetRowData().GetMTime()
    if node.IsA("vtkMRMLTransformNode"):
        return node.GetTransformToWorldMTime()
    if node.IsA("vtkMRMLSequenceNode"):
        frames = [node.GetNthDataNode(index) for index in range(node.GetNumberOfDataNodes())]
        return [_state(frame) for frame in frames]
    return None


def _browsers() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"))


def _master(segment: Any) -> int:
    labels = segment.GetRepresentation("Binary labelmap")
    return labels.GetMTime() if labels is not None else segment.GetMTime()
