"""Scripted modules in the window: loaded, entered, reloaded and cleaned up as 3D Slicer does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from desktop_host import QtWidgets, core  # noqa: F401

MODULE = """
import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *

from ToyHealLib import words


class ToyHeal(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Toy Heal")
        self.parent.categories = ["Tests"]


class ToyHealWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = None
        self.heard = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = ToyHealLogic()
        self.button = qt.QPushButton(words.BUTTON)
        self.layout.addWidget(self.button)
        self.layout.addStretch(1)
        self.heard.append("setup")

    def enter(self):
        self.heard.append("enter")

    def exit(self):
        self.heard.append("exit")

    def cleanup(self):
        self.heard.append("cleanup")


class ToyHealLogic(ScriptedLoadableModuleLogic):
    pass


class ToyHealTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("looking")
        self.assertEqual(words.BUTTON, "Heal")
"""


@pytest.fixture
def toy(core, tmp_path):  # noqa: F811
    """The path of a module with a package beside it; unloaded at the end."""
    import slicer

    (tmp_path / "ToyHealLib").mkdir()
    (tmp_path / "ToyHealLib" / "__init__.py").write_text("")
    (tmp_path / "ToyHealLib" / "words.py").write_text('BUTTON = "Heal"\n')
    path = tmp_path / "ToyHeal.py"
    path.write_text(MODULE)
    search, modules = list(sys.path), set(vars(slicer.modules))
    yield path
    known = vars(slicer.modules).get("toyheal")
    if known is not None:
        known.close()
    for name in set(vars(slicer.modules)) - modules:
        delattr(slicer.modules, name)
    sys.path[:] = search


def load(path: Path):
    from braindiffusion_desktop import modulebase

    return modulebase.load(path)


def test_the_bases_are_where_slicer_has_them(core):  # noqa: F811
    from slicer.i18n import tr, translate
    from slicer.ScriptedLoadableModule import ScriptedLoadableModule

    assert tr("Heal") == translate("ToyHeal", "Heal") == "Heal"
    assert ScriptedLoadableModule.__module__.startswith("braindiffusion_desktop")


def test_real_bases_are_left_alone(core, monkeypatch):  # noqa: F811
    from types import ModuleType

    from braindiffusion_desktop import modulebase

    real = ModuleType("slicer.ScriptedLoadableModule")
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", real)
    modulebase.install()
    assert sys.modules["slicer.ScriptedLoadableModule"] is real


def test_a_loaded_module_is_known_as_in_slicer(toy):
    import slicer

    python, widget, panel = load(toy)
    module = slicer.modules.toyheal
    assert (module.name, module.title, module.path) == ("ToyHeal", "Toy Heal", str(toy))
    assert module.widgetRepresentation() is panel and panel.self() is widget
    assert slicer.modules.ToyHealWidget is widget
    assert type(slicer.modules.ToyHealInstance).__name__ == "ToyHeal"
    assert slicer.util.getModuleWidget("ToyHeal") is widget
    assert slicer.util.getModuleLogic("ToyHeal") is widget.logic is module.logic()
    assert slicer.util.modulePath("ToyHeal") == str(toy)
    assert "ToyHeal" in slicer.util.moduleNames()
    assert sys.modules["ToyHeal"] is python
    assert widget.resourcePath("Icons/ToyHeal.png") == str(toy.parent / "Resources" / "Icons" / "ToyHeal.png")


def test_only_the_modules_own_folder_comes_onto_the_path(toy):
    before = list(sys.path)
    load(toy)
    assert [folder for folder in sys.path if folder not in before] == [str(toy.parent)]


def test_the_panel_is_a_widget_with_the_modules_widgets(toy, qtbot):
    _, widget, panel = load(toy)
    window = QtWidgets.QMainWindow()
    qtbot.addWidget(window)
    window.setCentralWidget(panel)
    window.show()
    qtbot.waitExposed(window)
    assert widget.parent is panel and widget.layout is panel.layout()
    assert widget.button.isVisible() and widget.button.text == "Heal"
    assert panel.mrmlScene() is not None


def test_enter_exit_and_cleanup_are_told_once(toy):
    _, widget, panel = load(toy)
    panel.enter()
    panel.enter()
    panel.exit()
    panel.exit()
    panel.enter()
    panel.cleanup()
    panel.cleanup()
    assert widget.heard == ["setup", "enter", "exit", "enter", "exit", "cleanup"]


@pytest.mark.parametrize("by", ["module", "widget", "load"])
def test_reloading_cleans_up_and_runs_the_new_code(toy, qtbot, by):
    import slicer

    _, old, panel = load(toy)
    qtbot.addWidget(panel)
    panel.enter()
    toy.write_text(MODULE.replace('heard.append("enter")', 'heard.append("entered anew")'))
    (toy.parent / "ToyHealLib" / "words.py").write_text('BUTTON = "Heal again, and better"\n')
    if by == "load":
        _, new, panel = load(toy)
        panel.enter()
    elif by == "module":
        slicer.modules.toyheal.reload()
    else:
        old.onReload()
    new = slicer.modules.ToyHealWidget
    assert old.heard[-1] == "cleanup" and new is not old
    assert new.heard == ["setup", "entered anew"]
    if by != "widget":  # Slicer's own reload keeps packages beside the module, as its documentation says
        assert new.button.text == "Heal again, and better"
    qtbot.waitUntil(lambda: len(panel.findChildren(QtWidgets.QPushButton)) == 1)
    assert slicer.modules.toyheal.widgetRepresentation().self() is new


def test_code_that_cannot_be_loaded_leaves_the_panel_as_it_was(toy):
    import slicer

    python, widget, _ = load(toy)
    toy.write_text(MODULE + "\nraise RuntimeError('half written')\n")
    with pytest.raises(RuntimeError, match="half written"):
        slicer.modules.toyheal.reload()
    assert sys.modules["ToyHeal"] is python and slicer.modules.ToyHealWidget is widget
    assert "cleanup" not in widget.heard
    toy.write_text(MODULE)
    slicer.modules.toyheal.reload()
    assert widget.heard[-1] == "cleanup" and slicer.modules.ToyHealWidget is not widget


def test_a_module_that_fails_to_load_is_not_there(toy):
    import slicer

    toy.write_text(MODULE.replace("self.button = ", "self.button = nothing = missing\n        "))
    with pytest.raises(NameError):
        load(toy)
    assert not hasattr(slicer.modules, "toyheal")


def test_a_panel_whose_window_is_gone_can_be_loaded_again(toy, qtbot):
    import slicer

    _, _, panel = load(toy)
    panel.cleanup()
    panel.deleteLater()
    qtbot.wait(20)
    _, widget, _ = load(toy)
    assert widget.heard == ["setup"] and slicer.modules.ToyHealWidget is widget


def test_parameters_live_in_one_node_that_is_saved_with_the_scene(toy, tmp_path):
    import slicer

    _, widget, _ = load(toy)
    node = widget.logic.getParameterNode()
    assert node is widget.logic.getParameterNode() and node.GetAttribute("ModuleName") == "ToyHeal"
    node.SetParameter("seed", "7")
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert widget.logic.getParameterNode().GetParameter("seed") == ""
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert widget.logic.getParameterNode().GetParameter("seed") == "7"


def test_a_logic_may_have_several_parameter_nodes(toy):
    python, _, _ = load(toy)
    logic = python.ToyHealLogic()
    logic.isSingletonParameterNode = False
    import slicer

    first = logic.getParameterNode()
    second = slicer.mrmlScene.AddNode(logic.createParameterNode())
    assert logic.getAllParameterNodes() == [first, second] and logic.getParameterNode() is first


def test_the_self_test_runs(toy):
    import slicer

    load(toy)
    slicer.modules.ToyHealInstance.runTest()
    (toy.parent / "ToyHealLib" / "words.py").write_text('BUTTON = "Harm"\n')
    slicer.modules.toyheal.reload()
    with pytest.raises(AssertionError):
        slicer.modules.ToyHealInstance.runTest()


def test_a_misspelt_property_of_the_module_is_an_error(toy):
    toy.write_text(MODULE.replace("self.parent.title", "self.parent.tittle"))
    with pytest.raises(AttributeError):
        load(toy)
