"""Scans come into the scene through the gate: where their files say, noted, marked, or refused."""

from __future__ import annotations

import time

import nibabel as nib
import numpy as np
import pytest

import dicom_files
import scan_files
from desktop_host import QtCore, core  # noqa: F401
from scene_volumes import ORIENTATIONS, add_volume, affine_of, voxels_of


@pytest.fixture
def slicer(core):  # noqa: F811
    import slicer

    return slicer


@pytest.fixture
def io(core):  # noqa: F811
    from braindiffusion_desktop import io

    return io


# scans through the gate


@pytest.mark.parametrize("axes, signs", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_scan_lies_where_its_file_says(io, slicer, tmp_path, axes, signs):
    affine = scan_files.oblique((0.7, 1.2, 3.5), axes, signs)
    path = scan_files.save_nifti(tmp_path / "scan.nii.gz", scan_files.head(), affine)
    node = io.load_scan(path)
    assert np.array_equal(voxels_of(node), scan_files.head())
    assert np.allclose(affine_of(node), affine, atol=1e-5)
    assert node.GetAttribute(io.SOURCE) == str(path) and node.GetName() == "scan"
    display = node.GetDisplayNode()
    assert 0 <= display.GetWindowLevelMin() < 20 and 180 < display.GetWindowLevelMax() < 240


def test_a_sheared_scan_is_shown_on_its_own_grid(io, slicer, tmp_path):
    affine = scan_files.oblique()
    affine[0, 1] += 0.3
    path = scan_files.save_nifti(tmp_path / "sheared.nii", scan_files.head(), affine, qform=0)
    node = io.load_scan(path)
    assert np.array_equal(voxels_of(node), scan_files.head())
    assert np.allclose(affine_of(node), affine, atol=1e-5)


@pytest.mark.parametrize("ending", ["nrrd", "mha", "mgz"])
def test_other_kinds_of_files_are_read_alike(io, slicer, tmp_path, ending):
    affine = scan_files.oblique()
    if ending == "mgz":
        nib.save(nib.MGHImage(scan_files.head(), affine), tmp_path / "scan.mgz")
    else:
        slicer.util.saveNode(add_volume(scan_files.head(), affine), str(tmp_path / f"scan.{ending}"))
    node = io.load_scan(tmp_path / f"scan.{ending}")
    assert np.array_equal(voxels_of(node), scan_files.head())
    assert np.allclose(affine_of(node), affine, atol=1e-4)


def test_a_folder_of_dicom_files_is_one_scan(io, slicer, tmp_path):
    folder = tmp_path / "patient"
    data, affine = np.round(scan_files.head()), scan_files.oblique()
    dicom_files.write_series(folder, data, affine)
    node = io.load_scan(folder)
    assert np.array_equal(voxels_of(node), data) and node.GetName() == "patient"
    assert np.allclose(affine_of(node), affine, atol=1e-4)


def test_a_refused_file_gives_the_gates_sentence_and_no_node(io, slicer, tmp_path):
    from braindiffusion.errors import Refused

    path = scan_files.cut(scan_files.save_nifti(tmp_path / "half.nii.gz", scan_files.head()))
    with pytest.raises(Refused, match=r"half\.nii\.gz is cut short"):
        io.load_scan(path)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_a_repair_is_noted_on_the_node(io, tmp_path):
    data = scan_files.head()
    data[2, 3, 4] = np.nan
    node = io.load_scan(scan_files.save_nifti(tmp_path / "holes.nii", data))
    assert "1 of 13,440 voxels" in node.GetAttribute(io.NOTES)


def test_a_synthetic_file_stays_marked(io, tmp_path):
    path = scan_files.save_nifti(tmp_path / "made.nii", scan_files.head(), descrip=b"SYNTHETIC by a model")
    assert io.load_scan(path).GetAttribute(io.SYNTHETIC) == "YES"


def test_a_label_map_is_read_as_labels_and_refused_as_a_scan(io, slicer, tmp_path):
    from braindiffusion.errors import Refused

    labels = (scan_files.head() > 150).astype(np.int32) * 40
    path = scan_files.save_nifti(tmp_path / "labels.nii.gz", labels, scan_files.oblique())
    node = io.load_scan(path, labels=True)
    assert node.IsA("vtkMRMLLabelMapVolumeNode") and np.array_equal(voxels_of(node), labels)
    with pytest.raises(Refused, match="label map"):
        io.load_scan(path)


def test_a_scan_that_was_loaded_can_be_saved_with_the_scene(io, slicer, tmp_path):
    path = scan_files.save_nifti(tmp_path / "scan.nii.gz", scan_files.head(), scan_files.oblique())
    io.load_scan(path)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    path.unlink()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    node = slicer.util.getNode("scan")
    assert np.array_equal(voxels_of(node), scan_files.head())
    assert node.GetAttribute(io.SOURCE) == str(path)


def test_loading_in_a_thread_leaves_the_window_alive(io, slicer, qtbot, tmp_path):
    path = scan_files.save_nifti(tmp_path / "scan.nii.gz", scan_files.head((120, 140, 100)))
    beats: list[float] = []
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(5)
    loaded: list[object] = []
    io.Loading(path, loaded.append, pytest.fail)
    qtbot.waitUntil(lambda: len(loaded) == 1, timeout=60_000)
    assert voxels_of(loaded[0]).shape == (120, 140, 100)
    assert len(beats) > 10


def test_loading_in_a_thread_tells_the_refusal(io, qtbot, tmp_path):
    path = scan_files.cut(scan_files.save_nifti(tmp_path / "half.nii.gz", scan_files.head()))
    said: list[str] = []
    loading = io.Loading(path, pytest.fail, said.append)
    qtbot.waitUntil(lambda: bool(said), timeout=60_000)
    assert "cut short" in said[0] and not loading.going


def test_loading_can_be_cancelled(io, slicer, qtbot, tmp_path):
    path = scan_files.save_nifti(tmp_path / "scan.nii.gz", scan_files.head())
    loading = io.Loading(path, pytest.fail, pytest.fail)
    loading.cancel()
    loading._thread.join()
    qtbot.wait(100)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0 and not loading.going


def test_closing_the_scene_while_a_scan_loads_is_survived(io, slicer, qtbot, tmp_path):
    path = scan_files.save_nifti(tmp_path / "scan.nii.gz", scan_files.head())
    loaded: list[object] = []
    io.Loading(path, loaded.append, pytest.fail)
    slicer.mrmlScene.Clear(False)
    qtbot.waitUntil(lambda: len(loaded) == 1, timeout=60_000)
    assert slicer.util.getNode("scan") is loaded[0]
