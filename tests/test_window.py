"""The main window, driven as a user drives it: open, drop, save, close, start."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from desktop_host import ROOT, QtCore, QtWidgets, core  # noqa: F401 (a fixture)

# isort: split
import scan_files
from braindiffusion_desktop import about, app, io
from desktop_events import settle, wait
from desktop_window import FAKE_WORKER, drop, opened, scan_path, slicer, window  # noqa: F401 (fixtures)
from dicom_files import write_series
from scene_volumes import add_volume, affine_of, voxels_of


def test_the_window_shows_the_panel_the_views_and_what_it_is_not_for(window):
    assert window.isVisible() and window.windowTitle() == "BrainDiffusion"
    assert window.run_button().isVisible()
    assert slicer.modules.slicerdiffusion.widgetRepresentation().self().logic is window.module.logic
    assert len(window.layouts.frames()) == 4
    words = [label.text() for label in window.statusBar().findChildren(QtWidgets.QLabel)]
    assert about.RESEARCH_USE in words
    assert not window.banner.isVisible()


def test_an_empty_window_says_how_to_begin(window, scan_path):
    hints = [
        label for label in window.findChildren(QtWidgets.QLabel) if "Drop a scan" in label.property("text")
    ]
    assert hints[0].isVisible()
    drop(window, scan_path)
    opened(window)
    assert not hints[0].isVisible()
    window.files.close_scene()
    settle()
    assert hints[0].isVisible()


# -- opening


def test_a_file_that_is_dropped_is_read_while_the_window_lives_and_is_shown(window, scan_path, monkeypatch):
    ticks = threading.Semaphore(0)
    timer = QtCore.QTimer(window)
    timer.timeout.connect(ticks.release)
    timer.start(5)
    read = io.read_scan

    def read_slowly(*args, **options):
        for _ in range(5):  # the window goes on five times before the scan is read
            assert ticks.acquire(timeout=30)
        return read(*args, **options)

    monkeypatch.setattr(io, "read_scan", read_slowly)
    drop(window, scan_path)
    assert window.banner.text == "Opening anna.nii.gz …"
    (node,) = opened(window)
    assert np.array_equal(voxels_of(node), scan_files.head())
    assert np.abs(affine_of(node) - scan_files.oblique()).max() < 1e-4
    shown = window.layouts.sliceWidget("Red").mrmlSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == node.GetID()
    assert window.windowTitle() == "anna – BrainDiffusion"
    assert window.banner.kind != "error" and "Opening" not in window.banner.text
    assert window.run_button().isEnabled()


def test_a_dicom_folder_is_dropped(window, tmp_path):
    data = np.round(scan_files.head() + 10).astype(np.uint16)
    write_series(tmp_path / "series", data, scan_files.oblique())
    drop(window, tmp_path / "series")
    (node,) = opened(window)
    assert sorted(voxels_of(node).shape) == sorted(data.shape)
    assert voxels_of(node).sum() == pytest.approx(data.sum())


def test_several_files_at_once(window, tmp_path):
    paths = [scan_files.save_nifti(tmp_path / f"{name}.nii.gz", scan_files.head()) for name in ("a", "b")]
    drop(window, *paths)
    assert sorted(node.GetName() for node in opened(window)) == ["a", "b"]


@pytest.mark.parametrize("damage", ["cut", "not there", "no image", "damaged scene"])
def test_what_cannot_be_opened_is_said_in_one_sentence_and_nothing_else_happens(
    window, scan_path, tmp_path, damage
):
    path = {
        "cut": scan_path,
        "not there": tmp_path / "gone.nii.gz",
        "no image": tmp_path / "letter.nii.gz",
        "damaged scene": tmp_path / "scene.mrb",
    }[damage]
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif damage != "not there":
        path.write_text("Dear colleague")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    window.files.open(path)
    assert opened(window) == []
    assert window.banner.kind == "error" and window.banner.isVisible()
    assert "Traceback" not in window.banner.text and "\n" not in window.banner.text
    assert 20 < len(window.banner.text) < 250
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert QtWidgets.QApplication.activeModalWidget() is None
    assert window.core.settings().recent_files() == []


def test_a_segmentation_and_a_transform_are_opened_too(window, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    assert slicer.util.saveNode(node, str(tmp_path / "shift.h5"))
    slicer.mrmlScene.RemoveNode(node)
    window.files.open(tmp_path / "shift.h5")
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLinearTransformNode") is not None


def test_recent_files(window, scan_path):
    actions = window.actions_
    actions.fill_recent()
    assert [action.text() for action in actions.recent.actions()] == ["Nothing yet"]
    drop(window, scan_path)
    opened(window)
    slicer.mrmlScene.Clear(False)
    actions.fill_recent()
    (action,) = actions.recent.actions()
    assert action.text() == "anna.nii.gz" and action.toolTip() == str(scan_path)
    action.trigger()
    assert [node.GetName() for node in opened(window)] == ["anna"]
    scan_path.unlink()
    action.trigger()
    assert "no file" in window.banner.text and str(scan_path) in window.banner.text


def test_a_scene_is_saved_and_opened_again(window, scan_path, tmp_path):
    drop(window, scan_path)
    (node,) = opened(window)
    add_volume(8 * (scan_files.head() > 150).astype(np.float32), scan_files.oblique(), "heat")
    window.layouts.setLayout(6)
    assert window.files.save_scene(tmp_path / "case")
    path = tmp_path / "case.mrb"
    assert path.is_file() and window.core.settings().recent_files()[0] == str(path)
    window.files.close_scene()
    settle()
    assert opened(window) == []
    drop(window, path)
    nodes = {node.GetName(): node for node in opened(window)}
    assert set(nodes) == {"anna", "heat"}
    assert np.array_equal(voxels_of(nodes["anna"]), scan_files.head())
    assert np.abs(affine_of(nodes["anna"]) - scan_files.oblique()).max() < 1e-4
    assert window.layouts.layout == 6
    assert [frame.view.node.GetLayoutName() for frame in window.layouts.frames()] == ["Red"]


def test_a_scene_is_saved_with_its_data_beside_it(window, scan_path, tmp_path):
    drop(window, scan_path)
    opened(window)
    assert window.files.save_scene(tmp_path / "case.mrml")
    window.files.close_scene()
    window.files.open(tmp_path / "case.mrml")
    (node,) = opened(window)
    assert np.array_equal(voxels_of(node), scan_files.head())


def test_a_scene_that_cannot_be_saved_is_said(window, tmp_path):
    add_volume(name="anna")
    assert not window.files.save_scene(tmp_path / "no folder" / "case.mrb")
    assert window.banner.kind == "error" and window.banner.isVisible()


# -- closing


def test_closing_ends_everything_and_a_new_window_can_be_opened(core, scan_path):
    first = app.start([str(scan_path)])
    opened(first)
    queue = first.module.logic.jobs
    first.close()
    assert core.layoutManager() is None
    assert core.applicationLogic().GetSliceLogics().GetNumberOfItems() == 0
    assert queue.processId() is None
    slicer.mrmlScene.Clear(False)
    second = app.start([str(scan_path)])
    assert [node.GetName() for node in opened(second)] == ["anna"]
    assert second.run_button().isVisible()
    second.close()


# -- the command


def test_the_command_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "slicer", None)
    assert app.main([]) == 1
    said = capsys.readouterr().err
    assert "pip install '.[desktop]'" in said and "repository's folder" in said and said.count("\n") == 1


def test_without_a_display_the_command_says_what_works_without_one(capsys):
    assert app.main([]) == 1
    said = capsys.readouterr().err
    assert "no display" in said and "--demo" in said and said.count("\n") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about X servers")
def test_a_display_that_is_not_there_is_said_in_one_sentence():
    variables = {**os.environ, "DISPLAY": ":4711", "QT_QPA_PLATFORM": "xcb"}
    code = "from braindiffusion_desktop.app import _application; _application()"
    said = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert said.returncode == 1
    assert "No window can be opened" in said.stderr and "Aborted" not in said.stderr


def test_the_window_is_ready_within_four_seconds_of_the_processor(tmp_path):
    """Seconds on the clock depend on what else the machine does."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {**os.environ, "BRAINDIFFUSION_SETTINGS": str(tmp_path / "settings.json")}
    command = [sys.executable, "-m", "braindiffusion_desktop.app", "--time"]
    paths = [str(ROOT / "SlicerDiffusion" / "Desktop"), str(ROOT / "core")]
    variables["PYTHONPATH"] = os.pathsep.join(paths)
    said = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "The window was ready" in said.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4


def demo(window, monkeypatch, **places) -> int:
    """The exit code of the demo."""
    from braindiffusion_desktop.demo import Demo

    codes: list[int] = []
    monkeypatch.setattr(QtWidgets.QApplication, "exit", codes.append)
    Demo(window, **places, end=True).begin()
    wait(lambda: codes, 120)
    return codes[0]


def test_the_demo_heals_the_sample_patient_and_says_what_was_found(window, tmp_path, monkeypatch, capsys):
    result = tmp_path / "result"
    assert demo(window, monkeypatch, pictures=tmp_path, results=result) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "window-compare.png").is_file() and not (result / ".handover").exists()
    known = json.loads((result / "result.json").read_text(encoding="utf-8"))
    assert all((result / name).is_file() for name in known["files"])
    for text in (known["verdict"], "thalamus: ", "not for diagnosis", str(result), "picture.png"):
        assert text in said
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    (command,) = [line for line in lines if "heal $(SAMPLE)" in line]
    assert f"--seed {known['provenance']['parameters']['seed']}" in command


def test_a_demo_whose_files_cannot_be_written_ends_in_one_sentence(window, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    assert demo(window, monkeypatch, pictures=None, results=tmp_path / "file" / "result") == 1
    assert "file" in capsys.readouterr().err.splitlines()[-1]
