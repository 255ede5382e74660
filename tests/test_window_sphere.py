"""The sphere that is placed with the mouse: where it lies, how large it is, undo, and what fills it."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import numpy as np
import pytest

from braindiffusion_desktop import sphere as spheres
from desktop_events import drag, head_with_spot, picture, settle, wait
from desktop_host import Qt, QtCore, QTest, core  # noqa: F401 (a fixture)
from desktop_window import slicer, window  # noqa: F401 (a fixture)
from made_up_tasks import tasks  # noqa: F401 (a fixture)
from scene_volumes import affine_of, voxels_of

pytestmark = pytest.mark.usefixtures("tasks")


@pytest.fixture
def scan(window):
    """A head on an oblique grid, its middle in all views; the tool for spheres is chosen in the tool bar."""
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    node = head_with_spot("LPS", turn)
    slicer.app.show_volume(node)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 0.0, 0.0, 0.0)
    settle()
    window.actions_.sphere.trigger()
    settle()
    return node


def view_of(window, name="Red"):
    return window.layouts.sliceWidget(name).sliceView()


def pixel(view, ras):
    """Where a place in RAS mm is seen in a view, in Qt's pixels."""
    matrix = np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.node.GetXYToRAS()))
    x, y = (matrix @ [*ras, 1])[:2]
    return QtCore.QPoint(round(x), round(view.height() - 1 - y))


def click(view, ras):
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=pixel(view, ras))
    settle()


def segmentations():
    return list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))


def inside(segmentation, segment, scan):
    """Places in RAS mm [n, 3] of the scan's voxels in a segment, and all voxels as a mask [X, Y, Z]."""
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, scan).T > 0
    affine = affine_of(scan)
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3], mask


def test_a_click_places_a_sphere_of_the_radius_that_is_set(window, scan):
    window.spheres.spin.setValue(14.0)
    click(view_of(window), (-20, 12, 0))
    (node,) = segmentations()
    assert node.GetName() == "Sphere" and node.GetSegmentation().GetNthSegment(0).GetName() == "Sphere 1"
    places, mask = inside(node, "sphere_1", scan)
    np.testing.assert_allclose(places.mean(0), (-20, 12, 0), atol=1.2)
    assert mask.sum() * 8 == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.05)  # voxels of 2 mm
    assert np.linalg.norm(places - places.mean(0), axis=1).max() < 14.6


def test_dragging_sets_the_radius_in_millimetre(window, scan):
    view = view_of(window, "Green")
    mm = view.node.GetFieldOfView()[0] / view.node.GetDimensions()[0]
    drag(view, Qt.MouseButton.LeftButton, (round(22 / mm), 0))
    assert window.spheres.spin.value() == pytest.approx(22, abs=mm)
    (node,) = segmentations()
    _, mask = inside(node, "sphere_1", scan)
    assert mask.sum() * 8 == pytest.approx(4 / 3 * np.pi * 22**3, rel=0.12)
    field = view.node.GetFieldOfView()
    assert view.node.GetFieldOfView() == field, "the picture has not moved"


def test_the_sphere_is_seen_in_all_three_planes(window, scan):
    before = {name: picture(view_of(window, name)) for name in ("Red", "Yellow", "Green")}
    click(view_of(window), (-20, 12, 0))
    window.layouts.draw()
    for name in before:
        view = view_of(window, name)
        at = pixel(view, (-20, 12, 0))
        shown = picture(view)[at.y() - 4 : at.y() + 5, at.x() - 4 : at.x() + 5].astype(int)
        assert (shown[..., 0] - shown[..., 2]).mean() > 15, f"no yellow in {name}"


def test_undo_takes_the_sphere_away_and_redo_brings_it_again(window, scan):
    click(view_of(window), (-20, 12, 0))
    click(view_of(window), (20, 12, 0))
    (node,) = segmentations()
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    window.actions_.undo.trigger()
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["sphere_1"]
    window.actions_.undo.trigger()
    assert not segmentations() and not window.actions_.undo.isEnabled()
    window.actions_.redo.trigger()
    assert segmentations() == [node] and list(node.GetSegmentation().GetSegmentIDs()) == ["sphere_1"]
    assert node.GetDisplayNode().GetVisibility()


def test_the_radius_can_be_typed_afterwards_and_undone_at_once(window, scan):
    click(view_of(window), (-20, 12, 0))
    (node,) = segmentations()
    small = inside(node, "sphere_1", scan)[1].sum()
    spin = window.spheres.spin
    spin.setFocus()
    for _ in range(5):
        QTest.keyClick(spin, Qt.Key.Key_Up)
    assert spin.value() == 15 and inside(node, "sphere_1", scan)[1].sum() > 3 * small
    window.actions_.undo.trigger()
    assert spin.value() == 10 and inside(node, "sphere_1", scan)[1].sum() == small


def test_the_sphere_is_the_mask_and_only_it_is_filled(window, scan):
    session = window.module.session
    session.panel.chooseTask("inpaint")
    session.panel.choose(scan)
    click(view_of(window), (-20, 12, 0))
    (node,) = segmentations()
    assert session.panel.page.nodes()["mask"] == (node, "sphere_1")
    _, mask = inside(node, "sphere_1", scan)
    session.panel.page.setValues({"samples": 2})
    window.run_button().click()
    wait(lambda: session.runs.job is not None and session.runs.job.finished)
    assert session.runs.job.state == "done", session.runs.job.message
    wait(lambda: session.result.inViews == session.runs.job.work.id)
    filled = session.result.entry.nodes["inpainted"]
    changed = voxels_of(filled) != voxels_of(scan)
    assert (changed == mask).all(), "the sphere and nothing else"


def test_a_click_beside_the_scan_places_nothing_and_says_why(window, scan):
    view = view_of(window)
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(2, 2))
    settle()
    assert not segmentations() and "no scan at this place" in window.statusBar().currentMessage()


def test_the_tool_ends_with_escape_and_other_tools_take_the_button_back(window, scan):
    view, tools = view_of(window), window.actions_
    assert tools.sphere.isChecked() and window.spheres.spin.isVisible()
    QTest.keyClick(view, Qt.Key.Key_Escape)
    settle()
    assert not tools.sphere.isChecked() and not window.spheres.spin.isVisible()
    click(view, (-20, 12, 0))
    assert not segmentations()
    tools.sphere.trigger()
    tools.adjust.trigger()
    assert not tools.sphere.isChecked()
    tools.sphere.trigger()
    assert not tools.adjust.isChecked()


def test_spheres_end_with_their_scene_and_are_not_lost_without_a_question(window, scan):
    from braindiffusion_desktop.guard import unsaved

    click(view_of(window), (-20, 12, 0))
    assert "Sphere" in [node.GetName() for node in unsaved()]
    window.files.close_scene()
    settle()
    assert not segmentations() and not window.actions_.undo.isEnabled()
    window.spheres.spin.setValue(20.0)
    assert not segmentations(), "nothing of the scene before comes back"


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.7, 5.0)])
def test_a_ball_is_round_in_millimetre_on_any_lattice(core, spacing):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-30, -20, -40)
    image = spheres.ball(affine, np.array([3.3, 4.4, 5.5]), 12.0)
    volume = slicer.util.arrayFromVTKMatrix(image_to_world(image))
    np.testing.assert_allclose(volume, affine)
    from vtkmodules.util.numpy_support import vtk_to_numpy

    count = vtk_to_numpy(image.GetPointData().GetScalars()).sum()
    assert count * np.prod(spacing) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.06)
    assert vtk_to_numpy(spheres.ball(affine, np.zeros(3), 0.1).GetPointData().GetScalars()).sum() == 1


def image_to_world(image):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return matrix
