"""The window's core: what `slicer.app` and the scene are, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from desktop_host import QtWidgets, core  # noqa: F401
from scene_volumes import add_volume


@pytest.fixture
def slicer(core):  # noqa: F811
    import slicer

    return slicer


# the application


def test_slicer_has_its_application_scene_and_logics(core, slicer):  # noqa: F811
    assert slicer.app is core and slicer.mrmlScene is core.scene is slicer.app.mrmlScene()
    for name in ("volumes", "segmentations", "transforms", "markups", "colors", "volumerendering"):
        assert getattr(slicer.modules, name).logic().GetMRMLScene() is core.scene
    assert slicer.util.getModule("Volumes").logic() is core.logic("Volumes")
    assert slicer.util.getModuleLogic("Segmentations") is slicer.modules.segmentations.logic()
    assert core.applicationLogic().GetModuleLogic("Volumes") is core.logic("Volumes")


def test_a_module_that_is_not_there_is_named(slicer):
    with pytest.raises(AttributeError, match="no module 'elastix'"):
        _ = slicer.modules.elastix
    with pytest.raises(RuntimeError, match="Elastix"):
        slicer.util.getModule("Elastix")


def test_the_temporary_folder_is_ascii_and_used_by_slicer_util(core, slicer):  # noqa: F811
    assert core.temporaryPath.isascii() and os.path.isdir(core.temporaryPath)
    assert Path(slicer.util.tempDirectory("run-")).parent == Path(core.temporaryPath)


def test_without_a_window_there_is_no_layout_manager_and_no_main_window(core, slicer):  # noqa: F811
    assert core.layoutManager() is None and slicer.util.mainWindow() is None
    assert slicer.util.errorDisplay("nobody sees this") is None
    with slicer.util.RenderBlocker():
        add_volume()


def test_a_window_that_is_set_is_slicers_main_window(core, slicer, qtbot):  # noqa: F811
    window = QtWidgets.QMainWindow()
    qtbot.addWidget(window)
    core.setMainWindow(window)
    assert slicer.util.mainWindow() is window
    slicer.util.showStatusMessage("healing")
    assert window.statusBar().currentMessage() == "healing"


def test_the_environment_of_child_processes_is_this_one(slicer, monkeypatch):
    monkeypatch.setenv("BRAINDIFFUSION_PROBE", "ünï")
    assert slicer.util.startupEnvironment()["BRAINDIFFUSION_PROBE"] == "ünï"


def test_closing_removes_all_files_and_ends_cleanly(tmp_path):
    """In a process of its own, as the application cannot be made twice in one."""
    code = (
        "import json, pathlib, sys, numpy as np, slicer\n"
        "from braindiffusion_desktop.core import CoreApp\n"
        "app = CoreApp(settings=pathlib.Path(sys.argv[1]))\n"
        "node = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.float32))\n"
        "there = []\n"
        "app.connect('aboutToQuit()', lambda: there.append(node.GetScene() is app.scene))\n"
        "slicer.util.saveNode(node, app.temporaryPath + '/scratch.nrrd')\n"
        "app.close()\n"
        "print(json.dumps([app.temporaryPath, there, 'PySide6.QtWidgets' in sys.modules]))\n"
    )
    folder = Path(__file__).resolve().parents[1] / "SlicerDiffusion" / "Desktop"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", code, str(tmp_path / "settings.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    temporary, there, widgets = json.loads(done.stdout.splitlines()[-1])
    assert not os.path.exists(temporary) and there == [True] and not widgets
    assert "ERROR" not in done.stderr


# the scene


def test_every_scene_has_crosshair_and_colours(core, slicer):  # noqa: F811
    for everything in (False, True):
        core.scene.Clear(everything)
        assert core.scene.GetNumberOfNodesByClass("vtkMRMLCrosshairNode") == 1
        assert core.scene.GetNodeByID("vtkMRMLColorTableNodeGrey") is not None
        assert core.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_labels_are_shown_in_unlike_colours_and_their_background_not_at_all(slicer):
    node = add_volume(np.zeros((4, 4, 4), np.uint8), np.eye(4), kind="LabelMap")
    node.CreateDefaultDisplayNodes()
    colors, table = node.GetDisplayNode().GetColorNode(), []
    for label in range(20):
        color = [0.0] * 4
        colors.GetColor(label, color)
        table.append(color)
    assert table[0][3] == 0 and all(color[3] == 1 for color in table[1:])
    assert min(np.linalg.norm(np.subtract(a, b)) for a, b in zip(table[1:], table[2:])) > 0.3


def test_nodes_have_their_place_in_the_subject_hierarchy(slicer):
    volume = add_volume()
    hidden = slicer.mrmlScene.CreateNodeByClass("vtkMRMLModelNode")
    hidden.UnRegister(None)
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(volume)
    assert tree.GetItemName(item) == "head" and tree.GetItemOwnerPluginName(item) == "Volumes"
    assert tree.GetItemByDataNode(hidden) == tree.GetInvalidItemID()
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "Heal 1")
    tree.SetItemParent(item, folder)
    slicer.mrmlScene.RemoveNode(volume)
    assert tree.GetItemName(item) == "" and tree.GetItemName(folder) == "Heal 1"


def test_scene_events_are_told_in_order(core, slicer, tmp_path):  # noqa: F811
    add_volume()
    scene, heard = core.scene, []
    names = ("StartSaveEvent", "EndSaveEvent", "StartCloseEvent", "EndCloseEvent", "StartImportEvent")
    names += ("EndImportEvent",)
    tags = [
        scene.AddObserver(getattr(scene, name), lambda *_, name=name: heard.append(name)) for name in names
    ]
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    for tag in tags:
        scene.RemoveObserver(tag)
    assert list(dict.fromkeys(heard)) == list(names)


# settings


def test_settings_outlive_the_window(tmp_path):
    from braindiffusion_desktop.settings import Settings

    path = tmp_path / "deep" / "settings.json"
    first = Settings(path)
    first.setValue("window/size", [1200, 800])
    for name in ("a", "b", "a", "ünï"):
        first.add_recent_file(tmp_path / name)
    second = Settings(path)
    assert second.value("window/size") == [1200, 800] and second.value("no such key", 3) == 3
    assert [Path(file).name for file in second.recent_files()] == ["ünï", "a", "b"]
    second.remove("window/size")
    assert not Settings(path).contains("window/size")


def test_settings_that_cannot_be_read_or_written_do_not_stop_the_window(tmp_path, caplog):
    from braindiffusion_desktop.settings import Settings

    (tmp_path / "settings.json").write_text('{"cut sho')
    settings = Settings(tmp_path / "settings.json")
    assert settings.recent_files() == [] and "cannot be read" in caplog.text
    (tmp_path / "file").write_text("not a folder")
    unwritable = Settings(tmp_path / "file" / "settings.json")
    unwritable.setValue("key", 1)
    assert unwritable.value("key") == 1 and "cannot be written" in caplog.text
