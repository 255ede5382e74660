"""A Qt widget that shows an off-screen vtkRenderWindow by copying its pixels.

It needs no native window: it works on every platform of Qt, also without a display, and QWidget.grab() sees
what it shows. Many requests make one picture, a hidden view costs nothing, and at most one view is rendered
in a turn of the event loop, so that the window answers while many views change.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

Qt = QtCore.Qt

_BUTTONS = {
    Qt.MouseButton.LeftButton: "LeftButton",
    Qt.MouseButton.MiddleButton: "MiddleButton",
    Qt.MouseButton.RightButton: "RightButton",
}
_KEYS = {
    Qt.Key.Key_Up: "Up",
    Qt.Key.Key_Down: "Down",
    Qt.Key.Key_Left: "Left",
    Qt.Key.Key_Right: "Right",
    Qt.Key.Key_PageUp: "Prior",
    Qt.Key.Key_PageDown: "Next",
    Qt.Key.Key_Home: "Home",
    Qt.Key.Key_End: "End",
    Qt.Key.Key_Delete: "Delete",
    Qt.Key.Key_Backspace: "BackSpace",
    Qt.Key.Key_Escape: "Escape",
    Qt.Key.Key_Return: "Return",
    Qt.Key.Key_Enter: "Return",
    Qt.Key.Key_Space: "space",
    Qt.Key.Key_Plus: "plus",
    Qt.Key.Key_Minus: "minus",
    Qt.Key.Key_Shift: "Shift_L",
    Qt.Key.Key_Control: "Control_L",
    Qt.Key.Key_Alt: "Alt_L",
}
NOTCH = 120  # eighths of a degree that one notch of a wheel turns, in Qt
POINTS = 72  # dots per inch at which a point of VTK's text is a pixel of Qt


class _Queue(QtCore.QObject):
    """Views that are to be rendered, one in each turn of the event loop, also where all are painted anew."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[RenderWidget] = []
        self._spent = False
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._next)

    def add(self, view: RenderWidget) -> None:
        if view not in self._waiting:
            self._waiting.append(view)
            self._timer.start(0)

    def remove(self, view: RenderWidget) -> None:
        if view in self._waiting:
            self._waiting.remove(view)

    def take_turn(self) -> bool:
        """Whether a view may be rendered in this turn: none has been yet."""
        if self._spent:
            return False
        self._spent = True
        self._timer.start(0)
        return True

    def _next(self) -> None:
        if self._spent:  # by a picture that was painted in this very turn
            self._spent = False
        else:
            while self._waiting and not self._spent:
                self._waiting.pop(0).render_if_seen()
        if self._waiting or self._spent:
            self._timer.start(0)


@cache
def _queue() -> _Queue:
    return _Queue()


class RenderWidget(QtWidgets.QWidget):
    """Shows `render_window`, and hands all that happens to it on to `interactor`.

    Call `finalize()` before the widget goes: VTK's objects hold on to their observers.
    """

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.WheelFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMinimumSize(60, 60)
        self.frames = 0
        self._alive = True
        self._stale = True
        self._image: QtGui.QImage | None = None
        self._copy = np.empty((0, 0, 4), np.uint8)
        self._pixels = vtk.vtkUnsignedCharArray()
        self._wheel = 0
        self._cursor = (0, 0)
        self.render_window = vtk.vtkRenderWindow()
        self.render_window.ShowWindowOff()
        self.render_window.SetOffScreenRendering(1)
        self.render_window.SetMultiSamples(0)
        self.vtk_interactor = self._make_interactor()

    def _make_interactor(self) -> vtk.vtkGenericRenderWindowInteractor:
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetRenderWindow(self.render_window)
        interactor.Initialize()
        interactor.EnableRenderOff()  # Render() only announces itself, and the widget coalesces
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(interactor.TimerEvent)
        interactor.AddObserver(vtk.vtkCommand.RenderEvent, self.scheduleRender)
        interactor.AddObserver(vtk.vtkCommand.CreateTimerEvent, lambda *_: self._timer.start(10))
        interactor.AddObserver(vtk.vtkCommand.DestroyTimerEvent, lambda *_: self._timer.stop())
        return interactor

    # -- Slicer's names of what a view offers

    def renderWindow(self) -> vtk.vtkRenderWindow:
        return self.render_window

    def interactor(self) -> vtk.vtkGenericRenderWindowInteractor:
        return self.vtk_interactor

    def scheduleRender(self, *_: Any) -> None:
        """Render before the next picture is painted."""
        if self._alive:
            self._stale = True
            _queue().add(self)

    def forceRender(self) -> None:
        """Render now."""
        self._render()
        self.update()

    def render_if_seen(self) -> None:
        """Render where it is needed: a view that is not seen waits until it is painted again."""
        if self._alive and self._stale and self.isVisible():
            _queue().take_turn()
            self.forceRender()

    def finalize(self) -> None:
        """Let go of the graphics; the widget stays black from now on."""
        if self._alive:
            self._alive = False
            _queue().remove(self)
            self._timer.stop()
            self.vtk_interactor.RemoveAllObservers()
            self.vtk_interactor.SetInteractorStyle(None)
            self.render_window.Finalize()
            self._image = None

    # -- pixels

    def _render(self) -> None:
        if not self._alive or min(self.render_window.GetSize()) < 2:
            return
        self._stale = False
        self.render_window.Render()
        self.frames += 1
        width, height = self.render_window.GetSize()
        if self._copy.shape[:2] != (height, width):
            self._copy = np.empty((height, width, 4), np.uint8)
        self.render_window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 1, self._pixels)
        np.copyto(self._copy, vtk_to_numpy(self._pixels).reshape(height, width, 4)[::-1])
        self._image = QtGui.QImage(
            self._copy.data, width, height, 4 * width, QtGui.QImage.Format.Format_RGBX8888
        )

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        if self._stale and _queue().take_turn():  # it was hidden, or somebody grabs its picture
            self._render()
        elif self._stale:  # until its turn comes, it shows what it has
            _queue().add(self)
        painter = QtGui.QPainter(self)
        if self._image is None:
            painter.fillRect(self.rect(), Qt.GlobalColor.black)
        else:
            painter.drawImage(self.rect(), self._image)
        painter.end()

    def hideEvent(self, event: QtGui.QHideEvent) -> None:
        self._image = None  # when it is seen again, what it showed may be another patient

    def event(self, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.Type.DevicePixelRatioChange:
            self._resize()
        return super().event(event)

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self._resize()

    def _resize(self) -> None:
        if not self._alive:
            return
        ratio = self.devicePixelRatioF()
        width, height = round(self.width() * ratio), round(self.height() * ratio)
        self.render_window.SetDPI(round(POINTS * ratio))
        self.render_window.SetSize(width, height)
        self.vtk_interactor.SetSize(width, height)
        self.vtk_interactor.ConfigureEvent()
        self.resized(width, height, ratio)
        self.scheduleRender()

    def resized(self, width: int, height: int, ratio: float) -> None:
        """For derived classes: the window is now so large, in pixels of the device."""

    # -- events

    def _tell(self, event: Any, key: str = "\0", keysym: str | None = None, repeat: int = 0) -> None:
        modifiers = event.modifiers()
        if hasattr(event, "position"):
            ratio = self.devicePixelRatioF()
            place = event.position()
            self._cursor = (int(place.x() * ratio), int(place.y() * ratio))
        self.vtk_interactor.SetEventInformationFlipY(
            *self._cursor,
            int(bool(modifiers & Qt.KeyboardModifier.ControlModifier)),
            int(bool(modifiers & Qt.KeyboardModifier.ShiftModifier)),
            key,
            repeat,
            keysym,
        )
        self.vtk_interactor.SetAltKey(int(bool(modifiers & Qt.KeyboardModifier.AltModifier)))

    def _button(self, event: QtGui.QMouseEvent, what: str, repeat: int = 0) -> None:
        name = _BUTTONS.get(event.button())
        if name is None:
            event.ignore()
            return
        self._tell(event, repeat=repeat)
        self.vtk_interactor.InvokeEvent(name + what)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self._button(event, "PressEvent")

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        self._button(event, "ReleaseEvent")

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:
        self._button(event, "DoubleClickEvent", repeat=1)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self._tell(event)
        self.vtk_interactor.MouseMoveEvent()

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        self._tell(event)
        turn = event.angleDelta()
        self._wheel += turn.y() or turn.x()  # Alt turns the wheel sideways
        while abs(self._wheel) >= NOTCH:
            forward = self._wheel > 0
            self._wheel -= NOTCH if forward else -NOTCH
            if forward:
                self.vtk_interactor.MouseWheelForwardEvent()
            else:
                self.vtk_interactor.MouseWheelBackwardEvent()

    def enterEvent(self, event: QtGui.QEnterEvent) -> None:
        self._wheel = 0
        self._tell(event)
        self.vtk_interactor.EnterEvent()

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self.vtk_interactor.LeaveEvent()

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        self._tell_key(event)
        self.vtk_interactor.KeyPressEvent()
        self.vtk_interactor.CharEvent()

    def keyReleaseEvent(self, event: QtGui.QKeyEvent) -> None:
        self._tell_key(event)
        self.vtk_interactor.KeyReleaseEvent()

    def _tell_key(self, event: QtGui.QKeyEvent) -> None:
        text = event.text()
        key = text[0] if text and ord(text[0]) < 128 else "\0"
        self._tell(event, key, _KEYS.get(Qt.Key(event.key())) or text or None, int(event.isAutoRepeat()))
