"""The application without its window: the MRML scene, the logics on it, and `slicer.app`, `slicer.modules`.

What qSlicerCoreApplication does in 3D Slicer. No Qt widget is needed; a window adds its layout manager with
`setLayoutManager`. One CoreApp per process: the factories of displayable managers are singletons that keep
the application logic they were given first.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import slicer
import vtk

from .colors import add_label_colors
from .hierarchy import SubjectHierarchy
from .iomanager import IOManager
from .modules import CoreModule, ModuleManager, Modules, Signals
from .observe import Observations
from .settings import Settings, default_path

_LOGICS = {
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Units": "vtkSlicerUnitsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "Data": "vtkSlicerDataModuleLogic",
}


class _Environment(dict[str, str]):
    """QProcessEnvironment, as slicer.util.startupEnvironment reads it."""

    def value(self, name: str) -> str:
        return self.get(name, "")


class CoreApp(Signals):
    """Stand-in for `slicer.app`: the members that slicer.util and module code call.

    settings: the file that the window's settings are kept in.
    """

    applicationName = "BrainDiffusion"
    applicationVersion = version("slicer-core")
    majorVersion, minorVersion = (int(part) for part in applicationVersion.split(".")[:2])

    def __init__(self, settings: Path | None = None) -> None:
        super().__init__()
        _log_vtk_once()
        self._settings = Settings(settings or default_path())
        self.temporaryPath = _temporary_folder()
        self.scene = slicer.vtkMRMLScene()
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._layout_manager: Any = None
        self._testing = self._closed = False
        self._io = IOManager(self)
        self.modules = Modules()
        self._manager = ModuleManager(self.modules)
        slicer.mrmlScene, slicer.app, slicer.modules = self.scene, self, self.modules
        self._start_scene()
        self._start_logics()
        self._hierarchy = SubjectHierarchy(self.scene)
        self._seen = Observations()
        self._seen.observe(self.scene, (self.scene.EndCloseEvent,), self._complete_scene)

    def _start_scene(self) -> None:
        scene, app, temporary = self.scene, self._logic, Path(self.temporaryPath)
        cache = slicer.vtkCacheManager()  # bundles are unpacked through it
        (temporary / "remote").mkdir()
        cache.SetRemoteCacheDirectory(str(temporary / "remote"))
        cache.SetMRMLScene(scene)
        data = slicer.vtkDataIOManager()
        data.SetCacheManager(cache)
        scene.SetCacheManager(cache)
        scene.SetDataIOManager(data)
        app.SetTemporaryPath(str(temporary))
        app.SetHomeDirectory(str(temporary))  # where Slicer has its data files; the wheel has none
        app.SetShareDirectory("share")
        (temporary / "share" / "ColorFiles").mkdir(parents=True)

    def _start_logics(self) -> None:
        scene, app = self.scene, self._logic
        colors = slicer.vtkSlicerColorLogic()
        colors.SetMRMLApplicationLogic(app)
        app.SetColorLogic(colors)
        app.SetMRMLScene(scene)
        colors.SetMRMLScene(scene)
        self._add_module("Colors", colors)
        app.SetSliceLogics(vtk.vtkCollection())
        app.SetViewLogics(vtk.vtkCollection())
        for kind in ("ThreeD", "Slice"):
            factory = getattr(slicer, f"vtkMRML{kind}ViewDisplayableManagerFactory").GetInstance()
            factory.SetMRMLApplicationLogic(app)
        for name, cls in _LOGICS.items():
            logic = getattr(slicer, cls)()
            logic.SetMRMLApplicationLogic(app)
            logic.SetMRMLScene(scene)
            self._add_module(name, logic)
        for processor in ("GPU", "CPU"):
            method = f"vtkMRML{processor}RayCastVolumeRenderingDisplayNode"
            self.logic("VolumeRendering").RegisterRenderingMethod(f"VTK {processor} Ray Casting", method)
        self._complete_scene()

    def _complete_scene(self, *_: object) -> None:
        """Add what every scene of Slicer has, and Clear(True) takes: crosshair, colours, orientations."""
        scene, colors = self.scene, self.logic("Colors")
        if scene.GetSingletonNode("default", "vtkMRMLCrosshairNode") is None:
            crosshair = slicer.vtkMRMLCrosshairNode()
            crosshair.SetCrosshairName("default")
            scene.AddNode(crosshair)
        if scene.GetNodeByID(colors.GetDefaultVolumeColorNodeID()) is None:
            colors.AddDefaultColorNodes()
        if scene.GetNodeByID(colors.GetDefaultLabelMapColorNodeID()) is None:
            add_label_colors(scene, colors.GetDefaultLabelMapColorNodeID())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)

    def _add_module(self, name: str, logic: Any) -> None:
        self._logic.SetModuleLogic(name, logic)
        setattr(self.modules, name.lower(), CoreModule(name, logic))

    # the scene and its logics

    def mrmlScene(self) -> Any:
        return self.scene

    def applicationLogic(self) -> Any:
        return self._logic

    def logic(self, name: str) -> Any:
        """The logic of a module by its name, such as "Volumes"."""
        return getattr(self.modules, name.lower()).logic()

    def coreIOManager(self) -> IOManager:
        return self._io

    ioManager = coreIOManager

    def moduleManager(self) -> ModuleManager:
        return self._manager

    def show_volume(self, node: Any, *, fit: bool = True) -> None:
        """Show a volume, or a label map over it, in all slice views; it becomes the active one.

        fit: move the views so that all of it is seen.
        """
        selection = self._logic.GetSelectionNode()
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(node.GetID())
        else:
            selection.SetActiveVolumeID(node.GetID())
        self._logic.PropagateVolumeSelection(int(fit))

    # the window

    def layoutManager(self) -> Any:
        """The window's layout manager, None without a window."""
        return self._layout_manager

    def setLayoutManager(self, manager: Any) -> None:
        self._layout_manager = manager

    def setMainWindow(self, window: Any) -> None:
        """The window that slicer.util.mainWindow() is to find, for messages and as the parent of dialogs."""
        window.objectName = "qSlicerMainWindow"  # slicer.util compares an attribute; it hides the method

    def topLevelWidgets(self) -> list[Any]:
        from PySide6.QtWidgets import QApplication

        return QApplication.topLevelWidgets()

    def processEvents(self) -> None:
        from PySide6.QtCore import QCoreApplication

        QCoreApplication.processEvents()

    def setOverrideCursor(self, cursor: Any) -> None:
        from PySide6.QtWidgets import QApplication

        QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        from PySide6.QtWidgets import QApplication

        QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        self._to_layout_manager("pauseRender")

    def resumeRender(self) -> None:
        self._to_layout_manager("resumeRender")

    def _to_layout_manager(self, name: str) -> None:
        call: Callable[[], None] | None = getattr(self._layout_manager, name, None)
        if call is not None:
            call()

    # the process

    def settings(self) -> Settings:
        return self._settings

    userSettings = settings

    def startupEnvironment(self) -> _Environment:
        return _Environment(os.environ)

    def translate(self, _context: str, text: str) -> str:
        return text

    def testingEnabled(self) -> bool:
        return self._testing

    def setTestingEnabled(self, testing: bool) -> None:
        self._testing = testing

    def close(self) -> None:
        """Empty the scene and remove the temporary folder; the application cannot be used any more."""
        if self._closed:
            return
        self._closed = True
        self.emit("aboutToQuit")
        self._hierarchy.close()
        self._seen.clear()
        self.scene.Clear(True)
        shutil.rmtree(self.temporaryPath, ignore_errors=True)


def _log_vtk_once() -> None:
    """VTK's messages go to stderr through its output window; its logger would print each a second time."""
    window = vtk.vtkOutputWindow()
    window.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(window)
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)


def _temporary_folder() -> str:
    """A new folder whose path is plain ASCII: libraries below MRML cannot write to others everywhere."""
    homes = [tempfile.gettempdir(), "/tmp", os.environ.get("PUBLIC", ""), os.environ.get("PROGRAMDATA", "")]
    fit = (home for home in homes if home and home.isascii() and os.access(home, os.W_OK))
    return tempfile.mkdtemp(prefix="braindiffusion-", dir=next(fit, homes[0]))
