"""The dialect of `qt` in the window is PythonQt's: 124 expressions answer as they did in a real PythonQt.

`pythonqt_truth.json` holds each expression with the answer of PythonQt (current upstream, Qt 5.15): its repr,
its type in angle brackets, or "!" and the exception. Later expressions use what earlier ones have made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from desktop_host import QtWidgets, core, host_core  # noqa: F401

TRUTH = json.loads(Path(__file__).with_name("pythonqt_truth.json").read_text(encoding="utf-8"))
PLAIN = (str, int, float, bool, list, tuple, bytes, type(None))

DIFFERENT = {
    'b.objectName = "on"; b.name': (
        "'on'",
        "Slicer's own PythonQt has `name` for objectName: slicer.util.findChild reads it. Writing it fails.",
    ),
    "qt.Qt.AlignmentFlag.AlignLeft": (
        "<AlignmentFlag.AlignLeft: 1>",
        "PySide6's enums are Python's. They print otherwise; values, comparisons and `|` agree.",
    ),
    "qt.QSizePolicy.Policy.Expanding": ("<Policy>", "As above, for an enum that is no flag."),
    'pr2 = qt.QProcess(); pr2.start("/bin/echo", ["he"]); pr2.waitForFinished(2000); '
    "bytes(pr2.readAllStandardOutput()).decode()": (
        r"'he\n'",
        "QByteArray is no QObject and stays PySide6's. The module starts processes with `subprocess`.",
    ),
    "qt.QSlider(1).orientation == qt.Qt.Horizontal": (
        "!TypeError",
        "Stricter than PythonQt: PySide6 wants the enum's member where Qt wants an enum, never a bare int.",
    ),
}


@pytest.fixture(scope="module")
def answers(qapp) -> dict[str, str]:
    """What each expression answers here, all of them run in order in one name space."""
    host_core()
    import qt

    space: dict[str, Any] = {"qt": qt, "hits": []}
    return {expression: answer(expression, space) for expression in TRUTH}


def answer(expression: str, space: dict[str, Any]) -> str:
    """Run all but the last statement, and describe what the last one gives."""
    before, _, last = expression.replace("\\n", "\n").rpartition("; ")
    try:
        exec(before, space)
        try:
            code = compile(last, "probe", "eval")
        except SyntaxError:
            exec(last, space)
            return "'<stmt>'"
        value = eval(code, space)
    except Exception as error:
        return "!" + type(error).__name__
    return repr(value) if isinstance(value, PLAIN) else f"<{type(value).__name__}>"


def test_all_expressions_of_the_probe_are_here():
    assert len(TRUTH) == 124
    assert set(DIFFERENT) < set(TRUTH)


@pytest.mark.parametrize("expression", TRUTH)
def test_answers_as_pythonqt(expression, answers):
    expected, why = DIFFERENT.get(expression, (TRUTH[expression], ""))
    assert answers[expression] == expected, why


@pytest.mark.parametrize("expression", DIFFERENT)
def test_listed_differences_are_differences(expression, answers):
    assert answers[expression] != TRUTH[expression], "take it off the list"


# what else makes the dialect strict


@pytest.fixture
def qt(core):  # noqa: F811
    import qt

    return qt


def test_a_qt_object_takes_no_new_attribute(qt):
    import ctk
    import slicer

    for make in (qt.QLabel, qt.QTimer, qt.QVBoxLayout, ctk.ctkSliderWidget, slicer.qMRMLNodeComboBox):
        with pytest.raises(AttributeError, match="no property threshold"):
            make().threshold = 3
        with pytest.raises(AttributeError):
            make()._threshold = 3


def test_a_misspelt_property_is_an_error(qt):
    label = qt.QLabel("x")
    with pytest.raises(AttributeError, match="no property txt"):
        label.txt = "y"
    assert label.text == "x"


def test_a_property_is_no_method(qt):
    import ctk

    slider = ctk.ctkSliderWidget()
    for call in ("text", "toolTip", "enabled"):
        with pytest.raises(TypeError):
            getattr(qt.QLabel("x"), call)()
    with pytest.raises(TypeError):
        slider.value()
    assert slider.property("value") == slider.value


def test_keyword_arguments_of_constructors_are_refused(qt):
    with pytest.raises(TypeError, match="PythonQt ignores them"):
        qt.QLabel(text="x")


def test_a_value_that_a_property_cannot_hold_is_refused(qt):
    with pytest.raises(TypeError, match="geometry"):
        qt.QLabel().geometry = "somewhere"


def test_a_python_class_that_inherits_may_hold_its_own_state(qt):
    class Panel(qt.QWidget):
        def __init__(self):
            qt.QWidget.__init__(self)
            self.threshold = 2

    panel = Panel()
    panel.threshold = 3
    assert panel.threshold == 3 and isinstance(panel, qt.QWidget)


def test_classes_do_not_inherit_from_one_another(qt):
    button = qt.QPushButton()
    assert not isinstance(button, qt.QWidget)
    assert button.inherits("QWidget")


def test_lists_of_strings_are_tuples(qt):
    import slicer

    nodes = slicer.qMRMLNodeComboBox()
    nodes.nodeTypes = ["vtkMRMLModelNode"]
    assert nodes.nodeTypes == ("vtkMRMLModelNode",)
    nodes.nodeTypes = ("vtkMRMLTextNode", "vtkMRMLModelNode")
    assert nodes.nodeTypes == ("vtkMRMLTextNode", "vtkMRMLModelNode")


def test_exec_with_underscore_exists_where_exec_does(qt):
    assert hasattr(qt.QDialog(), "exec_") and not hasattr(qt.QLabel(), "exec_")


def test_a_layout_is_laid_out(qt, qtbot):
    """The spacing of a layout is a property with a virtual getter: reading it must not call itself."""
    window = qt.QWidget()
    qtbot.addWidget(window)
    layout = qt.QVBoxLayout(window)
    layout.setSpacing(11)
    first, second = qt.QPushButton("a"), qt.QPushButton("b")
    layout.addWidget(first)
    layout.addWidget(second)
    window.show()
    qtbot.waitExposed(window)
    assert second.y - (first.y + first.height) == 11 and window.layout().spacing == 11


def test_old_and_new_connections_reach_the_slot_and_can_be_taken_back(qt):
    import ctk

    slider, heard = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", heard.append)
    slider.valueChanged.connect(heard.append)
    slider.setValue(3)
    slider.disconnect("valueChanged(double)", heard.append)
    slider.setValue(4)
    assert heard == [3, 3, 4]


def test_the_windows_own_widgets_stay_as_pyside_made_them(qt):
    label = QtWidgets.QLabel("x")
    label.anything = 1
    assert label.text() == "x"


def test_children_are_found_by_class_and_name(qt):
    import slicer

    box = qt.QWidget()
    label = qt.QLabel("one", box)
    label.setObjectName("heading")
    assert box.findChildren(qt.QLabel) == [label]
    assert box.findChild(qt.QLabel, "heading") is label
    assert slicer.util.findChild(box, "heading") is label
    with pytest.raises(AttributeError):
        label.named = "other"
