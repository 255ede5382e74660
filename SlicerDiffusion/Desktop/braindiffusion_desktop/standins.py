"""The widgets of the Common Toolkit (ctk) that the module uses, in PySide6, with the names of the originals.

`pythonqt.install()` puts them into the module `ctk` in the strict dialect. Methods here are called on objects
of that dialect: what QWidget has as a property (`width`, `font`, `text`) is asked of the base class for that.
"""

from __future__ import annotations

from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from .ranges import ctkRangeWidget, ctkSliderWidget, shade

Property, Signal, Qt = QtCore.Property, QtCore.Signal, QtCore.Qt
_NO_LIMIT = 16777215  # QWIDGETSIZE_MAX


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled section that folds: by a click on its title, or by space when it has the focus.

    A layout set on it lies below the title. What is shown or added while it is folded appears as it unfolds.
    """

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._folded_away: list[QtWidgets.QWidget] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self._leave_room()
        self.toggled.connect(lambda checked: self._fold(not checked))

    def setCollapsed(self, folded: bool) -> None:
        self.setChecked(not folded)

    collapsed = Property(bool, lambda self: not self.isChecked(), setCollapsed, notify=contentsCollapsed)

    def _title_height(self) -> int:
        return QtWidgets.QWidget.fontMetrics(self).height() + 10

    def _title(self) -> QtCore.QRect:
        return QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), self._title_height())

    def _title_size(self) -> QtCore.QSize:
        text = QtWidgets.QAbstractButton.text(self)
        width = QtWidgets.QWidget.fontMetrics(self).horizontalAdvance(text) + 40
        return QtCore.QSize(width, self._title_height())

    def _leave_room(self) -> None:
        self.setContentsMargins(0, self._title_height(), 0, 0)

    def _fold(self, folded: bool) -> None:
        if folded:
            for child in self.children():
                if isinstance(child, QtWidgets.QWidget) and not child.isWindow():
                    self._hide(child)
            self.setMaximumHeight(self._title_height())
        else:
            hidden, self._folded_away = self._folded_away, []
            for widget in hidden:
                widget.setVisible(True)
            self.setMaximumHeight(_NO_LIMIT)
        self.updateGeometry()
        self.contentsCollapsed.emit(folded)

    def _hide(self, widget: QtWidgets.QWidget) -> None:
        if not widget.isHidden():
            self._folded_away.append(widget)
            widget.setVisible(False)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        child = event.child()
        if event.added() and isinstance(child, QtWidgets.QWidget):
            child.installEventFilter(self)
        if event.removed():
            child.removeEventFilter(self)
            self._folded_away = [widget for widget in self._folded_away if widget is not child]
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.Type.ShowToParent and not self.isChecked():
            self._hide(child)
        return super().eventFilter(child, event)

    def changeEvent(self, event: QtCore.QEvent) -> None:
        if event.type() in (QtCore.QEvent.Type.FontChange, QtCore.QEvent.Type.StyleChange):
            self._leave_room()
        super().changeEvent(event)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return self._title().contains(position)

    def sizeHint(self) -> QtCore.QSize:
        title = self._title_size()
        return title.expandedTo(super().sizeHint()) if self.isChecked() else title

    def minimumSizeHint(self) -> QtCore.QSize:
        title = self._title_size()
        return title.expandedTo(super().minimumSizeHint()) if self.isChecked() else title

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, title = QtWidgets.QStylePainter(self), self._title()
        colors = QtWidgets.QWidget.palette(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        hovered = QtWidgets.QWidget.underMouse(self) and self.isEnabled()
        painter.setPen(QtGui.QPen(colors.highlight(), 1.5) if self.hasFocus() else Qt.PenStyle.NoPen)
        painter.setBrush(shade(colors, 0.16 if hovered else 0.08))
        painter.drawRoundedRect(QtCore.QRectF(title).adjusted(1, 1, -1, -1), 4, 4)
        primitive = QtWidgets.QStyle.PrimitiveElement
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, title.center().y() - 5, 11, 11)
        unfolded = self.isChecked()
        painter.drawPrimitive(
            primitive.PE_IndicatorArrowDown if unfolded else primitive.PE_IndicatorArrowRight, arrow
        )
        bold = QtGui.QFont(QtWidgets.QWidget.font(self))
        bold.setBold(True)
        painter.setFont(bold)
        group = QtGui.QPalette.ColorGroup.Active if self.isEnabled() else QtGui.QPalette.ColorGroup.Disabled
        painter.setPen(colors.color(group, QtGui.QPalette.ColorRole.ButtonText))
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic
        painter.drawText(title.adjusted(26, 0, -6, 0), flags, QtWidgets.QAbstractButton.text(self))
        painter.end()


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """A spin box for numbers with decimals; of the original's additions it has none."""


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path that is typed or chosen: a file, or a folder where `filters` does not hold Files."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Drives, Files = 0x001, 0x004, 0x002  # QDir's filters, as the original numbers them

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._filters = self.Dirs | self.Files
        self._name_filters: list[str] = []
        self._edit = QtWidgets.QLineEdit()
        self._edit.setClearButtonEnabled(True)
        self._browse = QtWidgets.QToolButton()
        self._browse.setText("…")
        self._browse.setToolTip("Choose a file or folder")
        self._browse.setAccessibleName("Browse")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._edit, 1)
        row.addWidget(self._browse)
        self.setFocusProxy(self._edit)
        self._edit.textChanged.connect(self._changed)
        self._browse.clicked.connect(self.browse)

    def _changed(self, text: str) -> None:
        self.currentPathChanged.emit(text)
        self.validInputChanged.emit(bool(text) and Path(text).exists())

    def browse(self) -> None:
        """Ask for the path in a dialog."""
        start, names = self._edit.text(), ";;".join(self._name_filters)
        if self._filters & self.Files:
            chosen = QtWidgets.QFileDialog.getOpenFileName(self, "Choose a file", start, names)[0]
        else:
            chosen = QtWidgets.QFileDialog.getExistingDirectory(self, "Choose a folder", start)
        if chosen:
            self._edit.setText(chosen)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    def setFilters(self, filters: int) -> None:
        self._filters = int(filters)

    def setNameFilters(self, names: list[str]) -> None:
        self._name_filters = list(names)

    currentPath = Property(str, lambda self: self._edit.text(), setCurrentPath)
    filters = Property(int, lambda self: self._filters, setFilters)
    nameFilters = Property("QStringList", lambda self: self._name_filters, setNameFilters)
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, shown: self._browse.setVisible(shown)
    )


class ctkMessageBox(QtWidgets.QMessageBox):
    """The message box of slicer.util; it remembers nothing."""


WIDGETS = (
    ctkCollapsibleButton,
    ctkDoubleSpinBox,
    ctkMessageBox,
    ctkPathLineEdit,
    ctkRangeWidget,
    ctkSliderWidget,
)
