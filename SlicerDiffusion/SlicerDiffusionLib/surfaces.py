"""Surfaces of labels in 3D, made one segment at a time: the whole would keep the user's thread too long."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from . import handover
from .presenters import labels

_SLAB_VOXELS = 2_000_000
# A place of more voxels is sampled more coarsely: its surface is smooth anyway, and made in a moment.
_VOXELS = 6000


@dataclass
class _Place:
    """Where one label lies in an image: its first and last voxel (k, j, i), and how many it has."""

    first: Any
    last: Any
    count: int


def make(node: Any) -> Generator[None, None, None]:
    """Give each segment of a segmentation node its surface, one in a step; those that are there stay."""
    import slicer

    voxels = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    closed = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    segmentation = node.GetSegmentation()
    images: list[Any] = []
    places: list[dict[int, _Place]] = []
    made: list[tuple[Any, Any]] = []
    for identifier in list(segmentation.GetSegmentIDs()):
        segment = segmentation.GetSegment(identifier)
        image = segment.GetRepresentation(voxels) if segment is not None else None
        if image is None or segment.GetRepresentation(closed) is not None:
            continue
        if image not in images:  # most segments share one
            images.append(image)
            places.append((yield from _places(image)))
        place = places[images.index(image)].get(segment.GetLabelValue())
        if place is not None:
            made.append((segment, _surface(image, place, segment.GetLabelValue(), closed)))
        yield
    display = node.GetDisplayNode()
    if node.GetScene() is None or display is None or not made:  # deleted meanwhile
        return
    # Views that see one surface make all others at once: they may look when all are there.
    node.SetAndObserveDisplayNodeID(None)
    for segment, surface in made:
        segment.AddRepresentation(closed, surface)
    node.SetAndObserveDisplayNodeID(display.GetID())


def _places(image: Any) -> Generator[None, None, dict[int, _Place]]:
    """{label: its place} of the labels above 0 in an image, slab by slab."""
    import numpy as np

    array = handover.voxels(image)
    depth = max(1, _SLAB_VOXELS // max(1, array[0].size))
    there: dict[int, _Place] = {}
    for start in range(0, len(array), depth):
        slab = array[start : start + depth]
        inside = np.flatnonzero(slab)
        values = slab.ravel()[inside]
        found = np.stack(np.unravel_index(inside, slab.shape), 1) + [start, 0, 0]
        for value in map(int, np.unique(values)):
            here = found[values == value]
            place = there.setdefault(value, _Place(here[0], here[0], 0))
            place.first = np.minimum(place.first, here.min(0))
            place.last = np.maximum(place.last, here.max(0))
            place.count += len(here)
        yield
    return {value: place for value, place in there.items() if value > 0}


def _surface(image: Any, place: _Place, value: int, closed: str) -> Any:
    """The surface around one label, made from its part of the image alone."""
    import numpy as np
    import slicer
    import vtk

    step = max(1, round((place.count / _VOXELS) ** (1 / 3)))
    box = tuple(slice(first, last + 1, step) for first, last in zip(place.first, place.last))
    array = handover.voxels(image)[box]
    part = slicer.vtkOrientedImageData()
    part.SetDimensions(*array.shape[::-1])
    part.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    handover.voxels(part)[...] = array == value
    toWorld = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(toWorld)
    own = np.eye(4)
    own[:3, :3] *= step
    own[:3, 3] = place.first[::-1] + np.array(image.GetExtent()[::2])
    vtk.vtkMatrix4x4.Multiply4x4(toWorld, slicer.util.vtkMatrixFromArray(own), toWorld)
    part.SetImageToWorldMatrix(toWorld)
    alone = slicer.vtkSegmentation()
    alone.SetSourceRepresentationName(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName())
    identifier = labels.addSegment(alone, part, 1, "", (1.0, 1.0, 1.0))
    alone.CreateRepresentation(closed)
    return alone.GetSegment(identifier).GetRepresentation(closed)
