"""The module's panel as a user meets it: one button, named progress, cancel, preview, reload."""

from __future__ import annotations

import time

import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import behave, logic  # noqa: F401
from module_window import find, manager, run, shown, status, views, widget  # noqa: F401
from SlicerDiffusionLib import marks, runpanel, view

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_waiting_for_double_clicks(monkeypatch):
    monkeypatch.setattr(runpanel, "DOUBLE_CLICK_S", 0.0)


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


def test_the_bar_names_the_stage_before_anything_is_done(widget, views, logic, qtbot):  # noqa: F811
    behave(logic, "hangs")
    module_scans.scan()
    views.settle()
    bar = find(widget, "progress")
    find(widget, "run").click()
    seen = set()

    def look():
        seen.add(bar.property("text").split(" – ")[0])
        return "Starting" in seen

    qtbot.waitUntil(look, timeout=20000)
    assert "Preparing the scan" in seen and "" not in seen
    assert bar.property("maximum") > 0 and bar.property("value") == 0  # Qt writes nothing into a moving bar
    widget.session.runs.job.cancel()
    qtbot.waitUntil(lambda: widget.session.runs.job.finished, timeout=6000)


def test_each_run_that_waits_can_be_cancelled(widget, views, logic, qtbot):  # noqa: F811
    behave(logic, "slow")
    scan = module_scans.scan()
    views.settle()
    waiting = find(widget, "waiting")
    first, second, third = (widget.logic.run("heal", input=scan, wait=False, seed=seed) for seed in (1, 2, 3))
    qtbot.waitUntil(lambda: first.stage == "Healing", timeout=20000)
    assert waiting.isVisible() and set(widget.session.runs._rows) == {second.id, third.id}
    find(widget, f"cancel{second.id}").click()
    assert second.state == "cancelled" and third.state == "queued" and first.state == "running"
    assert set(widget.session.runs._rows) == {third.id}
    assert find(widget, f"cancel{third.id}").isVisible()
    find(widget, f"cancel{third.id}").click()
    assert not waiting.isVisible() and widget.session.runs.job is first
    first.cancel()
    qtbot.waitUntil(lambda: first.finished, timeout=5000)


def test_a_silent_engine_is_told_in_the_panel(widget, views, logic, qtbot, monkeypatch):  # noqa: F811
    from SlicerDiffusionLib import engine

    monkeypatch.setattr(engine, "SILENT_S", 0.2)
    monkeypatch.setattr(engine, "ANSWER_S", 0.2)
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


def test_a_failure_stays_in_sight_while_the_next_run_goes_on(widget, views, qtbot):  # noqa: F811
    import qt

    scan = module_scans.scan()
    views.settle()
    (task,) = [task for task in widget.logic.tasks() if task.name == "heal"]
    first = widget.logic.start(task, {"scan": scan}, {"seed": 1, "behaviour": "refused"})
    second = widget.logic.run("heal", input=scan, wait=False, seed=2)
    shown(widget, qtbot, second)
    said = status(widget)
    assert first.state == "failed" and second.state == "done"
    assert "seed 1: The scan is cut short; export it again." in said and "Done in" in said
    qt.QApplication.clipboard().setText("")
    find(widget, "copyErrorReport").click()
    assert "research use" in qt.QApplication.clipboard().text()
    assert find(widget, "copyErrorReport").property("text") == "Report copied"
    find(widget, "dismiss").click()
    assert "cut short" not in status(widget) and not find(widget, "dismiss").isVisible()


def test_what_the_user_starts_takes_the_failure_away(widget, views, logic, qtbot):  # noqa: F811
    behave(logic, "refused")
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    assert status(widget) == "The scan is cut short; export it again."
    assert find(widget, "dismiss").isVisible() and find(widget, "copyErrorReport").isVisible()
    behave(logic, "ok")
    run(widget, qtbot)
    assert "cut short" not in status(widget) and not find(widget, "dismiss").isVisible()


def test_a_run_from_a_script_shows_in_the_panel(widget, views, qtbot):  # noqa: F811
    nodes = widget.logic.run("heal", input=module_scans.scan("T1"), seed=3)
    shown(widget, qtbot, widget.session.runs.job)
    assert widget.session.result.entry.nodes["healed"] is nodes["healed"]
    assert views.shows("MapAxial")[1] == "T1 heatmap SYNTHETIC"


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


def test_while_comparing_the_preview_is_in_the_column_of_results(widget, views, qtbot, monkeypatch):  # noqa: F811
    module_scans.scan("T1")
    views.settle()
    run(widget, qtbot)
    seen = []
    real = widget.logic.preview.update

    def update(*args):
        real(*args)
        seen.append({name: views.shows(f"{name}Axial")[1] for name in ("Original", "Result", "Map")})

    monkeypatch.setattr(widget.logic.preview, "update", update)
    run(widget, qtbot)
    assert seen[-1]["Original"] is None and "heatmap" in seen[-1]["Map"]
    assert seen[-1]["Result"] == "Healed scan, preview SYNTHETIC"
    assert views.shows("ResultAxial") == ("T1 healed SYNTHETIC", None)


def test_without_a_tick_there_is_no_preview(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    find(widget, "preview").setChecked(False)
    assert widget.logic.preview.enabled is False
    assert run(widget, qtbot).state == "done"


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
