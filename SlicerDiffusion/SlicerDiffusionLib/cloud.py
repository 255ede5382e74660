"""A map as a cloud in 3D: volume rendering with the map's own colours, see-through below the threshold."""

from __future__ import annotations

from typing import Any

_DENSE = 0.6


def show(volume: Any, shown: bool, threshold: float) -> None:
    """Show or hide the cloud of a map; it is made at the first time."""
    import slicer

    logic = slicer.modules.volumerendering.logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(volume)
    if display is None:
        if not shown:
            return
        display = logic.CreateDefaultVolumeRenderingNodes(volume)
    display.SetVisibility(shown)
    if shown:
        setThreshold(volume, threshold)


def isShown(volume: Any) -> bool:
    """Whether the cloud of a map can be seen."""
    import slicer

    display = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(volume)
    return display is not None and bool(display.GetVisibility())


def setThreshold(volume: Any, threshold: float) -> None:
    """Set from where on the cloud is dense, and take over the colours; nothing where there is no cloud."""
    import slicer
    import vtk

    if not isShown(volume):
        return
    display = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(volume)
    shown = volume.GetDisplayNode()
    low, high = shown.GetWindowLevelMin(), shown.GetWindowLevelMax()
    table = shown.GetColorNode().GetLookupTable()
    color, opacity = vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
    for step in range(9):
        value = low + (high - low) * step / 8
        red, green, blue = table.GetTableValue(round((table.GetNumberOfTableValues() - 1) * step / 8))[:3]
        color.AddRGBPoint(value, red, green, blue)
    for value, dense in ((threshold - 1e-3, 0.0), (threshold, 0.15), (max(high, threshold + 1e-3), _DENSE)):
        opacity.AddPoint(value, dense)
    rendered = display.GetVolumePropertyNode().GetVolumeProperty()
    rendered.GetRGBTransferFunction().DeepCopy(color)
    rendered.GetScalarOpacity().DeepCopy(opacity)
    rendered.SetInterpolationTypeToLinear()
