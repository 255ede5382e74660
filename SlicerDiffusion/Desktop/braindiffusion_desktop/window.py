"""The main window: the module's panel at the side, the views in the middle, and what surrounds them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import modulebase
from .about import RESEARCH_USE
from .actions import Actions
from .banner import Banner
from .console import Console
from .core import CoreApp
from .files import Files
from .guard import Guard
from .layouts import LayoutManager
from .observe import Observations
from .probe import DataProbe
from .sphere import SphereTool
from .theme import Theme

Qt = QtCore.Qt
_NAME = "BrainDiffusion"
_HINT = (
    "Drop a scan, a folder of DICOM files or a scene here,<br>or choose File ▸ Open scan.<br><br>"
    '<a href="sample" style="color: #8fc1ff">Open the sample patient</a>, a made-up brain with a lesion'
)
_SIZE, _PANEL_WIDTH = QtCore.QSize(1440, 900), 420


def module_path() -> Path:
    """SlicerDiffusion.py: in a wheel below this package, in a checkout beside its folder."""
    here = Path(__file__).resolve().parent
    inside = here / "module" / "SlicerDiffusion.py"
    return inside if inside.is_file() else here.parents[1] / "SlicerDiffusion.py"


class _PanelArea(QtWidgets.QScrollArea):
    """Holds the panel; it scrolls up and down only, and is never narrower than the panel needs."""

    def __init__(self, panel: QtWidgets.QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(panel)

    def minimumSizeHint(self) -> QtCore.QSize:
        if self.widget() is None:  # a later window has taken the panel
            return super().minimumSizeHint()
        needed = self.widget().property("minimumSizeHint").width()
        return QtCore.QSize(needed + self.verticalScrollBar().sizeHint().width(), 200)

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class Window(QtWidgets.QMainWindow):
    """The window on the MRML scene of `core`.

    interactive: a user sits before it. Then closing asks first where something would be lost.
    """

    def __init__(self, core: CoreApp, interactive: bool = False) -> None:
        super().__init__()
        self.core = core
        self.interactive = interactive
        self.module: Any = None  # the module's widget object, with its logic
        self._panel: Any = None
        self._console: Console | None = None
        self._closing = False
        self.setAcceptDrops(True)
        self.resize(_SIZE)
        self.theme = Theme(core.settings(), self)
        self.layouts = LayoutManager(self)
        core.setLayoutManager(self.layouts)
        self.layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.banner = Banner()
        self.files = Files(self)
        self.files.opened.connect(self._opened)
        self.guard = Guard(self)
        self.spheres = SphereTool(self)
        self.spheres.placed.connect(self._sphere_placed)
        self._arrange()
        self.actions_ = Actions(self)
        self._watch = Observations()
        scene = slicer.mrmlScene
        events = (
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
            scene.EndCloseEvent,
            scene.EndBatchProcessEvent,
        )
        self._watch.observe(scene, events, self._scene_changed)
        self.layouts.layoutChanged.connect(self._follow_views)
        self._scene_changed()
        self._follow_views()
        self._restore()

    def _arrange(self) -> None:
        self._hint = QtWidgets.QLabel(_HINT, alignment=Qt.AlignmentFlag.AlignCenter)
        self._hint.linkActivated.connect(lambda _link: self.files.open_sample())
        self._hint.setStyleSheet(
            "color: #e6e8ec; background: #2a2e36; border: 1px solid #59606d; border-radius: 8px;"
            " padding: 18px 28px; font-size: 16px;"
        )
        views = QtWidgets.QWidget()
        over = QtWidgets.QGridLayout(views)
        over.setContentsMargins(0, 0, 0, 0)
        over.addWidget(self.layouts.viewport, 0, 0)
        over.addWidget(self._hint, 0, 0, Qt.AlignmentFlag.AlignCenter)
        middle = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(views, 1)
        self.setCentralWidget(middle)
        self.probe = DataProbe(self.layouts)
        self.statusBar().addWidget(self.probe, 1)
        notice = QtWidgets.QLabel(RESEARCH_USE)
        bold = notice.font()
        bold.setBold(True)
        notice.setFont(bold)
        notice.setContentsMargins(0, 0, 6, 0)
        self.statusBar().addPermanentWidget(notice)

    # -- the module

    def load_module(self, path: Path) -> None:
        """Dock the panel of a scripted module; without one that loads, the window still shows scans."""
        try:
            _, self.module, self._panel = modulebase.load(path)
        except Exception:
            logging.exception("The module %s could not be loaded", path)
            self.banner.error(
                "The panel could not be loaded; install BrainDiffusion anew. The log says more."
            )
            return
        scroll = _PanelArea(self._panel)
        self.dock = QtWidgets.QDockWidget(self._panel.module().title, self)
        self.dock.setObjectName("panel")
        self.dock.setWidget(scroll)
        self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, self.dock)
        self.resizeDocks([self.dock], [_PANEL_WIDTH], Qt.Orientation.Horizontal)
        toggle = self.dock.toggleViewAction()
        toggle.setText("Panel")
        self.actions_.view_menu.insertAction(self.actions_.console, toggle)
        self._panel.enter()
        self.actions_.refresh_layouts()
        self.actions_.offer_sphere(self.module.session.panel.takesMasks())
        self.restoreState(_bytes(self.core.settings().value("window state", "")))

    def is_running(self) -> bool:
        """Whether a task is going on."""
        return self.module is not None and self.module.logic.jobs.current is not None

    def run_button(self) -> Any:
        """The panel's button that begins a run, or cancels it."""
        return self._panel.findChild(QtWidgets.QPushButton, "run")

    # -- the scene

    def _scene_changed(self, *_: Any) -> None:
        if slicer.mrmlScene.IsBatchProcessing():
            return
        self._hint.setVisible(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLVolumeNode") is None)
        self._name_window()

    def _follow_views(self, *_: Any) -> None:
        """Watch what the slice views show: the window is named after it."""
        watched = self._watch.objects()
        for shown in self.layouts.composites():
            if shown not in watched:
                self._watch.observe(shown, (vtk.vtkCommand.ModifiedEvent,), self._name_window)
        self._name_window()

    def _name_window(self, *_: Any) -> None:
        """Name the window after the scan that the views show; in 3D alone after the active one."""
        shown = [composite.GetBackgroundVolumeID() for composite in self.layouts.composites()]
        active = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        nodes = (slicer.mrmlScene.GetNodeByID(identifier) for identifier in (*shown, active) if identifier)
        name = next((node.GetName() for node in nodes if node is not None), None)
        self.setWindowTitle(f"{name} – {_NAME}" if name else _NAME)

    def _opened(self, node: Any) -> None:
        if node is None:
            self.layouts.resetThreeDViews()
        elif self.module is not None and node.GetClassName() == "vtkMRMLScalarVolumeNode":
            self.module.session.panel.choose(node)  # what the user has opened is what he means

    def _sphere_placed(self, segmentation: Any, segment: str) -> None:
        """The sphere that was drawn last is the mask of what takes one."""
        if self.module is not None:
            self.module.session.panel.suggestMask((segmentation, segment))

    def ask_close_scene(self) -> None:
        """Empty the scene; asks first where something would be lost."""
        self.guard.before(self.files.close_scene, "closing the scene")

    def stop(self) -> None:
        """Cancel the task that goes on, and those that wait for it."""
        if self.module is not None:
            jobs = self.module.logic.jobs
            for job in [*jobs.waiting, jobs.current]:
                if job is not None:
                    jobs.cancel(job)

    # -- drag and drop

    def dragEnterEvent(self, event: QtGui.QDragEnterEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QtGui.QDropEvent) -> None:
        event.acceptProposedAction()
        for url in event.mimeData().urls():
            if url.isLocalFile():
                self.files.open(url.toLocalFile())
            else:
                self.files.refuse("Only files of this computer can be dropped here; download it first.")

    # -- console

    def show_console(self, shown: bool = True) -> None:
        """Show or hide the Python console; it starts when it is first shown."""
        if shown and self._console is None:
            self._console = Console(self.theme.dark, self)
            self._console.visibilityChanged.connect(self.actions_.console.setChecked)
            self.theme.changed.connect(self._console.set_dark)
            self.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self._console)
        if self._console is not None:
            self._console.setVisible(shown)

    # -- the window's own things

    def _restore(self) -> None:
        self.restoreGeometry(_bytes(self.core.settings().value("window", "")))

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:
        if not self._closing and self.guard.needed():
            event.ignore()
            self.guard.before(self._close_now, "quitting")
            return
        self.finalize()
        super().closeEvent(event)

    def _close_now(self) -> None:
        self._closing = True
        self.close()

    def finalize(self) -> None:
        """End the worker, let go of the views, and remember size and place; a second call does nothing."""
        if self.core.layoutManager() is not self.layouts:
            return
        self.core.settings().setValue("window", self.saveGeometry().toBase64().data().decode())
        self.core.settings().setValue("window state", self.saveState().toBase64().data().decode())
        self.files.finalize()
        if self._panel is not None:
            self._panel.cleanup()
        if self._console is not None:
            self._console.finalize()
        for part in (self.actions_, self.probe, self.spheres):
            part.finalize()
        self._watch.clear()
        self.core.setLayoutManager(None)
        self.layouts.finalize()


def _bytes(stored: str) -> QtCore.QByteArray:
    return QtCore.QByteArray.fromBase64(stored.encode())
