"""Places of a result as masks: from the table of findings to the task that fills them, and what that does."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import numpy as np
import pytest

import module_scans
from desktop_host import Qt, QTest, core  # noqa: F401
from made_up_tasks import tasks  # noqa: F401 (a fixture)
from module_runs import logic  # noqa: F401
from module_window import find, load, manager, run, status, views, widget  # noqa: F401
from SlicerDiffusionLib import marks, runpanel, schema, view

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_waiting_for_double_clicks(monkeypatch):
    monkeypatch.setattr(runpanel, "DOUBLE_CLICK_S", 0.0)


def nodes():
    return list(marks.nodesOfRuns().values())[-1]


def healed(widget, views, qtbot):
    """The scan, after it was healed with a finding on the left."""
    scan = module_scans.scan()
    views.settle()
    widget.session.panel.chooseTask("heal")
    run(widget, qtbot)
    return scan


def test_a_finding_becomes_the_mask_and_only_it_is_filled(tasks, widget, views, qtbot):
    import slicer

    scan = healed(widget, views, qtbot)
    button = find(widget, "useAsMask")
    assert button.isVisible()
    find(widget, "findings").selectRow(0)
    before = slicer.util.arrayFromVolume(scan).copy()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    page = widget.session.panel.page
    assert page.task.name == "inpaint" and find(widget, "task").currentText == "Inpaint"
    assert page.node("scan") is scan
    assert page.nodes()["mask"] == (nodes()["findings_labels"], "label_1")
    assert "press Run" in status(widget) and page.missing() == ""
    job = run(widget, qtbot, samples=2)
    assert job.state == "done", status(widget)
    after = slicer.util.arrayFromVolume(nodes()["inpainted"])
    assert (after != before).sum() == (before == 200).sum() > 0
    assert (after[before != 200] == before[before != 200]).all(), "nothing but the finding was filled"


def test_what_is_proposed_for_a_finding_is_set_and_said_and_the_users_own_choice_stays(
    tasks, widget, views, qtbot
):
    """A finding is often smaller than its lesion; a mask that was painted by hand is as it was meant."""
    scan = healed(widget, views, qtbot)
    button, page = find(widget, "useAsMask"), widget.session.panel.pages["inpaint"]
    assert page.values()["widen"] == 0
    button.click()
    assert page.values()["widen"] == 4 and "(Widen the mask: 4 mm); press Run" in status(widget)
    page.setValues({"widen": 7})
    button.click()
    assert page.values()["widen"] == 7 and "Widen" not in status(widget)
    page.setValues({"widen": 0})
    widget.session.panel.useAsMask((nodes()["findings_labels"], "label_1"), scan)
    assert page.values()["widen"] == 0


def test_the_panel_says_how_much_was_changed_outside_the_mask(tasks, widget, views, qtbot):
    healed(widget, views, qtbot)
    assert not find(widget, "outsideMask").isVisible(), "heal has no mask"
    find(widget, "useAsMask").click()
    run(widget, qtbot, samples=2)
    assert find(widget, "outsideMask").property("text") == "Voxels changed outside the mask: 0."
    assert find(widget, "outsideMask").isVisible()


def test_a_filled_scan_stands_beside_the_scan_and_the_slider_shows_each_variant(tasks, widget, views, qtbot):
    healed(widget, views, qtbot)
    find(widget, "useAsMask").click()
    run(widget, qtbot, samples=3)
    names = ["Original", "Inpainted", "Mean and spread"]

    def titles():
        columns = (view.ORIGINAL, view.RESULT, view.MAP)
        return [views.manager.sliceWidget(f"{c}Axial").mrmlSliceNode().GetLayoutLabel() for c in columns]

    assert titles() == names
    assert views.shows("OriginalAxial")[0] == "MRHead" and "OriginalAxial" not in views.marked()
    assert views.shows("ResultAxial")[0] == "MRHead inpainted SYNTHETIC"
    assert views.shows("Red") == ("MRHead inpainted SYNTHETIC", None), "a spread does not hide the filling"
    assert views.shows("MapAxial") == ("MRHead mean SYNTHETIC", "MRHead spread SYNTHETIC")
    slider = find(widget, "step")
    assert find(widget, "stepText").property("text") == "3 variants: off"
    QTest.keyClick(slider, Qt.Key.Key_Right)
    QTest.keyClick(slider, Qt.Key.Key_Right)
    assert views.shows("ResultAxial")[0] == "MRHead variants SYNTHETIC"
    assert titles()[1] == "Variant 2" and find(widget, "findings").currentRow() == 1
    QTest.keyClick(slider, Qt.Key.Key_Home)
    assert titles() == names and find(widget, "findings").currentRow() == -1
    assert [views.shows(name)[0] for name in ("ResultAxial", "Red")] == ["MRHead inpainted SYNTHETIC"] * 2
    np.testing.assert_allclose(module_scans.grid_of(nodes()["inpainted"]), module_scans.GRIDS["RAS"])
    assert not find(widget, "useAsMask").isVisible(), "a variant is no place"


def test_without_a_task_that_takes_a_mask_nothing_is_offered(monkeypatch, views, logic, qtbot):
    heal = [task for task in schema.tasks() if task.name == "heal"]
    monkeypatch.setattr(schema, "tasks", lambda folder=None: heal)
    made, panel = load()
    healed(made, views, qtbot)
    assert find(made, "findings").property("rowCount") == 1 and not find(made, "useAsMask").isVisible()
    panel.cleanup()
    panel.deleteLater()


def test_a_mask_that_is_missing_is_asked_for_in_plain_words(tasks, widget, views):
    module_scans.scan()
    views.settle()
    widget.session.panel.chooseTask("inpaint")
    assert not find(widget, "run").property("enabled")
    assert status(widget).startswith("Choose what is to be 'Mask' first: a segment")


def test_brightness_is_shared_by_the_scan_what_fills_it_and_each_variant(tasks, widget, views, qtbot):
    scan = healed(widget, views, qtbot)
    find(widget, "useAsMask").click()
    run(widget, qtbot, samples=2)
    scan.GetDisplayNode().AutoWindowLevelOff()
    scan.GetDisplayNode().SetWindowLevelMinMax(20, 170)
    views.settle()
    alike = [nodes()["inpainted"], nodes()["mean"], marks.volumeOf(nodes()["variants"])]
    assert [node.GetDisplayNode().GetWindowLevelMax() for node in alike] == [170] * 3


def test_a_mask_is_an_outline_once_it_is_filled(tasks, widget, views, qtbot):
    import slicer

    scan = module_scans.scan()
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tumour")
    mask.CreateDefaultDisplayNodes()
    mask.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    segment = mask.GetSegmentation().AddEmptySegment("tumour")
    place = np.zeros((18, 20, 24), np.uint8)
    place[8:11, 8:12, 9:13] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(place, mask, segment, scan)
    views.settle()
    widget.session.panel.useAsMask((mask, segment), scan)
    assert widget.session.panel.page.task.name == "inpaint"
    run(widget, qtbot, samples=2)
    display = mask.GetDisplayNode()
    assert display.GetVisibility2DOutline() and not display.GetVisibility2DFill()
    assert (slicer.util.arrayFromVolume(nodes()["spread"]) > 0).sum() == place.sum()


def test_the_views_stay_at_the_place_that_was_filled(tasks, widget, views, qtbot):
    scan = healed(widget, views, qtbot)
    views.manager.setLayout(3)
    for composite in view.composites().values():
        composite.SetBackgroundVolumeID(scan.GetID())
    widget.session.result.layout = view.FOUR_UP
    view.jumpTo((-4.0, 2.0, 1.0))
    find(widget, "useAsMask").click()
    run(widget, qtbot, samples=2)
    assert views.shows("Yellow")[0] == "MRHead inpainted SYNTHETIC"
    for name, axis, place in (("Red", 2, 1.0), ("Yellow", 0, -4.0), ("Green", 1, 2.0)):
        node = views.manager.sliceWidget(name).mrmlSliceNode()
        assert node.GetSliceToRAS().GetElement(axis, 3) == pytest.approx(place, abs=0.51), name
