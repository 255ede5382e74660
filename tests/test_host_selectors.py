"""The stand-ins for qMRML widgets: nodes of a living scene, chosen by name."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from desktop_host import Qt, QTest, QtWidgets, core  # noqa: F401

SCALAR, LABELS = "vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode"


@pytest.fixture
def slicer(core):  # noqa: F811
    import slicer

    return slicer


@pytest.fixture
def selector(slicer, qtbot):
    box = slicer.qMRMLNodeComboBox()
    qtbot.addWidget(box)
    box.nodeTypes = [SCALAR]
    box.noneEnabled = True
    box.setMRMLScene(slicer.mrmlScene)
    return box


def inner(selector) -> QtWidgets.QComboBox:
    return selector.findChild(QtWidgets.QComboBox)


def entries(selector) -> list[str]:
    """What can be chosen, without what can be done."""
    box = inner(selector)
    return [
        box.itemText(i) for i in range(box.count()) if not str(box.itemData(i)).startswith(("\t", "None"))
    ]


def add(slicer, name, kind=SCALAR):
    return slicer.mrmlScene.AddNewNodeByClass(kind, name)


# qMRMLNodeComboBox


def test_it_lists_nodes_of_its_types_by_name(selector, slicer):
    add(slicer, "head")
    add(slicer, "brain")
    add(slicer, "labels", LABELS)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    assert entries(selector) == ["None", "head", "brain", "labels"]
    selector.setShowChildNodeTypes(False)
    assert entries(selector) == ["None", "head", "brain"]
    assert selector.nodeCount() == 2


def test_it_selects_nothing_by_itself(selector, slicer):
    add(slicer, "head")
    assert selector.currentNode() is None and selector.currentNodeID == ""


def test_choosing_by_key_tells_the_node(selector, slicer, qtbot):
    head = add(slicer, "head")
    heard = []
    selector.currentNodeChanged.connect(lambda: heard.append(selector.currentNode()))
    selector.show()
    QTest.keyClick(inner(selector), Qt.Key.Key_Down)
    assert heard == [head] and selector.currentNodeID == head.GetID()
    QTest.keyClick(inner(selector), Qt.Key.Key_Up)
    assert heard == [head, None]


def test_setting_the_current_node_tells_once(selector, slicer):
    head, heard = add(slicer, "head"), []
    selector.currentNodeChanged.connect(heard.append)
    selector.setCurrentNode(head)
    selector.setCurrentNodeID(head.GetID())
    selector.setCurrentNode(None)
    assert heard == [head, None]


def test_a_node_of_another_type_cannot_be_selected(selector, slicer):
    selector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "model"))
    assert selector.currentNode() is None


def test_renaming_shows_and_keeps_the_selection(selector, slicer):
    head, heard = add(slicer, "head"), []
    selector.setCurrentNode(head)
    selector.currentNodeChanged.connect(heard.append)
    head.SetName("Patient 1")
    assert entries(selector) == ["None", "Patient 1"] and selector.currentNode() is head and heard == []


def test_a_hidden_node_appears_once_it_is_shown(selector, slicer):
    head = add(slicer, "head")
    head.SetHideFromEditors(True)
    assert entries(selector) == ["None"]
    selector.setShowHidden(True)
    assert entries(selector) == ["None", "head"]
    selector.setShowHidden(False)
    head.SetHideFromEditors(False)
    assert entries(selector) == ["None", "head"]


def test_attributes_filter(selector, slicer):
    head, healed = add(slicer, "head"), add(slicer, "healed")
    selector.addAttribute(SCALAR, "BrainDiffusion.Synthetic", "YES")
    assert entries(selector) == ["None"]
    healed.SetAttribute("BrainDiffusion.Synthetic", "YES")
    head.SetAttribute("BrainDiffusion.Synthetic", "NO")
    assert entries(selector) == ["None", "healed"]
    selector.removeAttribute(SCALAR, "BrainDiffusion.Synthetic")
    assert entries(selector) == ["None", "head", "healed"]


def test_deleting_the_selected_node_deselects_it(selector, slicer):
    head, heard = add(slicer, "head"), []
    selector.setCurrentNode(head)
    selector.currentNodeChanged.connect(lambda: heard.append(selector.currentNode()))
    slicer.mrmlScene.RemoveNode(head)
    assert heard == [None] and entries(selector) == ["None"]


def test_closing_the_scene_deselects_and_leaves_nothing_observed(selector, slicer):
    head, heard = add(slicer, "head"), []
    selector.setCurrentNode(head)
    selector.currentNodeChanged.connect(heard.append)
    slicer.mrmlScene.Clear(False)
    assert heard == [None] and entries(selector) == ["None"]
    assert head not in selector._seen.objects()


def test_a_scene_that_is_opened_fills_it(selector, slicer, tmp_path):
    slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.float32)).SetName("kept")
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert entries(selector) == ["None"]
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert entries(selector) == ["None", "kept"]


def test_the_scene_outlives_the_widget(slicer, qtbot):
    """VTK's observers remain when Qt deletes the widget, or Python forgets it: neither may be felt."""
    head = add(slicer, "head")
    for delete in (True, False):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = [SCALAR]
        selector.setMRMLScene(slicer.mrmlScene)
        selector.setCurrentNode(head)
        seen = selector._seen
        assert head in seen.objects()
        if delete:
            selector.deleteLater()
            qtbot.wait(20)
        else:
            del selector
            gc.collect()
        head.SetName(f"renamed {delete}")
        add(slicer, "more")
        assert seen.objects() == []


def test_a_widget_leaves_the_scene_that_it_is_taken_from(selector, slicer):
    head = add(slicer, "head")
    selector.setCurrentNode(head)
    selector.setMRMLScene(None)
    assert selector.currentNode() is None and selector._seen.objects() == []


def test_the_user_makes_a_node(selector, slicer):
    heard = []
    selector.nodeAddedByUser.connect(heard.append)
    selector.setBaseName("Healed")
    selector.addAttribute(SCALAR, "Role", "output")
    box = inner(selector)
    box.setCurrentIndex(box.findText("Create new ScalarVolume"))
    box.activated.emit(box.currentIndex())
    node = selector.currentNode()
    assert heard == [node] and node.GetName() == "Healed" and node.GetAttribute("Role") == "output"
    assert box.currentText() == "Healed"


def test_the_user_renames_and_deletes_the_node(selector, slicer, monkeypatch):
    head = add(slicer, "head")
    selector.setRenameEnabled(True)
    selector.setCurrentNode(head)
    monkeypatch.setattr(QtWidgets.QInputDialog, "getText", lambda *args, **kwargs: ("  new name ", True))
    box = inner(selector)
    box.activated.emit(box.findText("Rename current…"))
    assert head.GetName() == "new name" and selector.currentNode() is head
    box.activated.emit(box.findText("Delete current"))
    assert slicer.mrmlScene.GetNodeByID(head.GetID() or "") is None and selector.currentNode() is None


def test_nothing_can_be_done_where_nothing_is_allowed(selector, slicer):
    selector.setAddEnabled(False)
    selector.setRemoveEnabled(False)
    assert [inner(selector).itemText(i) for i in range(inner(selector).count())] == ["None"]


def test_colour_tables_are_chosen_with_a_strip_of_their_colours(slicer, qtbot):
    box = slicer.qMRMLColorTableComboBox()
    qtbot.addWidget(box)
    box.setMRMLScene(slicer.mrmlScene)
    rainbow = slicer.util.getNode("vtkMRMLColorTableNodeRainbow")
    box.setCurrentNode(rainbow)
    strip = inner(box).itemIcon(inner(box).currentIndex()).pixmap(48, 12).toImage()
    assert box.currentNode() is rainbow
    assert strip.pixelColor(2, 6) != strip.pixelColor(40, 6)
