"""The runs of a scene in the panel: again, report, export, saved and closed scenes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import behave, logic  # noqa: F401
from module_window import find, manager, run, shown, status, views, widget  # noqa: F401
from SlicerDiffusionLib import history, marks, places, runpanel

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_waiting_for_double_clicks(monkeypatch):
    monkeypatch.setattr(runpanel, "DOUBLE_CLICK_S", 0.0)


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


def test_run_again_with_begins_from_the_run_and_not_from_what_is_set(widget, views, qtbot):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    first = run(widget, qtbot, seed=7)
    page = widget.session.panel.page
    del_from_record(widget, "age")  # a script need not give every parameter
    page.setValues({"age": 60.0, "steps": 20, "device": "cpu", "batch": 3})
    widget.session.history.buttons["Run again with…"].click()
    assert page.values()["age"] is None and page.values()["steps"] == 8
    assert page.options() == {"device": "auto", "batch": None}
    page.setValues({"steps": 20})
    widget.session.runs.button.click()
    job = shown(widget, qtbot, widget.session.runs.job)
    assert job is not first and job.work.parameters == first.work.parameters | {"steps": 20}


def del_from_record(widget, parameter):  # noqa: F811
    """Let the last run be one that was asked for without a parameter."""
    for node in widget.session.history.entry.nodes.values():
        record = marks.recordOf(node)
        del record["parameters"][parameter]
        node.SetAttribute(marks.PROVENANCE, json.dumps(record))
    widget.session.history.refresh()


def test_running_again_keeps_what_no_widget_shows(widget, views, logic, qtbot):  # noqa: F811
    scan = module_scans.scan("T1")
    views.settle()
    (task,) = [task for task in logic.tasks() if task.name == "heal"]
    given = {"seed": 3, "behaviour": "ok"}
    first = widget.logic.start(task, {"scan": scan}, given, {"threads": 1, "precision": "fp32"})
    shown(widget, qtbot, first)
    panel = widget.session.history
    panel.buttons["Run again"].click()
    second = shown(widget, qtbot, widget.session.runs.job)
    assert second is not first and second.work.parameters == given
    assert second.work.options == {"threads": 1, "precision": "fp32"}
    panel.buttons["Run again with…"].click()
    assert "behaviour, threads, precision" in status(widget)
    widget.session.runs.button.click()
    third = shown(widget, qtbot, widget.session.runs.job)
    assert third.work.parameters["behaviour"] == "ok" and third.work.options["threads"] == 1
    widget.session.runs.button.click()
    fourth = shown(widget, qtbot, widget.session.runs.job)  # for the next run only
    assert "behaviour" not in fourth.work.parameters and "threads" not in fourth.work.options


def test_running_again_on_an_edited_scan_says_so(widget, views, qtbot):  # noqa: F811
    import slicer

    scan = module_scans.scan("T1")
    views.settle()
    first = run(widget, qtbot, seed=7)
    again = widget.session.history.buttons["Run again"]
    again.click()
    same = shown(widget, qtbot, widget.session.runs.job)
    assert same is not first and not any("repeats" in note for note in same.work.notes)
    slicer.util.arrayFromVolume(scan)[9, 10, 12] += 1
    slicer.util.arrayFromVolumeModified(scan)
    again.click()
    other = shown(widget, qtbot, widget.session.runs.job)
    assert "'T1' is not as it was" in status(widget)
    assert any("repeats" in note for note in history.entry(other.work.id).record["notes"])


def test_a_scene_opens_no_files_but_those_of_runs(widget, views, qtbot, tmp_path, monkeypatch):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot)
    (entry,) = history.entries()
    home, good = places.runsFolder(), entry.record
    assert entry.folder() is not None and entry.picture() is not None and not entry.isForeign()
    outside = tmp_path / "picture.png"
    outside.write_bytes(b"")
    (tmp_path / "result.json").write_text("{}")
    (home / "link.png").symlink_to(outside)
    program = Path(good["folder"]) / "picture.desktop"
    program.write_text("")
    asked = []
    real = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: asked.append(str(path)) or real(path))
    elsewhere = [outside, "a.png", f"{home}/../{outside.name}", program, home / "link.png"]
    network = ["//server/share/a.png", "\\\\server\\share\\a.png", "file://server/a.png"]
    for place in (*elsewhere, *network, "", None, 7, "a\0.png"):
        text = str(place) if isinstance(place, Path) else place
        made = history.Entry("r", {}, good | {"folder": text, "plots": {"picture": text}})
        assert made.picture() is None and made.folder() is None, place
    assert all(path.startswith(str(home)) for path in asked)
    for wrong in (None, [], "text"):
        assert history.Entry("r", {}, good | {"plots": wrong, "inputs": wrong}).picture() is None
    (home / "link.png").unlink()


def test_a_run_of_another_computer_is_told(widget, views, qtbot):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot)
    for node in history.entries()[0].nodes.values():
        record = marks.recordOf(node) | {"folder": "//server/share", "plots": {"picture": "//server/a.png"}}
        node.SetAttribute(marks.PROVENANCE, json.dumps(record))
    widget.session.history.refresh()
    for text in ("Open result folder", "Open picture"):
        made = widget.session.history.buttons[text]
        assert not made.property("enabled") and "another computer" in made.property("toolTip")


def test_a_scene_asks_the_engine_for_known_options_only(widget, views, qtbot):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot)
    (entry,) = history.entries()
    wanted = {"device": "cpu", "folder": "/tmp/elsewhere", "inputs": {}, "do": "quit"}
    entry.record["options"] = wanted
    assert history.request(entry, widget.logic.tasks())[3] == {"device": "cpu"}


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
    copied = {path.name for path in (tmp_path / folders[0]).iterdir()}
    assert {"result.json", "picture.png", "healed.bin", "heatmap.bin"} <= copied


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


def test_the_result_folder_outlives_the_program(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    folder = history.entries()[0].folder()
    assert places.runsFolder() in folder.parents and Path(slicer.app.temporaryPath) not in folder.parents
