"""A view with its coloured title bar: offset slider and millimetre for slices, ways of looking for 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .letters import offset_words, plane_words
from .views import MRMLView, SliceView, ThreeDView

if TYPE_CHECKING:
    from .plotview import PlotView

Qt = QtCore.Qt
_ORIENTATIONS = ("Axial", "Sagittal", "Coronal")
_SIDES = {
    "From the front (A)": "Anterior",
    "From behind (P)": "Posterior",
    "From the patient's left (L)": "Left",
    "From the patient's right (R)": "Right",
    "From above (S)": "Superior",
    "From below (I)": "Inferior",
}


class TitleBar(QtWidgets.QWidget):
    """Label and colour of a view; `row` takes more, between the label and the menu."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(24)
        self._label = QtWidgets.QLabel()
        self._menu_button = QtWidgets.QToolButton()
        self._menu_button.setText("⋮")
        self._menu_button.setToolTip("More about this view")
        self._menu_button.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QtWidgets.QMenu(self._menu_button)
        self._menu_button.setMenu(self.menu)
        whole = QtWidgets.QHBoxLayout(self)
        whole.setContentsMargins(6, 0, 2, 0)
        whole.setSpacing(6)
        self.row = QtWidgets.QHBoxLayout()
        whole.addWidget(self._label)
        whole.addLayout(self.row, 1)
        whole.addWidget(self._menu_button)
        self._colour: tuple[float, ...] = ()
        self.paint(node)

    def paint(self, node: Any) -> None:
        """Take over label and colour of the view node; black or white text, whichever reads better."""
        self._label.setText(node.GetLayoutLabel())
        if node.GetLayoutColor() != self._colour:
            self._colour = node.GetLayoutColor()
            back = QtGui.QColor.fromRgbF(*self._colour)
            text = "black" if QtGui.qGray(back.rgb()) > 110 else "white"
            self.setStyleSheet(
                f"TitleBar {{ background: {back.name()}; }}"
                f" QLabel, QToolButton {{ color: {text}; font-weight: 600; }}"
                " QToolButton { border: none; padding: 0 5px; }"
                " QToolButton::menu-indicator { image: none; }"
            )


class SliceBar(TitleBar):
    """Slider and read-out of the slice's offset, orientation, visibility in 3D."""

    def __init__(self, view: SliceView) -> None:
        super().__init__(view.node)
        self._view = view
        self._position, self._step = 0, 1.0
        self.slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip("Slice: drag, or turn the mouse wheel over the picture")
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.read_out = QtWidgets.QLabel()
        self.read_out.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.read_out.setMinimumWidth(self.fontMetrics().horizontalAdvance("S 888.8 mm") + 8)
        self.plane = QtWidgets.QLabel()
        self.row.addWidget(self.plane)
        self.row.addWidget(self.slider, 1)
        self.row.addWidget(self.read_out)
        self.slider.valueChanged.connect(self._to_slice)
        self._fill_menu()
        view.watch.observe(view.logic, (vtk.vtkCommand.ModifiedEvent,), self.refresh)
        view.watch.observe(view.node, (vtk.vtkCommand.ModifiedEvent,), self.refresh)
        self.refresh()

    def _fill_menu(self) -> None:
        self.menu.addAction("Fit to window", self._view.fit)
        self.menu.addAction("Reset brightness and contrast", self._reset_levels)
        self.smooth = self.menu.addAction("Interpolate between voxels")
        self.smooth.setCheckable(True)
        self.smooth.toggled.connect(self._interpolate)
        self.menu.addAction("Copy picture", self._copy)
        self.menu.aboutToShow.connect(self._look_at_display)
        self.menu.addSeparator()
        for orientation in _ORIENTATIONS:
            self.menu.addAction(orientation, lambda name=orientation: self._view.node.SetOrientation(name))
        self.menu.addAction("As the scan was taken", self._rotate_to_scan)
        self.menu.addSeparator()
        self.in_3d = self.menu.addAction("Show this slice in 3D")
        self.in_3d.setCheckable(True)
        self.in_3d.toggled.connect(lambda on: self._view.node.SetSliceVisible(on))

    def _display(self) -> Any:
        """The display node of the volume behind, None without one."""
        volume = self._view.logic.GetBackgroundLayer().GetVolumeNode()
        return volume.GetDisplayNode() if volume is not None else None

    def _look_at_display(self) -> None:
        display = self._display()
        blocked = self.smooth.blockSignals(True)
        self.smooth.setChecked(display is not None and bool(display.GetInterpolate()))
        self.smooth.blockSignals(blocked)

    def _reset_levels(self) -> None:
        display = self._display()
        if display is not None:
            display.AutoWindowLevelOn()  # finds them
            display.AutoWindowLevelOff()

    def _interpolate(self, on: bool) -> None:
        display = self._display()
        if display is not None:
            display.SetInterpolate(on)

    def _copy(self) -> None:
        """With the letters and the mark on made-up voxels, as it is seen."""
        QtGui.QGuiApplication.clipboard().setPixmap(self._view.grab())

    def _rotate_to_scan(self) -> None:
        self._view.logic.RotateSliceToLowestVolumeAxes()
        self._view.fit()

    def _to_slice(self, position: int) -> None:
        logic = self._view.logic
        logic.StartSliceOffsetInteraction()  # tells the linked slices
        # By steps from where it is, as the wheel does: slices stay in the middle of voxels.
        logic.SetSliceOffset(logic.GetSliceOffset() + (position - self._position) * self._step)
        logic.EndSliceOffsetInteraction()

    def refresh(self, *_: Any) -> None:
        node, logic = self._view.node, self._view.logic
        self.paint(node)
        limits, resolution = [0.0, 0.0], vtk.reference(1.0)
        if node.GetScene() is None or not logic.GetSliceOffsetRangeResolution(limits, resolution):
            return
        offset = logic.GetSliceOffset()
        self._step = max(resolution.get(), 1e-3)
        blocked = self.slider.blockSignals(True)
        self.slider.setRange(0, max(1, round((limits[1] - limits[0]) / self._step)))
        self.slider.setValue(round((offset - limits[0]) / self._step))
        self._position = self.slider.value()
        self.slider.blockSignals(blocked)
        self.read_out.setText(offset_words(node, offset))
        self.plane.setText(plane_words(node))
        self.slider.setAccessibleName(f"Slice of the view {node.GetLayoutLabel()}, {self.plane.text()}")
        blocked = self.in_3d.blockSignals(True)
        self.in_3d.setChecked(bool(node.GetSliceVisible()))
        self.in_3d.blockSignals(blocked)


class ThreeDBar(TitleBar):
    """Sides to look from, box and letters."""

    def __init__(self, view: ThreeDView) -> None:
        super().__init__(view.node)
        self._view = view
        self.row.addStretch(1)
        self.menu.addAction("Fit to window", view.fit)
        self.menu.addSeparator()
        for words, side in _SIDES.items():
            self.menu.addAction(words, lambda side=side: self.look(side))
        self.menu.addSeparator()
        box = self.menu.addAction("Box and letters")
        box.setCheckable(True)
        box.setChecked(bool(view.node.GetBoxVisible()))
        box.toggled.connect(self._show_box)
        view.watch.observe(view.node, (vtk.vtkCommand.ModifiedEvent,), self.refresh)

    def refresh(self, *_: Any) -> None:
        self.paint(self._view.node)

    def paint(self, node: Any) -> None:
        super().paint(node)
        number = node.GetLayoutLabel()
        self._label.setText("3D" if number == "1" else f"3D {number}")

    def look(self, side: str) -> None:
        """Look from "Anterior", "Posterior", "Left", "Right", "Superior" or "Inferior"."""
        camera = self._view.cameraNode()
        camera.RotateTo(getattr(slicer.vtkMRMLCameraNode, side))
        camera.ResetClippingRange()

    def _show_box(self, on: bool) -> None:
        self._view.node.SetBoxVisible(on)
        self._view.node.SetAxisLabelsVisible(on)


class Frame(QtWidgets.QWidget):
    """A title bar above a view."""

    def __init__(self, bar: TitleBar, view: MRMLView | PlotView) -> None:
        super().__init__()
        self.bar, self.view = bar, view
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(bar)
        column.addWidget(view, 1)

    def fit(self) -> None:
        self.view.fit()

    def finalize(self) -> None:
        self.view.finalize()


class SliceWidget(Frame):
    """What Slicer calls qMRMLSliceWidget."""

    def __init__(self, node: Any) -> None:
        view = SliceView(node)
        super().__init__(SliceBar(view), view)
        view.asked.connect(self.bar.menu.popup)

    def sliceView(self) -> SliceView:
        return self.view

    def sliceController(self) -> SliceBar:
        return self.bar

    def sliceLogic(self) -> Any:
        return self.view.logic

    def mrmlSliceNode(self) -> Any:
        return self.view.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self.view.mrmlSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self.view.fit()


class ThreeDWidget(Frame):
    """What Slicer calls qMRMLThreeDWidget."""

    def __init__(self, node: Any) -> None:
        view = ThreeDView(node)
        super().__init__(ThreeDBar(view), view)

    def threeDView(self) -> ThreeDView:
        return self.view

    def threeDController(self) -> ThreeDBar:
        return self.bar

    def mrmlViewNode(self) -> Any:
        return self.view.node

    def viewLogic(self) -> Any:
        return self.view.logic
