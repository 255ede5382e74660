"""The panel is built from schemas alone, and what is set in it is kept with the scene."""

from __future__ import annotations

import json

import pytest

import module_scans
from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import panel as panels
from SlicerDiffusionLib import schema

pytestmark = pytest.mark.usefixtures("core")


def declared(**properties):
    """A schema with every kind of parameter."""
    return {
        "task": "paint",
        "title": "Paint a brain",
        "description": "A made-up task.",
        "inputs": [
            {"name": "scan", "title": "Scan", "help": "The scan.", "required": True},
            {"name": "mask", "title": "Mask", "help": "Where to paint.", "required": False},
        ],
        "properties": properties or ALL_KINDS,
        "$defs": {"Tone": {"enum": ["low", "high"], "type": "string"}},
    }


def described(level="basic", **more):
    return {"title": "T", "description": "A sentence.", "level": level, **more}


def optional(**kind):
    return {"anyOf": [kind, {"type": "null"}], "default": None}


ALL_KINDS = {
    "count": described(type="integer", default=3, minimum=1, maximum=9),
    "seed": described(type="integer", default=0, minimum=0, exclusiveMaximum=4294967232),
    "strength": described(type="number", default=0.25, minimum=0, maximum=1, unit="mm"),
    "tiny": described(type="number", default=1e-4, exclusiveMinimum=0, maximum=0.01),
    "free": described(type="number", default=-2.5),
    "sharp": described(type="boolean", default=True),
    "method": described(type="string", default="fast", enum=["fast", "exact"]),
    "tone": described("$ref", **{"$ref": "#/$defs/Tone", "default": "low"}),
    "words": described(type="string", default="brain"),
    "age": described("advanced", unit="years", **optional(type="number", minimum=0, maximum=120)),
    "sex": described("advanced", **optional(type="string", enum=["female", "male"])),
    "maybe": described("advanced", **optional(type="boolean")),
    "note": described("advanced", **optional(type="string")),
    "steps": described("advanced", **optional(type="integer", minimum=2, maximum=100)),
}
CHANGED = {
    "count": 9, "seed": 4294967231, "strength": 0.75, "tiny": 0.005, "free": 7.125, "sharp": False,
    "method": "exact", "tone": "high", "words": "brain 脳", "age": 71.5, "sex": "male", "maybe": False,
    "note": "a note", "steps": 20,
}  # fmt: skip


@pytest.fixture
def node():
    import slicer

    made = slicer.vtkMRMLScriptedModuleNode()
    made.SetSingletonTag("SlicerDiffusion")
    made.SetModuleName("SlicerDiffusion")
    return slicer.mrmlScene.AddNode(made)


@pytest.fixture
def make(node, qtbot):
    made = []

    def build(*schemas):
        tasks = [schema.parse(one) for one in schemas] or schema.tasks()
        made.append(panels.Panel(tasks, node, lambda: None))
        return made[-1]

    yield build
    for each in made:
        each.cleanup()


def test_heal_is_built_from_its_schema_file(make):
    panel = make()
    assert panel.task.name == "heal"
    assert panel.page.values() == {
        "seed": 0, "samples": 4, "steps": 8, "method": "guided", "age": None, "sex": None, "threshold": None,
        "start": 5.0, "levels": "0.15, 0.3, 0.6", "keep_samples": False, "model": "t1-brain-2mm",
    }  # fmt: skip
    assert panel.page.options() == {"device": "auto", "batch": None}
    assert "Scan" in panel.page.missing()


def test_the_panel_knows_no_task_by_name():
    from pathlib import Path

    for file in ("schema.py", "fields.py", "page.py", "panel.py", "present.py", "runs.py"):
        text = Path(panels.__file__).with_name(file).read_text(encoding="utf-8")
        assert '"heal"' not in text and '"heatmap"' not in text, file


def test_every_kind_of_parameter_has_a_widget_that_keeps_its_value(make):
    panel = make(declared())
    assert panel.page.values() == {name: kind["default"] for name, kind in ALL_KINDS.items()}
    panel.page.setValues(CHANGED)
    assert panel.page.values() == CHANGED
    for name, value in CHANGED.items():
        assert type(panel.page.values()[name]) is type(value), name
    panel.page.reset()
    assert panel.page.values() == {name: kind["default"] for name, kind in ALL_KINDS.items()}


def test_values_survive_the_parameter_node(make, node):
    first = make(declared())
    first.page.setValues(CHANGED)
    assert json.loads(node.GetParameter("paint.strength")) == 0.75
    second = make(declared())
    assert second.page.values() == CHANGED


def test_a_change_of_the_node_shows_in_the_panel(make, node):
    panel = make(declared())
    node.SetParameter("paint.count", "5")
    node.SetParameter("paint.age", "33.5")
    assert panel.page.values()["count"] == 5 and panel.page.values()["age"] == 33.5


@pytest.mark.parametrize("text", ["not JSON", '"a text"', "null", "1e400", "[1]"])
def test_a_node_that_was_written_by_hand_does_not_break_the_panel(make, node, text):
    panel = make(declared())
    node.SetParameter("paint.count", text)
    assert 1 <= panel.page.values()["count"] <= 9


def test_a_user_who_types_changes_the_node(make, node, qtbot):
    panel = make(declared())
    panel.page.widgetOf("count").setValue(7)
    assert node.GetParameter("paint.count") == "7"
    panel.page.widgetOf("words").setText("cortex")
    assert json.loads(node.GetParameter("paint.words")) == "cortex"


def test_limits_hold(make):
    panel = make(declared())
    panel.page.widgetOf("count").setValue(1000)
    assert panel.page.values()["count"] == 9
    panel.page.setValues({"tiny": 0.0})
    assert panel.page.values()["tiny"] > 0


@pytest.mark.parametrize(
    "kind, start",
    [
        ({"type": "number", "minimum": 0, "maximum": 120}, 60),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 50}, 25),
        ({"type": "integer", "minimum": 2, "maximum": 9}, 6),
        ({"type": "number", "minimum": 3}, 3),
        ({"type": "number"}, 0),
        ({"type": "number", "minimum": 0, "maximum": 120, "examples": [35]}, 35),
    ],
)
def test_a_tick_gives_a_sensible_value_and_not_the_lower_limit(make, kind, start):
    examples = {"examples": kind.pop("examples")} if "examples" in kind else {}
    panel = make(declared(age=described(**optional(**kind), **examples)))
    panel.widget.show()
    row = panel.page.widgetOf("age")
    spin, tick = (child(row, kind) for kind in ("QAbstractSpinBox", "QCheckBox"))
    assert panel.page.values() == {"age": None} and not spin.isVisible()
    assert [label for label in _labels(row) if label] == ["not given"]
    assert "A sentence." in tick.property("toolTip") and "Without a tick" in tick.property("toolTip")
    tick.setChecked(True)
    assert panel.page.values() == {"age": start} and spin.isVisible()
    panel.page.setValues({"age": start + 1})
    tick.setChecked(False)
    tick.setChecked(True)
    assert panel.page.values() == {"age": start + 1}  # what the user has set comes back
    panel.page.reset()
    tick.setChecked(True)
    assert panel.page.values() == {"age": start}


def test_a_threshold_or_an_age_begins_where_it_makes_sense(make):
    panel = make()
    for name, low, high in (("threshold", 3, 5), ("age", 18, 60)):
        child(panel.page.widgetOf(name), "QCheckBox").setChecked(True)
        assert low <= panel.page.values()[name] <= high
    assert "without it, the calibrated one" in panel.page.widgetOf("threshold").property("toolTip")


def child(row, kind):
    """The first widget of a class in a row."""
    import qt

    return next(each for each in row.findChildren(qt.QWidget) if each.inherits(kind))


def test_units_and_help_are_shown(make):
    panel = make(declared())
    strength = panel.page.widgetOf("strength")
    assert strength.property("suffix") == " mm"
    assert strength.property("toolTip") == "A sentence."


def test_advanced_parameters_are_folded_away(make, qtbot):
    panel = make(declared())
    panel.widget.show()
    assert panel.page.advanced.property("collapsed") is True
    assert panel.page.widgetOf("count").isVisible() and not panel.page.widgetOf("age").isVisible()
    panel.page.advanced.setProperty("collapsed", False)
    assert panel.page.widgetOf("age").isVisible()


def test_a_parameter_that_no_widget_can_show_is_left_to_the_engine(make):
    panel = make(declared(points=described(type="array", items={"type": "number"}, default=[])))
    assert panel.page.values() == {}
    assert "points" in panel.task.hidden


def test_a_second_schema_is_a_second_task(make, qtbot, tmp_path):
    other = declared() | {"task": "sharpen", "title": "Sharpen"}
    for one in (declared(), other):
        (tmp_path / f"{one['task']}.schema.json").write_text(json.dumps(one))
    assert [task.title for task in schema.tasks(tmp_path)] == ["Paint a brain", "Sharpen"]
    panel = make(declared(), other)
    panel.widget.show()
    assert panel._selector.isVisible() and panel.task.name == "paint"
    panel.chooseTask("sharpen")
    assert panel.task.name == "sharpen" and panel.page.widget.isVisible()
    assert not panel.pages["paint"].widget.isVisible()
    alone = make(declared())
    alone.widget.show()
    assert not alone._selector.isVisible()


def test_the_scan_is_chosen_and_kept(make, node):
    panel = make(declared())
    scan, mask = module_scans.scan("T1"), module_scans.scan("Mask")
    assert panel.page.missing()
    panel.suggest(scan)
    panel.page.setNode("mask", mask)
    assert panel.page.missing() == "" and panel.page.node("scan") is scan
    panel.suggest(mask)  # what the user has chosen is not replaced
    assert panel.page.node("scan") is scan
    assert make(declared()).page.node("mask") is mask


def test_label_maps_are_not_offered(make):
    import numpy as np

    panel = make(declared())
    labels = module_scans.volume(
        "labels", np.zeros((4, 4, 4), np.uint8), np.eye(4), "vtkMRMLLabelMapVolumeNode"
    )
    panel.page.setNode("scan", labels)
    assert panel.page.node("scan") is None


def test_closing_the_scene_keeps_the_parameters(make, node):
    import slicer

    panel = make(declared())
    panel.suggest(module_scans.scan())
    panel.page.setValues(CHANGED)
    slicer.mrmlScene.Clear(False)
    assert panel.page.values() == CHANGED and panel.page.node("scan") is None
    assert json.loads(node.GetParameter("paint.count")) == 9


def test_a_saved_scene_brings_back_parameters_and_scan(make, node, tmp_path):
    import slicer

    panel = make(declared())
    panel.suggest(module_scans.scan("T1 of a patient"))
    panel.page.setValues(CHANGED)
    file = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(file)
    panel.page.reset()
    slicer.mrmlScene.Clear(False)
    assert panel.page.values()["count"] == 3
    slicer.util.loadScene(file)
    assert panel.page.values() == CHANGED
    assert panel.page.node("scan").GetName() == "T1 of a patient"


def test_results_are_not_suggested_as_scans():
    from SlicerDiffusionLib import marks

    scan, result = module_scans.scan(), module_scans.scan("healed")
    result.SetAttribute(marks.RUN, "r1")
    assert panels.isScan(scan) and not panels.isScan(result)


PERSON = {
    "age": described(covariate=True, **optional(type="number", minimum=0, maximum=120)),
    "sex": described(covariate=True, **optional(type="string", enum=["female", "male"])),
    "count": described(type="integer", default=3, minimum=1, maximum=9),
}


def note(panel):
    return panel.note.property("text") if panel.note.isVisibleTo(panel.widget) else ""


def test_another_scan_that_is_opened_is_chosen_and_the_former_persons_age_is_forgotten(make, node):
    panel = make(declared(**PERSON))
    first, second = module_scans.scan("first"), module_scans.scan("second")
    panel.choose(first)
    panel.page.setValues({"age": 71.0, "sex": "male", "count": 5})
    panel.choose(first)  # the same again
    assert panel.page.values() == {"age": 71.0, "sex": "male", "count": 5} and note(panel) == ""
    panel.choose(second)
    assert panel.page.scan() is second
    assert panel.page.values() == {"age": None, "sex": None, "count": 5}
    assert "cleared" in note(panel) and node.GetParameter("paint.age") == "null"
    panel.page.setValues({"count": 4})  # the user goes on
    assert note(panel) == ""


def test_a_scan_that_is_opened_is_that_of_every_task(make):
    panel = make(declared(**PERSON), declared(**PERSON) | {"task": "sharpen", "title": "Sharpen"})
    first, second = module_scans.scan("first"), module_scans.scan("second")
    panel.choose(first)
    panel.pages["sharpen"].setValues({"age": 30.0})
    panel.choose(second)
    assert panel.pages["sharpen"].scan() is second and panel.pages["sharpen"].values()["age"] is None


def test_a_person_is_forgotten_also_when_the_scan_was_deleted_or_the_scene_closed(make):
    import slicer

    panel = make(declared(**PERSON))
    panel.suggest(module_scans.scan("first"))
    panel.page.setValues({"age": 71.0})
    slicer.mrmlScene.RemoveNode(panel.page.scan())
    panel.suggest(module_scans.scan("second"))
    assert panel.page.values()["age"] is None and "cleared" in note(panel)
    panel.page.setValues({"age": 40.0, "count": 7})
    slicer.mrmlScene.Clear(False)
    assert panel.page.values() == {"age": None, "sex": None, "count": 7}


def test_heals_age_and_sex_describe_the_person(make):
    told = {field.name for field in make().task.fields if field.covariate}
    assert told == {"age", "sex"}


def test_a_panel_that_is_taken_down_keeps_what_was_chosen(make, node):
    panel = make(declared())
    module_scans.scan("first")
    second = module_scans.scan("second")
    panel.page.setNode("scan", second)
    panel.page.setValues(CHANGED)
    panel.cleanup()
    again = make(declared())
    assert again.page.node("scan") is second and again.page.values() == CHANGED


def test_a_scan_that_is_not_in_the_views_is_told(make):
    import slicer

    panel = make(declared())
    chosen, other = module_scans.scan("chosen"), module_scans.scan("other")
    result = module_scans.scan("healed")
    result.SetNodeReferenceID("BrainDiffusion.Input.scan", chosen.GetID())
    composite = slicer.vtkMRMLSliceCompositeNode()
    composite.SetLayoutName("Made up")
    slicer.mrmlScene.AddNode(composite)
    panel.choose(chosen)
    told = []
    for shown in (None, other, chosen, result):
        composite.SetBackgroundVolumeID(shown.GetID() if shown is not None else None)
        panel.elsewhere.update()
        told.append(panel.elsewhere.label.property("text"))
    slicer.mrmlScene.RemoveNode(composite)  # a cleared scene would keep it
    assert told == ["", "The scan chosen above is not the one in the views.", "", ""]


def test_what_no_widget_can_show_is_said_on_the_page(make):
    points = described(type="array", items={"type": "number"}, default=[]) | {"title": "Points"}
    page = make(declared(points=points, count=described(type="integer", default=3))).page
    line = next(label for label in _labels(page.widget) if "Python" in label)
    assert line == "Can be set from Python only: Points."


def _labels(widget):
    import qt

    return [label.property("text") for label in widget.findChildren(qt.QLabel)]


def test_the_panel_begins_with_the_task_that_says_so(tmp_path):
    for name, more in (("edit", {}), ("heal", {"first": True}), ("aaa", {})):
        text = json.dumps(declared() | {"task": name, "title": name} | more)
        (tmp_path / f"{name}.schema.json").write_text(text, encoding="utf-8")
    assert [task.name for task in schema.tasks(tmp_path)] == ["heal", "aaa", "edit"]
    assert schema.tasks()[0].name == "heal"
