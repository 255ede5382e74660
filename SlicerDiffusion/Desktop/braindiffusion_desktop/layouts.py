"""Slicer's layout manager: arranges the views that the scene's layout node asks for, in Slicer's layout XML.

Slicer's own vtkMRMLLayoutLogic makes the view nodes; a view is made once for its node and kept for later.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .frames import Frame, SliceWidget, ThreeDWidget
from .observe import Observations
from .plotview import PlotWidget
from .views import ThreeDView

Qt = QtCore.Qt
_FRAMES = {
    "vtkMRMLSliceNode": SliceWidget,
    "vtkMRMLViewNode": ThreeDWidget,
    "vtkMRMLPlotViewNode": PlotWidget,
}
_DARK, _DARKER = (0.16, 0.17, 0.20), (0.05, 0.05, 0.06)


def _set_view_defaults(scene: Any) -> None:
    """How new views look, and those that a closed scene leaves: a thin ruler, and 3D on a dark ground."""
    for name in ("vtkMRMLSliceNode", "vtkMRMLViewNode"):
        node = scene.GetDefaultNodeByClass(name)
        if node is None:
            node = scene.CreateNodeByClass(name)
            node.UnRegister(None)
            scene.AddDefaultNode(node)
        node.SetRulerType(node.RulerTypeThin)
        if name == "vtkMRMLSliceNode":
            # With any other factor VTK reslices all voxels the slow way, also where there is no slab.
            node.SetSlabReconstructionOversamplingFactor(1.0)
        else:
            node.SetBackgroundColor(*_DARKER)
            node.SetBackgroundColor2(*_DARK)
            node.SetBoxVisible(False)
            node.SetOrientationMarkerType(node.OrientationMarkerTypeAxes)


def _compares(frame: SliceWidget) -> bool:
    """Whether a view compares images: views of a group do. No new scan may stand where a result belongs."""
    return frame.mrmlSliceNode().GetViewGroup() != 0


class LayoutManager(QtCore.QObject):
    """Shows the current layout of the scene in `viewport`, a widget; answers as Slicer's qMRMLLayoutManager.

    Signal `layoutChanged(int)`: another layout is shown, all its views are there.
    """

    layoutChanged = QtCore.Signal(int)

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self.viewport = QtWidgets.QWidget()
        self._column = QtWidgets.QVBoxLayout(self.viewport)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._kept: dict[str, Frame] = {}  # by the view node's ID
        self._arranged: Any = None
        self._shown: list[str] = []
        self._new: list[SliceWidget] = []
        self._linked = True
        self._pauses = 0
        self._watch = Observations()
        scene = slicer.mrmlScene
        _set_view_defaults(scene)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.GetLayoutNode()
        self._watch.observe(self._node, (vtk.vtkCommand.ModifiedEvent,), self._arrange)
        self._watch.observe(scene, (scene.EndBatchProcessEvent,), self._arrange)
        self._watch.observe(scene, (scene.EndCloseEvent, scene.EndImportEvent), self._set_up_all)
        self._watch.observe(scene, (scene.NodeRemovedEvent,), self._node_removed)

    # -- Slicer's names

    def layoutLogic(self) -> Any:
        return self._logic

    def setLayout(self, identifier: int) -> None:
        """Show the layout with this number.

        Raises:
            ValueError: the layout node has no description of it.
        """
        if not self._node.IsLayoutDescription(identifier):
            raise ValueError(f"There is no layout {identifier}; add it with AddLayoutDescription().")
        self._node.SetViewArrangement(identifier)
        self._arrange()

    def _get_layout(self) -> int:
        return self._node.GetViewArrangement()

    layout = QtCore.Property(int, _get_layout, setLayout, notify=layoutChanged)

    def _of(self, kind: type[Frame]) -> list[Any]:
        return [frame for frame in self._kept.values() if isinstance(frame, kind)]

    def sliceViewNames(self) -> list[str]:
        return [frame.mrmlSliceNode().GetLayoutName() for frame in self._of(SliceWidget)]

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """The slice view with this name ("Red"), or None."""
        named = (frame for frame in self._of(SliceWidget) if frame.mrmlSliceNode().GetLayoutName() == name)
        return next(named, None)

    def threeDWidget(self, index: int) -> ThreeDWidget | None:
        frames = self._of(ThreeDWidget)
        return frames[index] if 0 <= index < len(frames) else None

    threeDViewCount = QtCore.Property(int, lambda self: len(self._of(ThreeDWidget)))

    def viewWidget(self, node: Any) -> Frame | None:
        """The view of a view node, made where it is not there yet; None where this window has none for it."""
        identifier = node.GetID()
        kind = _FRAMES.get(node.GetClassName())
        if identifier not in self._kept and kind is not None and node.GetScene() is not None:
            frame = self._kept[identifier] = kind(node)
            frame.hide()
            frame.setParent(self.viewport)
            if isinstance(frame, SliceWidget):
                self._set_up(frame)
                self._new += [] if _compares(frame) else [frame]
        return self._kept.get(identifier)

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        for frame in self._of(SliceWidget):
            frame.fit()

    def resetThreeDViews(self) -> None:
        for frame in self._of(ThreeDWidget):
            frame.fit()

    # -- what else the window needs

    def fit(self) -> None:
        """Fit the views of the current layout to what they show."""
        for frame in self.frames():
            frame.fit()

    def frames(self) -> list[Frame]:
        """The views of the current layout."""
        return [self._kept[identifier] for identifier in self._shown]

    def grab(self) -> QtGui.QPixmap:
        """The views as they are now, with their letters and the mark on made-up voxels."""
        self.draw()
        return self.viewport.grab()

    def draw(self) -> None:
        """Render all views that have something new, at once: before a picture of several is taken."""
        for frame in self.frames():
            frame.view.render_if_seen()

    def composites(self) -> list[Any]:
        """What the slice views of the current layout show, as vtkMRMLSliceCompositeNode."""
        return [frame.mrmlSliceCompositeNode() for frame in self.frames() if isinstance(frame, SliceWidget)]

    def is_linked(self) -> bool:
        return self._linked

    def set_linked(self, linked: bool) -> None:
        """Let all slices of one orientation move together, and show the same volumes."""
        self._linked = linked
        self._set_up_all()

    def _set_up_all(self, *_: Any) -> None:
        """Again after a scene was closed or opened: both bring their own settings of views."""
        for frame in self._of(SliceWidget):
            self._set_up(frame)

    def _set_up(self, frame: SliceWidget) -> None:
        shown = frame.mrmlSliceCompositeNode()
        shown.SetLinkedControl(self._linked)
        shown.SetHotLinkedControl(self._linked)
        shown.SetDoPropagateVolumeSelection(not _compares(frame))

    def pauseRender(self) -> None:
        self._pauses += 1
        self.viewport.setUpdatesEnabled(False)

    def resumeRender(self) -> None:
        self._pauses = max(0, self._pauses - 1)
        if not self._pauses:
            self.viewport.setUpdatesEnabled(True)

    def shown_3d(self) -> list[ThreeDView]:
        """The 3D views of the current layout."""
        return [frame.view for frame in self.frames() if isinstance(frame.view, ThreeDView)]

    def finalize(self) -> None:
        """Let go of all views; the manager cannot be used again."""
        self._watch.clear()
        self._logic.SetMRMLScene(None)
        for frame in self._kept.values():
            frame.finalize()
        self._kept.clear()
        self._shown.clear()
        self._new.clear()

    # -- arranging

    def _arrange(self, *_: Any) -> None:
        description = self._node.GetCurrentLayoutDescription()
        large = self._node.GetMaximizedViewNode(0) if self._node.GetNumberOfMaximizedViewNodes() else None
        if large is not None:
            description = self._logic.GetMaximizedViewLayoutDescription(large, description)
        nodes = self._logic.GetViewNodes()
        present = tuple(nodes.GetItemAsObject(i).GetID() for i in range(nodes.GetNumberOfItems()))
        wanted = (self._node.GetViewArrangement(), description, present)
        if slicer.mrmlScene.IsBatchProcessing() or not description or wanted == self._arranged:
            return
        self._arranged = wanted
        before, self._shown = set(self._shown), []
        old = self._column.takeAt(0)
        new = self._build(ElementTree.fromstring(description))
        self._column.addWidget(new)
        new.show()
        for identifier in before - set(self._shown):
            self._put_away(self._kept[identifier])
        if old is not None:
            old.widget().hide()
            old.widget().deleteLater()
        QtCore.QTimer.singleShot(0, self, self._show_scan_in_new)  # once they have their size
        self.layoutChanged.emit(wanted[0])

    def _show_scan_in_new(self) -> None:
        """Show the active volume in slice views that are new, in its own planes as in the others."""
        volume = slicer.mrmlScene.GetNodeByID(
            slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID() or ""
        )
        for frame in self._new:
            shown = frame.mrmlSliceCompositeNode()
            if volume is not None and shown.GetBackgroundVolumeID() is None:
                shown.SetBackgroundVolumeID(volume.GetID())
                frame.mrmlSliceNode().RotateToVolumePlane(volume)
                frame.fit()
        self._new.clear()

    def _build(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        """The widget of a <layout> or a <view>."""
        if element.tag == "view":
            return self._frame(element)
        kind = element.get("type", "horizontal")
        if kind == "tab":
            return self._tabs(element)
        splitter = QtWidgets.QSplitter(
            Qt.Orientation.Vertical if kind == "vertical" else Qt.Orientation.Horizontal
        )
        splitter.setHandleWidth(3)
        splitter.setChildrenCollapsible(False)
        sizes = []
        for item in element.findall("item"):
            for child in item:
                splitter.addWidget(self._build(child))
                sizes.append(int(item.get("splitSize", 500)))
        splitter.setSizes(sizes)
        for index, size in enumerate(sizes):
            splitter.setStretchFactor(index, size)
        return splitter

    def _tabs(self, element: ElementTree.Element) -> QtWidgets.QTabWidget:
        tabs = QtWidgets.QTabWidget()
        for item in element.findall("item"):
            for child in item:
                tabs.addTab(self._build(child), item.get("name", child.get("singletontag", "")))
        return tabs

    def _frame(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        """The view of a <view> element: the one that is kept, or a new one."""
        kind, tag = element.get("class", ""), element.get("singletontag", "")
        node = slicer.mrmlScene.GetSingletonNode(tag, kind) if tag else None
        frame = self.viewWidget(node) if node is not None else None
        if frame is None:
            return QtWidgets.QLabel("This window cannot show this kind of view.", alignment=Qt.AlignCenter)
        node.SetMappedInLayout(1)
        self._shown.append(node.GetID())
        frame.show()
        return frame

    def _put_away(self, frame: Frame) -> None:
        node = frame.view.node
        if node.GetScene() is not None:
            node.SetMappedInLayout(0)
        frame.hide()
        frame.setParent(self.viewport)

    def _node_removed(self, *_: Any) -> None:
        """A view whose node has left the scene goes, too."""
        for identifier, frame in list(self._kept.items()):
            if frame.view.node.GetScene() is None:
                del self._kept[identifier]
                self._shown = [other for other in self._shown if other != identifier]
                frame.hide()
                frame.finalize()
                frame.deleteLater()
