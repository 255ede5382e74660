"""Sentences in the panel: a label with a coloured bar at its side, readable on light and on dark ground."""

from __future__ import annotations

import html
import re
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


class Folded:
    """A text of several sentences, of which the first is in sight; the others come with a click."""

    def __init__(self, name: str):
        import qt

        self._text, self._tone, self._folded = "", PLAIN, True
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.label = label(name)
        column.addWidget(self.label)
        self.toggle = button("More", "Show or hide the other sentences.", self._toggle, f"{name}More")
        self.toggle.setFlat(True)
        row = qt.QHBoxLayout()
        row.addWidget(self.toggle)
        row.addStretch(1)
        column.addLayout(row)

    def show(self, text: str, tone: str = PLAIN) -> None:
        """Show a text, folded where it is another than before; an empty one hides all."""
        self._folded = self._folded or text != self._text
        self._text, self._tone = text, tone
        self._draw()

    def _toggle(self) -> None:
        self._folded = not self._folded
        self._draw()

    def _draw(self) -> None:
        all_ = sentences(self._text)
        say(self.label, all_[0] if self._folded and all_ else self._text, self._tone)
        rest = len(all_) - 1
        more = f"More ({rest} sentence{'s' if rest > 1 else ''})"
        self.toggle.setText(more if self._folded else "Less")
        self.toggle.setVisible(rest > 0)
        self.widget.setVisible(bool(self._text))


def sentences(text: str) -> list[str]:
    """The sentences of a text; one ends where the next begins with a capital letter, or with its line."""
    return [part for line in text.splitlines() for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", line) if part]


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
