"""Sliders for numbers with decimals: one value (ctkSliderWidget) and an interval (ctkRangeWidget)."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

Property, Signal, Qt = QtCore.Property, QtCore.Signal, QtCore.Qt
_MOST_STEPS = 100_000


def _spin() -> QtWidgets.QDoubleSpinBox:
    spin = QtWidgets.QDoubleSpinBox()
    spin.setRange(0.0, 99.0)
    spin.setKeyboardTracking(False)
    return spin


def shade(colors: QtGui.QPalette, share: float) -> QtGui.QColor:
    """The background with a share of the text's colour in it: visible in light and in dark."""
    back, front = colors.window().color(), colors.windowText().color()
    mixed = [b + share * (f - b) for b, f in zip(back.getRgbF()[:3], front.getRgbF()[:3])]
    return QtGui.QColor.fromRgbF(*mixed)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show one number; the slider moves in whole single steps."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._tracking = True
        self._slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self._slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._spin = _spin()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self._spin)
        self.setFocusProxy(self._spin)
        self._fit_slider()
        self._spin.valueChanged.connect(self._from_spin)
        self._slider.valueChanged.connect(self._from_slider)
        self._slider.sliderReleased.connect(self._released)

    def _steps(self) -> int:
        width = self._spin.maximum() - self._spin.minimum()
        step = self._spin.singleStep()
        return max(1, min(_MOST_STEPS, round(width / step))) if step > 0 and width > 0 else 1

    def _fit_slider(self) -> None:
        blocked = self._slider.blockSignals(True)
        steps, low = self._steps(), self._spin.minimum()
        width = self._spin.maximum() - low
        self._slider.setRange(0, steps)
        self._slider.setPageStep(max(1, steps // 10))
        self._slider.setValue(round(steps * (self._spin.value() - low) / width) if width > 0 else 0)
        self._slider.blockSignals(blocked)

    def _from_spin(self, value: float) -> None:
        self._fit_slider()
        self.valueChanged.emit(value)

    def _from_slider(self, position: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        value = low + (high - low) * position / max(1, self._slider.maximum())
        dragged = self._slider.isSliderDown()
        self.valueIsChanging.emit(value)
        blocked = self._spin.blockSignals(True)
        self._spin.setValue(value)
        self._spin.blockSignals(blocked)
        if self._tracking or not dragged:
            self.valueChanged.emit(self._spin.value())

    def _released(self) -> None:
        if not self._tracking:
            self.valueChanged.emit(self._spin.value())

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    def setRange(self, low: float, high: float) -> None:
        self._spin.setRange(low, high)
        self._fit_slider()

    def setMinimum(self, low: float) -> None:
        self._spin.setMinimum(low)
        self._fit_slider()

    def setMaximum(self, high: float) -> None:
        self._spin.setMaximum(high)
        self._fit_slider()

    def setSingleStep(self, step: float) -> None:
        self._spin.setSingleStep(step)
        self._fit_slider()

    def setDecimals(self, decimals: int) -> None:
        self._spin.setDecimals(decimals)
        self._fit_slider()

    def setSuffix(self, suffix: str) -> None:
        self._spin.setSuffix(suffix)

    def setPrefix(self, prefix: str) -> None:
        self._spin.setPrefix(prefix)

    def setTracking(self, tracking: bool) -> None:
        self._tracking = tracking

    value = Property(float, lambda self: self._spin.value(), setValue, notify=valueChanged)
    minimum = Property(float, lambda self: self._spin.minimum(), setMinimum)
    maximum = Property(float, lambda self: self._spin.maximum(), setMaximum)
    singleStep = Property(float, lambda self: self._spin.singleStep(), setSingleStep)
    decimals = Property(int, lambda self: self._spin.decimals(), setDecimals)
    suffix = Property(str, lambda self: self._spin.suffix(), setSuffix)
    prefix = Property(str, lambda self: self._spin.prefix(), setPrefix)
    tracking = Property(bool, lambda self: self._tracking, setTracking)


class RangeSlider(QtWidgets.QWidget):
    """A groove with two handles over [low, high]; arrow keys move the handle that was used last."""

    moved = Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.low, self.high, self.step = 0.0, 99.0, 1.0
        self.values = [0.0, 99.0]
        self.held = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(60, 20)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(120, 22)

    def _x(self, value: float) -> float:
        width = self.high - self.low
        return 8 + (self.width() - 16) * ((value - self.low) / width if width > 0 else 0.0)

    def _value(self, x: float) -> float:
        share = min(max((x - 8) / max(1, self.width() - 16), 0.0), 1.0)
        steps = round(share * (self.high - self.low) / self.step) if self.step > 0 else 0
        return min(self.low + steps * self.step, self.high) if self.step > 0 else self.low

    def _move(self, value: float) -> None:
        other = self.values[1 - self.held]
        value = min(value, other) if self.held == 0 else max(value, other)
        self.values[self.held] = min(max(value, self.low), self.high)
        self.update()
        self.moved.emit(*self.values)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        x = event.position().x()
        ends = [abs(x - self._x(value)) for value in self.values]
        self.held = 0 if ends[0] < ends[1] or (ends[0] == ends[1] and x < self._x(self.values[0])) else 1
        self._move(self._value(x))

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._move(self._value(event.position().x()))

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Down: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: 1}.get(
            event.key()
        )
        if event.key() in (Qt.Key.Key_Home, Qt.Key.Key_End):
            self.held = int(event.key() == Qt.Key.Key_End)
            self.update()
        elif steps:
            self._move(self.values[self.held] + steps * self.step)
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        colors, middle = self.palette(), self.height() / 2
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shade(colors, 0.25))
        painter.drawRoundedRect(QtCore.QRectF(8, middle - 2, self.width() - 16, 4), 2, 2)
        left, right = (self._x(value) for value in self.values)
        painter.setBrush(colors.highlight() if self.isEnabled() else shade(colors, 0.35))
        painter.drawRoundedRect(QtCore.QRectF(left, middle - 2, max(right - left, 1), 4), 2, 2)
        for number, x in enumerate((left, right)):
            focused = self.hasFocus() and number == self.held
            rim = colors.highlight().color() if focused else shade(colors, 0.5)
            painter.setPen(QtGui.QPen(rim, 2 if focused else 1))
            painter.setBrush(shade(colors, 0.05))
            painter.drawEllipse(QtCore.QPointF(x, middle), 6, 6)
        painter.end()


class ctkRangeWidget(QtWidgets.QWidget):
    """The two ends of an interval, with spin boxes and a slider of two handles."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high, self._slider = _spin(), _spin(), RangeSlider()
        self._high.setValue(99.0)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._low)
        row.addWidget(self._slider, 1)
        row.addWidget(self._high)
        self.setFocusProxy(self._low)
        self._shown = (0.0, 99.0)
        self._low.valueChanged.connect(lambda value: self.setValues(value, max(value, self._high.value())))
        self._high.valueChanged.connect(lambda value: self.setValues(min(value, self._low.value()), value))
        self._slider.moved.connect(self.setValues)

    def setValues(self, low: float, high: float) -> None:
        for spin, value in ((self._low, low), (self._high, high)):
            blocked = spin.blockSignals(True)
            spin.setValue(value)
            spin.blockSignals(blocked)
        before, self._shown = self._shown, (self._low.value(), self._high.value())
        self._slider.values = list(self._shown)
        self._slider.update()
        if self._shown[0] != before[0]:
            self.minimumValueChanged.emit(self._shown[0])
        if self._shown[1] != before[1]:
            self.maximumValueChanged.emit(self._shown[1])
        if self._shown != before:
            self.valuesChanged.emit(*self._shown)

    def setMinimumValue(self, low: float) -> None:
        self._low.setValue(low)

    def setMaximumValue(self, high: float) -> None:
        self._high.setValue(high)

    def setRange(self, low: float, high: float) -> None:
        shown = self._shown
        for spin in (self._low, self._high):
            blocked = spin.blockSignals(True)
            spin.setRange(low, high)
            spin.blockSignals(blocked)
        self._slider.low, self._slider.high = low, high
        self.setValues(*shown)

    def setMinimum(self, low: float) -> None:
        self.setRange(low, max(low, self._high.maximum()))

    def setMaximum(self, high: float) -> None:
        self.setRange(min(high, self._low.minimum()), high)

    def setSingleStep(self, step: float) -> None:
        self._slider.step = step
        self._low.setSingleStep(step)
        self._high.setSingleStep(step)

    def setDecimals(self, decimals: int) -> None:
        self._low.setDecimals(decimals)
        self._high.setDecimals(decimals)

    def setSuffix(self, suffix: str) -> None:
        self._low.setSuffix(suffix)
        self._high.setSuffix(suffix)

    minimumValue = Property(float, lambda self: self._shown[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._shown[1], setMaximumValue)
    minimum = Property(float, lambda self: self._low.minimum(), setMinimum)
    maximum = Property(float, lambda self: self._high.maximum(), setMaximum)
    singleStep = Property(float, lambda self: self._low.singleStep(), setSingleStep)
    decimals = Property(int, lambda self: self._low.decimals(), setDecimals)
    suffix = Property(str, lambda self: self._low.suffix(), setSuffix)
