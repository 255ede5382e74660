"""Nothing is lost without a question: closing, quitting and opening scenes, by every way that leads there."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desktop_host import QtWidgets, core  # noqa: F401 (a fixture)

# isort: split
import scan_files
from braindiffusion_desktop.guard import unsaved
from desktop_events import settle, wait
from desktop_window import FAKE_WORKER, drop, opened, scan_path, slicer, window  # noqa: F401 (fixtures)
from made_up_tasks import tasks  # noqa: F401 (a fixture)
from scene_volumes import add_volume


@pytest.fixture
def user(window: Any) -> Any:
    """The window with somebody before it."""
    window.interactive = True
    return window


@pytest.fixture
def scene_path(window: Any, tmp_path: Path) -> Path:
    """A saved scene with the volume "saved"; the scene in the window is empty again."""
    add_volume(name="saved")
    path = tmp_path / "case.mrb"
    assert window.files.save_scene(path)
    window.files.close_scene()
    settle()
    return path


def _ask_for_scene(window: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QtWidgets.QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    window.actions_.open_scene.trigger()


def _recent(window: Any, path: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    window.actions_.fill_recent()
    next(one for one in window.actions_.recent.actions() if one.toolTip() == str(path)).trigger()


ENTRIES = {
    "Open scene": _ask_for_scene,
    "Recent": _recent,
    "drop": lambda window, path, _: drop(window, path),
    "Close scene": lambda window, *_: window.actions_.close_scene.trigger(),
    "Quit": lambda window, *_: window.actions_.quit.trigger(),
}


def _begin_task(window: Any, scan_path: Path) -> Any:
    """A task that takes long, on a scan of which a file is there."""
    window.module.logic.jobs.engine.command = [sys.executable, str(FAKE_WORKER), "slow"]
    drop(window, scan_path)
    opened(window)
    window.run_button().click()
    wait(lambda: window.is_running() and window.module.logic.jobs.current.fraction > 0)
    return window.module.logic.jobs.current


def _answers(window: Any) -> dict[str, Any]:
    assert window.banner.isVisible() and window.banner.kind == "question"
    return {button.text(): button for button in window.banner.buttons}


def _names() -> list[str]:
    return sorted(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def _went(window: Any, entry: str) -> None:
    """What was begun has been done."""
    settle()
    if entry == "Quit":
        assert not window.isVisible()
    else:
        assert _names() == ([] if entry == "Close scene" else ["saved"])


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_not_saved_is_named_and_kept_until_the_user_lets_it_go(user, scene_path, monkeypatch, entry):
    add_volume(name="anna healed")
    ENTRIES[entry](user, scene_path, monkeypatch)
    settle()
    assert "anna healed" in user.banner.text and "\n" not in user.banner.text
    assert list(_answers(user)) == ["Save", "Discard", "Cancel"]
    _answers(user)["Cancel"].click()
    settle()
    assert user.isVisible() and _names() == ["anna healed"] and not user.banner.isVisible()
    ENTRIES[entry](user, scene_path, monkeypatch)
    _answers(user)["Discard"].click()
    _went(user, entry)


@pytest.mark.parametrize("entry", ENTRIES)
def test_it_is_saved_first_where_the_user_wants_it(user, scene_path, tmp_path, monkeypatch, entry):
    add_volume(name="anna healed")
    chosen = [""]
    monkeypatch.setattr(QtWidgets.QFileDialog, "getSaveFileName", lambda *_: (chosen[0], ""))
    ENTRIES[entry](user, scene_path, monkeypatch)
    _answers(user)["Save"].click()
    settle()
    assert user.isVisible() and _names() == ["anna healed"], "the user thought better of saving"
    chosen[0] = str(tmp_path / "anna.mrb")
    ENTRIES[entry](user, scene_path, monkeypatch)
    _answers(user)["Save"].click()
    _went(user, entry)
    assert (tmp_path / "anna.mrb").is_file()


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_task_is_only_stopped_by_a_user_who_says_so(user, scene_path, scan_path, monkeypatch, entry):
    job = _begin_task(user, scan_path)
    process = user.module.logic.jobs.engine._process
    ENTRIES[entry](user, scene_path, monkeypatch)
    assert "task is going on" in user.banner.text and QtWidgets.QApplication.activeModalWidget() is None
    _answers(user)["Keep working"].click()
    settle()
    assert user.is_running() and _names() == ["anna"]
    ENTRIES[entry](user, scene_path, monkeypatch)
    _answers(user)["Stop it"].click()
    _went(user, entry)
    wait(lambda: job.finished, 6)
    assert job.state == "cancelled"
    if entry == "Quit":
        wait(lambda: not process.alive, 6)


def test_a_task_and_results_that_are_not_saved_are_both_said(user, scan_path):
    _begin_task(user, scan_path)
    for number in range(5):
        add_volume(name=f"result {number}")
    user.close()
    assert user.isVisible() and "task is going on" in user.banner.text
    assert "result 0" in user.banner.text and "2 more" in user.banner.text
    assert "Discard" in _answers(user)


def test_results_that_came_while_the_question_stood_are_asked_for_anew(user, scan_path):
    _begin_task(user, scan_path)
    user.close()
    stop = _answers(user)["Stop it"]
    add_volume(name="anna healed")  # as a task brings it that ends before the user answers
    stop.click()
    settle()
    assert user.isVisible() and "anna healed" in user.banner.text
    _answers(user)["Discard"].click()
    settle()
    assert not user.isVisible()


def test_a_scan_that_was_only_looked_at_needs_no_question(user, scan_path):
    drop(user, scan_path)
    (node,) = opened(user)
    user.layouts.setLayout(2)
    user.actions_.adjust.trigger()
    node.GetDisplayNode().SetWindowLevelMinMax(10, 90)
    settle()
    assert unsaved() == []
    slicer.util.arrayFromVolume(node)[0] = 7
    slicer.util.arrayFromVolumeModified(node)
    assert [one.GetName() for one in unsaved()] == ["anna"], "its voxels were changed"


def test_a_scan_whose_file_is_gone_or_that_is_a_copy_is_not_on_the_disk(user, scan_path):
    drop(user, scan_path)
    (node,) = opened(user)
    copy = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, node, "copy")
    slicer.util.updateVolumeFromArray(copy, 2 * slicer.util.arrayFromVolume(node))
    assert [one.GetName() for one in unsaved()] == ["copy"]
    scan_path.unlink()
    assert sorted(one.GetName() for one in unsaved()) == ["anna", "copy"]


def test_a_scene_that_was_just_opened_needs_no_question(user, scan_path, tmp_path):
    drop(user, scan_path)
    opened(user)
    user.run_button().click()
    wait(lambda: user.layouts.layout == 5610)
    settle(20)
    assert {"anna healed SYNTHETIC", "anna heatmap SYNTHETIC"} <= {node.GetName() for node in unsaved()}
    assert user.files.save_scene(tmp_path / "case.mrb")
    assert unsaved() == []
    user.files.open(tmp_path / "case.mrb")
    settle(20)
    user.layouts.setLayout(2)
    settle(20)
    assert "anna healed SYNTHETIC" in _names() and unsaved() == []
    labels = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    labels.GetSegmentation().GetNthSegment(0).SetName("another")
    slicer.util.getNode("anna").SetOrigin(1, 2, 3)
    assert {node.GetName() for node in unsaved()} == {"anna", labels.GetName()}
    slicer.mrmlScene.Clear(False)
    user.close()
    assert not user.isVisible()


def test_a_damaged_scene_asks_nothing_and_takes_nothing(user, tmp_path):
    add_volume(name="anna healed")
    (tmp_path / "scene.mrb").write_text("Dear colleague")
    user.files.open(tmp_path / "scene.mrb")
    assert user.banner.kind == "error" and "damaged" in user.banner.text
    assert _names() == ["anna healed"]


# -- the scan that is meant


def test_the_scan_that_was_opened_last_is_shown_named_and_healed(window, tmp_path):
    for name, level in (("anna", 1.0), ("bert", 1.2)):
        path = scan_files.save_nifti(tmp_path / f"{name}.nii.gz", level * scan_files.head())
        drop(window, path)
        opened(window)
    scans = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
    assert window.windowTitle().startswith("bert ")
    shown = window.layouts.sliceWidget("Red").mrmlSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == scans["bert"].GetID()
    window.run_button().click()
    job = window.module.session.runs.job
    wait(lambda: job.finished)
    assert job.work.inputs == {"scan": scans["bert"]}
    assert job.value["healed"].GetName().startswith("bert ")
    slicer.app.show_volume(scans["anna"])
    settle()
    assert window.layouts.sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID()
    assert window.windowTitle().startswith("anna ") or window.layouts.layout in (5610, 5611)


def test_the_sample_patient_is_one_click_away(window):
    (hint,) = [
        label for label in window.findChildren(QtWidgets.QLabel) if "Drop a scan" in label.property("text")
    ]
    hint.linkActivated.emit("sample")
    assert [node.GetName() for node in opened(window)] == ["sample-patient"]
    assert not hint.isVisible()
    window.files.close_scene()
    settle()
    window.actions_.open_sample.trigger()
    assert [node.GetName() for node in opened(window)] == ["sample-patient"]


def test_what_was_refused_of_a_drop_is_said_also_when_the_others_were_read(window, tmp_path):
    paths = [scan_files.save_nifti(tmp_path / f"{name}.nii.gz", scan_files.head()) for name in "abcd"]
    for path in paths[1:3]:
        path.write_bytes(path.read_bytes()[:-2000])
    drop(window, *paths)
    assert all(path.name in window.banner.text for path in paths)
    assert sorted(node.GetName() for node in opened(window)) == ["a", "d"]
    assert window.banner.kind == "error" and window.banner.isVisible()
    assert "b.nii.gz" in window.banner.text and "c.nii.gz" in window.banner.text
    drop(window, paths[0])
    opened(window)
    assert window.banner.kind != "error", "what was said of an earlier drop is over"


def test_the_notes_on_several_scans_are_all_kept(window, tmp_path):
    holes = scan_files.head().astype(np.float32)
    holes[3, 3, 3] = np.nan
    paths = [scan_files.save_nifti(tmp_path / f"{name}.nii.gz", holes) for name in ("anna", "bert")]
    drop(window, *paths)
    opened(window)
    assert "anna: " in window.banner.text and "bert: " in window.banner.text


@pytest.mark.usefixtures("tasks")
def test_brains_that_were_generated_are_not_lost_without_a_question(user, tmp_path):
    panel = user.module.session.panel
    panel.chooseTask("generate")
    assert user.run_button().isEnabled(), "no image is needed"
    user.run_button().click()
    job = user.module.session.runs.job
    wait(lambda: job.finished and user.module.session.result.inViews == job.work.id)
    assert job.state == "done", job.message
    assert "Generate brains SYNTHETIC" in [node.GetName() for node in unsaved()]
    assert user.windowTitle().startswith("Generate brains SYNTHETIC")
    user.close()
    settle()
    assert "Not saved" in user.banner.text and user.isVisible()
    _answers(user)["Cancel"].click()
    assert user.files.save_scene(tmp_path / "brains.mrb")
    user.module.session.result.stepper.slider.setValue(3)
    settle()
    assert not unsaved(), "to look at another brain changes nothing"
