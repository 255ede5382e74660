"""The stand-ins for ctk widgets: the originals' properties and signals, by keyboard and by mouse."""

from __future__ import annotations

import pytest

from desktop_host import Qt, QtCore, QTest, QtWidgets, core  # noqa: F401


@pytest.fixture
def ctk(core):  # noqa: F811
    import ctk

    return ctk


@pytest.fixture
def section(ctk, qtbot):
    """A shown section with a field in it, and the window around."""
    import qt

    window = qt.QWidget()
    outer = qt.QVBoxLayout(window)
    box = ctk.ctkCollapsibleButton()
    box.setText("Advanced")
    outer.addWidget(box)
    field = qt.QSpinBox()
    qt.QFormLayout(box).addRow("Seed", field)
    outer.addStretch(1)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    yield box, field
    window.close()


# ctkCollapsibleButton


def test_space_folds_a_section_and_hides_what_is_in_it(section, qtbot):
    box, field = section
    heard = []
    box.contentsCollapsed.connect(heard.append)
    height = box.height
    box.setFocus()
    QTest.keyClick(box, Qt.Key.Key_Space)
    assert box.collapsed and not field.isVisible() and heard == [True]
    qtbot.waitUntil(lambda: box.height < height)
    QTest.keyClick(box, Qt.Key.Key_Space)
    assert not box.collapsed and field.isVisible() and heard == [True, False]


def test_a_click_on_the_title_folds_and_one_below_does_not(section):
    box, field = section
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(30, box.height - 2))
    assert not box.collapsed
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(30, 8))
    assert box.collapsed and not field.isVisible()


def test_tab_skips_what_is_folded_away(section, qtbot):
    box, field = section
    box.collapsed = True
    box.setFocus()
    QTest.keyClick(box, Qt.Key.Key_Tab)
    assert not field.isVisible() and QtWidgets.QApplication.focusWidget() is not field


def test_a_row_that_was_hidden_stays_hidden_after_folding(section):
    box, field = section
    field.hide()
    box.collapsed = True
    box.collapsed = False
    assert field.isHidden()


def test_a_row_shown_or_added_while_folded_appears_on_unfolding(section, qtbot):
    import qt

    box, field = section
    field.hide()
    box.collapsed = True
    field.setVisible(True)
    late = qt.QLabel("late")
    box.layout().addRow("Late", late)
    qtbot.wait(20)
    assert not field.isVisible() and not late.isVisible()
    box.collapsed = False
    qtbot.waitUntil(lambda: field.isVisible() and late.isVisible())


def test_a_section_may_be_folded_before_it_is_filled(ctk, qtbot):
    import qt

    box = ctk.ctkCollapsibleButton()
    qtbot.addWidget(box)
    box.setProperty("collapsed", True)
    field = qt.QLineEdit()
    qt.QVBoxLayout(box).addWidget(field)
    box.show()
    qtbot.wait(20)
    assert not field.isVisible() and box.sizeHint.height() < 50
    box.setCollapsed(False)
    qtbot.waitUntil(field.isVisible)


# numbers and paths


def test_a_slider_reports_each_number_once(ctk):
    slider = ctk.ctkSliderWidget()
    heard = []
    slider.decimals, slider.minimum, slider.maximum, slider.singleStep = 2, 1.0, 5.0, 0.25
    slider.valueChanged.connect(heard.append)
    slider.setValue(2.5)
    slider.setValue(2.5)
    assert slider.value == 2.5 and heard == [2.5]


def test_a_slider_keeps_to_its_range_and_its_decimals(ctk):
    slider = ctk.ctkSliderWidget()
    slider.setRange(-4.0, 4.0)
    slider.setDecimals(1)
    slider.setValue(9)
    assert slider.value == 4.0
    slider.setValue(-0.26)
    assert slider.value == pytest.approx(-0.3)
    slider.setProperty("maximum", -1.0)
    assert slider.value == -1.0 and slider.minimum == -4.0


def test_arrow_keys_move_a_slider_by_its_single_step(ctk, qtbot):
    slider = ctk.ctkSliderWidget()
    qtbot.addWidget(slider)
    slider.setRange(0, 10)
    slider.setSingleStep(0.5)
    slider.setValue(3)
    handle = slider.findChild(QtWidgets.QSlider)
    QTest.keyClick(handle, Qt.Key.Key_Right)
    assert slider.value == 3.5
    QTest.keyClick(slider.findChild(QtWidgets.QDoubleSpinBox), Qt.Key.Key_Down)
    assert slider.value == 3.0 and handle.value() == 6


def test_a_number_between_two_steps_stays_as_typed(ctk):
    slider = ctk.ctkSliderWidget()
    slider.setRange(0, 10)
    slider.setSingleStep(1.0)
    slider.setValue(2.37)
    assert slider.value == 2.37


def test_without_tracking_a_drag_reports_its_end_alone(ctk):
    slider = ctk.ctkSliderWidget()
    slider.tracking = False
    heard, moving = [], []
    slider.valueChanged.connect(heard.append)
    slider.valueIsChanging.connect(moving.append)
    handle = slider.findChild(QtWidgets.QSlider)
    handle.setSliderDown(True)
    for position in (10, 20, 30):
        handle.setValue(position)
    assert heard == [] and len(moving) == 3
    handle.setSliderDown(False)
    assert heard == [30.0]


def test_an_interval_keeps_its_ends_in_order(ctk):
    box = ctk.ctkRangeWidget()
    heard = []
    box.setRange(0.0, 20.0)
    box.setValues(2.0, 8.0)
    box.valuesChanged.connect(lambda low, high: heard.append((low, high)))
    box.setMinimumValue(9.0)
    assert (box.minimumValue, box.maximumValue) == (9.0, 9.0) and heard == [(9.0, 9.0)]
    box.setMaximumValue(30.0)
    assert (box.minimumValue, box.maximumValue) == (9.0, 20.0)
    box.setMaximum(5.0)
    assert (box.minimumValue, box.maximumValue) == (5.0, 5.0)


def test_keys_move_the_handles_of_an_interval(ctk, qtbot):
    box = ctk.ctkRangeWidget()
    qtbot.addWidget(box)
    box.setRange(0.0, 10.0)
    box.setValues(2.0, 8.0)
    groove = box._slider
    QTest.keyClick(groove, Qt.Key.Key_End)
    QTest.keyClick(groove, Qt.Key.Key_Left)
    QTest.keyClick(groove, Qt.Key.Key_Home)
    QTest.keyClick(groove, Qt.Key.Key_Right)
    assert (box.minimumValue, box.maximumValue) == (3.0, 7.0)


def test_the_nearer_handle_follows_the_mouse(ctk, qtbot):
    box = ctk.ctkRangeWidget()
    qtbot.addWidget(box)
    box.resize(400, 30)
    box.setRange(0.0, 10.0)
    box.setValues(2.0, 8.0)
    box.show()
    groove = box._slider
    far = QtCore.QPoint(groove.width() - 9, groove.height() // 2)
    QTest.mouseClick(groove, Qt.MouseButton.LeftButton, pos=far)
    assert (box.minimumValue, box.maximumValue) == (2.0, 10.0)


def test_a_path_is_told_with_its_validity(ctk, tmp_path):
    line = ctk.ctkPathLineEdit()
    paths, valid = [], []
    line.currentPathChanged.connect(paths.append)
    line.validInputChanged.connect(valid.append)
    line.setCurrentPath(str(tmp_path))
    line.currentPath = str(tmp_path / "no such file")
    assert paths == [str(tmp_path), str(tmp_path / "no such file")] and valid == [True, False]


def test_a_path_line_asks_for_a_folder_where_files_are_not_wanted(ctk, monkeypatch):
    line = ctk.ctkPathLineEdit()
    line.filters = ctk.ctkPathLineEdit.Dirs
    monkeypatch.setattr(QtWidgets.QFileDialog, "getExistingDirectory", lambda *args: "/some/folder")
    line.browse()
    assert line.currentPath == "/some/folder"


def test_message_boxes_of_slicer_util_can_be_shown(core, monkeypatch):  # noqa: F811
    import slicer

    shown = []
    monkeypatch.setattr(QtWidgets.QMessageBox, "exec", lambda box: shown.append(box.text) or 1024)
    assert slicer.util.messageBox("Something is wrong.", windowTitle="Note") == 1024
    assert shown == ["Something is wrong."]
