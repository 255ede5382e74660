"""The sample browser: a slider that steps through the images of a run's sequence in the views, and each image
as a volume of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import marks, samples, say, view


class Stepper:
    """Hidden where the run has no sequence. Where the run was made from a scan, the views show at the left
    end of the slider what they show without it.

    `moved(number)` is called when another image is shown, 0 for none.
    """

    def __init__(self, moved: Callable[[int], None] = lambda number: None) -> None:
        import qt

        self._moved = moved
        self._sequence: Any = None
        self._rows: list[dict[str, Any]] = []
        self._parts = view.Parts()
        self._filling = False
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        row = qt.QHBoxLayout()
        self.label = qt.QLabel()
        self.label.setObjectName("stepText")
        self.slider = qt.QSlider(qt.Qt.Horizontal)
        self.slider.setObjectName("step")
        self.slider.setPageStep(1)
        self.slider.setToolTip("Step through the images that the result is made of, one at a time.")
        self.slider.valueChanged.connect(lambda: self._onSlider())
        row.addWidget(self.label)
        row.addWidget(self.slider, 1)
        column.addLayout(row)
        keeping = qt.QHBoxLayout()
        help_ = "Make the image that is shown one of its own: to save it, or as the scan of another task."
        self.keep = say.button("Keep this image", help_, self._keepOne, "keepStep")
        help_ = "Make every image of the row one of its own."
        self.keepAll = say.button("Keep all", help_, self._keepAll, "keepSteps")
        keeping.addWidget(self.keep)
        keeping.addWidget(self.keepAll)
        column.addLayout(keeping)
        self.said = say.label("stepSaid")
        column.addWidget(self.said)

    def show(self, parts: view.Parts, rows: list[dict[str, Any]] | None = None) -> None:
        """Step through the sequence of a run. rows: of its table, which may tell of the images."""
        sequence = parts.sequence
        same = (
            sequence is not None and self._sequence is not None and sequence.GetID() == self._sequence.GetID()
        )
        self._sequence, self._parts, self._rows = sequence, parts, rows or []
        self.widget.setVisible(sequence is not None)
        count = sequence.GetNumberOfDataNodes() if sequence is not None else 0
        first = 1 if count and parts.input is None else 0
        self._filling = True
        self.slider.setRange(first, count)
        if not same:
            self.slider.setValue(first)
            say.say(self.said, "")
        self._filling = False
        self._tell()

    @property
    def number(self) -> int:
        """The image that is shown, from 1; 0 where none is."""
        return int(self.slider.property("value")) if self._sequence is not None else 0

    @property
    def volume(self) -> Any:
        """The volume that shows the images; None where there is no sequence."""
        return marks.volumeOf(self._sequence) if self._sequence is not None else None

    def go(self, row: dict[str, Any]) -> bool:
        """Show the image that a row of a table tells of; False where it tells of none."""
        number = samples.numberOf(row, self._sequence) if self._sequence is not None else 0
        if number:
            self.slider.setValue(number)
        return bool(number)

    def showInViews(self) -> None:
        """Show the chosen image again in views that were told to show the run."""
        if self.number:
            self._onSlider()

    def _onSlider(self) -> None:
        number = self.number
        self._tell()
        if self._filling or self.volume is None:
            return
        if number:
            marks.browserOf(self._sequence).SetSelectedItemNumber(number - 1)
        steps = view.stepColumn(self._parts)
        for name, composite in view.composites().items():
            column = view.columnOf(name)
            if column in (steps, ""):
                shown = self.volume if number else view.behind(self._parts, column)
                composite.SetBackgroundVolumeID(shown.GetID() if shown is not None else None)
        view.nameSteps(self._parts, self._title(number))
        self._moved(number)

    def _title(self, number: int) -> str:
        return f"{self._sequence.GetIndexName()} {number}".capitalize() if number else ""

    def _tell(self) -> None:
        self.keep.setEnabled(self.number > 0)
        if self._sequence is None:
            self.label.setText("")
            return
        number, last = self.number, self.slider.property("maximum")
        seed = samples.seedOf(self._sequence, number, self._rows) if number else None
        name = self._sequence.GetIndexName()
        shown = f"{self._title(number)} of {last}" if number else f"{last} {name}s: off"
        self.label.setText(shown + ("" if seed is None else f", seed {seed}"))

    def _keepOne(self) -> None:
        node = self._kept(self.number)
        say.say(self.said, f"'{node.GetName()}' is an image of its own now.", say.GOOD)

    def _keepAll(self) -> None:
        for number in range(1, self._sequence.GetNumberOfDataNodes() + 1):
            last = self._kept(number)
        say.say(self.said, f"All {number} are images of their own now, up to '{last.GetName()}'.", say.GOOD)

    def _kept(self, number: int) -> Any:
        return samples.keep(self._sequence, number, samples.seedOf(self._sequence, number, self._rows))
