"""Loading a scripted module and showing its panel, as qSlicerScriptedLoadableModule does in 3D Slicer."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtWidgets
from shiboken6 import isValid

from . import pythonqt
from .qmrml import qMRMLWidget


class qSlicerScriptedLoadableModule:
    """One scripted module: `slicer.modules.<name>`, and the `parent` that the module's class fills in."""

    __slots__ = (
        *("path", "name", "title", "categories", "dependencies", "contributors", "associatedNodeTypes"),
        *("helpText", "acknowledgementText", "icon", "index", "hidden"),
        *("_python", "_instance", "_panel"),
    )

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.title = str(path), path.stem, path.stem
        self.categories, self.dependencies, self.contributors, self.associatedNodeTypes = [], [], [], []
        self.helpText = self.acknowledgementText = ""
        self.icon, self.index, self.hidden = None, -1, False
        self._panel: Any = None
        self.take(_execute(self.name, self.path))

    @property
    def python(self) -> types.ModuleType:
        """The Python module as it is loaded now."""
        return self._python

    def take(self, python: types.ModuleType) -> None:
        """Use this Python module from now on."""
        self._python = python
        self._instance = getattr(python, self.name)(self)
        setattr(slicer.modules, self.name + "Instance", self._instance)

    def widgetRepresentation(self) -> Any:
        """The QWidget with the panel; the first call builds it."""
        if self._panel is None:
            self._panel = pythonqt.strict(qSlicerScriptedLoadableModuleWidget)()
            try:
                self._panel.open(self)
            except BaseException:
                self._panel = None
                raise
        return self._panel

    def logic(self) -> Any:
        """The panel's logic. In 3D Slicer it is an empty C++ object: ask the widget object for its logic."""
        return getattr(self.widgetRepresentation().self(), "logic", None)

    def reload(self) -> None:
        """Load the module's file and the packages beside it anew; the panel is cleaned up and built again.

        A file that cannot be run raises, and everything stays as it was.
        """
        before = {name: sys.modules.pop(name) for name in (*_own_packages(self.path), self.name)}
        try:
            slicer.util.reloadScriptedModule(self.name)
        finally:
            if self._python is before[self.name]:  # the new one was not taken
                sys.modules.update(before)

    def close(self) -> None:
        """Clean the panel up and forget it, and the module with its packages."""
        if self._panel is not None and isValid(self._panel):
            self._panel.cleanup()
            self._panel.deleteLater()
        self._panel = None
        for name in (*_own_packages(self.path), self.name):
            sys.modules.pop(name, None)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The QWidget that holds the panel: the module's widget object fills its layout."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._module: Any = None
        self._object: Any = None
        self._entered = self._cleaned = False
        self.setLayout(sys.modules["qt"].QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def open(self, module: qSlicerScriptedLoadableModule) -> None:
        """Build the panel of a module."""
        self._module = module
        self._build()

    def self(self) -> Any:
        """The module's widget object."""
        return self._object

    def module(self) -> qSlicerScriptedLoadableModule:
        return self._module

    def reload(self) -> None:
        """Build the panel from what is loaded now; slicer.util.reloadScriptedModule cleans up the old one."""
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.deleteLater()
        self._module.take(sys.modules[self._module.name])
        self._build()
        if self._entered:
            self._object.enter()

    def _build(self) -> None:
        name = self._module.name
        self._object = getattr(self._module.python, name + "Widget")(self)
        setattr(slicer.modules, name + "Widget", self._object)
        self._object.setup()
        self._cleaned = False

    def enter(self) -> None:
        """The panel is shown now."""
        if not self._entered:
            self._entered = True
            self._object.enter()

    def exit(self) -> None:
        """The panel is left for another, or the window closes."""
        if self._entered:
            self._entered = False
            self._object.exit()

    def isEntered(self) -> bool:
        return self._entered

    def cleanup(self) -> None:
        """Leave the panel and end what it has begun; it is not used any more. A second call does nothing."""
        if not self._cleaned:
            self._cleaned = True
            self.exit()
            self._object.cleanup()


def load(path: str | Path) -> tuple[types.ModuleType, Any, Any]:
    """Load <Name>.py and build its panel; a module of that name that was loaded before is closed first.

    Returns the Python module, its widget object, and the QWidget that holds the panel. The module is then
    `slicer.modules.<name>`, its widget object `slicer.modules.<Name>Widget`. The caller tells the QWidget
    enter() and exit(), and cleanup() at the end. Raises what the module's code raises; then it is not loaded.
    """
    path = Path(path).resolve()
    known = vars(slicer.modules).pop(path.stem.lower(), None)
    if known is not None:
        known.close()
    module = qSlicerScriptedLoadableModule(path)
    setattr(slicer.modules, module.name.lower(), module)  # the panel asks for it while it is built
    try:
        panel = module.widgetRepresentation()
    except BaseException:
        delattr(slicer.modules, module.name.lower())
        raise
    return module.python, panel.self(), panel


def _execute(name: str, path: str) -> types.ModuleType:
    """Run a module's file under its own name. Its folder, which holds <Name>Lib, goes onto sys.path."""
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"'{path}' is no Python file that could be loaded as a module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _own_packages(path: str) -> list[str]:
    """Names of loaded Python modules that belong to packages lying beside the module's file."""
    folder = Path(path).parent
    packages = {child.name for child in folder.iterdir() if (child / "__init__.py").is_file()}
    return [name for name in sys.modules if name.partition(".")[0] in packages]
