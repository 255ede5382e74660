"""What lies under the mouse: the place in the patient, and the values of the volumes and structures there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from .observe import Observations

_AXES = ("RL", "AP", "SI")
_SEGMENTS = "vtkMRMLSegmentationsDisplayableManager2D"


def place_words(ras: list[float]) -> str:
    """RAS millimetres in words: "L 31.0  P 4.5  S 12.0 mm"."""
    parts = (f"{axis[value < 0]} {abs(value):.1f}" for axis, value in zip(_AXES, ras))
    return "  ".join(parts) + " mm"


def value_words(layer: Any, xyz: list[float]) -> str | None:
    """Name and value of what a vtkMRMLSliceLayerLogic shows at a place of its view, or None."""
    volume = layer.GetVolumeNode() if layer is not None else None
    image = volume.GetImageData() if volume is not None else None
    if image is None:
        return None
    index = [round(value) for value in layer.GetXYToIJKTransform().TransformDoublePoint(xyz)]
    if not all(0 <= i < size for i, size in zip(index, image.GetDimensions())):
        return None
    values = [image.GetScalarComponentAsDouble(*index, c) for c in range(image.GetNumberOfScalarComponents())]
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        return _label_words(volume, int(values[0]))
    real = image.GetScalarType() in (vtk.VTK_FLOAT, vtk.VTK_DOUBLE)
    return f"{volume.GetName()} " + ", ".join(f"{value:.4g}" if real else f"{value:.0f}" for value in values)


def _label_words(volume: Any, label: int) -> str | None:
    display = volume.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    if label == 0:
        return None
    name = colors.GetColorName(label) if colors is not None else ""
    return f"{volume.GetName()} {name or label}"


def segment_names(view: Any, ras: list[float]) -> Iterator[str]:
    """Segments that are visible at this place in a slice view."""
    manager = view.displayableManagerByClassName(_SEGMENTS)
    for segmentation in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = segmentation.GetDisplayNode()
        if manager is None or display is None or not display.GetVisibility():
            continue
        found = vtk.vtkStringArray()
        manager.GetVisibleSegmentsForPosition(ras, display, found)
        for i in range(found.GetNumberOfValues()):
            yield segmentation.GetSegmentation().GetSegment(found.GetValue(i)).GetName()


class DataProbe(QtWidgets.QLabel):
    """One line of text that follows the mouse over the slice views of a layout manager."""

    def __init__(self, layout_manager: Any, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumWidth(1)  # long names are cut off at the end, and never widen the window
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        self._layouts = layout_manager
        self._crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        self._watch = Observations()
        event = self._crosshair.CursorPositionModifiedEvent
        self._watch.observe(self._crosshair, (event,), self.refresh)

    def refresh(self, *_: Any) -> None:
        self.setText(self.words())

    def words(self) -> str:
        xyz, ras = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        node = self._crosshair.GetCursorPositionXYZ(xyz)
        frame = self._layouts.viewWidget(node) if node is not None else None
        if frame is None or not self._crosshair.GetCursorPositionRAS(ras):
            return ""
        logic = frame.sliceLogic()
        layers = (logic.GetBackgroundLayer(), logic.GetForegroundLayer(), logic.GetLabelLayer())
        said = [value_words(layer, xyz) for layer in layers]
        return "   |   ".join([place_words(ras), *filter(None, said), *segment_names(frame.sliceView(), ras)])

    def finalize(self) -> None:
        self._watch.clear()
