"""The module's panel as a user meets it: one button, named progress, cancel, findings, threshold, history."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import behave, logic  # noqa: F401
from module_window import manager, views, widget  # noqa: F401
from SlicerDiffusionLib import history, marks, runpanel, view

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_waiting_for_double_clicks(monkeypatch):
    monkeypatch.setattr(runpanel, "DOUBLE_CLICK_S", 0.0)


def run(widget, qtbot, **values):  # noqa: F811
    """Press Run and wait for the end, also for the views."""
    widget.session.panel.page.setValues(values)
    widget.session.runs.button.click()
    return shown(widget, qtbot, widget.session.runs.job)


def shown(widget, qtbot, job):  # noqa: F811
    """Wait for the end of a job, and until the views show what came of it."""
    qtbot.waitUntil(lambda: job.finished, timeout=20000)
    if job.state == "done":
        qtbot.waitUntil(lambda: widget.session.result.inViews == job.work.id, timeout=20000)
    for _ in range(4):
        qtbot.wait(20)
    return job


def find(widget, name):  # noqa: F811
    import slicer

    return slicer.util.findChild(widget.parent, name)


def status(widget):  # noqa: F811
    return str(widget.session.runs.status.property("text"))


def test_without_a_scan_the_button_says_what_is_missing(widget):  # noqa: F811
    button = find(widget, "run")
    assert not button.property("enabled")
    assert "load a scan" in button.property("toolTip") and "load a scan" in status(widget)


def test_a_loaded_scan_is_chosen_and_can_be_run(widget, qtbot):  # noqa: F811
    scan = module_scans.scan("T1")
    qtbot.waitUntil(lambda: find(widget, "run").property("enabled"))
    assert widget.session.panel.page.node("scan") is scan
    assert status(widget) == ""


def test_the_notice_is_the_first_thing_that_is_seen(widget):  # noqa: F811
    first = widget.layout.itemAt(0).widget()
    assert "Research use only" in first.property("text") and "never a diagnosis" in first.property("text")
    assert "prior" in first.property("toolTip") and "z" in first.property("toolTip")


def test_one_button_runs_and_shows_the_result(widget, views, qtbot):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    job = run(widget, qtbot, seed=7)
    assert job.state == "done" and "Done in" in status(widget), job.message
    assert views.manager.layout == view.SIDE_BY_SIDE
    assert views.shows("ResultAxial") == ("T1 healed SYNTHETIC", None)
    assert {"ResultAxial", "MapAxial"} <= views.marked() and "OriginalAxial" not in views.marked()
    assert find(widget, "result").isVisible()
    assert "seed 7" in find(widget, "resultTitle").property("text")
    assert "larger than those" in find(widget, "verdict").property("text")
    assert "border" in find(widget, "verdict").property("styleSheet")  # it is a warning
    assert "made-up" in find(widget, "provenanceText").property("text")


def test_while_it_runs_the_button_cancels_and_the_stage_is_named(widget, views, logic, qtbot):  # noqa: F811
    behave(logic, "slow")
    module_scans.scan()
    views.settle()
    button, bar = find(widget, "run"), find(widget, "progress")
    button.click()
    qtbot.waitUntil(lambda: "Healing" in bar.property("format"), timeout=20000)
    assert button.property("text") == "Cancel" and bar.isVisible() and ":" in bar.property("format")
    qtbot.waitUntil(lambda: bar.property("value") > 0)
    job = widget.session.runs.job
    began = time.monotonic()
    button.click()
    assert button.property("text") == "Stopping…" and not button.property("enabled")
    qtbot.waitUntil(lambda: job.finished, timeout=5000)
    assert time.monotonic() - began < 5
    assert button.property("text") == "Run" and button.property("enabled") and not bar.isVisible()
    assert "scene is unchanged" in status(widget)


def test_a_double_click_starts_one_run_and_does_not_cancel_it(widget, views, qtbot, monkeypatch):  # noqa: F811
    monkeypatch.setattr(runpanel, "DOUBLE_CLICK_S", 5.0)
    module_scans.scan()
    views.settle()
    button = find(widget, "run")
    button.click()
    button.click()
    job = shown(widget, qtbot, widget.session.runs.job)
    assert job.state == "done" and len(marks.nodesOfRuns()) == 1


def test_a_run_that_waits_is_counted(widget, views, logic, qtbot):  # noqa: F811
    behave(logic, "slow")
    scan = module_scans.scan()
    views.settle()
    bar = find(widget, "progress")
    first = widget.logic.run("heal", input=scan, wait=False)
    second = widget.logic.run("heal", input=scan, wait=False)
    qtbot.waitUntil(lambda: "1 waiting" in bar.property("format"), timeout=20000)
    second.cancel()
    qtbot.waitUntil(lambda: "waiting" not in bar.property("format"), timeout=2000)
    assert widget.session.runs.job is first
    first.cancel()
    qtbot.waitUntil(lambda: first.finished, timeout=5000)


def test_a_silent_engine_is_told_in_the_panel(widget, views, logic, qtbot, monkeypatch):  # noqa: F811
    from SlicerDiffusionLib import jobs

    monkeypatch.setattr(jobs, "SILENT_S", 0.2)
    monkeypatch.setattr(jobs, "ANSWER_S", 0.2)
    behave(logic, "hangs")
    module_scans.scan()
    views.settle()
    find(widget, "run").click()
    qtbot.waitUntil(lambda: "may hang" in status(widget), timeout=20000)
    find(widget, "run").click()
    qtbot.waitUntil(lambda: widget.session.runs.job.finished, timeout=6000)
    assert "scene is unchanged" in status(widget)


def test_a_failure_is_one_sentence_in_the_panel(widget, views, logic, qtbot):  # noqa: F811
    behave(logic, "killed")
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    assert "probably because memory ran out" in status(widget)
    assert find(widget, "run").property("enabled")


def test_a_run_from_a_script_shows_in_the_panel(widget, views, qtbot):  # noqa: F811
    nodes = widget.logic.run("heal", input=module_scans.scan("T1"), seed=3)
    shown(widget, qtbot, widget.session.runs.job)
    assert widget.session.result.entry.nodes["healed"] is nodes["healed"]
    assert views.shows("MapAxial")[1] == "T1 heatmap SYNTHETIC"


def test_a_click_on_a_finding_moves_the_views(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    table = find(widget, "findings")
    assert table.property("rowCount") == 1 and table.item(0, 1).text() == "left"
    table.selectRow(0)
    row = list(marks.nodesOfRuns().values())[-1]["findings"]
    place = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()
    assert place == pytest.approx((-4, 2, 1), abs=1) and row is not None
    red = views.manager.sliceWidget("Red").mrmlSliceNode()
    assert red.GetSliceToRAS().GetElement(2, 3) == pytest.approx(place[2], abs=0.51)


def test_the_threshold_moves_outline_and_greys_findings(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    overlays, table = widget.session.result.overlays, widget.session.result.findings
    assert overlays.value() == 4.0 and overlays.threshold.property("suffix") == " z"
    plain = table.widget.item(0, 1).foreground().color().name()
    count = find(widget, "findingsCount")
    assert "1 of 1" in count.property("text")
    qtbot.wait(50)
    outline = overlays._outline
    assert outline._inside.sum() > 0
    overlays.threshold.setProperty("value", 6.5)
    assert "0 of 1" in count.property("text")
    assert table.widget.item(0, 1).foreground().color().name() != plain
    qtbot.waitUntil(lambda: outline._inside.sum() == 0, timeout=1000)
    overlays.threshold.setProperty("value", 3.0)
    qtbot.waitUntil(lambda: outline._inside.sum() > 0, timeout=1000)
    assert table.widget.item(0, 1).foreground().color().name() == plain


def test_opacity_colours_and_the_other_map(widget, views, qtbot):  # noqa: F811
    from SlicerDiffusionLib import colors

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    overlays = widget.session.result.overlays
    nodes = list(marks.nodesOfRuns().values())[-1]
    overlays.opacity.setProperty("value", 30.0)
    assert views.composite("MapAxial").GetForegroundOpacity() == pytest.approx(0.3)
    overlays.colors.setCurrentIndex(list(colors.MAPS).index("viridis"))
    assert colors.nameOf(nodes["heatmap"].GetDisplayNode().GetColorNode()) == "viridis"
    assert "spread" in overlays.other.property("text")
    overlays.other.setChecked(True)
    assert views.shows("MapAxial")[1].endswith("spread SYNTHETIC")
    overlays.other.setChecked(False)
    assert views.shows("MapAxial")[1].endswith("heatmap SYNTHETIC")
    overlays.above.setChecked(True)
    assert nodes["heatmap"].GetDisplayNode().GetLowerThreshold() == pytest.approx(4.0, abs=0.05)
    overlays.above.setChecked(False)
    assert nodes["heatmap"].GetDisplayNode().GetLowerThreshold() == pytest.approx(2.0, abs=0.05)


def test_another_layout_shows_the_same_place(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    widget.session.result.findings.widget.selectRow(0)
    for number in (view.THREE_PLANES, view.FOUR_UP, view.SIDE_BY_SIDE):
        widget.session.result.showInViews(number)
        views.settle()
        for frame in views.manager.frames():
            if hasattr(frame, "mrmlSliceNode"):
                node = frame.mrmlSliceNode()
                axis, place = {"Axial": (2, 1), "Sagittal": (0, -4), "Coronal": (1, 2)}[node.GetOrientation()]
                assert node.GetSliceToRAS().GetElement(axis, 3) == pytest.approx(place, abs=1.1)


@pytest.mark.parametrize("number", [view.SIDE_BY_SIDE, view.THREE_PLANES, view.FOUR_UP, view.ONE_3D])
def test_each_layout_is_one_button(widget, views, qtbot, number):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    find(widget, f"layout{number}").click()
    views.settle()
    assert views.manager.layout == number
    inside = views.manager.sliceWidget("Red").mrmlSliceNode().GetSliceVisible()
    assert bool(inside) == (number == view.ONE_3D)


def test_a_layout_to_compare_that_is_chosen_elsewhere_shows_the_run(widget, views, qtbot):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot)
    views.manager.setLayout(view.FOUR_UP)
    views.composite("Red").SetForegroundVolumeID(None)
    for name in ("OriginalAxial", "ResultAxial", "MapAxial"):
        views.composite(name).SetBackgroundVolumeID(None)
    views.manager.setLayout(view.THREE_PLANES)
    views.settle()
    assert views.shows("ResultSagittal") == ("T1 healed SYNTHETIC", None)
    assert views.shows("MapAxial") == ("T1", "T1 heatmap SYNTHETIC")
    assert views.shows("Red")[1] is None  # what the user has set elsewhere stays


def test_the_map_as_a_cloud(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    overlays = widget.session.result.overlays
    overlays.cloud.setChecked(True)
    views.settle()
    heat = list(marks.nodesOfRuns().values())[-1]["heatmap"]
    display = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(heat)
    opacity = display.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity()
    assert display.GetVisibility() and opacity.GetValue(3.5) == 0 and opacity.GetValue(5) > 0
    overlays.threshold.setProperty("value", 3.0)
    qtbot.waitUntil(lambda: opacity.GetValue(3.5) > 0, timeout=1000)
    assert "SYNTHETIC" in views.text("3D")
    overlays.cloud.setChecked(False)
    views.settle()
    assert not display.GetVisibility() and views.text("3D") == ""


def test_a_preview_leaves_the_views_as_they_were(widget, views, logic, qtbot, monkeypatch):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    for name in ("Red", "Green", "Yellow"):
        views.composite(name).SetBackgroundVolumeID(widget.session.panel.page.node("scan").GetID())
    node = views.manager.sliceWidget("Red").mrmlSliceNode()
    node.SetFieldOfView(50, 40, 1)
    seen = []
    real = widget.logic.preview.update

    def update(*args):
        real(*args)
        seen.append((views.shows("Red")[1], node.GetFieldOfView()[0]))

    monkeypatch.setattr(widget.logic.preview, "update", update)
    behave(logic, "ok")
    monkeypatch.setattr(widget.session, "_showRun", lambda run: None)
    widget.session.runs.button.click()
    qtbot.waitUntil(lambda: widget.session.runs.job.finished, timeout=20000)
    assert [name for name, _ in seen] == ["Healed scan, preview SYNTHETIC"] * 4
    assert all(width == pytest.approx(50, rel=0.05) for _, width in seen)
    assert views.shows("Red") == ("T1", None)


def test_without_a_tick_there_is_no_preview(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    find(widget, "preview").setChecked(False)
    assert widget.logic.preview.enabled is False
    assert run(widget, qtbot).state == "done"


def test_deleting_results_leaves_a_panel_that_works(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    nodes = list(marks.nodesOfRuns().values())[-1]
    slicer.mrmlScene.RemoveNode(nodes["heatmap"])
    views.settle()
    overlays = widget.session.result.overlays
    overlays.threshold.setProperty("value", 5.0)
    views.settle()
    slicer.mrmlScene.RemoveNode(nodes["findings"])
    views.settle()
    for role in ("healed", "spread", "findings_labels", "anatomy"):
        slicer.mrmlScene.RemoveNode(nodes[role])
        views.settle()
    assert widget.session.result.entry is None and not find(widget, "result").isVisible()
    assert run(widget, qtbot).state == "done"


def test_closing_the_scene_empties_result_and_history(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot, seed=12)
    slicer.mrmlScene.Clear(False)
    views.settle()
    assert widget.session.result.entry is None and find(widget, "runs").property("count") == 0
    assert widget.session.panel.page.values()["seed"] == 12


def test_a_saved_scene_brings_back_results_history_and_marks(widget, views, qtbot, tmp_path):  # noqa: F811
    import slicer

    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot, seed=5)
    file = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(file)
    slicer.mrmlScene.Clear(False)
    views.settle()
    slicer.util.loadScene(file)
    views.settle()
    (entry,) = history.entries()
    assert find(widget, "runs").property("count") == 1
    widget.session.show(entry)
    views.settle()
    assert find(widget, "findings").property("rowCount") == 1
    assert views.shows("MapAxial") == ("T1", "T1 heatmap SYNTHETIC") and "MapAxial" in views.marked()


def test_reloading_the_module_keeps_what_runs(widget, views, logic, qtbot, monkeypatch):  # noqa: F811
    import sys

    import slicer

    for name in [name for name in sys.modules if name.startswith("SlicerDiffusion")]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])  # the host imports all of it anew
    behave(logic, "slow")
    module_scans.scan()
    views.settle()
    find(widget, "run").click()
    job = widget.session.runs.job
    qtbot.waitUntil(lambda: job.stage == "Healing", timeout=20000)
    widget.onReload()
    again = slicer.modules.SlicerDiffusionWidget
    assert again is not widget and widget.session is None
    assert again.session.runs.job is job and job.state == "running"
    assert again.session.runs.button.property("text") == "Cancel"
    again.session.runs.button.click()
    qtbot.waitUntil(lambda: job.finished, timeout=5000)
    assert "Stopped" in again.session.runs.status.property("text")


def test_closing_the_module_ends_the_engine(widget, views, logic, qtbot):  # noqa: F811
    behave(logic, "slow")
    module_scans.scan()
    views.settle()
    find(widget, "run").click()
    job = widget.session.runs.job
    qtbot.waitUntil(lambda: job.stage == "Healing", timeout=20000)
    began = time.monotonic()
    widget.cleanup()
    assert time.monotonic() - began < 2
    assert job.finished and logic.jobs.processId() is None


def test_run_again_and_run_again_with(widget, views, qtbot):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot, seed=7, samples=2)
    widget.session.panel.page.reset()
    panel = widget.session.history
    panel.buttons["Run again with…"].click()
    assert widget.session.panel.page.values()["seed"] == 7
    assert widget.session.panel.page.values()["samples"] == 2
    widget.session.panel.page.reset()
    panel.buttons["Run again"].click()
    shown(widget, qtbot, widget.session.runs.job)
    first, second = (entry.record for entry in history.entries()[::-1])
    assert second["parameters"] == first["parameters"] and second["parameters"]["seed"] == 7


def test_buttons_that_cannot_be_pressed_say_why(widget, views, qtbot):  # noqa: F811
    buttons = widget.session.history.buttons
    for text, made in buttons.items():
        assert made.property("enabled") == (text == "Copy report")
        assert text == "Copy report" or "no run in this scene" in made.property("toolTip")
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    assert all(made.property("enabled") for made in buttons.values())
    import shutil

    shutil.rmtree(history.entries()[0].folder())
    widget.session.history.refresh()
    assert not buttons["Open result folder"].property("enabled")
    assert "no longer there" in buttons["Open result folder"].property("toolTip")


def test_the_report_tells_all(widget, views, qtbot):  # noqa: F811
    import qt

    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot, seed=7)
    widget.session.history.copyReport()
    report = qt.QApplication.clipboard().text()
    for part in (
        '"seed": 7',
        "T1",
        "made-up",
        "0123456789abcdef",
        "Healing",
        "viewer:",
        "system:",
        "research use",
    ):
        assert part in report, part


def test_the_report_of_a_failure_needs_no_run(widget, views, logic, qtbot):  # noqa: F811
    import qt

    behave(logic, "crash")
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    widget.session.history.copyReport()
    report = qt.QApplication.clipboard().text()
    assert "failed" in report and "ended with code 3" in report


def test_exporting_copies_the_files(widget, views, qtbot, tmp_path):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot, seed=7)
    widget.session.history.export(tmp_path)
    widget.session.history.export(tmp_path)
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert len(folders) == 2 and all("seed 7" in name and "T1" in name for name in folders)
    assert {path.name for path in (tmp_path / folders[0]).iterdir()} == {"result.json", "picture.png"}


def test_exporting_without_files_saves_the_nodes(widget, views, qtbot, tmp_path):  # noqa: F811
    import shutil

    import slicer

    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot)
    shutil.rmtree(history.entries()[0].folder())
    widget.session.history.export(tmp_path)
    (folder,) = tmp_path.iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"healed_synthetic.nrrd", "anatomy.seg.nrrd", "findings_synthetic.csv", "provenance.json"} <= names
    again = slicer.util.loadVolume(str(folder / "healed_synthetic.nrrd"))
    assert again.GetImageData().GetDimensions() == (24, 20, 18)


def test_exporting_to_where_nothing_can_be_written_is_told(widget, views, qtbot, tmp_path):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    (tmp_path / "a file").write_text("")
    with pytest.raises(RuntimeError, match="choose another folder"):
        widget.session.history.export(tmp_path / "a file")


def test_running_again_without_the_scan_is_told(widget, views, qtbot):  # noqa: F811
    import slicer

    scan = module_scans.scan("T1")
    views.settle()
    run(widget, qtbot)
    slicer.mrmlScene.RemoveNode(scan)
    views.settle()
    widget.session.history.buttons["Run again"].click()
    assert "'T1' is no longer in the scene" in widget.session.history.said.property("text")


def test_history_lists_runs_the_latest_first(widget, views, qtbot):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    for seed in (1, 2):
        run(widget, qtbot, seed=seed)
        time.sleep(1.0)
    runs = find(widget, "runs")
    assert [runs.item(row).text().split(" – ")[0].split("seed ")[1] for row in range(2)] == ["2", "1"]
    runs.setCurrentRow(1)
    widget.session.history.buttons["Show"].click()
    assert widget.session.result.entry.record["parameters"]["seed"] == 1


def test_the_result_folder_is_in_the_temporary_folder(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    folder = history.entries()[0].folder()
    assert Path(slicer.app.temporaryPath) in folder.parents
