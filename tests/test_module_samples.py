"""A task without an image, and the browser of its samples: panel, views, history, saving, marks."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import numpy as np
import pytest

import module_scans
from desktop_host import Qt, QTest, core  # noqa: F401
from made_up_tasks import tasks  # noqa: F401 (a fixture)
from module_runs import behave, logic  # noqa: F401
from module_window import find, manager, run, shown, status, views, widget  # noqa: F401
from module_worker import MNI
from SlicerDiffusionLib import marks, runpanel, view

pytestmark = pytest.mark.usefixtures("tasks", "core")


@pytest.fixture(autouse=True)
def no_waiting_for_double_clicks(monkeypatch):
    monkeypatch.setattr(runpanel, "DOUBLE_CLICK_S", 0.0)


@pytest.fixture
def made(tasks, widget, views, qtbot):
    """The panel after a run of generate in an empty scene."""
    choose(widget, "Generate brains")
    run(widget, qtbot, samples=4, seed=12)
    assert widget.session.runs.job.state == "done", status(widget)
    return widget.session


def choose(widget, title):
    """Choose a task as a user does, with the keys."""
    box = find(widget, "task")
    box.setFocus()
    QTest.keyClicks(box, title[:4])
    assert box.currentText == title


def nodes():
    return list(marks.nodesOfRuns().values())[-1]


def labels(views):
    return [
        views.manager.sliceWidget(f"{column}Axial").mrmlSliceNode().GetLayoutLabel()
        for column in (view.ORIGINAL, view.RESULT, view.MAP)
    ]


def key(slider, key_):
    QTest.keyClick(slider, key_)


def test_a_task_without_an_image_runs_in_an_empty_scene_and_its_results_stand_side_by_side(made, views):
    assert status_of(made).startswith("Done in")
    found = nodes()
    assert set(found) == {"brains", "mean", "sd", "measured"}
    assert found["mean"].GetName() == "Generate mean SYNTHETIC"
    np.testing.assert_allclose(module_scans.grid_of(found["mean"]), MNI)
    assert made.result.layout == view.SIDE_BY_SIDE
    brains, mean, sd = "Generate brains SYNTHETIC", "Generate mean SYNTHETIC", "Generate sd SYNTHETIC"
    assert views.shows("OriginalAxial") == (brains, None)
    assert views.shows("ResultAxial") == (mean, None)
    assert views.shows("MapAxial") == (mean, sd)
    assert views.shows("Red") == (brains, None), "a spread of all brains does not lie over one of them"
    assert labels(views) == ["Brain 1", "Mean", "Sd"]
    assert views.marked() >= {"OriginalAxial", "ResultAxial", "MapAxial", "Red", "Yellow", "Green"}
    assert "SYNTHETIC – research use only" in views.text("OriginalAxial")


def status_of(session):
    return str(session.runs.status.property("text"))


def test_all_of_a_brain_is_seen_in_every_view(made, views):
    import slicer

    bounds = [0.0] * 6
    nodes()["mean"].GetRASBounds(bounds)
    for name in ("OriginalAxial", "Red"):
        field = views.manager.sliceWidget(name).mrmlSliceNode().GetFieldOfView()
        assert field[0] >= 0.99 * (bounds[1] - bounds[0]) and field[1] >= 0.99 * (bounds[3] - bounds[2])
    assert slicer.mrmlScene is not None


def test_nothing_is_said_of_a_threshold_that_a_spread_does_not_have(made, widget):
    assert find(widget, "findingsCount").property("text") == ""
    assert not find(widget, "threshold").isVisible() and not find(widget, "Outline").isVisible()
    assert find(widget, "opacity").isVisible()
    assert made.result.overlays._outline is None


def test_the_browser_steps_through_the_brains_with_their_seeds(made, widget, views):
    import slicer

    slider, text = find(widget, "step"), find(widget, "stepText")
    assert text.property("text") == "Brain 1 of 4, seed 1835500012" and slider.property("minimum") == 1
    before = slicer.util.arrayFromVolume(made.result.stepper.volume).copy()
    key(slider, Qt.Key.Key_Right)
    key(slider, Qt.Key.Key_Right)
    assert text.property("text") == "Brain 3 of 4, seed 1835500014"
    assert labels(views)[0] == "Brain 3"
    assert (slicer.util.arrayFromVolume(made.result.stepper.volume) != before).any()
    key(slider, Qt.Key.Key_Home)
    assert (slicer.util.arrayFromVolume(made.result.stepper.volume) == before).all()


def test_a_row_of_the_table_goes_to_its_brain_and_the_slider_back_to_its_row(made, widget):
    table, slider = find(widget, "findings"), find(widget, "step")
    assert table.property("rowCount") == 4
    headings = [table.horizontalHeaderItem(column).text() for column in range(table.property("columnCount"))]
    assert headings == ["brain", "asked for (ml)", "measured (ml)", "seed"]
    place = table.visualItemRect(table.item(2, 2)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    assert slider.property("value") == 3
    key(slider, Qt.Key.Key_End)
    assert table.currentRow() == 3
    key(slider, Qt.Key.Key_Left)
    assert table.currentRow() == 2
    made.result.refresh()
    assert slider.property("value") == 3 and table.currentRow() == 2


def test_a_brain_becomes_an_image_of_its_own(made, widget, views, qtbot):
    import slicer

    key(find(widget, "step"), Qt.Key.Key_Right)
    find(widget, "keepStep").click()
    brain = slicer.util.getNode("Generate brain 2 seed 1835500013 SYNTHETIC")
    assert "brain 2 seed 1835500013" in find(widget, "stepSaid").property("text")
    assert marks.isSynthetic(brain) and marks.recordOf(brain)["artifact"]["kind"] == "volume"
    shown_ = slicer.util.arrayFromVolume(made.result.stepper.volume)
    assert (slicer.util.arrayFromVolume(brain) == shown_).all()
    np.testing.assert_allclose(module_scans.grid_of(brain), MNI)
    key(find(widget, "step"), Qt.Key.Key_Home)
    others = slicer.util.arrayFromVolume(made.result.stepper.volume)
    assert (slicer.util.arrayFromVolume(brain) != others).any(), "it stays as it is while others are shown"
    views.settle()
    assert set(nodes()) == {"brains", "mean", "sd", "measured"}, "the run is what it was"
    choose(widget, "Heal a scan")
    assert made.panel.page.scan() is None, "what is made up is no scan that anybody chose"
    made.panel.page.setNode("scan", brain)
    job = run(widget, qtbot)
    assert job.state == "done" and job.work.inputs["scan"] is brain


def test_all_brains_at_once_and_none_twice(made, widget):
    import slicer

    find(widget, "keepStep").click()
    find(widget, "keepSteps").click()
    kept = [node for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if " seed " in node.GetName()]
    assert [node.GetName().split(" SYN")[0] for node in kept] == [
        f"Generate brain {n} seed {1_835_500_011 + n}" for n in range(1, 5)
    ]
    assert "All 4" in find(widget, "stepSaid").property("text")


def test_the_picture_of_the_run_is_in_the_panel(made, widget):
    picture = find(widget, "pictureShown")
    find(widget, "picture").setProperty("collapsed", False)
    assert picture.isVisible() and picture.property("pixmap").width() == 360


def test_the_preview_is_seen_while_a_task_without_an_image_runs(tasks, widget, views, qtbot):
    choose(widget, "Generate brains")
    seen = []
    update = widget.logic.preview.update

    def spy(*arguments):
        update(*arguments)
        seen.append((views.shows("Red")[0], widget.logic.preview.node))

    widget.logic.preview.update = spy
    run(widget, qtbot)
    assert [name for name, _ in seen] == ["Generated, preview SYNTHETIC"] * 4
    assert all(marks.SYNTHETIC and node.GetScene() is None for _, node in seen)
    assert views.shows("Red")[0] == "Generate brains SYNTHETIC"


def test_a_preview_leaves_the_scan_as_it_was_where_the_run_is_cancelled(tasks, widget, views, qtbot, logic):
    import slicer

    scan = module_scans.scan()
    for composite in view.composites().values():
        composite.SetBackgroundVolumeID(scan.GetID())
    choose(widget, "Generate brains")
    import numpy
    from vtk import vtkImageData

    image = vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(10, 1)
    preview = widget.logic.preview
    run_ = type("Run", (), {"inputs": {}})()
    preview.update(run_, image, numpy.eye(4), "Brain")
    assert views.shows("Red")[0] == "Brain SYNTHETIC"
    views.settle()
    assert "SYNTHETIC" in views.text("Red")
    preview.end(run_)
    views.settle()
    assert views.shows("Red") == ("MRHead", None) and "SYNTHETIC" not in views.text("Red")
    assert slicer.mrmlScene.GetFirstNodeByName("Brain SYNTHETIC") is None


def test_the_same_can_be_run_again_and_filled_in_again(made, widget, views, qtbot):
    first = nodes()
    made.history.buttons["Run again"].click()
    job = shown(widget, qtbot, made.runs.job)
    assert job.state == "done" and job.work.parameters["seed"] == 12
    assert len(marks.nodesOfRuns()) == 2 and nodes() is not first
    assert find(widget, "runs").item(0).text().startswith("Generate")
    choose(widget, "Heal a scan")
    made.history.buttons["Run again with…"].click()
    assert find(widget, "task").currentText == "Generate brains"
    assert made.panel.page.values()["seed"] == 12
    made.history.choose(list(marks.nodesOfRuns())[0])
    made.history.buttons["Show"].click()
    qtbot.waitUntil(lambda: made.result.inViews == list(marks.nodesOfRuns())[0], timeout=10000)
    assert views.composite("OriginalAxial").GetBackgroundVolumeID() == marks.volumeOf(first["brains"]).GetID()


def test_a_run_without_an_image_survives_the_file_of_its_scene(made, widget, views, tmp_path):
    import slicer

    find(widget, "keepStep").click()
    assert slicer.util.saveScene(str(tmp_path / "brains.mrb"))
    slicer.mrmlScene.Clear(False)
    views.settle()
    slicer.util.loadScene(str(tmp_path / "brains.mrb"))
    views.settle()
    assert set(nodes()) == {"brains", "mean", "sd", "measured"}
    made.history.choose(list(marks.nodesOfRuns())[-1])
    made.history.buttons["Show"].click()
    views.settle()
    assert find(widget, "stepText").property("text") == "Brain 1 of 4, seed 1835500012"
    assert marks.isSynthetic(slicer.util.getNode("Generate brain 1 seed 1835500012 SYNTHETIC"))


def test_what_is_exported_without_its_files_says_that_it_is_made_up(made, tmp_path):
    import shutil

    from SlicerDiffusionLib import history

    entry = history.entries()[0]
    shutil.rmtree(entry.folder())
    written = history.export(entry, tmp_path)
    assert {path.name for path in written.iterdir()} >= {
        "brains_synthetic.seq.nrrd", "mean_synthetic.nrrd", "sd_synthetic.nrrd", "provenance.json"
    }  # fmt: skip


def test_a_scan_that_is_open_stays_out_of_what_was_made_without_it(tasks, widget, views, qtbot):
    module_scans.scan()
    views.settle()
    choose(widget, "Heal a scan")
    run(widget, qtbot)
    assert labels(views)[0] == "Original"
    choose(widget, "Generate brains")
    assert find(widget, "run").property("enabled"), "nothing is missing"
    run(widget, qtbot)
    assert labels(views) == ["Brain 1", "Mean", "Sd"]
    assert "MRHead" not in [
        name for column in ("Original", "Result", "Map") for name in views.shows(f"{column}Axial")
    ]
    earlier = widget.session.history._entries[1]
    widget.session.show(earlier)
    qtbot.waitUntil(lambda: widget.session.result.inViews == earlier.run, timeout=10000)
    assert labels(views) == ["Original", "Healed", "Heatmap"]
    assert views.shows("OriginalAxial")[0] == "MRHead" and "OriginalAxial" not in views.marked()
    assert find(widget, "threshold").isVisible() and not find(widget, "step").isVisible()


def test_a_request_beyond_what_the_model_has_learnt_from_is_flagged_before_it_runs(tasks, widget, views):
    choose(widget, "Generate brains")
    page = widget.session.panel.page
    said = page.beyond
    assert not said.isVisible(), "an age that is left open is none"
    page.setValues({"age": 40.0})
    assert not said.isVisible()
    page.setValues({"age": 80.0})
    assert said.isVisible() and said.property("text") == (
        "'Age' of 80 years is beyond what the model has learnt from (19 to 52 years): the result will be an "
        "extrapolation."
    )
    assert find(widget, "run").property("enabled"), "it may be asked for nevertheless"
    page.setValues({"age": None})
    assert not said.isVisible()
