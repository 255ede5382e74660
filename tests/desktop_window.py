"""Fixtures for tests: the views alone, and the whole window with an engine that computes nothing."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desktop_host import ROOT, Qt, QtCore, QtWidgets, core  # noqa: F401 (a fixture)

# isort: split
import slicer
from PySide6 import QtGui

import scan_files
from braindiffusion_desktop import app
from braindiffusion_desktop.layouts import LayoutManager
from braindiffusion_desktop.window import Window
from desktop_events import settle, wait

FAKE_WORKER = ROOT / "tests" / "module_worker.py"


@pytest.fixture
def views(core: Any) -> Iterator[LayoutManager]:
    """Four views on an empty scene, in a window of 900 x 800."""
    manager = LayoutManager()
    core.setLayoutManager(manager)
    window = QtWidgets.QMainWindow()
    window.resize(900, 800)
    window.setCentralWidget(manager.viewport)
    manager.setLayout(3)
    window.show()
    settle()
    yield manager
    core.setLayoutManager(None)
    manager.finalize()
    window.close()
    window.deleteLater()
    settle()


def show(manager: LayoutManager, node: Any, at: tuple[float, float, float] | None = None) -> None:
    slicer.app.show_volume(node)
    if at is not None:
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *at)
    settle()


def red(manager: LayoutManager) -> Any:
    return manager.sliceWidget("Red").sliceView()


@pytest.fixture
def window(core: Any) -> Iterator[Window]:
    """The window with the module's panel; its engine is one that computes nothing."""
    core.settings().remove("recent files")
    core.settings().remove("theme")
    window = app.start([])
    window.module.logic.jobs.engine.command = [sys.executable, str(FAKE_WORKER), "ok"]
    settle()
    yield window
    window.interactive = False
    window.close()
    window.deleteLater()
    settle()


@pytest.fixture
def scan_path(tmp_path: Path) -> Path:
    return scan_files.save_nifti(tmp_path / "anna.nii.gz", scan_files.head(), scan_files.oblique())


def drop(window: Window, *paths: Path) -> None:
    """Drop files or folders on the middle of the window."""
    mime = QtCore.QMimeData()
    mime.setUrls([QtCore.QUrl.fromLocalFile(str(path)) for path in paths])
    place = window.rect().center()
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    entered = QtGui.QDragEnterEvent(place, Qt.DropAction.CopyAction, mime, buttons, keys)
    QtWidgets.QApplication.sendEvent(window, entered)
    assert entered.isAccepted()
    dropped = QtGui.QDropEvent(QtCore.QPointF(place), Qt.DropAction.CopyAction, mime, buttons, keys)
    QtWidgets.QApplication.sendEvent(window, dropped)


def opened(window: Window) -> list[Any]:
    """Wait until all is read; the volumes in the scene."""
    wait(lambda: not window.files.busy)
    settle()
    return list(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
