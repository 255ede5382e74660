"""Volumes, segmentations, transforms and scenes go through files without loss, or are refused."""

from __future__ import annotations

import json
import os

import nibabel as nib
import numpy as np
import pytest

import scan_files
from desktop_host import core  # noqa: F401
from scene_volumes import ORIENTATIONS, add_volume, affine_of, assert_same_image, voxels_of


@pytest.fixture
def slicer(core):  # noqa: F811
    import slicer

    return slicer


# files: voxels and geometry


@pytest.mark.parametrize("ending", ["nrrd", "nii.gz", "mha"])
@pytest.mark.parametrize("axes, signs", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_saved_volume_comes_back_as_it_was(slicer, tmp_path, ending, axes, signs):
    """Oblique, flipped and anisotropic, in a folder and under a name that is not ASCII."""
    data, affine = scan_files.head(), scan_files.oblique((0.7, 1.2, 3.5), axes, signs)
    node = add_volume(data, affine)
    folder = tmp_path / "ünï çödé 脳"
    folder.mkdir()
    path = folder / f"scan é.{ending}"
    assert slicer.util.saveNode(node, str(path))
    back = slicer.util.loadVolume(str(path))
    assert back.GetName() == "scan é"
    assert_same_image(voxels_of(back), affine_of(back), data, affine)


def test_labels_keep_their_type_and_values(slicer, tmp_path):
    data = np.random.default_rng(0).integers(0, 1200, scan_files.SHAPE).astype(np.int16)
    node = add_volume(data, scan_files.oblique(), kind="LabelMap")
    slicer.util.saveNode(node, str(tmp_path / "labels.nrrd"))
    back = slicer.util.loadLabelVolume(str(tmp_path / "labels.nrrd"))
    assert back.IsA("vtkMRMLLabelMapVolumeNode")
    assert voxels_of(back).dtype == np.int16 and np.array_equal(voxels_of(back), data)


def test_a_sheared_grid_is_kept_by_nrrd_and_never_straightened_in_silence(slicer, tmp_path, caplog):
    affine = scan_files.oblique()
    affine[0, 1] += 0.2
    node = add_volume(scan_files.head(), affine)
    assert slicer.util.saveNode(node, str(tmp_path / "sheared.nrrd"))
    back = slicer.util.loadVolume(str(tmp_path / "sheared.nrrd"))
    assert np.allclose(affine_of(back), affine, atol=1e-9)
    assert not slicer.util.saveNode(node, str(tmp_path / "sheared.nii.gz"))
    assert "save it as .nrrd" in caplog.text and not (tmp_path / "sheared.nii.gz").exists()


def test_a_segmentation_comes_back(slicer, tmp_path):
    reference = add_volume()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lesions")
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    segment = node.GetSegmentation().AddEmptySegment("", "lesion 1")
    mask = (slicer.util.arrayFromVolume(reference) > 150).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, reference)
    assert slicer.util.saveNode(node, str(tmp_path / "lesions.seg.nrrd"))
    slicer.mrmlScene.RemoveNode(node)
    back = slicer.util.loadSegmentation(str(tmp_path / "lesions.seg.nrrd"))
    found = back.GetSegmentation().GetSegmentIdBySegmentName("lesion 1")
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(back, found, reference), mask)


def test_a_linear_transform_comes_back(slicer, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    slicer.util.updateTransformMatrixFromArray(node, scan_files.oblique((1, 1, 1)))
    assert slicer.util.saveNode(node, str(tmp_path / "turn.h5"))
    back = slicer.util.loadTransform(str(tmp_path / "turn.h5"))
    assert np.allclose(slicer.util.arrayFromTransformMatrix(back), scan_files.oblique((1, 1, 1)))


def test_export_leaves_the_node_where_it_is_saved(slicer, tmp_path):
    node = add_volume()
    slicer.util.saveNode(node, str(tmp_path / "saved.nrrd"))
    assert slicer.util.exportNode(node, str(tmp_path / "export.nii.gz"))
    assert node.GetStorageNode().GetFileName() == str(tmp_path / "saved.nrrd")
    assert np.array_equal(nib.load(tmp_path / "export.nii.gz").get_fdata(), scan_files.head())


def test_export_in_world_coordinates_hardens_a_copy(slicer, tmp_path):
    import vtk

    node = add_volume()
    shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 12.5)
    shift.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(shift.GetID())
    slicer.util.exportNode(node, str(tmp_path / "world.nrrd"), {}, world=True)
    slicer.util.exportNode(node, str(tmp_path / "local.nrrd"), {})
    moved = affine_of(slicer.util.loadVolume(str(tmp_path / "world.nrrd")))
    local = affine_of(slicer.util.loadVolume(str(tmp_path / "local.nrrd")))
    assert np.allclose(local, scan_files.oblique()) and np.allclose(moved[:3, 3] - local[:3, 3], [12.5, 0, 0])
    assert np.allclose(affine_of(node), scan_files.oblique()) and node.GetParentTransformNode() is shift


def test_export_refuses_an_ending_that_the_node_cannot_have(slicer, tmp_path):
    node = add_volume()
    with pytest.raises(ValueError, match="no known file format"):
        slicer.util.exportNode(node, str(tmp_path / "scan.docx"), {})


def test_what_cannot_be_read_or_written_is_said_in_a_sentence(slicer, tmp_path, caplog):
    with pytest.raises(RuntimeError, match="There is no file"):
        slicer.util.loadVolume(str(tmp_path / "nothing.nrrd"))
    (tmp_path / "text.nrrd").write_text("no voxels")
    with pytest.raises(RuntimeError, match=r"text\.nrrd could not be read"):
        slicer.util.loadVolume(str(tmp_path / "text.nrrd"))
    node = add_volume()
    assert not slicer.util.saveNode(node, str(tmp_path / "no folder" / "scan.nrrd"))
    assert "There is no folder" in caplog.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 1


# files: scenes


def fill(slicer) -> None:
    """A scene with voxels, attributes, references, parameters and colours of its own."""
    head = add_volume(scan_files.head(), scan_files.oblique(), "head")
    healed = add_volume(scan_files.head(seed=1), scan_files.oblique(), "SYNTHETIC head, healed")
    healed.SetAttribute("BrainDiffusion.Synthetic", "YES")
    healed.SetAttribute("BrainDiffusion.Provenance", json.dumps({"seed": 7, "name": 'é "x" <&>'}))
    parameters = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")
    parameters.SetParameter("heal.seed", "7")
    parameters.SetNodeReferenceID("heal.scan", head.GetID())
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "heat")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(3)
    for i in range(3):
        colors.SetColor(i, f"level {i}", i / 2, 0.0, 0.0, 1.0)
    colors.SetHideFromEditors(True)
    healed.CreateDefaultDisplayNodes()
    healed.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())


@pytest.mark.parametrize("name", ["scene ünï.mrb", "scene ünï.mrml", "folder/scene"])
def test_a_saved_scene_comes_back_whole(slicer, tmp_path, name):
    fill(slicer)
    (tmp_path / "folder").mkdir()
    assert slicer.util.saveScene(str(tmp_path / name))
    slicer.mrmlScene.Clear(False)
    path = tmp_path / name
    slicer.util.loadScene(str(path if path.is_file() else next(path.glob("*.mrml"))))
    head, healed = slicer.util.getNode("head"), slicer.util.getNode("SYNTHETIC head, healed")
    assert np.array_equal(voxels_of(head), scan_files.head())
    assert np.array_equal(voxels_of(healed), scan_files.head(seed=1))
    assert np.allclose(affine_of(healed), scan_files.oblique(), atol=1e-6)
    assert healed.GetAttribute("BrainDiffusion.Synthetic") == "YES"
    assert json.loads(healed.GetAttribute("BrainDiffusion.Provenance"))["name"] == 'é "x" <&>'
    parameters = slicer.util.getNode("Parameters")
    assert parameters.GetParameter("heal.seed") == "7" and parameters.GetNodeReference("heal.scan") is head
    color = [0.0] * 4
    healed.GetDisplayNode().GetColorNode().GetColor(2, color)
    assert color[:3] == [1.0, 0.0, 0.0]
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert tree.GetItemByDataNode(head) != tree.GetInvalidItemID()


def test_a_scene_can_be_saved_and_opened_again_and_again(slicer, tmp_path):
    fill(slicer)
    for round_trip in range(3):
        slicer.util.saveScene(str(tmp_path / "scene.mrb"))
        slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2, round_trip
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert tree.GetNumberOfItems() == 2
    assert os.listdir(tmp_path) == ["scene.mrb"]


def test_a_bundle_that_was_opened_can_be_saved_as_a_file_with_data_beside_it(slicer, tmp_path):
    """What a bundle held is in no file while it is open."""
    fill(slicer)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    os.unlink(tmp_path / "scene.mrb")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for _ in range(2):
        assert slicer.util.saveScene(str(folder / "scene.mrml"))
        slicer.util.loadScene(str(folder / "scene.mrml"), {"clear": True})
    assert np.array_equal(voxels_of(slicer.util.getNode("head")), scan_files.head())
    healed, color = slicer.util.getNode("SYNTHETIC head, healed"), [0.0] * 4
    assert np.array_equal(voxels_of(healed), scan_files.head(seed=1))
    healed.GetDisplayNode().GetColorNode().GetColor(2, color)
    assert color[:3] == [1.0, 0.0, 0.0]


def test_nodes_of_one_name_do_not_overwrite_each_others_files(slicer, tmp_path):
    for seed in range(2):
        add_volume(scan_files.head(seed=seed))
        assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    slicer.util.loadScene(str(tmp_path / "scene.mrml"), {"clear": True})
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    for seed, node in enumerate(volumes):
        assert np.array_equal(voxels_of(node), scan_files.head(seed=seed))


def test_a_scene_that_moves_finds_the_files_that_stay(slicer, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    slicer.util.saveNode(add_volume(), str(tmp_path / "first" / "head.nrrd"))
    for folder in ("first", "second"):
        slicer.util.saveScene(str(tmp_path / folder / "scene.mrml"))
        slicer.util.loadScene(str(tmp_path / folder / "scene.mrml"), {"clear": True})
        assert np.array_equal(voxels_of(slicer.util.getNode("head")), scan_files.head())
    assert not (tmp_path / "second" / "scene_data").exists()


@pytest.mark.parametrize("name", ["scene.mrb", "scene.mrml"])
def test_a_damaged_scene_is_refused_and_the_open_one_stays(slicer, tmp_path, name):
    add_volume()
    slicer.util.saveScene(str(tmp_path / name))
    scan_files.cut(tmp_path / name, 0.6)
    with pytest.raises(RuntimeError, match="copy it again"):
        slicer.util.loadScene(str(tmp_path / name), {"clear": True})
    assert slicer.util.getNode("head") is not None


def test_a_bundle_that_cannot_be_written_leaves_the_old_one(slicer, tmp_path, monkeypatch, caplog):
    add_volume()
    path = tmp_path / "scene.mrb"
    slicer.util.saveScene(str(path))
    before = path.read_bytes()
    missing = tmp_path / "no folder" / "scene.mrb"
    assert not slicer.util.saveScene(str(missing))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not slicer.util.saveScene(str(path))
    assert "No space left on device" in caplog.text
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["scene.mrb"]


# the mark of made-up voxels


@pytest.mark.parametrize("ending", ["nrrd", "nii", "nii.gz"])
@pytest.mark.parametrize("how", ["saveNode", "exportNode"])
def test_a_file_of_made_up_voxels_says_so(slicer, tmp_path, how, ending):
    from braindiffusion_desktop import io

    path = tmp_path / f"healed.{ending}"
    node = add_volume()
    node.SetAttribute(io.SYNTHETIC, "YES")
    assert getattr(slicer.util, how)(node, str(path), {})
    assert os.listdir(tmp_path) == [path.name]
    back = io.load_scan(path)
    assert back.GetAttribute(io.SYNTHETIC) == "YES"
    assert np.array_equal(voxels_of(back), scan_files.head())
    assert np.allclose(affine_of(back), scan_files.oblique(), atol=1e-4)
    again = slicer.util.loadVolume(str(path))
    assert np.array_equal(voxels_of(again), scan_files.head())


def test_a_file_of_a_patient_is_not_called_made_up(slicer, tmp_path):
    from braindiffusion_desktop import io

    slicer.util.saveNode(add_volume(), str(tmp_path / "head.nii.gz"))
    assert io.load_scan(tmp_path / "head.nii.gz").GetAttribute(io.SYNTHETIC) is None
