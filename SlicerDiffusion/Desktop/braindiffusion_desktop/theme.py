"""Light and dark looks of the window; "system" follows the desktop's choice, also when it changes."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

Qt = QtCore.Qt
Role = QtGui.QPalette.ColorRole
CHOICES = ("system", "light", "dark")

# Text on its ground has a contrast of 7 to 1 or more, text that is out of use of 3 to 1 or more.
_LIGHT = {
    Role.Window: "#f3f4f6",
    Role.WindowText: "#16181d",
    Role.Base: "#ffffff",
    Role.AlternateBase: "#eef0f3",
    Role.Text: "#16181d",
    Role.Button: "#e8eaee",
    Role.ButtonText: "#16181d",
    Role.BrightText: "#a00020",
    Role.ToolTipBase: "#ffffff",
    Role.ToolTipText: "#16181d",
    Role.PlaceholderText: "#5c6370",
    Role.Highlight: "#1d5fa8",
    Role.HighlightedText: "#ffffff",
    Role.Link: "#174f8c",
    Role.LinkVisited: "#5b3b8c",
}
_DARK = {
    Role.Window: "#23262c",
    Role.WindowText: "#eceef2",
    Role.Base: "#191b20",
    Role.AlternateBase: "#22252b",
    Role.Text: "#eceef2",
    Role.Button: "#30343c",
    Role.ButtonText: "#eceef2",
    Role.BrightText: "#ff9aa5",
    Role.ToolTipBase: "#30343c",
    Role.ToolTipText: "#eceef2",
    Role.PlaceholderText: "#a3a9b5",
    Role.Highlight: "#2f6fb5",
    Role.HighlightedText: "#ffffff",
    Role.Link: "#8fc1f5",
    Role.LinkVisited: "#c4b0ee",
}
_OUT_OF_USE = {False: "#767c88", True: "#8b919d"}


def palette(dark: bool) -> QtGui.QPalette:
    made = QtGui.QPalette()
    for role, color in (_DARK if dark else _LIGHT).items():
        made.setColor(role, QtGui.QColor(color))
    for role in (Role.WindowText, Role.Text, Role.ButtonText):
        made.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor(_OUT_OF_USE[dark]))
    return made


class Theme(QtCore.QObject):
    """Gives the application its colours. Signal `changed(bool)`: the window is dark now, or light."""

    changed = QtCore.Signal(bool)

    def __init__(self, settings: Any, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._app = QtWidgets.QApplication.instance()
        self._app.setStyle("Fusion")
        self._app.styleHints().colorSchemeChanged.connect(self.apply)
        self.apply()

    @property
    def choice(self) -> str:
        chosen = self._settings.value("theme", "system")
        return chosen if chosen in CHOICES else "system"

    @property
    def dark(self) -> bool:
        if self.choice == "system":
            return self._app.styleHints().colorScheme() == Qt.ColorScheme.Dark
        return self.choice == "dark"

    def choose(self, choice: str) -> None:
        """One of CHOICES; it is remembered."""
        self._settings.setValue("theme", choice)
        self.apply()

    def apply(self, *_: Any) -> None:
        self._app.setPalette(palette(self.dark))
        for widget in self._app.allWidgets():  # those with a style sheet would keep the colours they had
            sheet = widget.property("styleSheet")
            if sheet:
                widget.setStyleSheet(sheet)
        self.changed.emit(self.dark)
