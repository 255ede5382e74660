"""What a user sets for one task: a form of widgets, read from and written to the parameter node."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import fields, inputs, say
from .inputs import pair
from .schema import CHOICE, INTEGER, Field, Task

# What the engine itself asks, for every task.
ENGINE_FIELDS = (
    Field(
        "device",
        CHOICE,
        "Compute on",
        "auto takes a graphics card where there is one (cuda), else the processor (cpu).",
        default="auto",
        advanced=True,
        choices=("auto", "cpu", "cuda"),
    ),
    Field(
        "batch",
        INTEGER,
        "Samples at a time",
        "Fewer need less memory and take longer; without it, the engine chooses.",
        example=1,
        optional=True,
        advanced=True,
        minimum=1,
        maximum=64,
    ),
)

_CHOOSE = {
    inputs.SCAN: "Choose an image for '{title}' first: load a scan, or pick one from the list.",
    inputs.MASK: "Choose what is to be '{title}' first: a segment, a label map, or a place of a result.",
    inputs.SEGMENTS: "Choose what is to be '{title}' first: a segmentation or a label map.",
}
_BEYOND = (
    "'{title}' of {value:g} {unit} is beyond what the model has learnt from ({low:g} to {high:g} {unit}): "
    "the result will be an extrapolation."
)


class Page:
    """What can be set for one task: inputs and basic parameters in sight, the others folded away."""

    def __init__(self, task: Task, changed: Callable[[], None]):
        import ctk
        import qt

        self.task = task
        self._changed = changed
        self._inputs: dict[str, inputs.Selector] = {}
        self._widgets: dict[str, fields.Widget] = {}
        own = {field.name for field in task.fields}
        self._engine = tuple(field for field in ENGINE_FIELDS if field.name not in own)
        self.widget = qt.QWidget()
        self.widget.setToolTip(task.help)
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        basic = _form()
        column.addLayout(basic)
        for item in task.inputs:
            if item.kind in inputs.registry():
                made = self._inputs[item.name] = inputs.registry()[item.kind].make(item, self._edited)
                _addRow(basic, item.title, made.widget, item.help)
        self.beyond = say.label("beyondTraining")
        self.advanced = ctk.ctkCollapsibleButton()
        self.advanced.setProperty("text", "Advanced")
        self.advanced.setObjectName("advanced")
        folded = _form()
        self.advanced.setLayout(folded)
        for field in (*task.fields, *self._engine):
            self._widgets[field.name] = fields.make(field, self._edited)
            widget = self._widgets[field.name].widget
            _addRow(folded if field.advanced else basic, field.title, widget, field.help)
        unseen = say.label("unseen")
        say.say(unseen, self._unseen())
        folded.addRow(unseen)
        reset = qt.QPushButton("Reset to defaults")
        reset.setObjectName("reset")
        reset.setToolTip("Set every parameter, also the advanced ones, back to its default.")
        reset.clicked.connect(lambda: self.reset())
        folded.addRow(reset)
        self.advanced.setProperty("collapsed", True)
        column.addWidget(self.beyond)
        column.addWidget(self.advanced)

    # The values.

    def values(self) -> dict[str, Any]:
        """The task's parameters."""
        return {field.name: self._widgets[field.name].get() for field in self.task.fields}

    def options(self) -> dict[str, Any]:
        """How the engine is to compute: device and batch."""
        return {field.name: self._widgets[field.name].get() for field in self._engine}

    def nodes(self) -> dict[str, Any]:
        """What is chosen for each input (see inputs/), None where nothing is."""
        return {name: selector.get() for name, selector in self._inputs.items()}

    def node(self, name: str) -> Any:
        """The node that is chosen for an input."""
        return pair(self._inputs[name].get())[0]

    def takesScan(self) -> bool:
        return self._scanName() is not None

    def scan(self) -> Any:
        """The node of the first scan that the task takes, None where none is chosen."""
        name = self._scanName()
        return None if name is None else self.node(name)

    def maskName(self) -> str | None:
        """The task's first input that is a mask; None where it takes none."""
        return next((item.name for item in self.task.inputs if item.kind == inputs.MASK), None)

    def missing(self) -> str:
        """One sentence about what must still be given; empty where the task can run."""
        for item in self.task.inputs:
            if item.name not in self._inputs:
                if item.required:
                    return f"'{item.title}' cannot be chosen here; run the task from Python."
            elif item.required and self.node(item.name) is None:
                return _CHOOSE.get(item.kind, _CHOOSE[inputs.SCAN]).format(title=item.title)
        for field in self.task.fields:
            if self._widgets[field.name].get() is None and field.default is None and not field.optional:
                return f"Set '{field.title}' first."
        return ""

    def setValues(self, values: dict[str, Any]) -> None:
        """Set parameters and options; names that the task does not have are passed over."""
        for name, value in values.items():
            if name in self._widgets:
                self._widgets[name].set(value)
        self._changed()

    def proposeForPlace(self) -> list[str]:
        """Set what the task proposes where its mask is a place of a result and the user has set nothing else;
        each such setting in words.
        """
        fields, values = self.task.fields, self.values()
        open_ = [f for f in fields if f.forPlace is not None and values[f.name] in (f.default, f.forPlace)]
        self.setValues({field.name: field.forPlace for field in open_})
        return [f"{field.title}: {field.forPlace:g} {field.unit}".strip() for field in open_]

    def setNode(self, name: str, chosen: Any) -> None:
        self._inputs[name].set(chosen)
        self._changed()

    def setScan(self, volume: Any) -> None:
        """Choose the first scan of the task, where it takes one."""
        name = self._scanName()
        if name is not None:
            self.setNode(name, volume)

    def clearCovariates(self) -> list[str]:
        """Set what describes a person to its default; the titles of what was set."""
        told = [
            field
            for field in self.task.fields
            if field.covariate and self._widgets[field.name].get() != field.default
        ]
        for field in told:
            self._widgets[field.name].set(field.default)
        return [field.title for field in told]

    def reset(self) -> None:
        """Set every parameter to its default; the inputs stay."""
        self.setValues({field.name: field.default for field in (*self.task.fields, *self._engine)})

    def widgetOf(self, name: str) -> Any:
        """The widget of a parameter or input, for tests and what's-this."""
        return self._inputs[name].widget if name in self._inputs else self._widgets[name].widget

    # The parameter node.

    def write(self, node: Any) -> None:
        for name in self._widgets:
            node.SetParameter(f"{self.task.name}.{name}", json.dumps(self._widgets[name].get()))
        for name, chosen in self.nodes().items():
            key = f"{self.task.name}.{name}"
            image, part = pair(chosen)
            node.SetNodeReferenceID(key, image.GetID() if image is not None else None)
            node.SetParameter(key, part)

    def read(self, node: Any) -> None:
        """Show what the node keeps. What it does not know, or knows in an unreadable form, stays as it is."""
        for name, widget in self._widgets.items():
            text = node.GetParameter(f"{self.task.name}.{name}")
            if text:
                try:
                    widget.set(json.loads(text))
                except (
                    ValueError,
                    TypeError,
                    OverflowError,
                ):  # a scene written by hand or by another version
                    continue
        for name, selector in self._inputs.items():
            key = f"{self.task.name}.{name}"
            image, part = node.GetNodeReference(key), node.GetParameter(key)
            selector.set((image, part) if image is not None and part else image)

    def cleanup(self) -> None:
        for selector in self._inputs.values():
            selector.cleanup()

    # The widgets.

    def _edited(self) -> None:
        self._tellBeyond()
        self._changed()

    def _tellBeyond(self) -> None:
        """Say which numbers lie beyond those that the model has learnt from."""
        told = []
        for field in self.task.fields:
            value = self._widgets[field.name].get() if field.name in self._widgets else None
            if field.trained and value is not None and not field.trained[0] <= value <= field.trained[1]:
                low, high = field.trained
                told.append(
                    _BEYOND.format(title=field.title, value=value, unit=field.unit, low=low, high=high)
                )
        say.say(self.beyond, "\n".join(told), say.WARNING)

    def _scanName(self) -> str | None:
        """The first input that is a scan."""
        return next((item.name for item in self.task.inputs if item.kind == inputs.SCAN), None)

    def _unseen(self) -> str:
        """A line about what no widget here can show."""
        titles = list(self.task.hidden.values())
        titles += [item.title for item in self.task.inputs if item.name not in self._inputs]
        if not titles:
            return ""
        return f"Can be set from Python only: {', '.join(titles)}."


def _form() -> Any:
    import qt

    form = qt.QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(qt.QFormLayout.ExpandingFieldsGrow)
    return form


def _addRow(form: Any, title: str, widget: Any, help_: str) -> None:
    """A label, its widget, and a small ? that says the sentence of help when it is pressed or pointed at."""
    import qt

    label = qt.QLabel(f"{title}:")
    label.setToolTip(help_)
    row = qt.QWidget()
    box = qt.QHBoxLayout(row)
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(2)
    box.addWidget(widget, 1)
    ask = qt.QToolButton()
    ask.setText("?")
    ask.setAutoRaise(True)
    ask.setToolTip(help_)
    ask.setWhatsThis(help_)
    ask.setAccessibleName(f"Help on {title}")
    ask.clicked.connect(lambda: qt.QToolTip.showText(qt.QCursor.pos(), help_))
    box.addWidget(ask)
    form.addRow(label, row)
