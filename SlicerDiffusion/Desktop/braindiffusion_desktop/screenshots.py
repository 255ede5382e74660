"""Pictures of the window in each of its layouts, for the documentation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

NAMES = {
    3: "window-four-views",
    2: "window-3d-above-slices",
    6: "window-axial",
    4: "window-3d",
    5610: "window-compare",
    5611: "window-compare-planes",
}
SIZE = QtCore.QSize(1440, 900)
_SETTLE_S = 0.6  # what is put off, such as fitting surfaces into a view, is done by then


def settle() -> None:
    """Let everything that is waiting be done and drawn."""
    end = time.monotonic() + _SETTLE_S
    while time.monotonic() < end:
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)


def _show(window: Any, number: int) -> None:
    """Show a layout; with the panel's own button where it has one, which also shows the result in 3D."""
    button = window.dock.findChild(QtWidgets.QPushButton, f"layout{number}")
    if button is not None and button.isVisibleTo(window):
        button.click()
    else:
        window.layouts.setLayout(number)


def _return_to_finding(window: Any) -> None:
    """Fitting has moved the views off the finding whose row is chosen in the panel's table."""
    table = window.dock.findChild(QtWidgets.QTableWidget, "findings")
    if table is not None and table.currentRow() >= 0:
        table.cellClicked.emit(table.currentRow(), 0)


def take(window: Any, folder: Path) -> list[Path]:
    """Show each layout in turn and save a picture of the window; returns the files' paths.

    The window is as it was afterwards. Layouts of modules that have no name here are called by their number.
    """
    settle()
    before, size = window.layouts.layout, window.size()
    window.resize(SIZE)
    paths = []
    for number in window.actions_.layouts:
        _show(window, number)
        settle()
        window.layouts.fit()
        _return_to_finding(window)
        settle()
        paths.append(_saved(window, folder / f"{NAMES.get(number, f'window-layout-{number}')}.png"))
    window.layouts.setLayout(before)
    window.resize(size)
    return paths


def one(window: Any, path: Path) -> Path:
    """Save a picture of the window, whose views show what they show, to `path`, which is returned."""
    settle()
    return _saved(window, path)


def _saved(window: Any, path: Path) -> Path:
    window.layouts.draw()
    if not window.grab().save(str(path)):
        raise OSError(f"The picture could not be saved to '{path}'; is the folder read-only?")
    return path
