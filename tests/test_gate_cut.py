"""Images whose end is missing because a reader hid it, and whole ones that only look as if."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braindiffusion.imaging.gate import admit
from braindiffusion.imaging.volume import Volume
from braindiffusion.paths import data_root
from scan_files import cut, head, save_nifti
from verdicts import passing, refusal


def brain(shape: tuple[int, int, int] = (48, 56, 44)) -> np.ndarray:
    return head(shape)


def read_as_zeros_from(data: np.ndarray, n_voxels: int) -> np.ndarray:
    """What SimpleITK and Slicer make of a NIfTI that ends after so many voxels."""
    flat = data.ravel(order="F").copy()
    flat[n_voxels:] = 0
    return flat.reshape(data.shape, order="F")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6, 0.7])
@pytest.mark.parametrize("background", [0.0, 20.0])
def test_a_volume_in_memory_that_was_cut_short(share: float, background: float) -> None:
    data = brain()
    if background:
        data += np.random.default_rng(1).normal(background, 2, data.shape).astype(np.float32)
    slice_size = 48 * 56
    whole = int(share * 44) * slice_size
    for n_voxels in (whole, whole + slice_size // 2 + 17):
        reason = refusal(Volume(read_as_zeros_from(data, n_voxels), np.eye(4)))
        assert "cut short" in reason


def test_a_cut_near_the_end_is_said_at_least() -> None:
    notes = passing(Volume(read_as_zeros_from(brain((48, 56, 88)), 72 * 48 * 56), np.eye(4)))[1]
    assert "flat cut" in notes and "top" in notes


def test_the_file_behind_a_volume_in_memory_is_counted_too(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", head())
    volume = Volume(head(), np.eye(4), {"source": str(path)})
    passing(volume)
    cut(path)
    assert "cut short" in refusal(volume)
    path.unlink()
    passing(volume)


def test_a_brain_with_empty_borders_is_whole() -> None:
    """Extraction leaves zeros on all sides; the brain tapers off towards them."""
    padded = np.pad(brain(), ((5, 9), (0, 12), (3, 20)))
    volume, notes = passing(Volume(padded, np.eye(4)))
    assert notes == "" and volume.data is padded


def test_scans_padded_to_a_cube_and_necks_are_whole() -> None:
    noise = np.abs(np.random.default_rng(0).normal(5, 1, (40, 48, 30))).astype(np.float32) + brain(
        (40, 48, 30)
    )
    assert passing(Volume(np.pad(noise, ((4, 4), (0, 0), (9, 9))), np.eye(4)))[1] == ""
    neck = brain((40, 48, 40))[:, :, 8:]  # cut flat below, as the end of the field of view does
    assert passing(Volume(np.pad(neck, ((0, 0), (0, 0), (6, 0))), np.eye(4)))[1] == ""
    assert (
        passing(Volume(np.pad(neck[:, :, ::-1], ((0, 0), (0, 0), (0, 6))), np.diag([1.0, 1, -1, 1])))[1] == ""
    )


REAL = ("t1_brains/sub-01_T1w_brain.nii.gz", "heads/colin27_ch2_head.nii.gz", "nichart/Subj01_T1.nii.gz")


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_real_scans_that_were_cut_short(name: str, share: float) -> None:
    path = data_root() / name
    if not path.exists():
        pytest.skip(f"{name} is not in the data folder (docs/data.md)")
    scan, _ = admit(path)
    reason = refusal(Volume(read_as_zeros_from(scan.data, int(scan.data.size * share) + 12345), scan.affine))
    assert "cut short" in reason
