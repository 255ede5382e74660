"""A picture of the window with the result of each further task, after the sample patient was healed: pressed
Run as a user would, with what the heal has left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import screenshots

Prepare = Callable[[Any, Any], None]


def _fill(window: Any, _scan: Any) -> None:
    """The finding that is chosen in the table becomes the mask, widened as the panel proposes."""
    window.dock.findChild(QtWidgets.QPushButton, "useAsMask").click()


def _task(name: str, **values: Any) -> Prepare:
    def prepare(window: Any, scan: Any) -> None:
        panel = window.module.session.panel
        panel.chooseTask(name)
        if panel.page.takesScan():
            panel.page.setScan(scan)
        panel.page.setValues(values)

    return prepare


STEPS: dict[str, Prepare] = {
    "window-inpaint": _fill,
    "window-edit": _task("edit", ventricles_by=10.0),
    "window-generate": _task("generate", samples=4, seed=7, age=35.0, sex="female", ventricles=20.0),
}
"""Pictures by name, and what is done before Run is pressed."""


class Tour(QtCore.QObject):
    """folder: for the pictures. done: called with the exit code at the end."""

    def __init__(self, window: Any, folder: Path, done: Callable[[int], None]) -> None:
        super().__init__(window)
        self._window, self._folder, self._done = window, folder, done
        self._scan = window.module.session.panel.page.scan()
        self._left = list(STEPS.items())
        window.resize(screenshots.SIZE)
        window.module.logic.jobs.listeners.append(self._look)

    def begin(self) -> None:
        """Start the next step, or end."""
        if not self._left:
            self._leave(0)
            return
        _, prepare = self._left[0]
        prepare(self._window, self._scan)
        QtCore.QTimer.singleShot(0, self, self._window.run_button().click)

    def _look(self, job: Any) -> None:
        if job.finished:
            QtCore.QTimer.singleShot(0, self, lambda: self._picture(job.message))

    def _picture(self, message: str) -> None:
        if message:
            print(message, file=sys.stderr)
            self._leave(1)
            return
        name, _ = self._left.pop(0)
        print(screenshots.one(self._window, self._folder / f"{name}.png"))
        self.begin()

    def _leave(self, code: int) -> None:
        self._window.module.logic.jobs.listeners.remove(self._look)
        self._done(code)
