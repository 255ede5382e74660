"""A volume: a scalar volume node in float32 with a fixed window, and for a map colours and a legend."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .. import colors, legend

KIND = "volume"

# Share of the window. Where its low end is 0, zeros are see-through too: a map covers only what it speaks of.
_ABOVE = 1e-3


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """A vtkMRMLScalarVolumeNode."""
    node, highest = yield from read(artifact, context)
    show(node, artifact["display"], highest, context.inputs.get(artifact["of"]))
    return node


def read(artifact: dict[str, Any], context: Any, number: int = 0) -> Generator[None, None, tuple[Any, float]]:
    """A volume node in float32 that is in no scene yet, and its largest value.

    number: which image of an artifact that has several, from 1.
    """
    import slicer
    import vtk

    image, affine = yield from context.image(artifact, number)
    if image.GetScalarType() != vtk.VTK_FLOAT:
        cast = vtk.vtkImageCast()
        cast.SetInputData(image)
        cast.SetOutputScalarTypeToFloat()
        cast.Update()
        image = cast.GetOutput()
        yield
    highest = image.GetPointData().GetScalars().GetRange(0)[1]
    yield
    node = bare(image, slicer.util.vtkMatrixFromArray(affine))
    node.SetName(context.nameOf(artifact))
    yield
    return node, highest


def bare(image: Any, matrix: Any) -> Any:
    """A volume node that is in no scene yet. matrix: vtkMatrix4x4, voxel index to RAS mm."""
    import slicer

    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(matrix)
    return node


def show(node: Any, display: dict[str, Any], highest: float, of: Any = None) -> None:
    """Add a volume to the scene, seen through a fixed window: its own, or that of the volume `of`, so that
    both look alike. highest: its largest value.
    """
    import slicer

    shown = slicer.vtkMRMLScalarVolumeDisplayNode()
    window = display.get("window")
    if window:
        shown.AutoWindowLevelOff()  # before the scene sees it: else the whole histogram is computed
        shown.SetWindowLevelMinMax(float(window[0]), float(window[1]))
    elif of is not None and of.GetDisplayNode() is not None:
        shown.AutoWindowLevelOff()
        shown.SetWindowLevel(of.GetDisplayNode().GetWindow(), of.GetDisplayNode().GetLevel())
    if display.get("colors"):
        shown.SetAndObserveColorNodeID(colors.mapNode(display["colors"]).GetID())
    else:
        shown.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    slicer.mrmlScene.AddNode(shown)
    slicer.mrmlScene.AddNode(node)
    node.SetAndObserveDisplayNodeID(shown.GetID())
    if display.get("colors"):
        if window:
            shown.SetThreshold(float(window[0]), 2 * max(highest, float(window[1])))
            shown.ApplyThresholdOn()
            cutBelow(node, float(window[0]))
        legend.add(node, display)


def cutBelow(node: Any, value: float) -> None:
    """Make a map see-through at `value` and below."""
    shown = node.GetDisplayNode()
    shown.SetLowerThreshold(value + _ABOVE * max(shown.GetWindow(), 1e-6))
