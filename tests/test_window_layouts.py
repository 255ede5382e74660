"""The layout manager: layouts of Slicer and of modules, views that are kept, linked slices, closed scenes."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from desktop_host import core  # noqa: F401 (a fixture)

# isort: split
import slicer
from PySide6 import QtCore, QtWidgets

from braindiffusion_desktop.layouts import LayoutManager
from desktop_events import head_with_spot, settle, wheel

COMPARE, PLANES, TABS = 5710, 5711, 5715


def _view(name: str, orientation: str, group: int = 1) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{name}</property>'
        f'<property name="viewcolor" action="default">#5b9bd5</property>'
        f'<property name="viewgroup" action="default">{group}</property></view></item>'
    )


def _row(prefix: str, orientation: str) -> str:
    views = "".join(_view(f"{prefix}{i}", orientation) for i in range(3))
    return f'<layout type="horizontal" split="true">{views}</layout>'


@pytest.fixture
def manager(core: Any) -> Iterator[LayoutManager]:
    """A layout manager in a window of 900 x 700, with two layouts that a module would register."""
    manager = LayoutManager()
    core.setLayoutManager(manager)
    node = manager.layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(COMPARE, _row("Axial", "Axial"))
    planes = "".join(f"<item>{_row(name, name)}</item>" for name in ("Axial", "Sagittal", "Coronal"))
    node.AddLayoutDescription(PLANES, f'<layout type="vertical">{planes}</layout>')
    node.AddLayoutDescription(
        TABS, f'<layout type="tab">{_view("Tab0", "Axial")}{_view("Tab1", "Coronal")}</layout>'
    )
    window = QtWidgets.QMainWindow()
    window.resize(900, 700)
    window.setCentralWidget(manager.viewport)
    manager.setLayout(3)
    window.show()
    settle()
    yield manager
    core.setLayoutManager(None)
    manager.finalize()
    for kind in ("vtkMRMLAbstractViewNode", "vtkMRMLSliceCompositeNode"):
        for node in slicer.util.getNodesByClass(kind):
            if node.GetLayoutName() not in ("Red", "Yellow", "Green", "1"):
                slicer.mrmlScene.RemoveNode(node)
    window.close()
    window.deleteLater()
    settle()


def shown(manager: LayoutManager) -> list[str]:
    """Names of the views that a user sees, from the upper left to the lower right."""
    frames = [frame for frame in manager.frames() if frame.isVisible()]
    origin = QtCore.QPoint(0, 0)
    frames.sort(
        key=lambda frame: (
            frame.mapTo(manager.viewport, origin).y(),
            frame.mapTo(manager.viewport, origin).x(),
        )
    )
    return [frame.view.node.GetLayoutName() for frame in frames]


@pytest.mark.parametrize(
    ("number", "views"),
    [
        (3, ["Red", "1", "Green", "Yellow"]),
        (2, ["1", "Red", "Green", "Yellow"]),
        (6, ["Red"]),
        (4, ["1"]),
        (TABS, ["Tab0"]),
        (COMPARE, ["Axial0", "Axial1", "Axial2"]),
        (PLANES, [f"{plane}{i}" for plane in ("Axial", "Sagittal", "Coronal") for i in range(3)]),
    ],
)
def test_a_layout_shows_its_views_in_their_places(manager, number, views):
    manager.setLayout(number)
    settle()
    assert shown(manager) == views
    assert manager.layout == number and manager.property("layout") == number
    kept = {frame.view.node.GetLayoutName() for frame in manager.frames()}
    for frame in (frame for frame in manager.frames() if frame.isVisible()):
        assert frame.view.node.IsMappedInLayout() and frame.view.node.IsViewVisibleInLayout()
        assert frame.view.width() > 100 and frame.view.height() > 100
    if "Red" not in kept:
        assert not manager.sliceWidget("Red").mrmlSliceNode().IsMappedInLayout()


def test_orientation_label_and_colour_come_from_the_layout(manager):
    manager.setLayout(PLANES)
    frame = manager.sliceWidget("Coronal1")
    assert frame.mrmlSliceNode().GetOrientation() == "Coronal"
    assert frame.mrmlSliceNode().GetLayoutLabel() == "Coronal1"
    assert frame.mrmlSliceNode().GetLayoutColor() == pytest.approx((0x5B / 255, 0x9B / 255, 0xD5 / 255))


def test_views_are_kept_and_used_again(manager):
    manager.setLayout(PLANES)
    settle()
    first = {name: manager.sliceWidget(name) for name in manager.sliceViewNames()}
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    logics = slicer.app.applicationLogic().GetSliceLogics().GetNumberOfItems()
    for _ in range(3):
        for number in (6, COMPARE, 4, 2, PLANES, 3):
            manager.setLayout(number)
            settle()
    assert {name: manager.sliceWidget(name) for name in manager.sliceViewNames()} == first
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert slicer.app.applicationLogic().GetSliceLogics().GetNumberOfItems() == logics == len(first)
    splitters = manager.viewport.findChildren(QtWidgets.QSplitter)
    assert len(splitters) <= 3, "the splitters of former layouts are gone"
    assert manager.threeDViewCount == 1 and manager.property("threeDViewCount") == 1


def test_it_says_when_another_layout_is_shown(manager):
    heard, views = [], []
    manager.layoutChanged.connect(heard.append)
    manager.layoutChanged.connect(lambda: views.append(len(manager.frames())))
    manager.setLayout(6)
    manager.layoutLogic().GetLayoutNode().SetViewArrangement(COMPARE)  # as the scene or a module may do it
    manager.setLayout(COMPARE)
    assert heard == [6, COMPARE] and views == [1, 3]


def test_a_layout_that_nobody_described_is_refused(manager):
    with pytest.raises(ValueError, match="no layout 4711"):
        manager.setLayout(4711)
    assert manager.layout == 3


def test_linked_slices_of_one_orientation_move_together(manager):
    slicer.app.show_volume(head_with_spot("RAS"))
    manager.setLayout(PLANES)
    settle()
    head = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
    for name in manager.sliceViewNames():
        manager.sliceWidget(name).mrmlSliceCompositeNode().SetBackgroundVolumeID(head)
    manager.fit()

    def offsets(prefix: str) -> list[float]:
        return [round(manager.sliceWidget(f"{prefix}{i}").sliceLogic().GetSliceOffset(), 3) for i in range(3)]

    coronal = offsets("Coronal")
    wheel(manager.sliceWidget("Axial1").sliceView(), 4)
    assert len(set(offsets("Axial"))) == 1
    assert offsets("Coronal") == coronal
    manager.set_linked(False)
    before = offsets("Axial")
    wheel(manager.sliceWidget("Axial1").sliceView(), 2)
    after = offsets("Axial")
    assert after[1] != before[1] and after[0] == before[0]
    manager.set_linked(True)
    assert manager.is_linked()


def test_a_scan_is_shown_in_new_views_but_never_where_results_are_compared(manager):
    """A scan in a view that is called result would look like a result without any finding."""
    head = head_with_spot("LIA")
    slicer.app.show_volume(head)
    settle()
    manager.setLayout(15)  # two 3D views above three slices: nothing new for slices
    manager.setLayout(COMPARE)
    settle()
    slicer.app.show_volume(head)
    for i in range(3):
        assert manager.sliceWidget(f"Axial{i}").mrmlSliceCompositeNode().GetBackgroundVolumeID() is None
    node = manager.layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(5712, f'<layout type="horizontal">{_view("More", "Coronal", group=0)}</layout>')
    manager.setLayout(5712)
    settle()
    more = manager.sliceWidget("More")
    assert more.mrmlSliceCompositeNode().GetBackgroundVolumeID() == head.GetID()
    assert more.sliceView().letters() == {"left": "R", "right": "L", "top": "S", "bottom": "I"}


def test_where_results_are_compared_no_scan_comes_after_a_closed_scene_either(manager):
    manager.setLayout(COMPARE)
    settle()
    slicer.app.show_volume(head_with_spot("RAS"))
    manager.sliceWidget("Axial1").mrmlSliceCompositeNode().SetBackgroundVolumeID("vtkMRMLScalarVolumeNode1")
    slicer.mrmlScene.Clear(False)
    slicer.app.show_volume(head_with_spot("RAS"))
    settle()
    for i in range(3):
        assert manager.sliceWidget(f"Axial{i}").mrmlSliceCompositeNode().GetBackgroundVolumeID() is None
        assert manager.sliceWidget(f"Axial{i}").mrmlSliceCompositeNode().GetHotLinkedControl()


def test_a_closed_scene_leaves_views_that_work(manager):
    slicer.app.show_volume(head_with_spot("RAS"))
    settle()
    views = {name: manager.sliceWidget(name) for name in manager.sliceViewNames()}
    slicer.mrmlScene.Clear(False)
    settle()
    assert {name: manager.sliceWidget(name) for name in manager.sliceViewNames()} == views
    assert shown(manager) == ["Red", "1", "Green", "Yellow"]
    assert all(widget.sliceView().letters() == {} for widget in views.values())
    slicer.app.show_volume(head_with_spot("RAS"))
    settle()
    assert views["Red"].sliceView().letters()["right"] == "L"
    before = views["Red"].sliceLogic().GetSliceOffset()
    wheel(views["Red"].sliceView(), 1)
    assert views["Red"].sliceLogic().GetSliceOffset() == pytest.approx(before + 2)


def test_a_view_whose_node_leaves_the_scene_goes_and_is_made_anew(manager):
    manager.setLayout(COMPARE)
    settle()
    slicer.mrmlScene.RemoveNode(manager.sliceWidget("Axial1").mrmlSliceNode())
    settle()
    assert manager.sliceWidget("Axial1") is None and shown(manager) == ["Axial0", "Axial2"]
    manager.setLayout(3)
    manager.setLayout(COMPARE)
    settle()
    assert shown(manager) == ["Axial0", "Axial1", "Axial2"]


def test_a_double_click_makes_a_view_large_and_small_again(manager):
    from PySide6.QtTest import QTest

    slicer.app.show_volume(head_with_spot("RAS"))
    settle()
    view = manager.sliceWidget("Green").sliceView()
    QTest.mouseDClick(view, QtCore.Qt.MouseButton.LeftButton, pos=view.rect().center())
    settle()
    assert shown(manager) == ["Green"]
    QTest.mouseDClick(view, QtCore.Qt.MouseButton.LeftButton, pos=view.rect().center())
    settle()
    assert shown(manager) == ["Red", "1", "Green", "Yellow"]


def test_a_view_of_a_kind_that_the_window_has_not_says_so(manager):
    node = manager.layoutLogic().GetLayoutNode()
    view = '<view class="vtkMRMLTableViewNode" singletontag="Plot"/>'
    node.AddLayoutDescription(5713, f'<layout type="horizontal"><item>{view}</item></layout>')
    manager.setLayout(5713)
    settle()
    words = [label.text() for label in manager.viewport.findChildren(QtWidgets.QLabel) if label.isVisible()]
    assert any("cannot show" in text for text in words)


def test_nothing_is_left_of_a_manager_that_is_gone(core):
    manager = LayoutManager()
    core.setLayoutManager(manager)
    manager.setLayout(3)
    manager.viewport.show()
    settle()
    views = [weakref.ref(frame.view) for frame in manager.frames()]
    logics = core.applicationLogic().GetSliceLogics()
    assert logics.GetNumberOfItems() == 3
    core.setLayoutManager(None)
    manager.finalize()
    assert logics.GetNumberOfItems() == 0
    viewport = manager.viewport
    del manager
    viewport.close()
    viewport.deleteLater()
    del viewport
    settle()
    gc.collect()
    assert [view() for view in views] == [None] * len(views)
    slicer.app.show_volume(head_with_spot("RAS"))  # no observer of a view that is gone is called
