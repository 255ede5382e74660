"""What a run found, in the panel: findings, threshold, colours, layouts, 3D."""

from __future__ import annotations

import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import behave, logic  # noqa: F401
from module_window import find, manager, run, shown, status, views, widget  # noqa: F401
from SlicerDiffusionLib import colors, marks, runpanel, view

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_waiting_for_double_clicks(monkeypatch):
    monkeypatch.setattr(runpanel, "DOUBLE_CLICK_S", 0.0)


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


def test_what_the_user_has_set_survives_a_change_of_the_scene(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    overlays = widget.session.result.overlays
    overlays.threshold.setProperty("value", 5.5)
    overlays.other.setChecked(True)
    slicer.mrmlScene.RemoveNode(list(marks.nodesOfRuns().values())[-1]["anatomy"])
    views.settle()
    assert overlays.value() == 5.5 and overlays.other.property("checked")


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
