"""What is seen after a run: volumes in columns, the mark in each view that shows made-up voxels, outline,
jumps.
"""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import logic  # noqa: F401
from module_window import manager, views  # noqa: F401
from SlicerDiffusionLib import corner, legend, marks, outline, view

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture
def watched(views):  # noqa: F811
    made = corner.Corner()
    yield views
    made.cleanup()


@pytest.fixture
def healed(logic):  # noqa: F811
    nodes = logic.run("heal", input=module_scans.scan("T1"), seed=7)
    return nodes, view.partsOf(nodes)


def only_in_slices(watched, node):
    for composite in view.composites().values():
        composite.SetForegroundVolumeID(None)
        composite.SetBackgroundVolumeID(node.GetID())
    watched.settle()


def test_the_parts_of_a_run_are_told_by_their_artifacts(healed):
    nodes, parts = healed
    assert parts.input.GetName() == "T1" and parts.image is nodes["healed"]
    assert parts.maps == [nodes["heatmap"], nodes["spread"]]
    assert set(parts.labels) == {"findings_labels", "anatomy"} and set(parts.tables) == {"findings"}


def test_side_by_side_shows_original_healed_and_map(watched, healed):
    nodes, parts = healed
    view.setLayout(view.SIDE_BY_SIDE)
    view.show(parts)
    watched.settle()
    assert watched.manager.layout == 5610
    assert watched.shows("OriginalAxial") == ("T1", None)
    assert watched.shows("ResultAxial") == ("T1 healed SYNTHETIC", None)
    assert watched.shows("MapAxial") == ("T1", "T1 heatmap SYNTHETIC")
    labels = [
        watched.manager.sliceWidget(f"{c}Axial").mrmlSliceNode().GetLayoutLabel()
        for c in ("Original", "Result", "Map")
    ]
    assert labels == ["Original", "Healed", "Heatmap"]


def test_the_columns_move_together(watched, healed):
    view.setLayout(view.SIDE_BY_SIDE)
    view.show(healed[1])
    watched.settle()
    logics = [
        watched.manager.sliceWidget(f"{column}Axial").sliceLogic() for column in ("Original", "Result", "Map")
    ]
    assert all(one.GetSliceCompositeNode().GetLinkedControl() for one in logics)
    logics[0].StartSliceOffsetInteraction()
    logics[0].SetSliceOffset(3.0)
    logics[0].EndSliceOffsetInteraction()
    assert [one.GetSliceOffset() for one in logics] == [3.0] * 3


def test_three_planes_have_nine_views(watched, healed):
    view.setLayout(view.THREE_PLANES)
    view.show(healed[1])
    watched.settle()
    names = {frame.mrmlSliceNode().GetLayoutName() for frame in watched.manager.frames()}
    assert names == {
        f"{c}{p}" for c in ("Original", "Result", "Map") for p in ("Axial", "Sagittal", "Coronal")
    }
    assert watched.shows("MapCoronal") == ("T1", "T1 heatmap SYNTHETIC")


def test_the_layouts_survive_a_closed_scene(watched):
    import slicer

    view.setLayout(view.SIDE_BY_SIDE)
    slicer.mrmlScene.Clear(False)
    watched.settle()
    view.setLayout(view.THREE_PLANES)
    assert watched.manager.layout == 5611


def test_four_up_lays_the_map_over_the_scan(watched, healed):
    view.setLayout(view.FOUR_UP)
    view.show(healed[1])
    for name in ("Red", "Yellow", "Green"):
        assert watched.shows(name) == ("T1", "T1 heatmap SYNTHETIC")
        assert watched.composite(name).GetForegroundOpacity() == pytest.approx(0.6)


def test_a_zoom_on_the_same_scan_is_kept(watched, healed):
    view.show(healed[1])
    watched.settle()
    node = watched.manager.sliceWidget("Red").mrmlSliceNode()
    node.SetFieldOfView(50, 40, 1)
    view.show(healed[1])
    watched.settle()
    assert node.GetFieldOfView()[0] == pytest.approx(50, rel=0.01)


def test_views_that_show_made_up_voxels_say_so_and_no_others(watched, healed):
    view.setLayout(view.SIDE_BY_SIDE)
    view.show(healed[1])
    watched.settle()
    assert "ResultAxial" in watched.marked() and "MapAxial" in watched.marked()
    assert "OriginalAxial" not in watched.marked()
    assert marks.NOTICE in watched.text("ResultAxial")


def test_the_mark_follows_what_is_shown(watched, healed):
    nodes, parts = healed
    only_in_slices(watched, parts.input)
    assert watched.marked() == set()
    red = watched.composite("Red")
    red.SetForegroundVolumeID(nodes["healed"].GetID())
    red.SetForegroundOpacity(0.5)
    watched.settle()
    assert watched.marked() == {"Red"}
    red.SetForegroundOpacity(0.0)
    watched.settle()
    assert watched.marked() == set()
    watched.composite("Green").SetBackgroundVolumeID(nodes["healed"].GetID())
    watched.settle()
    assert watched.marked() == {"Green"}


def test_an_outline_of_made_up_labels_is_marked_too(watched, healed):
    nodes, parts = healed
    only_in_slices(watched, parts.input)
    nodes["anatomy"].GetDisplayNode().SetVisibility(True)
    watched.settle()
    assert watched.marked() == set()  # the anatomy is that of the scan
    nodes["findings_labels"].GetDisplayNode().SetVisibility(True)
    watched.settle()
    assert {"Red", "Green", "Yellow"} <= watched.marked()


def test_3d_says_so_when_it_shows_made_up_surfaces_or_slices(watched, healed):
    nodes, parts = healed
    only_in_slices(watched, parts.input)
    assert len(list(view.showSlicesIn3D(True))) == 3, "one in a step"
    watched.settle()
    assert watched.text("3D") == ""
    watched.composite("Red").SetBackgroundVolumeID(nodes["healed"].GetID())
    watched.settle()
    assert marks.NOTICE in watched.text("3D")
    watched.composite("Red").SetBackgroundVolumeID(parts.input.GetID())
    watched.settle()
    assert watched.text("3D") == ""
    view.showSurfaces(nodes["findings_labels"], True)
    watched.settle()
    assert marks.NOTICE in watched.text("3D")


def test_a_file_that_says_it_is_made_up_is_marked(watched, tmp_path):
    import slicer

    scan = module_scans.scan()
    for name, said in (("plain", {}), ("made", {"Synthetic": True})):
        assert slicer.util.saveNode(scan, str(tmp_path / f"{name}.nii.gz"))
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
    slicer.mrmlScene.RemoveNode(scan)
    plain = slicer.util.loadVolume(str(tmp_path / "plain.nii.gz"))
    made = slicer.util.loadVolume(str(tmp_path / "made.nii.gz"))
    watched.settle()
    assert not marks.isSynthetic(plain) and marks.isSynthetic(made)
    only_in_slices(watched, plain)
    assert watched.marked() == set()
    only_in_slices(watched, made)
    assert {"Red", "Green", "Yellow"} <= watched.marked()


def test_jumping_moves_all_slices_and_the_crosshair(watched, healed):
    import slicer

    view.setLayout(view.THREE_PLANES)
    view.show(healed[1])
    watched.settle()
    view.jumpTo((-4.0, 2.0, 1.0))
    for frame in watched.manager.frames():
        node = frame.mrmlSliceNode()
        axis, place = {"Axial": (2, 1.0), "Sagittal": (0, -4.0), "Coronal": (1, 2.0)}[node.GetOrientation()]
        assert node.GetSliceToRAS().GetElement(axis, 3) == pytest.approx(place, abs=0.51), node.GetName()
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairRAS() == (-4.0, 2.0, 1.0)
    assert crosshair.GetCrosshairMode() != slicer.vtkMRMLCrosshairNode.NoCrosshair


def test_the_outline_is_where_the_map_reaches_the_threshold(watched, healed):
    nodes, _ = healed
    line = outline.Outline(nodes["heatmap"])
    heat = nodes["heatmap"]
    import slicer

    for threshold in (2.0, 5.9, 6.0, 6.1):
        line.update(threshold)
        inside = slicer.util.arrayFromSegmentBinaryLabelmap(line.node, "label_1", heat)
        np.testing.assert_array_equal(inside > 0, slicer.util.arrayFromVolume(heat) >= threshold)
    np.testing.assert_allclose(outline_place(line), heat_place(heat), atol=1e-6)
    line.remove()
    assert line.node.GetScene() is None


def outline_place(line):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    line._image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def heat_place(node):
    return module_scans.grid_of(node)


def test_the_outline_is_seen_where_the_map_is_and_nowhere_else(watched, healed):
    nodes, parts = healed
    line = outline.Outline(nodes["heatmap"])
    line.showIn(view.viewsShowing(nodes["heatmap"]))
    assert not line.node.GetDisplayNode().GetVisibility()
    view.setLayout(view.SIDE_BY_SIDE)
    view.show(parts)
    line.showIn(view.viewsShowing(nodes["heatmap"]))
    display, slices = line.node.GetDisplayNode(), view.sliceNodes()
    assert display.IsDisplayableInView(slices["MapAxial"].GetID())
    assert not display.IsDisplayableInView(slices["OriginalAxial"].GetID())
    assert marks.isSynthetic(line.node)


def test_moving_the_outline_is_quick(watched, logic):  # noqa: F811
    voxels = np.zeros((170, 200, 160), np.int16)
    voxels[40:130, 50:150, 40:120] = 100
    voxels[70:90, 90:110, 80:100] = 200
    nodes = logic.run("heal", input=module_scans.volume("large", voxels, np.eye(4)))
    line = outline.Outline(nodes["heatmap"])
    took = []
    for threshold in np.linspace(2, 8, 12):
        began = time.thread_time()
        line.update(threshold)
        took.append(time.thread_time() - began)
    assert np.median(took) < 0.05


def test_opacity_changes_only_where_a_map_is_in_front(watched, healed):
    nodes, parts = healed
    view.show(parts)
    other = watched.composite("Green")
    other.SetForegroundVolumeID(nodes["healed"].GetID())
    other.SetForegroundOpacity(0.2)
    view.setOpacity(parts.maps, 0.9)
    assert watched.composite("Red").GetForegroundOpacity() == pytest.approx(0.9)
    assert other.GetForegroundOpacity() == pytest.approx(0.2)


def test_a_legend_is_shown_in_views_that_are_younger_than_the_map(watched, healed):
    import slicer

    nodes, parts = healed
    view.setLayout(view.SIDE_BY_SIDE)
    view.show(parts)
    legend.renew(nodes["heatmap"])
    watched.settle()
    display = slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes["heatmap"])
    for name, there in (("MapAxial", True), ("OriginalAxial", False)):
        shown = watched.manager.sliceWidget(name).sliceView()
        legends = shown.displayableManagerByClassName("vtkMRMLColorLegendDisplayableManager")
        assert bool(legends.GetColorLegendActor(display).GetVisibility()) == there


def test_original_and_healed_share_one_brightness_and_contrast_while_linked(watched, healed):
    _, parts = healed
    view.setLayout(view.SIDE_BY_SIDE)
    parts.input.GetDisplayNode().AutoWindowLevelOff()
    parts.input.GetDisplayNode().SetWindowLevel(80, 90)
    heat = parts.maps[0].GetDisplayNode()
    before = heat.GetWindow(), heat.GetLevel()
    view.show(parts)
    scan, made_up = parts.input.GetDisplayNode(), parts.image.GetDisplayNode()
    assert (made_up.GetWindow(), made_up.GetLevel()) == (80, 90)
    made_up.SetWindowLevel(50, 60)
    assert (scan.GetWindow(), scan.GetLevel()) == (50, 60)
    for composite in view.composites().values():
        composite.SetLinkedControl(False)
    scan.SetWindowLevel(10, 20)
    assert (made_up.GetWindow(), made_up.GetLevel()) == (50, 60)
    assert (heat.GetWindow(), heat.GetLevel()) == before, "a map keeps its own window"


def test_columns_keep_their_run_when_another_scan_is_opened(watched, healed):
    import slicer

    view.setLayout(view.SIDE_BY_SIDE)
    for composite in view.composites().values():
        composite.SetDoPropagateVolumeSelection(True)  # as 3D Slicer makes them
    view.show(healed[1])
    other = module_scans.scan("T2")
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(other.GetID())
    slicer.app.applicationLogic().PropagateVolumeSelection()
    assert watched.shows("Red")[0] == "T2"
    assert watched.shows("OriginalAxial")[0] == "T1"
    assert watched.shows("ResultAxial")[0] == "T1 healed SYNTHETIC"


@pytest.mark.parametrize("window, count", [((2, 8), 4), ((0, 0.2), 3), ((0, 1), 3), ((0, 8), 5)])
def test_a_legend_has_few_and_short_numbers(healed, window, count):
    import slicer

    heat = healed[1].maps[0]
    heat.GetDisplayNode().SetWindowLevelMinMax(*window)
    legend.refresh(heat)
    assert slicer.modules.colors.logic().GetColorLegendDisplayNode(heat).GetNumberOfLabels() == count
