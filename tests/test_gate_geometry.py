"""The gate against geometry that libraries disagree on: what the user is told, and where voxels end up."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from braindiffusion.imaging.gate import admit
from braindiffusion.imaging.geometry import nearest_orthonormal, stated_affine
from braindiffusion.imaging.notes import Notes
from braindiffusion.imaging.volume import Volume
from scan_files import SHAPE, head, oblique, patch, save_nifti
from verdicts import passing, refusal, repair

MM, METRE, MICRON = 2, 1, 3
SROW, PIXDIM = 280, 76


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_affine_that_is_no_number(tmp_path: Path, value: float) -> None:
    affine = np.eye(4)
    affine[1, 1] = value
    assert "not a number" in refusal(Volume(head(), affine))
    path = save_nifti(tmp_path / "a.nii", head(), qform=0)
    assert "not a number" in refusal(patch(path, SROW, np.float32(value).tobytes()))


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.diag([1.0, 1, 0]),
        np.ones((3, 3)),
        np.eye(3) * 1e30,
        [[1, 1, 0], [0, 1e-3, 0], [0, 0, 1]],
    ],
    ids=["zero", "flat", "one direction", "huge", "nearly flat"],
)
@pytest.mark.parametrize("qform", [0, 1])
def test_an_affine_that_spans_no_volume(tmp_path: Path, matrix: list, qform: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    assert "not valid" in refusal(Volume(head(), affine))
    path = save_nifti(tmp_path / "a.nii", head(), qform=qform)
    assert "not valid" in refusal(patch(path, SROW, affine[:3].astype(np.float32).tobytes()))


def test_an_affine_with_a_wrong_last_row() -> None:
    affine = np.eye(4)
    affine[3] = [0, 0, 0.1, 1]
    assert "not valid" in refusal(Volume(head(), affine))


@pytest.mark.parametrize("quaternion", [(2.0, 0, 0), (np.nan, 0, 0)])
def test_a_qform_that_is_no_rotation(tmp_path: Path, quaternion: tuple[float, ...]) -> None:
    broken = np.array(quaternion, np.float32).tobytes()
    assert "qform" in refusal(patch(save_nifti(tmp_path / "a.nii", head(), sform=0), 256, broken))
    volume, notes = passing(patch(save_nifti(tmp_path / "b.nii", head()), 256, broken))
    assert "the other (sform) was used" in notes and np.array_equal(
        volume.affine, np.diag([1.5, 1.5, 1.5, 1])
    )


def test_shear_is_resampled_and_told(tmp_path: Path) -> None:
    sheared = oblique((1.0, 1.0, 1.5))
    sheared[:3, 2] += 0.4 * sheared[:3, 1]
    smooth = np.fromfunction(lambda i, j, k: 100 + 2 * i + 3 * j - k, SHAPE).astype(np.float32)
    for source in (Volume(smooth, sheared), save_nifti(tmp_path / "a.nii", smooth, sheared, qform=0)):
        volume, notes = repair(source)
        moved = nearest_orthonormal(sheared, SHAPE)
        corners = np.array([[i, j, k, 1] for i in (0, 23) for j in (0, 27) for k in (0, 19)])
        far = np.linalg.norm((corners @ (sheared - moved).T)[:, :3], axis=1).max()
        assert "right angles" in notes and f"up to {far:.1f} mm" in notes and far > 1
        axes = volume.affine[:3, :3] / volume.spacing
        assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-12)
        found = np.linalg.inv(volume.affine) @ sheared @ [12, 14, 10, 1]
        at = map_coordinates(volume.data, found[:3, None], order=1)
        assert at[0] == pytest.approx(smooth[12, 14, 10], abs=0.05)
        for corner in corners:  # nothing of the image is lost
            voxel = (np.linalg.inv(volume.affine) @ sheared @ corner)[:3]
            assert (voxel > -0.5).all() and (voxel < np.array(volume.shape) - 0.5).all()


def test_sheared_labels_stay_labels() -> None:
    sheared = np.eye(4)
    sheared[0, 2] = 0.5
    labels = (head() > 120).astype(np.uint8) * 17
    volume, _ = admit(Volume(labels, sheared), labels=True)
    assert volume.data.dtype == np.uint8 and set(np.unique(volume.data)) == {0, 17}


def test_shear_below_what_a_scan_resolves_is_kept() -> None:
    affine = np.eye(4)
    affine[0, 2] = 1e-3
    volume, notes = passing(Volume(head(), affine))
    assert notes == "" and np.array_equal(volume.affine, affine)


def test_sheared_nrrd_is_resampled(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(head().T)
    image.SetDirection((1, 0, 0.3, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert "right angles" in repair(tmp_path / "a.nrrd")[1]


# ---- sform, qform, neither


def two_forms(path: Path, sform: np.ndarray, qform: np.ndarray) -> Path:
    image = nib.Nifti1Image(head(), None)
    image.set_sform(sform, code=4)
    image.set_qform(qform, code=1)
    nib.save(image, path)
    return path


def test_two_positions_that_differ(tmp_path: Path) -> None:
    sform, qform = np.diag([1.0, 1, 1, 1]), np.diag([1.0, 1, 1, 1])
    qform[0, 3] = 7.5
    volume, notes = passing(two_forms(tmp_path / "a.nii", sform, qform))
    assert "7.5 mm apart" in notes and "the sform was used" in notes and "left and right" not in notes
    assert np.array_equal(volume.affine, sform) and volume.meta["space"] == "MNI"


def test_two_positions_that_contradict_each_other_on_left_and_right(tmp_path: Path) -> None:
    sform, qform = np.diag([1.0, 1, 1, 1]), np.diag([-1.0, 1, 1, 1])
    path = two_forms(tmp_path / "a.nii", sform, qform)
    volume, notes = passing(path)
    assert "left and right" in notes and np.array_equal(volume.affine, sform)
    volume, notes = passing(path, orientation="LAS")
    assert "the qform was used (LAS)" in notes and np.array_equal(volume.affine, qform)


def test_two_positions_that_agree_say_nothing(tmp_path: Path) -> None:
    assert passing(two_forms(tmp_path / "a.nii", oblique(), oblique()))[1] == ""


@pytest.mark.parametrize(("sform", "qform"), [(0, 1), (1, 0), (4, 0), (0, 3)])
def test_one_position_is_used(tmp_path: Path, sform: int, qform: int) -> None:
    affine = oblique((1.0, 1.2, 1.5), (1, 0, 2), (-1, 1, 1))
    volume, notes = passing(save_nifti(tmp_path / "a.nii", head(), affine, sform=sform, qform=qform))
    assert notes == "" and np.abs(volume.affine - affine).max() < 1e-5


def test_no_position_asks_for_the_orientation(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", head(), np.diag([1.0, 1.2, 1.5, 1]), sform=0, qform=0)
    assert "which side of the image is left" in refusal(path)
    for stated in ("RAS", "las", "PSR"):
        volume, notes = repair(path, orientation=stated)
        assert "".join(volume.axcodes) == stated.upper() and stated.upper() in notes
        assert np.allclose(volume.spacing, (1.0, 1.2, 1.5)) and np.array_equal(volume.data, head())
        middle = volume.affine @ [11.5, 13.5, 9.5, 1]
        assert np.allclose(middle[:3], 0)


def test_neither_position_nor_voxel_size(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", head(), sform=0, qform=0)
    patch(path, PIXDIM + 4, np.zeros(3, np.float32).tobytes())
    assert "how large" in refusal(path)
    assert "how large" in refusal(path, orientation="RAS")


@pytest.mark.parametrize("stated", ["RA", "RRS", "XYZ", "RASL", "", "RLS"])
def test_an_orientation_that_is_none(tmp_path: Path, stated: str) -> None:
    path = save_nifti(tmp_path / "a.nii", head(), sform=0, qform=0)
    assert "three letters" in refusal(path, orientation=stated)


def test_a_stated_orientation_does_not_overrule_the_file(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", head(), np.diag([-1.0, 1, 1, 1]))
    volume, notes = passing(path, orientation="RAS")
    assert "itself says" in notes and volume.axcodes == ("L", "A", "S")
    assert passing(path, orientation="LAS")[1] == ""


def test_a_stated_affine_puts_every_letter_where_it_says() -> None:
    affine = stated_affine("a", (10, 20, 30), np.array([1.0, 2, 3]), "SLP", Notes())
    assert nib.aff2axcodes(affine) == ("S", "L", "P")


# ---- units


@pytest.mark.parametrize(
    ("unit", "stored", "spacing", "words"),
    [
        (METRE, 0.0015, 1.5, "measured in metre"),
        (MICRON, 1500.0, 1.5, "measured in micron"),
        (METRE, 1.5, 1.5, "names metre"),
        (MICRON, 1.5, 1.5, "names micron"),
    ],
)
@pytest.mark.parametrize("coded", [True, False])
def test_units(tmp_path: Path, unit: int, stored: float, spacing: float, words: str, coded: bool) -> None:
    code = int(coded)
    affine = np.diag([stored, stored, stored, 1])
    affine[:3, 3] = 10 * stored
    path = save_nifti(tmp_path / "a.nii", head(), affine, sform=code, qform=code, xyzt_units=unit)
    volume, notes = repair(path, **({} if coded else {"orientation": "RAS"}))
    assert words in notes and np.allclose(volume.spacing, spacing)
    if coded:
        assert np.allclose(volume.affine[:3, 3], 10 * spacing)


def test_units_that_make_no_sense_either_way(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", head(), np.diag([1e-6, 1e-6, 1e-6, 1]) * 1.5, xyzt_units=METRE)
    refusal(path)


def test_no_unit_is_millimetre(tmp_path: Path) -> None:
    assert passing(save_nifti(tmp_path / "a.nii", head(), xyzt_units=0))[1] == ""


def test_nrrd_in_micron(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(head().T)
    image.SetSpacing([1000.0, 1200.0, 1500.0])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    content = (tmp_path / "a.nrrd").read_bytes()
    units = b'space: left-posterior-superior\nspace units: "um" "um" "um"\n'
    (tmp_path / "a.nrrd").write_bytes(content.replace(b"space: left-posterior-superior\n", units))
    volume, notes = repair(tmp_path / "a.nrrd")
    assert np.allclose(volume.spacing, (1.0, 1.2, 1.5)) and "micron" in notes


# ---- formats that may not say where left is


def test_nrrd_without_a_space_asks_for_the_orientation(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    for space in (b"", b"space: scanner-xyz\n", b"space dimension: 3\n"):
        sitk.WriteImage(sitk.GetImageFromArray(head().T), str(path))
        content = path.read_bytes().replace(b"space: left-posterior-superior\n", space)
        if not space:
            content = content.replace(b"space directions: (1,0,0) (0,1,0) (0,0,1)\n", b"spacings: 1 1 1\n")
            content = content.replace(b"space origin: (0,0,0)\n", b"")
        path.write_bytes(content)
        assert "state it as orientation" in refusal(path)
        assert repair(path, orientation="LPS")[0].axcodes == ("L", "P", "S")


def test_nrrd_in_ras_means_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(head().T), str(path))
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", b"right-anterior-superior"))
    assert np.array_equal(passing(path)[0].affine, np.eye(4))


def test_metaimage_without_axes_asks_for_the_orientation(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(head().T), str(path))
    content = path.read_bytes()
    assert passing(path)[0].axcodes == ("L", "P", "S")
    path.write_bytes(content.replace(b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b""))
    assert "state it as orientation" in refusal(path)
    assert repair(path, orientation="RAS")[0].axcodes == ("R", "A", "S")
