"""Events and pictures for tests of the window: what a user does with the mouse, and what he then sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtTest import QTest

from scene_volumes import add_volume

Qt = QtCore.Qt
EDGE = 45  # pixels along the edges of a view where letters, names and ruler are drawn


def settle(turns: int = 6) -> None:
    """Let what was put off be done and drawn."""
    for _ in range(turns):
        QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        QtWidgets.QApplication.processEvents()


def wait(done: Callable[[], Any], seconds: float = 60) -> None:
    """Process events until `done()`; fails after some time."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it took too long"
        QtWidgets.QApplication.processEvents()
        time.sleep(0.005)


def wheel(widget: QtWidgets.QWidget, notches: int, at: QtCore.QPoint | None = None) -> None:
    """Turn the mouse wheel over the middle of a widget, or over a place in it."""
    place = QtCore.QPointF(at or widget.rect().center())
    event = QtGui.QWheelEvent(
        place,
        QtCore.QPointF(widget.mapToGlobal(place)),
        QtCore.QPoint(),
        QtCore.QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QtWidgets.QApplication.sendEvent(widget, event)
    settle()


def drag(widget: QtWidgets.QWidget, button: Qt.MouseButton, by: tuple[int, int], steps: int = 6) -> None:
    """Press a button in the middle of a widget, move the mouse and release it."""
    start = widget.rect().center()
    QTest.mouseMove(widget, start)
    QTest.mousePress(widget, button, pos=start)
    for step in range(1, steps + 1):
        QTest.mouseMove(widget, start + QtCore.QPoint(*by) * step / steps)
    QTest.mouseRelease(widget, button, pos=start + QtCore.QPoint(*by))
    settle()


def move(widget: QtWidgets.QWidget, to: QtCore.QPoint, modifiers: Qt.KeyboardModifier) -> None:
    """Move the mouse to a place while keys are held down."""
    for step in (2, 1, 0):
        place = QtCore.QPointF(to + QtCore.QPoint(step, step))
        event = QtGui.QMouseEvent(
            QtCore.QEvent.Type.MouseMove,
            place,
            QtCore.QPointF(widget.mapToGlobal(place)),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.NoButton,
            modifiers,
        )
        QtWidgets.QApplication.sendEvent(widget, event)
    settle()


def picture(widget: QtWidgets.QWidget) -> np.ndarray:
    """What a widget shows: [row, column, (red, green, blue)], row 0 at the top."""
    image = widget.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    bytes_ = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return bytes_[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def bright_spot(view: QtWidgets.QWidget) -> tuple[float, float]:
    """Middle (x, y) of the white pixels away from the edges of a view."""
    shown = picture(view)[EDGE:-EDGE, EDGE:-EDGE]
    rows, columns = np.nonzero((shown > 215).all(axis=2))
    assert len(rows) > 5, "no bright spot is seen"
    return columns.mean() + EDGE, rows.mean() + EDGE


def affine_of(
    axes: str, size: Sequence[int], spacing: float = 2.0, turn: np.ndarray | None = None
) -> np.ndarray:
    """(4, 4) voxel index to RAS mm for voxel axes that point as the letters say, centred on the origin."""
    matrix = np.zeros((4, 4))
    for column, letter in enumerate(axes):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        matrix[row, column] = spacing if letter in "RAS" else -spacing
    if turn is not None:
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(size) - 1) / 2
    matrix[3, 3] = 1
    return matrix


def ball(affine: np.ndarray, size: Sequence[int], middle: Sequence[float], radius: float) -> np.ndarray:
    """[X, Y, Z]: 1 within `radius` mm of a place in RAS mm, else 0."""
    index = np.indices(size).reshape(3, -1)
    places = affine[:3, :3] @ index + affine[:3, 3:]
    near = np.linalg.norm(places - np.array(middle)[:, None], axis=0) <= radius
    return near.reshape(size).astype(np.float32)


def head_with_spot(axes: str, turn: np.ndarray | None = None, spot: Sequence[float] = (-32, 10, 14)) -> Any:
    """A grey ball with a white spot at a place in RAS mm, by default on the left, on a grid like this."""
    size = (70, 64, 58)
    affine = affine_of(axes, size, turn=turn)
    values = 100 * ball(affine, size, (0, 0, 0), 52) + 400 * ball(affine, size, spot, 8)
    node = add_volume(values, affine, f"head {axes}")
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 300)
    return node
