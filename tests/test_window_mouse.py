"""The mouse in slice and 3D views: Slicer's habits."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import numpy as np
import pytest

from desktop_host import Qt, QtCore, QTest, QtWidgets, core  # noqa: F401 (a fixture)

# isort: split
from PySide6 import QtGui

from braindiffusion_desktop.letters import offset_words
from desktop_events import affine_of, drag, head_with_spot, move, picture, settle, wheel
from desktop_window import red, show, slicer, views  # noqa: F401 (a fixture)
from scene_volumes import add_volume


def test_the_wheel_moves_the_slice(views):
    show(views, head_with_spot("RAS"), (0, 0, 0))
    frame = views.sliceWidget("Red")
    before, picture_before = frame.sliceLogic().GetSliceOffset(), picture(frame.sliceView())
    wheel(frame.sliceView(), 3)
    assert frame.sliceLogic().GetSliceOffset() == pytest.approx(before + 6)  # three slices of 2 mm
    assert frame.sliceController().read_out.text() == offset_words(frame.mrmlSliceNode(), before + 6)
    assert (picture(frame.sliceView()) != picture_before).any()
    wheel(frame.sliceView(), -3)
    assert frame.sliceLogic().GetSliceOffset() == pytest.approx(before)


def test_a_finely_turning_wheel_moves_one_slice_for_each_notch(views):
    show(views, head_with_spot("RAS"), (0, 0, 0))
    view = red(views)
    before = view.sliceLogic().GetSliceOffset()
    place = QtCore.QPointF(view.rect().center())
    for _ in range(10):  # a touchpad: ten times a tenth of a notch
        event = QtGui.QWheelEvent(
            place, place, QtCore.QPoint(), QtCore.QPoint(0, 12), Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QtWidgets.QApplication.sendEvent(view, event)
    assert view.sliceLogic().GetSliceOffset() == pytest.approx(before + 2)


def test_the_slider_moves_the_slice_and_follows_it(views):
    show(views, head_with_spot("RAS"), (0, 0, 0))
    frame = views.sliceWidget("Green")
    slider, before = frame.sliceController().slider, frame.sliceLogic().GetSliceOffset()
    start = slider.value()
    slider.setValue(start + 5)
    assert frame.sliceLogic().GetSliceOffset() == pytest.approx(before + 10)
    wheel(frame.sliceView(), -5)
    assert frame.sliceLogic().GetSliceOffset() == pytest.approx(before)
    assert slider.value() == start


def test_the_right_button_zooms_and_the_middle_one_pans(views):
    show(views, head_with_spot("RAS"))
    view = red(views)
    field, place = view.node.GetFieldOfView()[0], view.node.GetXYZOrigin()
    drag(view, Qt.MouseButton.RightButton, (0, 60))
    assert view.node.GetFieldOfView()[0] < field * 0.95
    view.fit()
    drag(view, Qt.MouseButton.MiddleButton, (40, 0))
    assert view.node.GetXYZOrigin()[0] < place[0] - 5
    view.fit()
    assert view.node.GetFieldOfView()[0] == pytest.approx(field, rel=1e-3)


def test_brightness_and_contrast_are_changed_only_in_their_mode_and_never_those_of_a_map(views):
    head = head_with_spot("RAS")
    show(views, head)
    heat = add_volume(np.ones((20, 20, 20), np.float32) * 5, affine_of("RAS", (20, 20, 20), 5.0), "heat")
    heat.GetDisplayNode().AutoWindowLevelOff()
    heat.GetDisplayNode().SetWindowLevelMinMax(2, 8)
    shown = red(views).mrmlSliceCompositeNode()
    shown.SetForegroundVolumeID(heat.GetID())
    shown.SetForegroundOpacity(0.6)
    settle()

    def windows() -> list[float]:
        nodes = (head.GetDisplayNode(), heat.GetDisplayNode())
        return [value for node in nodes for value in (node.GetWindow(), node.GetLevel())]

    before = windows()
    drag(red(views), Qt.MouseButton.LeftButton, (50, 30))
    assert windows() == before
    mode = slicer.app.applicationLogic().GetInteractionNode()
    mode.SetCurrentInteractionMode(mode.AdjustWindowLevel)
    drag(red(views), Qt.MouseButton.LeftButton, (50, 30))
    mode.SetCurrentInteractionMode(mode.ViewTransform)
    after = windows()
    assert after[0] != before[0] and after[1] != before[1]
    assert after[2:] == before[2:]


def test_shift_and_the_mouse_move_the_crosshair_in_all_views(views):
    show(views, head_with_spot("RAS"), (0, 0, 0))
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(crosshair.ShowBasic)
    view = red(views)
    QTest.keyPress(view, Qt.Key.Key_Shift)
    move(view, view.rect().center() + QtCore.QPoint(50, 30), Qt.KeyboardModifier.ShiftModifier)
    QTest.keyRelease(view, Qt.Key.Key_Shift)
    right, anterior, _ = crosshair.GetCrosshairRAS()
    assert right < -10 and anterior < -5, "right and below in an axial picture is left and posterior"
    for name, axis, place in (("Yellow", 0, right), ("Green", 1, anterior)):
        at = views.sliceWidget(name).mrmlSliceNode().GetSliceToRAS().GetElement(axis, 3)
        assert at == pytest.approx(place, abs=1.1)
    crosshair.SetCrosshairMode(crosshair.NoCrosshair)


def test_the_arrow_keys_move_the_slice(views):
    show(views, head_with_spot("RAS"), (0, 0, 0))
    view = red(views)
    before = view.sliceLogic().GetSliceOffset()
    move(view, view.rect().center(), Qt.KeyboardModifier.NoModifier)
    QTest.keyClick(view, Qt.Key.Key_Right)
    QTest.keyClick(view, Qt.Key.Key_Right)
    assert view.sliceLogic().GetSliceOffset() == pytest.approx(before + 4)
    QTest.keyClick(view, Qt.Key.Key_Left)
    assert view.sliceLogic().GetSliceOffset() == pytest.approx(before + 2)


def test_dragging_turns_the_3d_view(views):
    view = views.threeDWidget(0).threeDView()
    before = view.cameraNode().GetPosition()
    drag(view, Qt.MouseButton.LeftButton, (60, 10))
    assert np.linalg.norm(np.subtract(view.cameraNode().GetPosition(), before)) > 10


def test_the_3d_view_can_be_fitted_and_looked_at_from_each_side(views):
    frame = views.threeDWidget(0)
    show(views, head_with_spot("RAS"))
    views.sliceWidget("Red").mrmlSliceNode().SetSliceVisible(True)
    settle()
    empty = picture(frame.threeDView())
    frame.fit()
    frame.threeDController().look("Superior")
    settle()
    camera = frame.threeDView().cameraNode()
    assert camera.GetPosition()[2] > camera.GetFocalPoint()[2] + 50
    assert (picture(frame.threeDView()) != empty).mean() > 0.05
    views.sliceWidget("Red").mrmlSliceNode().SetSliceVisible(False)


def test_a_click_with_the_right_button_offers_what_can_be_done_with_a_slice(views):
    head = head_with_spot("RAS")
    show(views, head)
    frame = views.sliceWidget("Red")
    view, menu, display = frame.sliceView(), frame.sliceController().menu, head.GetDisplayNode()
    drag(view, Qt.MouseButton.RightButton, (0, 60))
    assert not menu.isVisible(), "dragging zooms"
    QTest.mouseClick(view, Qt.MouseButton.RightButton)
    assert menu.isVisible()
    actions = {action.text(): action for action in menu.actions()}
    assert actions["Interpolate between voxels"].isChecked() == bool(display.GetInterpolate())
    actions["Interpolate between voxels"].trigger()
    assert not display.GetInterpolate()
    field = view.node.GetFieldOfView()[0]
    actions["Fit to window"].trigger()
    assert view.node.GetFieldOfView()[0] > field
    display.SetWindowLevelMinMax(200, 210)
    actions["Reset brightness and contrast"].trigger()
    assert display.GetWindowLevelMin() < 50 and display.GetWindowLevelMax() > 90
    actions["Copy picture"].trigger()
    assert QtWidgets.QApplication.clipboard().image().size() == view.size()
    menu.close()
