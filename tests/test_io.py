"""Readers and writers: the same voxels at the same place in every format, and synthetic marks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from braindiffusion.errors import BrainDiffusionError
from braindiffusion.imaging import io
from braindiffusion.imaging.gate import admit, inspect
from braindiffusion.imaging.geometry import LPS_TO_RAS
from braindiffusion.imaging.volume import Volume
from braindiffusion.paths import data_root
from scan_files import SHAPE, all_orientations, cut, head, oblique, save_nifti

ITK_FORMATS = ("a.nrrd", "a.nhdr", "a.mha", "a.mhd")
CORNERS = np.array([[0, 0, 0], [23, 0, 0], [0, 27, 0], [0, 0, 19], [23, 27, 19]])


def itk_image(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """What another program holds for the same image, in LPS."""
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def places(affine: np.ndarray) -> np.ndarray:
    return CORNERS @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd"])
def test_writers_bring_back_all_48_orientations(tmp_path: Path, name: str) -> None:
    data = head()
    for axes, signs in all_orientations():
        affine = oblique((0.5, 1.1, 3.0), axes, signs)
        write = io.write_nrrd if name.endswith("nrrd") else io.write_nifti
        write(Volume(data, affine), tmp_path / name, synthetic=False, description="test")
        back, notes = admit(tmp_path / name)
        assert np.array_equal(back.data, data)
        assert np.abs(places(back.affine) - places(affine)).max() <= 1e-4
        assert len(notes) == 1 and "3 times longer" in notes[0]


@pytest.mark.parametrize("name", ITK_FORMATS)
@pytest.mark.parametrize("compressed", [False, True])
def test_itk_formats_lie_where_itk_says(tmp_path: Path, name: str, compressed: bool) -> None:
    data, affine = head(), oblique(axes=(2, 0, 1), signs=(-1, 1, -1))
    image = itk_image(data, affine)
    sitk.WriteImage(image, str(tmp_path / name), compressed)
    volume, notes = admit(tmp_path / name)
    assert notes == () and np.array_equal(volume.data, data)
    for corner, place in zip(CORNERS, places(volume.affine), strict=True):
        lps = image.TransformIndexToPhysicalPoint(corner.tolist())
        assert np.abs(np.array(lps) * [-1, -1, 1] - place).max() <= 1e-4
    assert volume.meta["format"] == ("NRRD" if "r" in name.split(".")[1] else "MetaImage")


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_freesurfer_formats(tmp_path: Path, name: str) -> None:
    data, affine = head(), oblique(axes=(0, 2, 1), signs=(-1, -1, 1))
    nib.save(nib.freesurfer.MGHImage(data, affine.astype(np.float32)), tmp_path / name)
    volume, notes = admit(tmp_path / name)
    assert notes == () and np.array_equal(volume.data, data)
    assert np.abs(places(volume.affine) - places(affine)).max() <= 1e-4
    assert "cut short" in str(inspect(cut(tmp_path / name)).reason)


def test_freesurfer_without_geometry_asks_for_the_orientation(tmp_path: Path) -> None:
    image = nib.freesurfer.MGHImage(head(), np.eye(4, dtype=np.float32))
    nib.save(image, tmp_path / "a.mgh")
    content = bytearray((tmp_path / "a.mgh").read_bytes())
    content[28:30] = b"\0\0"
    (tmp_path / "a.mgh").write_bytes(bytes(content))
    assert "state it as orientation" in str(inspect(tmp_path / "a.mgh").reason)
    volume, _ = admit(tmp_path / "a.mgh", orientation="LIA")
    assert volume.axcodes == ("L", "I", "A")


@pytest.mark.parametrize("swap", [False, True])
def test_nifti_slopes_and_byte_order_are_exact(tmp_path: Path, swap: bool) -> None:
    stored = np.random.default_rng(0).integers(-500, 3000, SHAPE).astype(">i2" if swap else "<i2")
    header = nib.Nifti1Header(endianness=">" if swap else "<")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(stored, oblique(), header)
    image.header.set_slope_inter(0.25, -3.0)
    nib.save(image, tmp_path / "a.nii.gz")
    verdict = inspect(tmp_path / "a.nii.gz")
    expected = nib.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32)
    assert verdict.status == "passed" and verdict.notes == () and verdict.volume is not None
    assert verdict.volume.data.dtype == np.float32
    assert np.array_equal(verdict.volume.data, expected)


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(head(), oblique()), tmp_path / "a.nii")
    volume, notes = admit(tmp_path / "a.nii")
    assert notes == () and np.array_equal(volume.data, head())


def test_a_synthetic_nifti_says_so_in_header_comment_and_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "healed.nii.gz"
    sidecar = {"Seed": np.int64(7), "Window": np.array([0.0, 1.5]), "Source": Path("a.nii")}
    long = "healed by a prior, " + "ü" * 60
    io.write_nifti(Volume(head(), oblique()), path, synthetic=True, description=long, sidecar=sidecar)
    image = nib.load(path)
    descrip = image.header["descrip"].item()
    assert descrip.startswith(b"SYNTHETIC healed by a prior") and len(descrip) <= 79
    assert descrip.decode("utf-8")
    (comment,) = image.header.extensions
    said = json.loads(comment.get_content())
    assert comment.get_code() == 6
    assert said == json.loads((tmp_path / "healed.json").read_text(encoding="utf-8"))
    assert said["Synthetic"] is True and said["Seed"] == 7 and said["Window"] == [0.0, 1.5]
    assert said["Description"] == "SYNTHETIC " + long
    verdict = inspect(path)
    assert verdict.volume is not None and verdict.volume.meta["synthetic"] is True
    assert any("synthetic" in note for note in verdict.notes)


@pytest.mark.parametrize("name", ["b.nii.gz", "b.nrrd"])
def test_what_is_made_from_a_synthetic_image_is_synthetic(tmp_path: Path, name: str) -> None:
    io.write_nrrd(Volume(head(), oblique()), tmp_path / "a.nrrd", synthetic=True, description="ünï")
    first, _ = admit(tmp_path / "a.nrrd")
    assert first.meta["synthetic"] is True and first.meta["descrip"] == "ünï"
    write = io.write_nrrd if name.endswith("nrrd") else io.write_nifti
    write(first.with_data(first.data * 2), tmp_path / name, synthetic=False, description="twice")
    assert admit(tmp_path / name)[0].meta["synthetic"] is True


def test_an_image_that_is_not_synthetic_has_no_mark_and_no_sidecar(tmp_path: Path) -> None:
    io.write_nifti(
        Volume(head(), oblique()), tmp_path / "a.nii", synthetic=False, description="bias corrected"
    )
    volume, notes = admit(tmp_path / "a.nii")
    assert notes == () and volume.meta["synthetic"] is False and volume.meta["descrip"] == "bias corrected"
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_labels_come_back_as_whole_numbers(tmp_path: Path, dtype: type, name: str) -> None:
    labels = (head() > 120).astype(dtype)
    write = io.write_nrrd if name.endswith("nrrd") else io.write_nifti
    write(Volume(labels, oblique()), tmp_path / name, synthetic=False, description="mask")
    volume, _ = admit(tmp_path / name, labels=True)
    assert np.issubdtype(volume.data.dtype, np.integer) and np.array_equal(volume.data, labels)


@pytest.mark.parametrize("write", [io.write_nifti, io.write_nrrd])
def test_nothing_half_written_is_left(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("a.nii.gz" if write is io.write_nifti else "a.nrrd")
    data = head()
    data[3, 3, 3] = np.nan
    with pytest.raises(BrainDiffusionError, match="not numbers"):
        write(Volume(data, oblique()), path, synthetic=True, description="x")
    with pytest.raises(BrainDiffusionError, match="must end in"):
        write(Volume(head(), oblique()), tmp_path / "a.png", synthetic=True, description="x")

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", disk_full)
    monkeypatch.setattr(sitk, "WriteImage", disk_full)
    with pytest.raises(OSError, match="No space"):
        write(Volume(head(), oblique()), path, synthetic=True, description="x")
    assert list(tmp_path.iterdir()) == []


def test_meta_names_the_source_and_its_hash(tmp_path: Path) -> None:
    import hashlib

    path = save_nifti(tmp_path / "a.nii.gz", head(), descrip=b"FSL5.0")
    meta = admit(path)[0].meta
    assert meta["source"] == str(path) and meta["format"] == "NIfTI" and meta["units"] == "mm"
    assert meta["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert meta["descrip"] == "FSL5.0" and meta["space"] == "scanner" and meta["notes"] == []


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX here")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd"])
def test_files_follow_the_users_umask(tmp_path: Path, name: str, umask: int, mode: int) -> None:
    """So that colleagues of a group may read a result, and nobody else where the user says so."""
    write = io.write_nrrd if name.endswith("nrrd") else io.write_nifti
    before = os.umask(umask)
    try:
        for _ in range(2):  # a new file, and one that replaces an earlier one
            write(Volume(head(), oblique()), tmp_path / name, synthetic=True, description="test")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {mode}
    assert len(list(tmp_path.iterdir())) == (1 if name.endswith("nrrd") else 2)


REAL = {
    "heads/chris_T1w_head.nii.gz": "passed",
    "heads/colin27_ch2_head.nii.gz": "passed",
    "t1_brains/sub-01_T1w_brain.nii.gz": "passed",
    "labelled_t1/niivue_fs_norm.mgz": "passed",
    "labelled_t1/niivue_fs_aparc.a2009s+aseg.mgz": "refused",
    "label_maps/seg_14.nii.gz": "refused",
    "nichart/Subj01_T1.nii.gz": "passed",
    "nichart/Subj01_T1_DLMUSE.nii.gz": "refused",
    "ms/patient19/patient19_T1.nii.gz": "passed",
    "tumour/TCGA-FG-6692/TCGA-FG-6692_t1_bet.nii.gz": "passed",
    "tumour/slices_2d/brats_train_006_t1_081.nii.gz": "refused",
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str) -> None:
    path = data_root() / name
    if not path.exists():
        pytest.skip(f"{name} is not in the data folder (docs/data.md)")
    verdict = inspect(path)
    assert verdict.status == REAL[name], verdict.reason
    if verdict.volume is not None:
        truth = nib.load(path)
        assert np.array_equal(verdict.volume.affine, truth.affine)
        assert np.array_equal(verdict.volume.data, np.asanyarray(truth.dataobj, dtype=np.float32))


def test_a_real_scan_survives_every_format(tmp_path: Path) -> None:
    path = data_root() / "nichart/Subj01_T1.nii.gz"
    if not path.exists():
        pytest.skip("nichart is not in the data folder (docs/data.md)")
    volume, _ = admit(path)
    sitk.WriteImage(itk_image(volume.data, volume.affine), str(tmp_path / "a.mha"))
    nib.save(nib.freesurfer.MGHImage(volume.data, volume.affine), tmp_path / "a.mgz")
    io.write_nrrd(volume, tmp_path / "a.nrrd", synthetic=False, description="copy")
    io.write_nifti(volume, tmp_path / "a.nii.gz", synthetic=False, description="copy")
    for name in ("a.mha", "a.mgz", "a.nrrd", "a.nii.gz"):
        back, _ = admit(tmp_path / name)
        assert np.array_equal(back.data, volume.data), name
        assert np.abs(places(back.affine) - places(volume.affine)).max() <= 1e-4, name
