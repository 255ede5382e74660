"""What a user sets: inputs and parameters of a task, as widgets and in a node that is saved with the scene.

The parameter node is a vtkMRMLScriptedModuleNode. A parameter is kept as JSON under "<task>.<parameter>", an
input as a node reference "<task>.<input>" with the part that is meant as a parameter of that name, and the
chosen task under "task".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import marks, say
from .elsewhere import Elsewhere
from .page import Page
from .schema import Task


class Panel:
    """The settings of all tasks, of which one is shown; `widget` goes into the module's panel."""

    def __init__(self, tasks: list[Task], node: Any, changed: Callable[[], None]):
        import qt
        import slicer

        self.node = node
        self._changed = changed
        self._watch = slicer.util.VTKObservationMixin()
        self._busy = True  # until all is built, nothing has been changed by the user
        self._person = ""  # id of the scan whose person the covariates describe
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
        self.note = say.label("cleared")
        self.elsewhere = Elsewhere(lambda: self.page.scan())
        column.addWidget(self.note)
        column.addWidget(self.elsewhere.label)
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

    def chooseTask(self, task: str) -> None:
        """Show another task; one that does not exist changes nothing."""
        if task in self.pages:
            self._selector.setCurrentIndex(list(self.pages).index(task))

    def choose(self, volume: Any) -> None:
        """Take a scan that the user has opened as the scan of every task.

        What was set about the person in another scan is cleared, and a sentence says so.
        """
        cleared = self._forgetPerson(volume)
        for page in self.pages.values():
            page.setScan(volume)
        self._tellCleared(cleared)

    def suggest(self, volume: Any) -> None:
        """Take a volume as the scan of each task where none is chosen yet."""
        lacking = [page for page in self.pages.values() if page.scan() is None and page.takesScan()]
        if volume is None or not lacking:
            return
        cleared = self._forgetPerson(volume) if self.page in lacking else []
        for page in lacking:
            page.setScan(volume)
        if cleared:
            self._tellCleared(cleared)

    def takesMasks(self) -> bool:
        """Whether there is a task for a mask."""
        return any(page.maskName() for page in self.pages.values())

    def useAsMask(self, mask: Any, scan: Any) -> None:
        """Show the first task that takes a mask, unless the one that is shown does, with this mask chosen.

        mask: a label map, or a segmentation with the id of a segment. scan: what it lies on, None where that
        is not known.
        """
        if self.page.maskName() is None:
            self.chooseTask(next(name for name, page in self.pages.items() if page.maskName()))
        self.suggestMask(mask)
        if scan is not None and scan is not self.page.scan():
            cleared = self._forgetPerson(scan)
            self.page.setScan(scan)
            self._tellCleared(cleared)

    def suggestMask(self, mask: Any) -> None:
        """Take a mask as that of every task that takes one."""
        for page in self.pages.values():
            name = page.maskName()
            if name is not None:
                page.setNode(name, mask)

    def setEnabled(self, enabled: bool) -> None:
        self.widget.setEnabled(enabled)

    def cleanup(self) -> None:
        self._busy = True  # boxes that lose their scene choose nothing: that is not the user's wish
        self._watch.removeObservers()
        self.elsewhere.cleanup()
        for page in self.pages.values():
            page.cleanup()

    # The person in the scan.

    def _forgetPerson(self, volume: Any) -> list[str]:
        """Clear what describes the person in another scan; the titles of what was cleared."""
        if self._person in ("", volume.GetID()):
            return []
        return list(dict.fromkeys(title for page in self.pages.values() for title in page.clearCovariates()))

    def _tellCleared(self, titles: list[str]) -> None:
        """Say what was cleared, or nothing."""
        named = " and ".join(f"'{title}'" for title in titles)
        verb, they = ("was", "it") if len(titles) == 1 else ("were", "they")
        text = f"{named} {verb} cleared, as {they} described the person in the scan before; set {{}} anew."
        say.say(self.note, text.format("it" if they == "it" else "them") if titles else "", say.WARNING)

    def _rememberPerson(self) -> None:
        scan = self.page.scan()
        if scan is not None:
            self._person = scan.GetID()

    # Widgets to node.

    def _selected(self) -> None:
        self._showPage()
        self._pageChanged()

    def _showPage(self) -> None:
        for page in self.pages.values():
            page.widget.setVisible(page is self.page)

    def _pageChanged(self) -> None:
        if not self._busy:
            say.say(self.note, "")
            self._rememberPerson()
            self._writeNode()
            self.elsewhere.update()
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
        # Closing a scene empties the node; what the user had set is kept, but for what tells of a person.
        self._busy = True
        for page in self.pages.values():
            page.clearCovariates()
        self._person = ""
        say.say(self.note, "")
        self._writeNode()
        self._changed()

    def _onImported(self, *_: Any) -> None:
        self._readNode()
        self._writeNode()
        self._changed()

    def _readNode(self) -> None:
        self._busy = True
        try:
            self.chooseTask(self.node.GetParameter("task"))
            for page in self.pages.values():
                page.read(self.node)
            self._rememberPerson()
            self.elsewhere.update()
        finally:
            self._busy = False


def isScan(node: Any) -> bool:
    """Whether a node may be suggested as an input: a scan of the user's, not a result."""
    return node.GetClassName() == "vtkMRMLScalarVolumeNode" and marks.runOf(node) is None
