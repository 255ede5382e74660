"""Sentences in the panel: a label with a coloured bar at its side, readable on light and on dark ground."""

from __future__ import annotations

import html
from typing import Any

PLAIN, GOOD, WARNING, ERROR = "plain", "good", "warning", "error"
# The bar carries the colour; the text keeps that of the theme.
_BARS = {GOOD: "#2e9e5b", WARNING: "#e0a100", ERROR: "#d9363e"}


def label(name: str) -> Any:
    """A label for sentences; empty and hidden at first."""
    import qt

    made = qt.QLabel()
    made.setObjectName(name)
    made.setWordWrap(True)
    made.setTextFormat(qt.Qt.RichText)
    made.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
    made.setVisible(False)
    return made


def say(label_: Any, text: str, tone: str = PLAIN) -> None:
    """Show sentences, one to a line; an empty text hides the label."""
    label_.setText("<br>".join(html.escape(line, quote=False) for line in text.splitlines()))
    bar = _BARS.get(tone)
    style = (
        f"border: 0px solid {bar}; border-left-width: 4px; padding: 2px 0px 2px 8px;"
        if bar
        else "padding: 2px 0px;"
    )
    label_.setStyleSheet(f"QLabel {{ {style} }}")
    label_.setVisible(bool(text))


def button(text: str, help_: str, clicked: Any, name: str = "") -> Any:
    """A push button with its sentence of help; `clicked` takes no argument."""
    import qt

    made = qt.QPushButton(text)
    made.setObjectName(name or text)
    made.setToolTip(help_)
    made.clicked.connect(lambda: clicked())
    return made


def section(title: str, name: str, folded: bool) -> tuple[Any, Any]:
    """A titled part of the panel that folds, and the column inside it."""
    import ctk
    import qt

    part = ctk.ctkCollapsibleButton()
    part.setProperty("text", title)
    part.setObjectName(name)
    column = qt.QVBoxLayout()
    part.setLayout(column)
    part.setProperty("collapsed", folded)
    return part, column
