"""Slice and 3D views: letters on the right edges, pictures where they belong, drawn when they change."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import time

import numpy as np
import pytest
import vtk
from scipy.spatial.transform import Rotation

from desktop_host import Qt, QtCore, QTest, QtWidgets, core  # noqa: F401 (a fixture)

# isort: split
from PySide6 import QtGui

from braindiffusion_desktop.letters import edge_letters, offset_words, plane_words
from braindiffusion_desktop.probe import DataProbe, place_words
from desktop_events import affine_of, ball, bright_spot, head_with_spot, move, picture, settle, wait, wheel
from desktop_window import red, show, slicer, views, window  # noqa: F401 (a fixture)
from scene_volumes import add_volume
from SlicerDiffusionLib.view import THREE_PLANES, prepare, setLayout

LEFT = (-32.0, 10.0, 14.0)  # RAS mm of the spot in head_with_spot
TURNED = Rotation.from_euler("xyz", [14, -11, 23], degrees=True).as_matrix()


# -- left is left


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LIA", "PIR", "oblique"])
@pytest.mark.parametrize("turned_with_scan", [True, False])
def test_what_is_left_in_the_patient_is_seen_beside_the_letter_l(views, axes, turned_with_scan):
    node = head_with_spot("RAS" if axes == "oblique" else axes, TURNED if axes == "oblique" else None)
    show(views, node, LEFT)
    for name, plane in (("Red", "Axial"), ("Green", "Coronal")):
        frame = views.sliceWidget(name)
        if not turned_with_scan:
            frame.mrmlSliceNode().SetOrientation(plane)
            frame.mrmlSliceNode().JumpSlice(*LEFT)
            settle()
        view = frame.sliceView()
        letters = edge_letters(frame.mrmlSliceNode())
        assert letters["right"][0] == "L" and letters["left"][0] == "R"
        x, _ = bright_spot(view)
        assert x > view.width() / 2 + 20, "the spot on the patient's left must be on the right of the picture"


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LIA"])
def test_the_letters_of_all_three_planes(views, axes):
    show(views, head_with_spot(axes))
    wanted = {
        "Red": {"left": "R", "right": "L", "top": "A", "bottom": "P"},
        "Yellow": {"left": "A", "right": "P", "top": "S", "bottom": "I"},
        "Green": {"left": "R", "right": "L", "top": "S", "bottom": "I"},
    }
    for name, letters in wanted.items():
        assert edge_letters(views.sliceWidget(name).mrmlSliceNode()) == letters


def test_a_letter_is_drawn_at_each_edge_and_none_without_a_picture(views):
    empty = picture(red(views))
    show(views, head_with_spot("RAS"))
    assert red(views).letters() == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    seen = picture(red(views))
    height, width = seen.shape[:2]
    middle_row, middle_column = (
        slice(height // 2 - 15, height // 2 + 15),
        slice(width // 2 - 15, width // 2 + 15),
    )
    edges = (
        (middle_row, slice(0, 30)),
        (middle_row, slice(width - 30, width)),
        (slice(0, 28), middle_column),
        (slice(height - 55, height - 22), middle_column),
    )
    for edge in edges:
        yellow = (seen[edge][..., 0] > 200) & (seen[edge][..., 2] < 190)
        assert yellow.sum() > 8
        assert not ((empty[edge][..., 0] > 200) & (empty[edge][..., 2] < 190)).any()


def test_an_oblique_slice_says_so_with_a_second_letter(views):
    node = views.sliceWidget("Red").mrmlSliceNode()
    for degrees, right, plane in ((0, "L", "Axial"), (6, "L", "Axial"), (25, "LS", "Axial, oblique")):
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix() @ np.diag([-1.0, 1.0, 1.0])
        for row in range(4):
            for column in range(4):
                node.GetSliceToRAS().SetElement(row, column, turn[row, column])
        node.UpdateMatrices()
        assert edge_letters(node)["right"] == right
        assert plane_words(node) == plane
    assert offset_words(node, 12.34) == "12.3 mm"


def test_the_title_bar_says_plane_and_place_in_words(views):
    show(views, head_with_spot("RAS"), LEFT)
    bars = {name: views.sliceWidget(name).sliceController() for name in ("Red", "Yellow", "Green")}
    assert [bar.plane.text() for bar in bars.values()] == ["Axial", "Sagittal", "Coronal"]
    assert bars["Red"].read_out.text() == "S 14.0 mm"
    assert bars["Yellow"].read_out.text() == "L 32.0 mm"
    assert bars["Green"].read_out.text() == "A 10.0 mm"


def test_an_overlay_lies_where_it_belongs(views):
    """The map's spot covers the scan's spot exactly, although the grids differ in axes and spacing."""
    show(views, head_with_spot("LIA"), LEFT)
    size = (48, 48, 48)
    affine = affine_of("RAS", size, 3.0, TURNED)
    heat = add_volume(8 * ball(affine, size, LEFT, 8), affine, "heat")
    display = heat.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 8)
    before = bright_spot(red(views))
    shown = red(views).mrmlSliceCompositeNode()
    shown.SetForegroundVolumeID(heat.GetID())
    shown.SetForegroundOpacity(1.0)
    settle()
    seen = picture(red(views)).astype(int)
    rows, columns = np.nonzero((seen[..., 0] > 150) & (seen[..., 1] < 60))
    assert columns.mean() == pytest.approx(before[0], abs=4) and rows.mean() == pytest.approx(
        before[1], abs=4
    )
    assert "heat (100%)" in red(views).names() and "head LIA" in red(views).names()


# -- what lies under the mouse


def test_the_probe_says_place_and_values(views):
    show(views, head_with_spot("RAS"), LEFT)
    probe = DataProbe(views)
    view = red(views)
    place = QtCore.QPoint(*(round(value) for value in bright_spot(view)))
    move(view, place, Qt.KeyboardModifier.NoModifier)
    words = probe.text()
    assert words.startswith("L 3") and "S 14.0 mm" in words and "head RAS 500" in words
    probe.finalize()


def test_the_probe_names_structures_and_labels(views):
    show(views, head_with_spot("RAS"), LEFT)
    spot = QtCore.QPoint(*(round(value) for value in bright_spot(red(views))))
    size = (70, 64, 58)
    affine = affine_of("RAS", size)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "anatomy")
    slicer.util.updateVolumeFromArray(labels, (3 * ball(affine, size, LEFT, 10)).astype(np.int16).T)
    matrix = slicer.util.vtkMatrixFromArray(affine)
    labels.SetIJKToRASMatrix(matrix)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "structures")
    segmentation.CreateDefaultDisplayNodes()
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    segmentation.GetSegmentation().GetNthSegment(0).SetName("Left insula")
    settle()
    probe = DataProbe(views)
    move(red(views), spot, Qt.KeyboardModifier.NoModifier)
    assert "Left insula" in probe.text()
    probe.finalize()


def test_places_are_said_in_words():
    assert place_words([12.0, -30.25, 0.0]) == "R 12.0  P 30.2  S 0.0 mm"


# -- pictures


def test_views_draw_when_something_changed_and_rest_otherwise(views):
    show(views, head_with_spot("RAS"))
    view = red(views)
    view.grab()
    before = view.frames
    for _ in range(5):
        view.scheduleRender()
    settle()
    assert view.frames == before + 1, "many requests make one picture"
    for step in range(20):
        QTest.mouseMove(view, view.rect().center() + QtCore.QPoint(step, step))
    settle()
    assert view.frames <= before + 2, "moving the mouse alone draws nothing"


def test_many_views_are_drawn_one_after_another_so_that_the_window_answers_in_between(views):
    show(views, head_with_spot("RAS"))
    drawn = [frame.view for frame in views.frames()]
    before = sum(view.frames for view in drawn)
    for view in drawn:
        view.scheduleRender()
    seen = []
    for _ in range(16):
        QtWidgets.QApplication.processEvents()
        seen.append(sum(view.frames for view in drawn) - before)
    assert seen[-1] == len(drawn)
    assert max(np.diff([0, *seen])) == 1


def test_views_that_all_get_another_size_are_drawn_one_after_another_too(views):
    """As when a message above them comes or goes: painting them must not render all at once."""
    show(views, head_with_spot("RAS"))
    drawn = [frame.view for frame in views.frames()]
    before = sum(view.frames for view in drawn)
    views.viewport.window().resize(860, 700)
    seen = []
    for _ in range(20):
        QtWidgets.QApplication.processEvents()
        seen.append(sum(view.frames for view in drawn) - before)
    assert seen[-1] >= len(drawn)
    assert max(np.diff([0, *seen])) == 1
    views.viewport.window().resize(900, 800)
    assert views.grab().size() == views.viewport.size()
    assert not any(view._stale for view in drawn), "a picture of all views shows all as they are"


def test_views_of_a_layout_can_be_made_before_it_is_shown_one_in_a_step(views):
    """All at once keep the user for too long; and they are those that the layout asks for."""
    made = [set(views.sliceViewNames()) for _ in prepare(THREE_PLANES)]
    assert [len(now - {"Red", "Green", "Yellow"}) for now in made] == list(range(1, 10))
    assert len(views.frames()) == 4 and not views.sliceWidget("MapCoronal").isVisible()
    frames = {name: views.sliceWidget(name) for name in made[-1]}
    described = {name: _described(frame.mrmlSliceNode()) for name, frame in frames.items()}
    assert {group for _, _, group, _ in described.values()} >= {0, 1}, "the new ones are linked by themselves"
    setLayout(THREE_PLANES)
    settle()
    assert {name: _described(frame.mrmlSliceNode()) for name, frame in frames.items()} == described
    assert len(views.frames()) == 9 and all(frame in frames.values() for frame in views.frames())
    assert frames["MapCoronal"].isVisible() and not frames["Red"].isVisible()
    assert not list(prepare(THREE_PLANES)), "they are there"


def _described(node):
    return node.GetOrientation(), node.GetLayoutLabel(), node.GetViewGroup(), node.GetLayoutColor()


def test_a_hidden_view_is_not_drawn(views):
    show(views, head_with_spot("RAS"))
    views.setLayout(4)
    settle()
    view = red(views)
    before = view.frames
    view.sliceLogic().SetSliceOffset(8)
    settle()
    assert view.frames == before
    views.setLayout(3)
    settle()
    assert view.frames > before


def test_a_dense_screen_gets_a_fine_picture(views, monkeypatch):
    view = red(views)
    monkeypatch.setattr(type(view), "devicePixelRatioF", lambda self: 2.0)
    view.resize(300, 200)
    settle()
    assert view.renderWindow().GetSize() == (600, 400) and view.renderWindow().GetDPI() == 144
    place = QtCore.QPointF(100, 50)
    event = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseMove, place, place, Qt.MouseButton.NoButton, Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QtWidgets.QApplication.sendEvent(view, event)
    assert view.interactor().GetEventPosition() == (200, 400 - 100 - 1)


def test_text_of_others_is_seen_in_the_corners(views):
    show(views, head_with_spot("RAS"))
    view = red(views)
    before = picture(view)
    view.cornerAnnotation().SetText(7, "\nSYNTHETIC")
    view.scheduleRender()
    settle()
    changed = np.argwhere((picture(view) != before).any(axis=2))
    assert len(changed) > 50 and changed[:, 0].max() < view.height() / 4


def test_scrolling_through_a_result_is_fast(window):
    """At least 20 slices a second, original, result and map side by side in three planes, each with all that
    stands in it. What counts is the time that all threads of the process compute: drawing in software uses
    several, and the clock tells of whatever else the computer does.
    """
    size = (256, 256, 256)
    ramp = np.add.outer(np.add.outer(np.arange(256), np.arange(256)), np.arange(256))
    voxels = (ramp % 100).astype(np.float32)
    voxels[60:90, 120:150, 100:130] = 200  # what the engine that computes nothing finds
    show(window.layouts, add_volume(voxels, affine_of("RAS", size, 1.0), "scan"))
    result = window.module.session.result
    QTest.mouseClick(window.run_button(), Qt.MouseButton.LeftButton)
    wait(lambda: result.inViews and result._making is None)
    result.showInViews(THREE_PLANES)
    wait(lambda: result._making is None)
    drawn = {frame.view.node.GetLayoutName(): frame.view for frame in window.layouts.frames()}
    wait(lambda: not any(view._stale for view in drawn.values()))
    settle(20)
    assert "SYNTHETIC" in drawn["MapAxial"].cornerAnnotation().GetText(7)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(result.overlays.overlay)
    for part in (legend, result.overlays._outline.node.GetDisplayNode()):
        assert part.GetVisibility()
    for plane in ("Axial", "Sagittal", "Coronal"):
        linked = [f"{column}{plane}" for column in ("Original", "Result", "Map")]
        costs = [_scroll(drawn, linked, notches) for notches in (*[1] * 4, *[-1] * 8, *[1] * 4)]
        assert np.mean(costs) < 1 / 20, f"{plane}: {costs}"


def _scroll(drawn, linked, notches):
    """Turn the wheel over the last of the linked views: all of them move and are drawn, and no others. The
    seconds that it took of the process.
    """
    before = {name: view.frames for name, view in drawn.items()}
    begun = time.process_time()
    wheel(drawn[linked[-1]], notches)
    wait(lambda: not any(view._stale for view in drawn.values()))
    cost = time.process_time() - begun
    assert len({round(drawn[name].logic.GetSliceOffset(), 3) for name in linked}) == 1
    assert {name for name, view in drawn.items() if view.frames > before[name]} == set(linked)
    return cost


def test_models_are_drawn_where_slices_cut_them_also_as_they_come_and_go(views):
    """Slices are models themselves, for 3D; these alone are no reason to draw all views anew."""
    show(views, head_with_spot("RAS"), LEFT)
    settle(20)
    before = picture(red(views))
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(30)
    sphere.Update()
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "tumour")
    model.SetAndObservePolyData(sphere.GetOutput())
    model.CreateDefaultDisplayNodes()
    model.GetDisplayNode().SetVisibility2D(True)
    model.GetDisplayNode().SetColor(1, 0, 0)
    red(views).logic.SetSliceOffset(14)
    settle(20)
    assert ((picture(red(views))[..., 0] > 200) & (picture(red(views))[..., 1] < 60)).sum() > 50
    slicer.mrmlScene.RemoveNode(model)
    settle(20)
    assert np.array_equal(picture(red(views)), before)


def test_a_finalised_view_can_be_painted_and_finalised_again(views):
    view = red(views)
    view.finalize()
    view.finalize()
    view.resize(200, 200)
    view.scheduleRender()
    settle()
    assert picture(view).max() == 0
