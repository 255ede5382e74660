"""A sphere as a mask: its middle is clicked in a slice, its radius dragged or typed. It becomes a segment of
the segmentation 'Sphere', on the voxels of the scan in that view.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

from .frames import SliceWidget
from .observe import Observations

Qt = QtCore.Qt
NAME = "Sphere"
SMALLEST_MM, LARGEST_MM, FIRST_MM = 1.0, 60.0, 10.0
_SAY = "Click the middle of the sphere in a slice; drag to set its radius, or type it."
_NO_SCAN = "There is no scan at this place; open one, and click inside it."
_SAY_MS = 8000
_COLOR, _FILLED = (0.95, 0.75, 0.1), 0.25


def voxel_to_ras(volume: Any) -> np.ndarray:
    """(4, 4) voxel index (i, j, k) to RAS mm of the world; a transform that bends is left out."""
    matrix, parent = vtk.vtkMatrix4x4(), volume.GetParentTransformNode()
    volume.GetIJKToRASMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    if parent is not None and parent.IsTransformToWorldLinear():
        parent.GetMatrixTransformToWorld(matrix)
        affine = slicer.util.arrayFromVTKMatrix(matrix) @ affine
    return affine


def ball(affine: np.ndarray, middle: np.ndarray, radius: float) -> Any:
    """The voxels of a lattice whose middle lies within `radius` mm of a place in RAS mm, as a
    vtkOrientedImageData of 0 and 1 that is as large as the ball; the voxel at the place is always inside.
    """
    own = np.linalg.inv(affine)
    center = (own @ [*middle, 1.0])[:3]
    reach = radius * np.linalg.norm(own[:3, :3], axis=1)
    low, high = np.ceil(center - reach), np.floor(center + reach)
    nearest = np.round(center)
    low, high = np.minimum(low, nearest).astype(int), np.maximum(high, nearest).astype(int)
    axes = [np.arange(start, end + 1) - at for start, end, at in zip(low, high, center)]
    k, j, i = np.meshgrid(*axes[::-1], indexing="ij", sparse=True)
    away = sum((row[0] * i + row[1] * j + row[2] * k) ** 2 for row in affine[:3, :3])
    inside = away <= radius**2
    inside[tuple((nearest - low).astype(int)[::-1])] = True
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*(int(value) for pair in zip(low, high) for value in pair))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = inside.ravel()
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    return image


class Sphere:
    """One sphere in a segmentation."""

    def __init__(self, segmentation: Any, number: int, affine: np.ndarray, middle: np.ndarray) -> None:
        self.segmentation, self.id = segmentation, f"sphere_{number}"
        self.affine, self.middle = affine, middle
        self.radius = 0.0
        self._name = f"{NAME} {number}"

    def set(self, radius: float) -> None:
        """Draw the sphere with this radius in mm; with 0 there is none."""
        node, self.radius = self.segmentation, radius
        if node.GetScene() is None and radius:
            slicer.mrmlScene.AddNode(node)
            _show(node)
        inner = node.GetSegmentation()
        if inner.GetSegment(self.id) is not None:
            inner.RemoveSegment(self.id)
        if radius:
            segment = slicer.vtkSegment()
            segment.SetName(self._name)
            segment.SetColor(*_COLOR)
            image = ball(self.affine, self.middle, radius)
            binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
            segment.AddRepresentation(binary, image)
            inner.AddSegment(segment, self.id)
        elif not inner.GetNumberOfSegments() and node.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(node)


def _show(node: Any) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(True)
    display.SetOpacity2DFill(_FILLED)
    display.SetVisibility2DOutline(True)


class _Change(QtGui.QUndoCommand):
    """A sphere's radius from one value to another; 0 is no sphere. Changes of one are undone at once."""

    def __init__(self, tool: SphereTool, sphere: Sphere, before: float, after: float) -> None:
        super().__init__("sphere" if not before else "radius of the sphere")
        self.tool, self.sphere, self.before, self.after = tool, sphere, before, after

    def redo(self) -> None:
        self.tool.draw(self.sphere, self.after)

    def undo(self) -> None:
        self.tool.draw(self.sphere, self.before)

    def id(self) -> int:
        return 1 if self.before else -1

    def mergeWith(self, other: QtGui.QUndoCommand) -> bool:
        if not isinstance(other, _Change) or other.sphere is not self.sphere:
            return False
        self.after = other.after
        return True


class SphereTool(QtCore.QObject):
    """Places spheres while it is `on`; `spin` shows the radius in mm, of the last sphere or of the next.

    Signal `placed(segmentation node, segment's id)`: a sphere was drawn, anew or with another radius.
    """

    placed = QtCore.Signal(object, str)
    turned = QtCore.Signal(bool)

    def __init__(self, window: Any) -> None:
        super().__init__(window)
        self.on = False
        self.undo = QtGui.QUndoStack(self)
        self.sphere: Sphere | None = None
        self._window, self._view = window, None
        self._pressed = QtCore.QPointF()
        self._count, self._before = 0, 0.0
        self._node: Any = None
        self.spin = QtWidgets.QDoubleSpinBox()
        self.spin.setObjectName("sphereRadius")
        self.spin.setRange(SMALLEST_MM, LARGEST_MM)
        self.spin.setDecimals(1)
        self.spin.setValue(FIRST_MM)
        self.spin.setPrefix("radius ")
        self.spin.setSuffix(" mm")
        self.spin.setToolTip("Radius of the last sphere, and of the next one")
        self.spin.valueChanged.connect(self._typed)
        window.layouts.layoutChanged.connect(self._listen)
        self._watch = Observations()
        scene = slicer.mrmlScene
        self._watch.observe(scene, (scene.EndCloseEvent,), self._forget)

    def turn(self, on: bool) -> None:
        """Begin or end to place spheres."""
        self.on = on
        self._listen()
        if on:
            mode = slicer.app.applicationLogic().GetInteractionNode()
            mode.SetCurrentInteractionMode(mode.ViewTransform)
            self._window.statusBar().showMessage(_SAY, _SAY_MS)
        self.turned.emit(on)

    def draw(self, sphere: Sphere, radius: float) -> None:
        """Draw a sphere with this radius in mm, 0 for none, and let others know."""
        sphere.set(radius)
        self.sphere = sphere if radius else None
        if radius:
            self._show_radius(radius)
            self.placed.emit(sphere.segmentation, sphere.id)

    def finalize(self) -> None:
        self._watch.clear()
        self.undo.clear()

    # -- the mouse

    def _listen(self, *_: Any) -> None:
        """Hear the mouse of all slice views that there are now."""
        for frame in self._window.layouts.frames():
            if isinstance(frame, SliceWidget):
                frame.view.removeEventFilter(self)
                if self.on:
                    frame.view.installEventFilter(self)
                    frame.view.setCursor(Qt.CursorShape.CrossCursor)
                else:
                    frame.view.unsetCursor()

    def eventFilter(self, view: QtCore.QObject, event: QtCore.QEvent) -> bool:
        kind = event.type()
        if not self.on:  # a view that was not shown when the tool ended
            return False
        if kind == QtCore.QEvent.Type.MouseButtonPress and event.button() == Qt.MouseButton.LeftButton:
            self._press(view, event.position())
        elif kind == QtCore.QEvent.Type.MouseMove and self._view is view:
            self._drag(event.position())
        elif kind == QtCore.QEvent.Type.MouseButtonRelease and self._view is view:
            self._view = None
            self._release()
        elif kind == QtCore.QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Escape:
            self.turn(False)
        else:
            return False
        return True

    def _press(self, view: Any, place: QtCore.QPointF) -> None:
        volume = view.logic.GetBackgroundLayer().GetVolumeNode()
        middle = place_of(view, place)
        if volume is None or volume.GetImageData() is None or not _is_inside(volume, middle):
            self._window.statusBar().showMessage(_NO_SCAN, _SAY_MS)
            return
        if self._node is None:
            self._count = 0
            self._node = slicer.vtkMRMLSegmentationNode()
            self._node.SetName(NAME)
            self._node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        self._count += 1
        self._view, self._pressed = view, place
        self.sphere = Sphere(self._node, self._count, voxel_to_ras(volume), middle)
        self.sphere.set(self.spin.value())

    def _drag(self, place: QtCore.QPointF) -> None:
        """The mouse is on the sphere's surface, once it has moved as far as a drag does."""
        moved = (place - self._pressed).manhattanLength()
        if self.sphere is not None and moved >= QtWidgets.QApplication.startDragDistance():
            radius = math.dist(place_of(self._view, place), self.sphere.middle)
            radius = min(max(radius, SMALLEST_MM), LARGEST_MM)
            self._show_radius(radius)
            self.sphere.set(self.spin.value())

    def _release(self) -> None:
        """The sphere is placed: it can be undone, and every plane goes through its middle."""
        sphere = self.sphere
        if sphere is not None:
            self.undo.push(_Change(self, sphere, 0.0, sphere.radius))
            node = slicer.vtkMRMLSliceNode
            node.JumpAllSlices(slicer.mrmlScene, *sphere.middle, node.OffsetJumpSlice)

    # -- the radius

    def _show_radius(self, radius: float) -> None:
        blocked = self.spin.blockSignals(True)
        self.spin.setValue(radius)
        self.spin.blockSignals(blocked)

    def _typed(self, radius: float) -> None:
        if self.sphere is not None and self.sphere.radius:
            self.undo.push(_Change(self, self.sphere, self.sphere.radius, radius))

    def _forget(self, *_: Any) -> None:
        """The scene was closed, and the spheres with it."""
        self.undo.clear()
        self.sphere = self._node = None


def place_of(view: Any, place: QtCore.QPointF) -> np.ndarray:
    """(3,) RAS mm of a place in a slice view, in Qt's pixels from its upper left corner."""
    ratio = view.devicePixelRatioF()
    across, down = place.x() * ratio, place.y() * ratio
    x, y = across, view.render_window.GetSize()[1] - 1 - down
    return np.array(view.node.GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))[:3])


def _is_inside(volume: Any, place: np.ndarray) -> bool:
    index = np.round((np.linalg.inv(voxel_to_ras(volume)) @ [*place, 1.0])[:3])
    return bool(((index >= 0) & (index < volume.GetImageData().GetDimensions())).all())
