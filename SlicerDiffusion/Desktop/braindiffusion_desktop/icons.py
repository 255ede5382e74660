"""The icons of the tool bar, drawn in the colour of the text; those of layouts are drawn from their XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

from PySide6 import QtCore, QtGui

Qt = QtCore.Qt
Point, Rect = QtCore.QPointF, QtCore.QRectF
_SIZE, _SCALE = 24, 3  # an icon is drawn three times as large as it shows, for screens of any density
_VIEW_3D = "#7483e9"


def _crosshair(p: QtGui.QPainter) -> None:
    p.drawLine(Point(12, 3), Point(12, 9))
    p.drawLine(Point(12, 15), Point(12, 21))
    p.drawLine(Point(3, 12), Point(9, 12))
    p.drawLine(Point(15, 12), Point(21, 12))
    p.drawEllipse(Point(12, 12), 1, 1)


def _window_level(p: QtGui.QPainter) -> None:
    p.drawEllipse(Point(12, 12), 8, 8)
    p.setBrush(p.pen().color())
    p.drawChord(Rect(4, 4, 16, 16), 90 * 16, 180 * 16)


def _fit(p: QtGui.QPainter) -> None:
    for x, y in ((4, 4), (20, 4), (4, 20), (20, 20)):
        dx, dy = (5 if x < 12 else -5), (5 if y < 12 else -5)
        p.drawPolyline([Point(x + dx, y), Point(x, y), Point(x, y + dy)])
    p.drawRect(Rect(8.5, 8.5, 7, 7))


def _link(p: QtGui.QPainter) -> None:
    p.translate(12, 12)
    p.rotate(-45)
    p.drawRoundedRect(Rect(-10, -3.5, 11, 7), 3.5, 3.5)
    p.drawRoundedRect(Rect(-1, -3.5, 11, 7), 3.5, 3.5)


def _camera(p: QtGui.QPainter) -> None:
    p.drawRoundedRect(Rect(3, 7, 18, 12), 2, 2)
    p.drawPolyline([Point(8, 7), Point(9.5, 4.5), Point(14.5, 4.5), Point(16, 7)])
    p.drawEllipse(Point(12, 13), 3.5, 3.5)


def _folder(p: QtGui.QPainter) -> None:
    p.drawPolygon([Point(3, 6), Point(9, 6), Point(11, 8.5), Point(21, 8.5), Point(21, 19), Point(3, 19)])


def _sphere(p: QtGui.QPainter) -> None:
    p.drawEllipse(Point(12, 12), 8, 8)
    p.drawArc(Rect(4, 9, 16, 6), 180 * 16, 180 * 16)


_DRAW: dict[str, Callable[[QtGui.QPainter], None]] = {
    "crosshair": _crosshair,
    "window level": _window_level,
    "fit": _fit,
    "link": _link,
    "camera": _camera,
    "folder": _folder,
    "sphere": _sphere,
}


def _paint(draw: Callable[[QtGui.QPainter], None], color: QtGui.QColor) -> QtGui.QIcon:
    picture = QtGui.QPixmap(_SIZE * _SCALE, _SIZE * _SCALE)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(picture)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.scale(_SCALE, _SCALE)
    pen = QtGui.QPen(color, 1.7)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    draw(painter)
    painter.end()
    return QtGui.QIcon(picture)


def icon(name: str, color: QtGui.QColor) -> QtGui.QIcon:
    """One of: crosshair, window level, fit, link, camera, folder, sphere."""
    return _paint(_DRAW[name], color)


def layout_icon(description: str, color: QtGui.QColor) -> QtGui.QIcon:
    """The arrangement of a layout in Slicer's XML, each view in its colour."""
    root = ElementTree.fromstring(description)
    return _paint(lambda painter: _arrange(painter, root, Rect(3, 4, 18, 16)), color)


def _arrange(painter: QtGui.QPainter, element: ElementTree.Element, place: QtCore.QRectF) -> None:
    if element.tag == "view":
        shown = element.find("property[@name='viewcolor']")
        fill = QtGui.QColor(_VIEW_3D if shown is None else shown.text or _VIEW_3D)
        painter.setPen(QtGui.QPen(painter.pen().color(), 0.8))
        painter.setBrush(fill)
        painter.drawRect(place)
        return
    children = [child for item in element.findall("item") for child in item]
    down = element.get("type") == "vertical"
    for index, child in enumerate(children):
        share = (place.height() if down else place.width()) / len(children)
        part = (
            Rect(place.x(), place.y() + index * share, place.width(), share)
            if down
            else Rect(place.x() + index * share, place.y(), share, place.height())
        )
        _arrange(painter, child, part)
