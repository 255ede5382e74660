"""What a run leaves in the scene: exact voxels at the right place, names, marks, and a folder beside the
scan.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import behave, logic  # noqa: F401
from SlicerDiffusionLib import colors, marks, present, view
from SlicerDiffusionLib.findings import rowsOf

pytestmark = pytest.mark.usefixtures("core")


def voxels(node):
    import slicer

    return slicer.util.arrayFromVolume(node)


def heal(logic, node, **more):  # noqa: F811
    return logic.run("heal", input=node, seed=7, **more)


def segment_middle(node, name):
    """Middle in RAS mm of the segment with this name, counted from its voxels."""
    import slicer

    identifier = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(identifier, image)
    from vtk.util.numpy_support import vtk_to_numpy

    inside = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    value = node.GetSegmentation().GetSegment(identifier).GetLabelValue()
    start = image.GetExtent()[::2]
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    k, j, i = np.argwhere(inside == value).mean(0)
    return (slicer.util.arrayFromVTKMatrix(matrix) @ [i + start[0], j + start[1], k + start[2], 1])[:3]


@pytest.mark.parametrize("grid", module_scans.GRIDS)
def test_results_lie_exactly_on_the_scans_grid(logic, grid):  # noqa: F811
    scan = module_scans.scan(grid=module_scans.GRIDS[grid])
    nodes = heal(logic, scan)
    np.testing.assert_allclose(module_scans.grid_of(nodes["healed"]), module_scans.GRIDS[grid], atol=1e-9)
    healed, heat = voxels(nodes["healed"]), voxels(nodes["heatmap"])
    assert healed.dtype == heat.dtype == np.float32
    bright = voxels(scan) > 150
    np.testing.assert_array_equal(healed, np.where(bright, 100, voxels(scan)).astype(np.float32))
    np.testing.assert_array_equal(heat, np.where(bright, 6, 0))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("grid", module_scans.GRIDS)
def test_left_is_left(logic, grid, side):  # noqa: F811
    nodes = heal(logic, module_scans.scan(grid=module_scans.GRIDS[grid], lesion_on=side))
    name = nodes["findings_labels"].GetSegmentation().GetNthSegment(0).GetName()
    assert name == f"1: {side} thalamus"
    middle = segment_middle(nodes["findings_labels"], name)
    row = rowsOf(nodes["findings"])[0]
    assert row["side"] == side
    assert (middle[0] < 0) == (row["x_mm"] < 0) == (side == "left")
    np.testing.assert_allclose(middle, [row["x_mm"], row["y_mm"], row["z_mm"]], atol=0.1)


@pytest.mark.parametrize("above", ["turn", "bend"])
def test_results_of_a_scan_under_a_transform_lie_in_the_world(logic, above):  # noqa: F811
    import slicer

    parent = module_scans.turn(90, (0, 0, 0)) if above == "turn" else module_scans.bend((60.0, 0.0, 0.0))
    scan = module_scans.scan()
    scan.SetAndObserveTransformNodeID(parent.GetID())
    nodes = heal(logic, scan)
    assert nodes["healed"].GetParentTransformNode() is None
    lesion = np.argwhere(voxels(nodes["heatmap"]) > 5).mean(0)[::-1]
    place = (module_scans.grid_of(nodes["heatmap"]) @ [*lesion, 1])[:3]
    expected = [0.0, 0.0, 0.0]
    parent.GetTransformToParent().TransformPoint((-4, 2, 1), expected)
    np.testing.assert_allclose(place, expected, atol=0.7)
    np.testing.assert_allclose(segment_middle(nodes["findings_labels"], nodes_name(nodes)), place, atol=0.1)
    assert slicer.mrmlScene.IsNodePresent(scan) and scan.GetParentTransformNode() is parent


def nodes_name(nodes):
    return nodes["findings_labels"].GetSegmentation().GetNthSegment(0).GetName()


def test_made_up_nodes_say_so_and_others_do_not(logic):  # noqa: F811
    nodes = heal(logic, module_scans.scan("MRHead"))
    made_up = {"healed", "heatmap", "spread", "findings_labels", "findings"}
    for role, node in nodes.items():
        assert marks.isSynthetic(node) == (role in made_up), role
        assert node.GetAttribute("BrainDiffusion.Synthetic") == ("YES" if role in made_up else None)
        assert (marks.WORD in node.GetName()) == (role in made_up)
        assert node.GetAttribute("BrainDiffusion.Role") == role
    assert nodes["healed"].GetName() == "MRHead healed SYNTHETIC"


def test_each_node_carries_its_provenance(logic):  # noqa: F811
    scan = module_scans.scan()
    nodes = heal(logic, scan, samples=2)
    runs = {node.GetAttribute("BrainDiffusion.Run") for node in nodes.values()}
    assert len(runs) == 1
    for role, node in nodes.items():
        record = json.loads(node.GetAttribute("BrainDiffusion.Provenance"))
        assert record["parameters"]["seed"] == 7 and record["parameters"]["samples"] == 2
        assert record["provenance"]["model"]["name"] == "made-up"
        assert record["artifact"]["role"] == role
        assert marks.inputOf(node, "scan") is scan


def test_a_run_is_one_folder_beside_its_scan(logic):  # noqa: F811
    tree = present.hierarchy()
    study = tree.CreateFolderItem(tree.GetSceneItemID(), "Study")
    scan = module_scans.scan()
    tree.SetItemParent(tree.GetItemByDataNode(scan) or tree.CreateItem(study, scan), study)
    nodes = heal(logic, scan)
    folders = {tree.GetItemParent(tree.GetItemByDataNode(node)) for node in nodes.values()}
    (folder,) = folders
    assert tree.GetItemParent(folder) == study
    name = tree.GetItemName(folder)
    assert name.startswith("Heal ") and name.endswith("seed 7") and ":" in name


def test_a_map_has_a_fixed_window_colours_and_a_legend(logic):  # noqa: F811
    import slicer

    nodes = heal(logic, module_scans.scan())
    shown = nodes["heatmap"].GetDisplayNode()
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == (2, 8)
    assert not shown.GetAutoWindowLevel()
    assert shown.GetApplyThreshold() and 2 <= shown.GetLowerThreshold() < 2.1
    assert colors.nameOf(shown.GetColorNode()) == "heat"
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes["heatmap"])
    assert legend.GetVisibility() and "(z)" in legend.GetTitleText()
    assert slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes["healed"]) is None
    # zeros of a window that begins at 0 are see-through
    assert nodes["spread"].GetDisplayNode().GetLowerThreshold() > 0


def test_the_healed_scan_looks_like_the_scan(logic):  # noqa: F811
    scan = module_scans.scan()
    scan.GetDisplayNode().AutoWindowLevelOff()
    scan.GetDisplayNode().SetWindowLevel(123, 45)
    shown = heal(logic, scan)["healed"].GetDisplayNode()
    assert (shown.GetWindow(), shown.GetLevel()) == (123, 45)


def test_labels_are_named_outlined_and_hidden_until_asked_for(logic):  # noqa: F811
    nodes = heal(logic, module_scans.scan())
    segmentation = nodes["anatomy"].GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
    assert names == ["left brain", "right brain"]
    display = nodes["anatomy"].GetDisplayNode()
    assert not display.GetVisibility() and not display.GetVisibility2DFill()
    assert display.GetVisibility2DOutline() and not display.GetVisibility3D()
    assert not segmentation.ContainsRepresentation("Closed surface")
    view.showSurfaces(nodes["anatomy"], True)
    assert segmentation.ContainsRepresentation("Closed surface") and display.GetVisibility3D()


def test_a_structure_has_one_hue_on_both_sides():
    shades = colors.ofLabels({1: "left thalamus", 2: "right thalamus", 3: "left putamen"})
    left, right = np.array(shades[1]), np.array(shades[2])
    np.testing.assert_allclose(left / left.max(), right / right.max(), atol=1e-6)
    assert left.max() > right.max() and not np.allclose(shades[1], shades[3])


@pytest.mark.parametrize("name", colors.MAPS)
def test_colour_maps_grow_brighter_and_are_made_once(name):
    node = colors.mapNode(name)
    assert colors.mapNode(name) is node and colors.nameOf(node) == name
    shades = [sum(node.GetLookupTable().GetTableValue(step)[:3]) for step in range(0, 256, 15)]
    assert all(a < b for a, b in zip(shades, shades[1:])) and shades[0] > 0.3


def test_the_table_has_numbers_as_numbers(logic):  # noqa: F811
    import vtk

    table = heal(logic, module_scans.scan())["findings"]
    volume = table.GetTable().GetColumnByName("volume (ml)")
    assert isinstance(volume, vtk.vtkDoubleArray) and volume.GetValue(0) > 0
    assert table.GetTable().GetColumnByName("structure").GetValue(0) == "thalamus"


def test_handed_over_files_are_gone_and_the_result_folder_is_kept(logic):  # noqa: F811
    record = marks.recordOf(heal(logic, module_scans.scan())["healed"])
    folder = Path(record["folder"])
    assert (folder / "result.json").is_file() and not (folder / ".handover").exists()
    assert not (folder.parent / "inputs").exists()
    assert Path(record["plots"]["picture"]).is_file()


def test_a_kind_without_presenter_is_told_and_the_rest_shown(logic, monkeypatch):  # noqa: F811
    known = {kind: one for kind, one in present.registry().items() if kind != "table"}
    monkeypatch.setattr(present, "registry", lambda: known)
    nodes = heal(logic, module_scans.scan())
    assert "findings" not in nodes and "healed" in nodes
    assert "findings" in " ".join(marks.recordOf(nodes["healed"])["notes"])


def test_a_new_kind_is_one_new_file():
    files = {path.stem for path in Path(present.presenters.__path__[0]).glob("*.py")} - {"__init__"}
    assert {present.registry()[kind].__module__.rpartition(".")[2] for kind in present.registry()} == files


def test_a_result_that_cannot_be_shown_leaves_nothing_behind(logic, monkeypatch):  # noqa: F811
    import slicer

    def broken(artifact, context):
        yield
        raise ValueError("no memory for this table")

    known = present.registry() | {"table": broken}
    monkeypatch.setattr(present, "registry", lambda: known)
    scan = module_scans.scan()
    before = present.hierarchy().GetNumberOfItems()
    with pytest.raises(RuntimeError, match="no memory for this table"):
        heal(logic, scan)
    there = [node.GetName() for node in view.nodesOf("vtkMRMLVolumeNode")]
    assert there == ["MRHead"] and not view.nodesOf("vtkMRMLSegmentationNode")
    assert not view.nodesOf("vtkMRMLColorLegendDisplayNode") and not view.nodesOf("vtkMRMLTableNode")
    assert len(view.nodesOf("vtkMRMLVolumeDisplayNode")) == 1
    assert present.hierarchy().GetNumberOfItems() <= before + 1
    assert slicer.mrmlScene.IsNodePresent(scan)


def test_marks_and_results_survive_saving_the_scene(logic, tmp_path):  # noqa: F811
    import slicer

    heal(logic, module_scans.scan("T1"))
    file = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(file)
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(file)
    (nodes,) = marks.nodesOfRuns().values()
    assert set(nodes) == {"healed", "heatmap", "spread", "findings_labels", "anatomy", "findings"}
    assert marks.isSynthetic(nodes["healed"]) and not marks.isSynthetic(nodes["anatomy"])
    assert marks.inputOf(nodes["healed"], "scan").GetName() == "T1"
    assert rowsOf(nodes["findings"])[0]["side"] == "left"
    shown = nodes["heatmap"].GetDisplayNode()
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == (2, 8)
