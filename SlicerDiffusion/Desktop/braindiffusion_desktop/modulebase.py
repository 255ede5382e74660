"""The base classes of scripted modules, for where 3D Slicer's own are absent: in slicer-core.

`install()` provides `slicer.ScriptedLoadableModule` and `slicer.i18n`; `load(path)` loads a module.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer

from .scripted import load, qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget

__all__ = ["install", "load"]


class ScriptedLoadableModule:
    """What a module says of itself: it fills `parent`'s title, categories, help text and so on."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        icons = Path(parent.path).parent / "Resources" / "Icons"
        for icon in (icons / f"{self.moduleName}{ending}" for ending in (".svg", ".png")):
            if icon.is_file():
                import qt

                parent.icon = qt.QIcon(str(icon))
                break

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the module's self-test; raises what the test raises."""
        test = getattr(sys.modules[self.moduleName], self.moduleName + "Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel: setup() builds it, enter() and exit() tell when it is shown and left, cleanup() ends it."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            import qt

            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        """Path of a file in the module's folder Resources."""
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self) -> None: ...

    def cleanup(self) -> None: ...

    def enter(self) -> None: ...

    def exit(self) -> None: ...

    def onReload(self) -> None:
        logging.debug("Reloading %s", self.moduleName)
        slicer.util.reloadScriptedModule(self.moduleName)

    def onReloadAndTest(self, **kwargs: Any) -> None:
        self.onReload()
        getattr(sys.modules[self.moduleName], self.moduleName + "Test")().runTest(**kwargs)


class ScriptedLoadableModuleLogic:
    """What the module does, without its panel."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The node that keeps the module's parameters with the scene; added to it where there is none."""
        nodes = self.getAllParameterNodes()
        return nodes[0] if nodes else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        scene = slicer.mrmlScene
        if self.isSingletonParameterNode:
            node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            return [] if node is None else [node]
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode", scene)
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """A parameter node that is not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # the variable owns it now
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self-test: it overrides runTest()."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Log what the test does now; the window is drawn, and nobody waits."""
        logging.info(message)
        slicer.app.processEvents()

    def runTest(self) -> None:
        logging.warning("No test is defined in %s", type(self).__name__)


_BASES = (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)


def install() -> None:
    """Provide `slicer.ScriptedLoadableModule` and `slicer.i18n`, each only where there is no real one.

    With them come the classes by which slicer.util knows a scripted module and its panel.
    """
    base = types.ModuleType("slicer.ScriptedLoadableModule", ScriptedLoadableModule.__doc__)
    vars(base).update({cls.__name__: cls for cls in _BASES}, __all__=[cls.__name__ for cls in _BASES])
    words = types.ModuleType("slicer.i18n", "The words of the panel, untranslated.")
    vars(words).update(tr=lambda text: text, translate=lambda _context, text: text)
    for module in (base, words):
        if module.__name__ not in sys.modules and importlib.util.find_spec(module.__name__) is None:
            sys.modules[module.__name__] = module
            setattr(slicer, module.__name__.rpartition(".")[2], module)
    for cls in (qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget):
        if not hasattr(slicer, cls.__name__):
            setattr(slicer, cls.__name__, cls)
