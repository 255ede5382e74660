"""Labels: a segmentation node whose segments have names and colours, outlined in the slices once it is
shown.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .. import colors

KIND = "labels"

_SLAB_VOXELS = 2_000_000


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """A vtkMRMLSegmentationNode, not visible; surfaces are made when they are asked for."""
    import slicer

    image, affine = yield from context.image(artifact)
    there = yield from valuesIn(image)
    names = {int(value): name for value, name in artifact["display"].get("names", {}).items()}
    oriented = slicer.vtkOrientedImageData()
    oriented.ShallowCopy(image)
    oriented.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    yield
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(context.nameOf(artifact))
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetVisibility(False)
    display.SetVisibility3D(False)
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(
        slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    )
    shades = colors.ofLabels({value: names.get(value, f"label {value}") for value in there})
    for value in there:
        addSegment(segmentation, oriented, value, names.get(value, f"label {value}"), shades[value])
    source = context.inputs.get(artifact["of"])
    if source is not None and source.GetScene() is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(source)
    return node


def valuesIn(image: Any) -> Generator[None, None, list[int]]:
    """The labels above 0 that occur in an image, slab by slab."""
    import numpy as np

    from .. import handover

    counted = np.zeros(1, np.int64)
    for slab in np.array_split(handover.voxels(image), max(1, image.GetNumberOfPoints() // _SLAB_VOXELS)):
        found = np.bincount(slab.ravel(), minlength=len(counted))
        found[: len(counted)] += counted
        counted = found
        yield
    return [int(value) for value in np.flatnonzero(counted) if value > 0]


def addSegment(
    segmentation: Any, image: Any, value: int, name: str, color: tuple[float, float, float]
) -> str:
    """Add the voxels of one value as a segment; all segments share the image. Returns the segment's id."""
    import slicer

    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*color)
    segment.SetLabelValue(value)
    segment.AddRepresentation(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(), image)
    identifier = f"label_{value}"
    segmentation.AddSegment(segment, identifier)
    return identifier
