"""A slider that steps through the images of a run's sequence, in the views that show the run's image."""

from __future__ import annotations

from typing import Any

from . import marks, view


class Stepper:
    """Hidden where the run has no sequence. At its left end the views show what they show without it."""

    def __init__(self) -> None:
        import qt

        self._sequence: Any = None
        self._parts = view.Parts()
        self._filling = False
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.label = qt.QLabel()
        self.label.setObjectName("stepText")
        self.slider = qt.QSlider(qt.Qt.Horizontal)
        self.slider.setObjectName("step")
        self.slider.setPageStep(1)
        self.slider.setToolTip("Step through the images that the result is made of, one at a time.")
        self.slider.valueChanged.connect(lambda: self._moved())
        row.addWidget(self.label)
        row.addWidget(self.slider, 1)

    def show(self, nodes: dict[str, Any], parts: view.Parts) -> None:
        """Step through the first sequence among the nodes {role: node} of a run."""
        found = (node for node in nodes.values() if node.IsA("vtkMRMLSequenceNode"))
        sequence = next((node for node in found if marks.volumeOf(node) is not None), None)
        same = (
            sequence is not None and self._sequence is not None and sequence.GetID() == self._sequence.GetID()
        )
        self._sequence, self._parts = sequence, parts
        self.widget.setVisible(sequence is not None)
        self._filling = True
        self.slider.setRange(0, sequence.GetNumberOfDataNodes() if sequence is not None else 0)
        if not same:
            self.slider.setValue(0)
        self._filling = False
        self._tell()

    @property
    def volume(self) -> Any:
        """The volume that shows the images; None where there is no sequence."""
        return marks.volumeOf(self._sequence) if self._sequence is not None else None

    def showInViews(self) -> None:
        """Show the chosen image again in views that were told to show the run."""
        if self.slider.property("value"):
            self._moved()

    def _moved(self) -> None:
        number = self.slider.property("value")
        self._tell()
        if self._filling or self.volume is None:
            return
        if number:
            marks.browserOf(self._sequence).SetSelectedItemNumber(number - 1)
        for name, composite in view.composites().items():
            column = view.columnOf(name)
            if column in (view.RESULT, ""):
                usual = self._parts.image if column == view.RESULT else self._parts.input
                shown = self.volume if number else usual
                composite.SetBackgroundVolumeID(shown.GetID() if shown is not None else None)

    def _tell(self) -> None:
        number, last = self.slider.property("value"), self.slider.property("maximum")
        name = self._sequence.GetIndexName() if self._sequence is not None else ""
        self.label.setText(f"{name} {number} of {last}" if number else f"{last} {name}s: off")
