"""Heals the sample patient in the window as a user would, open, Run, look; says what was found, keeps the
files and takes pictures.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from braindiffusion.cli_output import tell
from braindiffusion.errors import BrainDiffusionError
from braindiffusion.result import Result
from braindiffusion.result_folder import HANDOVER

from . import screenshots
from .tour import Tour

SEED = 7
"""As of `make demo-cli`: both show the same result."""


class Demo(QtCore.QObject):
    """pictures, results: folders for pictures of the window and for the result's files, None for nowhere.

    end: leave the event loop when all is done, with the exit code 1 where the run failed. tour: picture the
    other tasks too.
    """

    def __init__(
        self, window: Any, pictures: Path | None, results: Path | None, end: bool, tour: bool = False
    ) -> None:
        super().__init__(window)
        self._window, self._pictures, self._results, self._end = window, pictures, results, end
        self._tour = tour
        window.files.opened.connect(self._run)
        window.files.refused.connect(self._fail)
        window.module.logic.jobs.listeners.append(self._look)

    def begin(self) -> None:
        self._window.files.open_sample()

    def _run(self, _node: Any) -> None:
        self._window.files.opened.disconnect(self._run)
        QtCore.QTimer.singleShot(0, self, self._begin)  # the panel has to see the scan first

    def _begin(self) -> None:
        self._window.module.session.panel.chooseTask("heal")
        self._window.module.session.panel.page.setValues({"seed": SEED})
        self._window.run_button().click()

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
        try:
            self._keep(job.work.resultFolder)
        except (OSError, BrainDiffusionError) as error:  # such as a folder that may not be written to
            self._fail(str(error))
            return
        if self._tour and self._pictures is not None:
            Tour(self._window, self._pictures, self._leave).begin()
        else:
            self._leave(0)

    def _keep(self, made: Path) -> None:
        """Write and tell what is wanted of the result whose files lie in the folder `made`."""
        if self._results is not None:
            hidden = shutil.ignore_patterns(HANDOVER)
            shutil.copytree(made, self._results, dirs_exist_ok=True, ignore=hidden)
            print(file=sys.stderr)  # after the line of progress
            tell(Result.load(self._results, voxels=False), self._results)
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)
            for path in screenshots.take(self._window, self._pictures):
                print(path)

    def _fail(self, sentence: str) -> None:
        print(sentence, file=sys.stderr)
        self._leave(1)

    def _leave(self, code: int) -> None:
        if self._end:
            QtWidgets.QApplication.exit(code)
