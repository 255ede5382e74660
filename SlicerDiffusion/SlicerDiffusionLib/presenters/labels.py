"""Labels: a segmentation node whose segments have names and colours, outlined in the slices once it is
shown.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .. import colors

KIND = "labels"

_SLAB_VOXELS = 2_000_000
_TYPES = "Segmentation category and type - DICOM master list"
_REGIONS = "Anatomic codes - DICOM master list"
_SIDES = {"left": ("SCT", "7771000", "Left"), "right": ("SCT", "24028007", "Right")}


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """A vtkMRMLSegmentationNode, not visible; surfaces are made when they are asked for."""
    import slicer

    image, affine = yield from context.image(artifact)
    there = yield from valuesIn(image)
    names = {int(value): name for value, name in artifact["display"].get("names", {}).items()}
    codes = {int(value): code for value, code in artifact["display"].get("codes", {}).items()}
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
        name = names.get(value, f"label {value}")
        segment = segmentation.GetSegment(addSegment(segmentation, oriented, value, name, shades[value]))
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology(codes.get(value)))
    # The labels lie in the world, where their scan may lie under a transform.
    geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(oriented)
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation.SetConversionParameter(parameter, geometry)
    return node


def terminology(code: list[str] | None = None) -> str:
    """A structure as Slicer writes it and DICOM needs it; without a code it is tissue of no given kind.

    code: scheme, value, meaning, and the side, which may be empty.
    """
    category, kind, side = ("SCT", "123037004", "Anatomical Structure"), code, ("", "", "")
    if kind is None:
        category = kind = ("SCT", "85756007", "Tissue")
    elif kind[3]:
        side = _SIDES[kind[3]]
    entry = "~".join("^".join(part) for part in (category, kind[:3], side))
    return f"{_TYPES}~{entry}~{_REGIONS}~^^~^^"


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
    identifier = segmentOf(value)
    segmentation.AddSegment(segment, identifier)
    return identifier


def segmentOf(value: int) -> str:
    """The id of the segment with the voxels of one value."""
    return f"label_{value}"
