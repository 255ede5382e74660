"""The runs of this scene in a list, and what can be done with each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import history, report, say
from .job import Complaint, Job
from .jobs import Jobs
from .picture import openFile


class HistoryPanel:
    """`show(entry)`, `again(entry)` and `fill(entry)` are called for the run that the user chose."""

    def __init__(
        self,
        queue: Jobs,
        show: Callable[[history.Entry], None],
        again: Callable[[history.Entry], None],
        fill: Callable[[history.Entry], None],
    ):
        import qt

        self._queue = queue
        self._entries: list[history.Entry] = []
        self.last: Job | None = None
        self.widget, column = say.section("History", "history", True)
        self.list = qt.QListWidget()
        self.list.setObjectName("runs")
        self.list.setMaximumHeight(110)
        self.list.setToolTip("Runs whose results are in this scene, the latest first.")
        self.list.currentRowChanged.connect(lambda: self._enable())
        column.addWidget(self.list)
        grid = qt.QGridLayout()
        column.addLayout(grid)
        self.said = say.label("historySaid")
        column.addWidget(self.said)
        self.buttons: dict[str, Any] = {}
        for text, help_, act in (
            ("Show", "Show this run's result.", lambda: show(self._chosen())),
            (
                "Run again",
                "The same scan, parameters and seed: the same voxels.",
                lambda: again(self._chosen()),
            ),
            (
                "Run again with…",
                "Fill the settings above from this run, to change some.",
                lambda: fill(self._chosen()),
            ),
            (
                "Copy report",
                "Versions, request, provenance and log, as text on the clipboard.",
                self.copyReport,
            ),
            ("Open result folder", "The files of this run.", self._openFolder),
            ("Open picture", "The picture of this run.", self._openPicture),
            ("Export…", "Copy the files of this run into a folder of your choice.", self._askExport),
        ):
            made = self.buttons[text] = say.button(text, help_, self._guarded(act))
            grid.addWidget(made, (len(self.buttons) - 1) // 2, (len(self.buttons) - 1) % 2)
        self._help = {text: made.property("toolTip") for text, made in self.buttons.items()}
        self.refresh()

    def refresh(self) -> None:
        """List the runs that the scene has now."""
        chosen = self.entry.run if self.entry is not None else None
        self._entries = history.entries()
        blocked = self.list.blockSignals(True)
        self.list.clear()
        for entry in self._entries:
            self.list.addItem(entry.label)
        runs = [entry.run for entry in self._entries]
        self.list.setCurrentRow(runs.index(chosen) if chosen in runs else 0 if runs else -1)
        self.list.blockSignals(blocked)
        self._enable()

    @property
    def entry(self) -> history.Entry | None:
        """The run that is chosen; None where there is none."""
        row = self.list.property("currentRow") if self._entries else -1
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def choose(self, run: str) -> None:
        for row, entry in enumerate(self._entries):
            if entry.run == run:
                self.list.setCurrentRow(row)

    def copyReport(self) -> None:
        """Put the report on the clipboard; it can be had without any run, to tell of one that failed."""
        nodes = self.entry.nodes if self.entry is not None else {}
        report.toClipboard(nodes, self._queue.logText(), self.last)
        say.say(self.said, "The report is on the clipboard.", say.GOOD)

    def export(self, where: Path) -> None:
        """Copy the chosen run's files into a new folder in `where`."""
        self._tellExported(history.export(self._chosen(), where))

    def _chosen(self) -> history.Entry:
        if self.entry is None:
            raise Complaint("Choose a run in the list first.")
        return self.entry

    def _guarded(self, act: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                act()
            except Complaint as complaint:
                say.say(self.said, str(complaint), say.ERROR)

        return guarded

    def _enable(self) -> None:
        """Grey out what cannot be done with the chosen run, and say why."""
        entry = self.entry
        for text, made in self.buttons.items():
            why = (
                "" if text == "Copy report" else "There is no run in this scene yet." if entry is None else ""
            )
            if entry is not None and text == "Open result folder" and entry.folder() is None:
                why = (
                    "This run was made on another computer; Export saves its nodes."
                    if entry.isForeign()
                    else "The files of this run are no longer there; Export saves its nodes instead."
                )
            if entry is not None and text == "Open picture" and entry.picture() is None:
                why = (
                    "This run was made on another computer, so its picture is not here."
                    if entry.isForeign()
                    else "This run has no picture, or its files are no longer there."
                )
            made.setEnabled(not why)
            made.setToolTip(why or self._help[text])

    def _openFolder(self) -> None:
        _open(self._chosen().folder())

    def _openPicture(self) -> None:
        _open(self._chosen().picture())

    def _askExport(self) -> None:
        self._tellExported(history.askExport(self._chosen(), self.widget))

    def _tellExported(self, target: Path | None) -> None:
        if target is not None:
            say.say(self.said, f"Exported to {target}", say.GOOD)


def _open(path: Path | None) -> None:
    if path is None or not openFile(path):
        raise Complaint(f"'{path}' could not be opened; look for it with the file manager.")
