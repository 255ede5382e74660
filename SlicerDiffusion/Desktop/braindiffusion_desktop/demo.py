"""Heals the sample patient in the window as a user would, open, Run, look, and takes pictures of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import screenshots


class Demo(QtCore.QObject):
    """pictures, results: folders for pictures of the window and for the result's files, None for nowhere.

    end: leave the event loop when all is done, with the exit code 1 where the run failed.
    """

    def __init__(self, window: Any, pictures: Path | None, results: Path | None, end: bool) -> None:
        super().__init__(window)
        self._window, self._pictures, self._results, self._end = window, pictures, results, end
        window.files.opened.connect(self._run)
        window.files.refused.connect(self._fail)
        window.module.logic.jobs.listeners.append(self._look)

    def begin(self) -> None:
        self._window.files.open_sample()

    def _run(self, _node: Any) -> None:
        self._window.files.opened.disconnect(self._run)
        QtCore.QTimer.singleShot(
            0, self, self._window.run_button().click
        )  # the panel has to see the scan first

    def _look(self, job: Any) -> None:
        if job.finished:
            self._window.module.logic.jobs.listeners.remove(self._look)
            QtCore.QTimer.singleShot(0, self, lambda: self._finish(job))
        elif self._end:
            print(f"\r{job.stage} {job.fraction:4.0%}   ", end="", file=sys.stderr, flush=True)

    def _finish(self, job: Any) -> None:
        if job.message:
            self._fail(job.message)
            return
        if self._results is not None:
            shutil.copytree(job.work.resultFolder, self._results, dirs_exist_ok=True)
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)
            for path in screenshots.take(self._window, self._pictures):
                print(path)
        self._leave(0)

    def _fail(self, sentence: str) -> None:
        print(sentence, file=sys.stderr)
        self._leave(1)

    def _leave(self, code: int) -> None:
        if self._end:
            QtWidgets.QApplication.exit(code)
