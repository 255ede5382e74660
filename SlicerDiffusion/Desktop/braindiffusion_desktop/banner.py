"""One sentence above the views, with buttons where something can be done; it never stops the user."""

from __future__ import annotations

from collections.abc import Callable

from PySide6 import QtCore, QtWidgets

Qt = QtCore.Qt
_COLOURS = {"error": "#a3152b", "question": "#7a4d00", "news": "#1d4f86"}  # white reads well on each


class Banner(QtWidgets.QFrame):
    """Shows one message at a time; `kind` is "error", "question" or "news", `text` what it says."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = self.text = ""
        self._words = QtWidgets.QLabel()
        self._words.setWordWrap(True)
        self._words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._close = QtWidgets.QToolButton()
        self._close.setText("✕")
        self._close.setToolTip("Close this message")
        self._close.clicked.connect(self.clear)
        self.buttons: list[QtWidgets.QPushButton] = []
        self._row = QtWidgets.QHBoxLayout(self)
        self._row.setContentsMargins(12, 6, 6, 6)
        self._row.addWidget(self._words, 1)
        self._row.addWidget(self._close)
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(lambda: self.clear("news"))
        self.hide()

    def error(self, sentence: str) -> None:
        """Say what is wrong and what to do, until the user closes it or something else is said."""
        self._say("error", sentence)

    def news(self, sentence: str, seconds: float = 0) -> None:
        """Say what is being done or is worth knowing, for some seconds or until `clear("news")`."""
        self._say("news", sentence)
        if seconds:
            self._timer.start(round(1000 * seconds))

    def ask(self, sentence: str, **answers: Callable[[], None]) -> None:
        """A question with a button for each answer; `Keep_working=f` is the button "Keep working"."""
        self._say("question", sentence)
        for words, act in answers.items():
            button = QtWidgets.QPushButton(words.replace("_", " "))
            button.clicked.connect(self.clear)
            button.clicked.connect(act)
            self._row.insertWidget(self._row.count() - 1, button)
            self.buttons.append(button)

    def clear(self, kind: str | bool = False) -> None:
        """Take the message away; with a kind, only one of that kind."""
        if not isinstance(kind, str) or kind == self.kind:
            self.kind = self.text = ""
            self._forget_buttons()
            self.hide()

    def _say(self, kind: str, sentence: str) -> None:
        self.kind, self.text = kind, sentence
        self._timer.stop()
        self._forget_buttons()
        self.setStyleSheet(
            f"Banner {{ background: {_COLOURS[kind]}; }}"
            " QLabel, QToolButton { color: white; border: none; background: transparent; }"
        )
        self._words.setText(sentence)
        self._words.setTextFormat(Qt.TextFormat.PlainText)
        self.show()

    def _forget_buttons(self) -> None:
        for button in self.buttons:
            button.hide()
            button.deleteLater()
        self.buttons.clear()
