"""What a task takes: a scan, a mask on the scan's grid, or nothing; from its schema alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import module_scans
from braindiffusion.tasks import base
from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import handover, inputs, jobs, panel, schema
from SlicerDiffusionLib.job import Complaint
from toy_task import COLOUR, IMAGINE, PAINT

pytestmark = pytest.mark.usefixtures("core")

TESTS = Path(__file__).parent


def task(declared):
    return schema.parse(base.schema(declared))


def segmentation(scan, *masks, name="Segmentation"):
    """A segmentation with a segment for each mask [Z, Y, X] on the scan's grid; all share one image."""
    import slicer

    labels = sum((n + 1) * mask.astype(np.uint8) for n, mask in enumerate(masks))
    volume = module_scans.volume(name, labels, module_scans.grid_of(scan), "vtkMRMLLabelMapVolumeNode")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(volume, node)
    slicer.mrmlScene.RemoveNode(volume)
    return node


def segment(node, n):
    return node.GetSegmentation().GetNthSegmentID(n)


def lesion(scan):
    import slicer

    return slicer.util.arrayFromVolume(scan) == 200


def brain(scan):
    import slicer

    return (slicer.util.arrayFromVolume(scan) > 0) & ~lesion(scan)


def handed(kind, chosen, path, grid=None):
    """Voxels [Z, Y, X] and affine as the engine gets them."""
    steps = inputs.registry()[kind].write(chosen, path, grid)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return handover.voxels(handover.readAtOnce(path)), np.array(end.value)


def grid_of(scan, path):
    """The grid on which a scan is handed over."""
    voxels, affine = handed("volume", scan, path)
    return inputs.Grid(affine.tolist(), voxels.shape[::-1])


@pytest.mark.parametrize("grid", module_scans.GRIDS)
def test_a_segment_is_handed_over_on_the_scans_grid(grid, tmp_path):
    scan = module_scans.scan(grid=module_scans.GRIDS[grid])
    node = segmentation(scan, brain(scan), lesion(scan))
    voxels, affine = handed(
        "labels", (node, segment(node, 1)), tmp_path / "m.nrrd", grid_of(scan, tmp_path / "s")
    )
    np.testing.assert_array_equal(voxels, lesion(scan))
    np.testing.assert_allclose(affine, module_scans.GRIDS[grid])


def test_a_mask_drawn_on_another_grid_lies_where_it_lies_in_the_patient(tmp_path):
    drawn_on = module_scans.scan(grid=module_scans.GRIDS["LIA"])
    scan = module_scans.scan(grid=module_scans.GRIDS["RAS"])
    node = segmentation(drawn_on, lesion(drawn_on))
    voxels, _ = handed("labels", (node, segment(node, 0)), tmp_path / "m.nrrd", grid_of(scan, tmp_path / "s"))
    np.testing.assert_array_equal(voxels, lesion(scan))


@pytest.mark.parametrize("kind", ["segmentation", "label map"])
def test_transforms_of_the_scan_and_of_the_mask_count(kind, tmp_path):
    scan = module_scans.scan()
    if kind == "segmentation":
        node = segmentation(scan, lesion(scan))
    else:
        grid = module_scans.grid_of(scan)
        node = module_scans.volume("mask", lesion(scan).astype(np.uint8), grid, "vtkMRMLLabelMapVolumeNode")
    turn = module_scans.turn(90, (4, 0, 0))
    for each in (scan, node):
        each.SetAndObserveTransformNodeID(turn.GetID())
    on = grid_of(scan, tmp_path / "s")
    voxels, affine = handed("labels", node, tmp_path / "m.nrrd", on)
    np.testing.assert_array_equal(voxels, lesion(scan))
    np.testing.assert_allclose(affine, on.affine)
    shift = module_scans.turn(0, (2, 0, 0))
    shift.SetAndObserveTransformNodeID(turn.GetID())
    node.SetAndObserveTransformNodeID(shift.GetID())  # before it is turned, it moves 2 mm to the right
    voxels, _ = handed("labels", node, tmp_path / "m.nrrd", on)
    np.testing.assert_array_equal(voxels, np.roll(lesion(scan), 2, axis=2))


@pytest.mark.parametrize("kind", ["segmentation", "label map"])
def test_a_bent_scan_and_its_bent_mask_stay_together(kind, tmp_path):
    scan = module_scans.scan()
    mask = segmentation(scan, lesion(scan))
    if kind == "label map":
        grid = module_scans.grid_of(scan)
        mask = module_scans.volume("mask", lesion(scan).astype(np.uint8), grid, "vtkMRMLLabelMapVolumeNode")
    bend = module_scans.bend((6.0, 0.0, 0.0))
    for each in (scan, mask):
        each.SetAndObserveTransformNodeID(bend.GetID())
    bent, affine = handed("volume", scan, tmp_path / "s")
    voxels, _ = handed("labels", mask, tmp_path / "m", inputs.Grid(affine.tolist(), bent.shape[::-1]))
    wanted = bent > 150
    assert np.count_nonzero(voxels.astype(bool) ^ wanted) < 0.2 * np.count_nonzero(wanted) and voxels.any()


def test_labels_keep_their_values_and_without_a_scan_their_grid(tmp_path):
    labels = np.zeros((4, 5, 6), np.int16)
    labels[1, 2, 3], labels[2, 2, 2] = 7, -300
    grid = module_scans.GRIDS["oblique"]
    node = module_scans.volume("atlas", labels, grid, "vtkMRMLLabelMapVolumeNode")
    voxels, affine = handed("labels", node, tmp_path / "m.nrrd")
    np.testing.assert_array_equal(voxels, labels)
    np.testing.assert_allclose(affine, grid)


def test_all_segments_are_handed_over_with_their_names(tmp_path):
    scan = module_scans.scan(grid=module_scans.GRIDS["oblique"])
    node = segmentation(scan, lesion(scan), brain(scan))
    for n, name in enumerate(("Enhancing rim", "Oedema")):
        node.GetSegmentation().GetNthSegment(n).SetName(name)
    kind = inputs.registry()["segments"]
    voxels, affine = handed("segments", node, tmp_path / "m.nrrd", grid_of(scan, tmp_path / "s"))
    np.testing.assert_array_equal(voxels, lesion(scan) + 2 * brain(scan))
    np.testing.assert_allclose(affine, module_scans.GRIDS["oblique"])
    assert kind.names(node) == {1: "Enhancing rim", 2: "Oedema"}
    before = kind.state(node)
    node.GetSegmentation().GetNthSegment(1).SetName("Lesion")
    assert kind.state(node) != before
    labels = module_scans.volume("labels", voxels, affine, "vtkMRMLLabelMapVolumeNode")
    again, _ = handed("segments", labels, tmp_path / "l.nrrd", grid_of(scan, tmp_path / "s"))
    np.testing.assert_array_equal(again, voxels)
    assert kind.names(labels) == {}


def test_a_segmentation_without_segments_holds_no_labels():
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    with pytest.raises(Complaint, match="'Empty' holds no segment"):
        inputs.registry()["segments"].refuse(empty)


def test_what_is_no_mask_is_refused_in_a_sentence():
    import slicer

    scan = module_scans.scan("T1")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    two = segmentation(scan, brain(scan), lesion(scan), name="Two")
    refuse = inputs.registry()["labels"].refuse
    for chosen, said in ((scan, "'T1' is no mask"), (empty, "does not hold"), (two, "several segments")):
        with pytest.raises(Complaint, match=said):
            refuse(chosen)


def test_a_mask_that_is_drawn_on_is_another_one():
    scan = module_scans.scan()
    node = segmentation(scan, lesion(scan))
    state = inputs.registry()["labels"].state
    before = state((node, segment(node, 0)))
    node.SetName("Tumour")
    assert state((node, segment(node, 0))) == before
    node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap").Modified()
    assert state((node, segment(node, 0))) != before


@pytest.fixture
def settings(qtbot):
    """Makes panels on one parameter node, as the module would."""
    import slicer

    node = slicer.mrmlScene.AddNode(slicer.vtkMRMLScriptedModuleNode())
    made = []

    def make(*declared):
        made.append(panel.Panel([task(one) for one in declared], node, lambda: None))
        return made[-1]

    yield make
    for each in made:
        each.cleanup()


def test_a_segment_is_chosen_by_its_name_and_kept(settings):
    import slicer

    scan = module_scans.scan()
    node = segmentation(scan, brain(scan), lesion(scan))
    node.GetSegmentation().GetNthSegment(1).SetName("Lesion")
    page = settings(PAINT).page
    assert page.missing() == "Choose an image for 'Scan' first: load a scan, or pick one from the list."
    page.setScan(scan)
    assert page.missing() == "" and page.node("mask") is None  # a mask may be left open
    page.setNode("mask", node)
    box = slicer.util.findChild(page.widget, "mask segment")
    assert page.nodes()["mask"] == (node, segment(node, 0)) and box.property("count") == 2
    box.setCurrentIndex(1)
    assert box.property("currentText") == "Lesion"
    assert settings(PAINT).page.nodes()["mask"] == (node, segment(node, 1))
    node.GetSegmentation().RemoveSegment(segment(node, 1))
    assert box.property("count") == 1 and page.nodes()["mask"] == (node, segment(node, 0))


def test_a_task_without_inputs_can_run_at_once(settings):
    page = settings(IMAGINE).page
    assert page.missing() == "" and page.nodes() == {} and page.scan() is None


def test_a_kind_of_input_that_is_not_known_is_told(settings):
    from dataclasses import replace

    odd = replace(PAINT, inputs=(replace(PAINT.inputs[0], kind="surface"), PAINT.inputs[1]))
    page = settings(odd).page
    assert "mask" not in page.nodes() and page._unseen() == "Can be set from Python only: Mask."


def test_a_new_kind_is_one_new_file():
    folder = Path(inputs.__file__).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert files == {module.__name__.rpartition(".")[2] for module in inputs.registry().values()}


@pytest.fixture
def logic(core, monkeypatch):  # noqa: F811
    """The module's logic on the real engine, which knows the toy tasks."""
    import slicer

    from SlicerDiffusion import SlicerDiffusionLogic

    (Path(slicer.app.temporaryPath) / "toy_plugin.py").write_text(
        "from braindiffusion.tasks import base\nfrom toy_task import COLOUR, IMAGINE, PAINT\n"
        "base.register(PAINT)\nbase.register(IMAGINE)\nbase.register(COLOUR)\n"
    )
    monkeypatch.setenv("BRAINDIFFUSION_PLUGINS", "toy_plugin")
    start = f"import sys; sys.path[:0] = [{slicer.app.temporaryPath!r}, {str(TESTS)!r}]; "
    queue = jobs.Jobs([sys.executable, "-c", f"{start}from braindiffusion.worker import main; main()"])
    monkeypatch.setattr(slicer.modules, jobs._SHARED, queue, raising=False)
    monkeypatch.setattr(
        SlicerDiffusionLogic, "tasks", lambda self: [task(PAINT), task(IMAGINE), task(COLOUR)]
    )
    yield SlicerDiffusionLogic()
    queue.close()


def test_a_mask_goes_the_whole_way(logic):
    import slicer

    from SlicerDiffusionLib import history

    scan = module_scans.scan(grid=module_scans.GRIDS["oblique"])
    node = segmentation(scan, brain(scan), lesion(scan))
    wanted = lesion(scan)
    noise = np.random.default_rng(0).normal(0, 3, wanted.shape)  # without it, it were no scan
    slicer.util.updateVolumeFromArray(scan, (slicer.util.arrayFromVolume(scan) + noise).astype(np.float32))
    result = logic.run("paint", scan=scan, mask=(node, segment(node, 1)), value=7.0)["painted"]
    wanted = np.where(wanted, 7, slicer.util.arrayFromVolume(scan))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(result), wanted)
    assert result.GetName() == "MRHead painted SYNTHETIC"
    _, again, parameters, _ = history.request(history.entries()[0], logic.tasks())
    assert again == {"scan": scan, "mask": (node, segment(node, 1))} and parameters == {"value": 7.0}


def test_painted_segments_go_the_whole_way_with_their_names(logic):
    import slicer

    from SlicerDiffusionLib import history

    scan = module_scans.scan(grid=module_scans.GRIDS["LIA"])
    node = segmentation(scan, lesion(scan), brain(scan))
    for n, name in enumerate(("Necrotic core", "Oedema")):
        node.GetSegmentation().GetNthSegment(n).SetName(name)
    places = lesion(scan), brain(scan)
    noise = np.random.default_rng(0).normal(0, 3, places[0].shape)  # without it, it were no scan
    slicer.util.updateVolumeFromArray(scan, (slicer.util.arrayFromVolume(scan) + noise).astype(np.float32))
    result = logic.run("colour", scan=scan, mask=node)["coloured"]
    voxels = slicer.util.arrayFromVolume(result)
    for place, value in zip(places, (1000, 2000)):
        np.testing.assert_array_equal(voxels == value, place)
    entry = history.entries()[0]
    assert entry.record["notes"][:2] == ["1 is Necrotic core", "2 is Oedema"]
    _, again, _, _ = history.request(entry, logic.tasks())
    assert again == {"scan": scan, "mask": node}


def test_a_task_without_inputs_goes_the_whole_way(logic):
    import slicer

    nodes = logic.run("imagine", value=3.0)
    result = nodes["imagined"]
    assert nodes["drawn"].GetNumberOfDataNodes() == 3  # a sequence comes the whole way too
    assert slicer.util.arrayFromVolume(result).min() == 3.0
    assert result.GetName() == "Imagine imagined SYNTHETIC"
