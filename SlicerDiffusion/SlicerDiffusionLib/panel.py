"""What a user sets: inputs and parameters of a task, as widgets and in a node that is saved with the scene.

The parameter node is a vtkMRMLScriptedModuleNode. A parameter is kept as JSON under "<task>.<parameter>", an
input as a node reference "<task>.<input>", and the chosen task under "task".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import fields, marks
from .schema import CHOICE, INTEGER, Field, Input, Task

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
        "Fewer need less memory and take longer; not given leaves the choice to the engine.",
        optional=True,
        advanced=True,
        minimum=1,
        maximum=64,
    ),
)


class Panel:
    """The settings of all tasks, of which one is shown; `widget` goes into the module's panel."""

    def __init__(self, tasks: list[Task], node: Any, changed: Callable[[], None]):
        import qt
        import slicer

        self.node = node
        self._changed = changed
        self._watch = slicer.util.VTKObservationMixin()
        self._busy = True  # until all is built, nothing has been changed by the user
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self._selector = qt.QComboBox()
        self._selector.setObjectName("task")
        self._selector.setVisible(len(tasks) > 1)
        column.addWidget(self._selector)
        self.pages = {task.name: Page(task, self._pageChanged) for task in tasks}
        for page in self.pages.values():
            self._selector.addItem(page.task.title)
            column.addWidget(page.widget)
        self._selector.currentIndexChanged.connect(lambda: self._selected())
        self._showPage()
        self._readNode()
        self._writeNode()
        self._observe()

    @property
    def page(self) -> Page:
        """What is set for the task that is shown."""
        return list(self.pages.values())[max(0, self._selector.property("currentIndex"))]

    @property
    def task(self) -> Task:
        return self.page.task

    def choose(self, task: str) -> None:
        """Show another task; one that does not exist changes nothing."""
        if task in self.pages:
            self._selector.setCurrentIndex(list(self.pages).index(task))

    def suggest(self, volume: Any) -> None:
        """Take a volume as the first input of each task where none is chosen yet."""
        for page in self.pages.values():
            first = page.task.inputs[0].name if page.task.inputs else None
            if first is not None and page.node(first) is None and volume is not None:
                page.setNode(first, volume)

    def setEnabled(self, enabled: bool) -> None:
        self.widget.setEnabled(enabled)

    def cleanup(self) -> None:
        self._watch.removeObservers()
        for page in self.pages.values():
            page.cleanup()

    # Widgets to node.

    def _selected(self) -> None:
        self._showPage()
        self._pageChanged()

    def _showPage(self) -> None:
        for page in self.pages.values():
            page.widget.setVisible(page is self.page)

    def _pageChanged(self) -> None:
        if not self._busy:
            self._writeNode()
            self._changed()

    def _writeNode(self) -> None:
        import slicer

        if self.node is None or self.node.GetScene() is None:
            return
        self._busy = True
        try:
            with slicer.util.NodeModify(self.node):
                self.node.SetParameter("task", self.task.name)
                for page in self.pages.values():
                    page.write(self.node)
        finally:
            self._busy = False

    # Node to widgets.

    def _observe(self) -> None:
        import slicer
        import vtk

        scene = slicer.mrmlScene
        self._watch.addObserver(self.node, vtk.vtkCommand.ModifiedEvent, self._onNode)
        self._watch.addObserver(scene, scene.EndCloseEvent, self._onClosed)
        self._watch.addObserver(scene, scene.EndImportEvent, self._onImported)

    def _onNode(self, *_: Any) -> None:
        import slicer

        if not self._busy and not slicer.mrmlScene.IsBatchProcessing():
            self._readNode()
            self._changed()

    def _onClosed(self, *_: Any) -> None:
        # Closing a scene empties the node; what the user had set is kept.
        self._writeNode()
        self._changed()

    def _onImported(self, *_: Any) -> None:
        self._readNode()
        self._writeNode()
        self._changed()

    def _readNode(self) -> None:
        self._busy = True
        try:
            self.choose(self.node.GetParameter("task"))
            for page in self.pages.values():
                page.read(self.node)
        finally:
            self._busy = False


class Page:
    """What can be set for one task: inputs and basic parameters in sight, the others folded away."""

    def __init__(self, task: Task, changed: Callable[[], None]):
        import ctk
        import qt

        self.task = task
        self._changed = changed
        self._inputs: dict[str, Any] = {}
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
            self._inputs[item.name] = self._selector(item)
            _addRow(basic, item.title, self._inputs[item.name], item.help)
        self.advanced = ctk.ctkCollapsibleButton()
        self.advanced.setProperty("text", "Advanced")
        self.advanced.setObjectName("advanced")
        folded = _form()
        self.advanced.setLayout(folded)
        for field in (*task.fields, *self._engine):
            made = self._widgets[field.name] = fields.make(field, self._edited)
            _addRow(folded if field.advanced else basic, field.title, made.widget, field.help)
        reset = qt.QPushButton("Reset to defaults")
        reset.setObjectName("reset")
        reset.setToolTip("Set every parameter, also the advanced ones, back to its default.")
        reset.clicked.connect(lambda: self.reset())
        folded.addRow(reset)
        self.advanced.setProperty("collapsed", True)
        column.addWidget(self.advanced)

    # The values.

    def values(self) -> dict[str, Any]:
        """The task's parameters."""
        return {field.name: self._widgets[field.name].get() for field in self.task.fields}

    def options(self) -> dict[str, Any]:
        """How the engine is to compute: device and batch."""
        return {field.name: self._widgets[field.name].get() for field in self._engine}

    def nodes(self) -> dict[str, Any]:
        """The chosen node of each input, None where none is."""
        return {name: self.node(name) for name in self._inputs}

    def node(self, name: str) -> Any:
        return self._inputs[name].currentNode()

    def missing(self) -> str:
        """One sentence about what must still be given; empty where the task can run."""
        for item in self.task.inputs:
            if item.required and self.node(item.name) is None:
                return f"Choose an image for '{item.title}' first: load a scan, or pick one from the list."
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

    def setNode(self, name: str, node: Any) -> None:
        self._inputs[name].setCurrentNode(node)
        self._changed()

    def reset(self) -> None:
        """Set every parameter to its default; the inputs stay."""
        self.setValues({field.name: field.default for field in (*self.task.fields, *self._engine)})

    def widgetOf(self, name: str) -> Any:
        """The widget of a parameter or input, for tests and what's-this."""
        return self._inputs[name] if name in self._inputs else self._widgets[name].widget

    # The parameter node.

    def write(self, node: Any) -> None:
        for name in self._widgets:
            node.SetParameter(f"{self.task.name}.{name}", json.dumps(self._widgets[name].get()))
        for name, chosen in self.nodes().items():
            node.SetNodeReferenceID(
                f"{self.task.name}.{name}", chosen.GetID() if chosen is not None else None
            )

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
            selector.setCurrentNode(node.GetNodeReference(f"{self.task.name}.{name}"))

    def cleanup(self) -> None:
        for selector in self._inputs.values():
            selector.setMRMLScene(None)

    # The widgets.

    def _edited(self) -> None:
        self._changed()

    def _selector(self, item: Input) -> Any:
        import slicer

        combo = slicer.qMRMLNodeComboBox()
        combo.setObjectName(item.name)
        combo.setProperty("nodeTypes", ["vtkMRMLScalarVolumeNode"])
        for flag in ("addEnabled", "removeEnabled", "renameEnabled", "showChildNodeTypes"):
            combo.setProperty(flag, False)
        combo.setProperty("noneEnabled", True)
        combo.setProperty("noneDisplay", "Choose a scan" if item.required else "none")
        combo.setToolTip(item.help)
        combo.setMRMLScene(slicer.mrmlScene)
        # The signal has overloads in Slicer: the slot takes nothing and asks the widget.
        combo.currentNodeChanged.connect(lambda: self._changed())
        return combo


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


def isScan(node: Any) -> bool:
    """Whether a node may be suggested as an input: a scan of the user's, not a result."""
    return node.GetClassName() == "vtkMRMLScalarVolumeNode" and marks.runOf(node) is None
