"""What a run found, in the panel: findings, threshold, colours, layouts, 3D."""

from __future__ import annotations

import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import behave, logic  # noqa: F401
from module_window import find, manager, run, shown, status, views, widget  # noqa: F401
from SlicerDiffusionLib import colors, findings, handover, marks, runpanel, say, surfaces, view
from SlicerDiffusionLib.presenters import labels

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


def test_after_a_run_the_strongest_finding_is_chosen_and_seen(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    assert find(widget, "findings").currentRow() == 0
    place = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()
    assert place == pytest.approx((-4, 2, 1), abs=1)
    node = views.manager.sliceWidget("MapAxial").mrmlSliceNode()
    assert node.GetSliceToRAS().GetElement(2, 3) == pytest.approx(1, abs=0.51)


def test_the_strongest_finding_is_that_with_the_highest_peak(widget, views, qtbot):  # noqa: F811
    import slicer

    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    table = list(marks.nodesOfRuns().values())[-1]["findings"]
    for number, (peak, x) in enumerate(((4.5, 3.0), (7.5, 5.0), (5.5, 1.0)), 2):
        table.AddEmptyRow()
        row = table.GetNumberOfRows() - 1
        for heading, value in (("number", number), ("peak (z)", peak), ("x, right (mm)", x)):
            table.GetTable().GetColumnByName(heading).SetValue(row, value)
    result = widget.session.result
    result.refresh()
    result.findings.chooseStrongest()
    assert result.findings.widget.currentRow() == 2
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()[0] == 5.0
    result.refresh()  # what else happens in the scene leaves the row chosen
    assert result.findings.widget.currentRow() == 2


def test_the_threshold_says_what_table_and_outline_show(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    overlays, table = widget.session.result.overlays, widget.session.result.findings
    assert overlays.value() == overlays.runThreshold == 4.0 and overlays.threshold.property("suffix") == " z"
    plain = table.widget.item(0, 1).foreground().color().name()
    count = find(widget, "findingsCount")
    at = "1 finding reaches 4 z, the threshold of this run. Volumes are measured at it."
    assert count.property("text") == at
    qtbot.wait(50)
    outline = overlays._outline
    assert outline._inside.sum() > 0
    overlays.threshold.setProperty("value", 6.5)
    above = "0 of 1 finding reach 6.5 z. Volumes are still those measured at 4 z, the threshold of this run."
    assert count.property("text") == above
    assert table.widget.item(0, 1).foreground().color().name() != plain
    qtbot.waitUntil(lambda: outline._inside.sum() == 0, timeout=1000)
    overlays.threshold.setProperty("value", 3.0)
    qtbot.waitUntil(lambda: outline._inside.sum() > 0, timeout=1000)
    assert table.widget.item(0, 1).foreground().color().name() == plain
    assert "outline at 3 z shows more than the table" in count.property("text")
    assert "only the 1 finding at 4 z" in count.property("text") and "run again" in count.property("text")


def test_a_run_without_findings_says_so(widget, views, qtbot):  # noqa: F811
    assert findings.sentence(0, 0, 3.65, 3.65, "z") == "No place reaches 3.65 z, the threshold of this run."
    assert findings.sentence(0, 0, 2.5, 3.65, "z").endswith("The outline shows where the map reaches 2.5 z.")
    assert findings.sentence(13, 13, 3.65, 3.648, "z").startswith("13 findings reach 3.65 z, the threshold")
    assert findings.sentence(3, 2, 5.0, None, "") == "2 of 3 findings reach the threshold."


def test_the_outline_stays_while_the_other_map_is_shown(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    overlays = widget.session.result.overlays
    before = set(overlays._outline.node.GetDisplayNode().GetViewNodeIDs())
    overlays.other.setChecked(True)
    views.settle()
    display = overlays._outline.node.GetDisplayNode()
    assert display.GetVisibility() and set(display.GetViewNodeIDs()) == before
    assert not overlays.above.property("enabled") and "no threshold" in overlays.above.property("toolTip")
    overlays.threshold.setProperty("value", 6.5)
    qtbot.waitUntil(lambda: overlays._outline._inside.sum() == 0, timeout=1000)
    overlays.other.setChecked(False)
    views.settle()
    assert overlays.above.property("enabled")


def test_a_long_verdict_is_folded_to_its_first_sentence(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    verdict, more = find(widget, "verdict"), find(widget, "verdictMore")
    assert verdict.property("text") == "The brain is larger than those that the model learnt from."
    assert more.property("text") == "More (1 sentence)"
    more.click()
    assert "A clean map does not exclude a lesion." in verdict.property("text")
    widget.session.result.refresh()
    assert "A clean map" in verdict.property("text")  # unfolded as the user wanted it
    more.click()
    assert "A clean map" not in verdict.property("text")


def test_sentences_end_where_a_reader_sees_them_end():
    text = (
        "The scan of 1.5 mm is too large, e.g. for t1.nii. Crop it!\nhead.nii.gz says so. T1 is not enough."
    )
    assert say.sentences(text) == [
        "The scan of 1.5 mm is too large, e.g. for t1.nii.",
        "Crop it!",
        "head.nii.gz says so.",
        "T1 is not enough.",
    ]
    assert say.sentences("") == []


def test_findings_and_what_to_do_with_them_are_in_sight(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    parts = ["resultTitle", "verdict", "findings", "export", "layout5610", "threshold"]
    tops = [find(widget, name).mapTo(widget.parent, find(widget, name).rect.topLeft()).y() for name in parts]
    assert tops == sorted(tops) and all(find(widget, name).isVisible() for name in parts)


def test_export_and_report_of_the_result_that_is_shown(widget, views, qtbot, tmp_path, monkeypatch):  # noqa: F811
    import qt

    module_scans.scan()
    views.settle()
    run(widget, qtbot, seed=7)
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    find(widget, "export").click()
    (folder,) = tmp_path.iterdir()
    assert (folder / "result.json").is_file() and str(folder) in find(widget, "resultSaid").property("text")
    find(widget, "copyReport").click()
    assert '"seed": 7' in qt.QApplication.clipboard().text()
    assert "clipboard" in find(widget, "resultSaid").property("text")
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "a file"))
    find(widget, "export").click()
    assert "choose another folder" in find(widget, "resultSaid").property("text")


@pytest.mark.parametrize("number", [view.FOUR_UP, 2, view.ONE_3D])
def test_each_layout_with_a_3d_view_shows_the_findings_in_it(widget, views, qtbot, number):  # noqa: F811
    module_scans.scan()
    views.settle()
    run(widget, qtbot)
    views.manager.setLayout(number)  # also where the layout is chosen in a menu
    views.settle()
    places = list(marks.nodesOfRuns().values())[-1]["findings_labels"]
    actors = list(views.manager.threeDWidget(0).threeDView()._renderer.GetActors())
    drawn = [actor.GetMapper().GetInput() for actor in actors if actor.GetVisibility() and actor.GetMapper()]
    drawn = [shape.GetNumberOfPoints() for shape in drawn if shape is not None]
    assert places.GetDisplayNode().GetVisibility3D() and max(drawn, default=0) > 20
    assert "SYNTHETIC" in views.text("3D")


def test_the_surfaces_of_one_run_are_shown_at_a_time(widget, views, qtbot):  # noqa: F811
    module_scans.scan()
    views.settle()
    for seed in (1, 2):
        run(widget, qtbot, seed=seed)
        qtbot.waitUntil(lambda: widget.session.result._making is None, timeout=5000)
    first, second = marks.nodesOfRuns().values()
    assert second["findings_labels"].GetDisplayNode().GetVisibility3D()
    assert not first["findings_labels"].GetDisplayNode().GetVisibility3D()


def test_surfaces_made_in_steps_are_those_of_slicer():
    """Labels on a grid that starts anywhere: the same surfaces, and no step takes long."""
    import time

    import slicer
    import vtk

    def segmented():
        image = slicer.vtkOrientedImageData()
        image.SetExtent(5, 164, -3, 156, 10, 169)
        image.SetSpacing(0.9, 1.1, 1.3)
        image.AllocateScalars(vtk.VTK_SHORT, 1)
        voxels = handover.voxels(image)
        voxels[...] = 0
        voxels[0:9, 4:30, 4:20], voxels[60:90, 60:75, 100:160], voxels[100:110, 5:50, 7:12] = 1, 2, 7
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        for value in (1, 2, 3, 7):
            labels.addSegment(node.GetSegmentation(), image, value, str(value), (1, 0, 0))
        node.CreateDefaultDisplayNodes()
        return node.GetSegmentation(), node

    (theirs, _), (ours, node) = segmented(), segmented()
    display = node.GetDisplayNode()
    theirs.CreateRepresentation("Closed surface")
    longest, began = 0.0, time.perf_counter()
    for _ in surfaces.make(node):
        longest, began = max(longest, time.perf_counter() - began), time.perf_counter()
    assert longest < 0.1
    assert node.GetDisplayNode() is display
    for value in (1, 2, 7):
        segments = [each.GetSegment(f"label_{value}") for each in (theirs, ours)]
        pair = [segment.GetRepresentation("Closed surface") for segment in segments]
        large = value == 2  # sampled more coarsely
        assert pair[1].GetNumberOfPoints() > 0
        assert large or pair[0].GetNumberOfPoints() == pair[1].GetNumberOfPoints()
        assert pair[0].GetBounds() == pytest.approx(pair[1].GetBounds(), abs=2.6 if large else 1e-3)


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
    assert not display.GetVisibility()


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
