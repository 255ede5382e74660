"""What the gate asks of the user where a file leaves it open: which of its images, and which side is left.

Nothing is chosen for the user that he would have to know; cancelling leaves the file unopened.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6 import QtCore, QtWidgets

if TYPE_CHECKING:
    from braindiffusion.errors import Unanswered

Qt = QtCore.Qt
_Button = QtWidgets.QDialogButtonBox.StandardButton
_LOOK_MS = 100
_SIDES = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "top", "I": "bottom"}
_LINES = ({"R", "L"}, {"A", "P"}, {"S", "I"})


def ask(parent: QtWidgets.QWidget, path: Path, left_open: Unanswered) -> dict[str, Any]:
    """Wait for the user's answer, as an option of `io.read_scan`: {"frame": 1} or {"orientation": "LAS"}.

    Empty where he cancels.
    """
    if left_open.asked == "frame":
        question: Question = FrameQuestion(parent, path, left_open.images)
    else:
        question = OrientationQuestion(parent, path)
    try:
        return question.answer() if question.exec() else {}
    finally:
        question.deleteLater()


class Question(QtWidgets.QDialog):
    """A few words, what there is to choose, and buttons to open the file or to leave it."""

    def __init__(self, parent: QtWidgets.QWidget | None, title: str, words: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.rows = QtWidgets.QVBoxLayout(self)
        said = QtWidgets.QLabel(words)
        said.setTextFormat(Qt.TextFormat.PlainText)
        said.setWordWrap(True)
        said.setMinimumWidth(420)
        self.rows.addWidget(said)
        buttons = QtWidgets.QDialogButtonBox(_Button.Open | _Button.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.open_button, self.cancel_button = buttons.button(_Button.Open), buttons.button(_Button.Cancel)
        self._buttons = buttons

    def _finish(self, default: QtWidgets.QPushButton) -> None:
        """Put the buttons below the rest; `default` is what the Enter key presses."""
        self.rows.addWidget(self._buttons)
        for button in (self.open_button, self.cancel_button):
            button.setAutoDefault(button is default)
        default.setDefault(True)

    def answer(self) -> dict[str, Any]:
        raise NotImplementedError


class FrameQuestion(Question):
    """Which image of several; the mean brightness of each is added as it becomes known."""

    def __init__(self, parent: QtWidgets.QWidget | None, path: Path, images: int) -> None:
        super().__init__(
            parent,
            "Which image?",
            f"{path.name} holds {images} images of the head (times, echoes or directions). Choose the one to "
            "open; they are counted from 0, as on the command line.",
        )
        self.list = QtWidgets.QListWidget()
        self.list.addItems([f"Image {number}" for number in range(images)])
        self.list.setCurrentRow(0)
        self.list.itemDoubleClicked.connect(self.accept)
        self.rows.addWidget(self.list)
        self._finish(self.open_button)
        self._known: queue.SimpleQueue[tuple[int, str, str]] = queue.SimpleQueue()
        self._over = threading.Event()
        self.finished.connect(self._over.set)
        threading.Thread(
            target=_measure, args=(path, images, self._known, self._over), daemon=True, name="measure images"
        ).start()
        timer = QtCore.QTimer(self)
        timer.timeout.connect(self._look)
        timer.start(_LOOK_MS)

    def _look(self) -> None:
        while not self._known.empty():
            number, words, why = self._known.get()
            self.list.item(number).setText(f"Image {number} – {words}")
            self.list.item(number).setToolTip(why)

    def answer(self) -> dict[str, Any]:
        return {"frame": self.list.currentRow()}


def _measure(
    path: Path, images: int, known: queue.SimpleQueue[tuple[int, str, str]], over: threading.Event
) -> None:
    """Tell of each image: its number, its brightness in words and why it cannot be used, until it is over."""
    from braindiffusion.imaging import gate

    for number in range(images):
        if over.is_set():
            return
        # How it lies does not change its brightness.
        verdict = gate.inspect(path, frame=number, orientation="RAS", own_grid=True)
        if verdict.volume is None:
            known.put((number, "cannot be used", verdict.reason or ""))
        else:
            known.put((number, f"mean brightness {verdict.volume.data.mean():.4g}", ""))


class OrientationQuestion(Question):
    """To which sides the voxel axes run; nothing is preset, and the Enter key cancels."""

    def __init__(self, parent: QtWidgets.QWidget | None, path: Path) -> None:
        super().__init__(
            parent,
            "Which side is left?",
            f"The file {path.name} does not say which side is left: choose what you know from the scanner, "
            "or cancel. A guess can swap left and right. If you do not know it, export the scan again in a "
            "form that says it, such as DICOM.",
        )
        form = QtWidgets.QFormLayout()
        self.axes: list[QtWidgets.QComboBox] = []
        for order in ("first", "second", "third"):
            box = QtWidgets.QComboBox()
            box.addItem("choose …", "")
            for letter, side in _SIDES.items():
                box.addItem(f"{side} ({letter})", letter)
            box.currentIndexChanged.connect(self._check)
            form.addRow(f"The {order} voxel axis runs to the", box)
            self.axes.append(box)
        self.rows.addLayout(form)
        self.said = QtWidgets.QLabel()
        self.rows.addWidget(self.said)
        self._finish(self.cancel_button)
        self.cancel_button.setFocus()
        self._check()

    def _check(self, *_: Any) -> None:
        letters = self._letters()
        lines = [next((i for i, line in enumerate(_LINES) if letter in line), None) for letter in letters]
        whole = len(letters) == 3
        self.open_button.setEnabled(whole and len(set(lines)) == 3)
        doubled = len(set(lines)) < len(lines)
        self.said.setText(
            "Two axes cannot run along the same line of the head."
            if doubled
            else f"That is the orientation {letters}."
            if whole
            else ""
        )

    def _letters(self) -> str:
        return "".join(box.currentData() for box in self.axes)

    def answer(self) -> dict[str, Any]:
        return {"orientation": self._letters()}
