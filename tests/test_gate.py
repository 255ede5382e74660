"""The gate against files that trusted readers accept silently: refused, repaired with a note, or exact."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from braindiffusion.imaging import gate, limits
from braindiffusion.imaging.gate import inspect
from braindiffusion.imaging.volume import Volume
from scan_files import SHAPE, all_orientations, compress, cut, head, oblique, patch, save_nifti
from verdicts import passing, refusal, repair

VOX_OFFSET, DIM, DATATYPE, MAGIC = 108, 40, 70, 344
"""Places in a NIfTI-1 header, in bytes."""


# ---- bytes


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.97])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if name.endswith((".nrrd", ".mha")):
        sitk.WriteImage(sitk.GetImageFromArray(head().T), str(path))
    elif name.endswith(".mgz"):
        nib.save(nib.freesurfer.MGHImage(head(), np.eye(4)), path)
    else:
        save_nifti(path, head())
    reason = refusal(cut(path, share))
    assert "cut short" in reason and path.name in reason


def test_how_much_is_missing_is_said(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", head())
    path.write_bytes(path.read_bytes()[: 352 + head().nbytes // 4])
    assert "75% of them is missing" in refusal(path)
    assert "75% of them is missing" in refusal(compress(path))


@pytest.mark.parametrize("suffix", [".raw", ".zraw"])
def test_a_detached_file_that_was_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(head().T), str(tmp_path / "a.mhd"), suffix == ".zraw")
    cut(tmp_path / f"a{suffix}")
    assert "cannot be read" in refusal(tmp_path / "a.mhd")
    (tmp_path / f"a{suffix}").unlink()
    assert "cannot be read" in refusal(tmp_path / "a.mhd")


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.4, 0.99])
def test_a_cut_file_is_counted_before_itk_complains(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, compressed: bool, share: float
) -> None:
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(head().T), str(path), compressed)
    whole = path.read_bytes()
    assert "cut short" in refusal(cut(path, share))
    assert capfd.readouterr().err == ""
    path.write_bytes(whole)
    assert np.array_equal(inspect(path, orientation="LPS").volume.data, head())


def test_the_readers_own_remarks_are_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save_nifti(tmp_path / "a.nii", head())
    padded = path.read_bytes()
    path.write_bytes(padded[:352] + bytes(8) + padded[352:])
    patch(path, VOX_OFFSET, np.float32(360).tobytes())  # no multiple of 16
    assert np.array_equal(passing(path)[0].data, head())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("offset", [1e9, -8.0, 0.0, 348.0, np.nan, 3e38])
def test_voxels_said_to_start_elsewhere(tmp_path: Path, offset: float) -> None:
    path = patch(save_nifti(tmp_path / "a.nii", head()), VOX_OFFSET, np.float32(offset).tobytes())
    refusal(path)
    refusal(compress(path))


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", head())
    size = path.stat().st_size
    assert "damaged" in refusal(patch(path, size - 6, b"\xff\xff"))
    path = save_nifti(tmp_path / "b.nii.gz", head())
    refusal(patch(path, size // 2, b"\xff" * 64))


def test_a_file_named_gz_that_is_not_compressed_is_read(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", head()).rename(tmp_path / "a.nii.gz")
    volume, notes = passing(tmp_path / "a.nii.gz")
    assert "not compressed" in notes and np.array_equal(volume.data, head())


def test_a_compressed_file_not_named_so_is_read(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii.gz", head()).rename(tmp_path / "a.nii")
    volume, notes = passing(tmp_path / "a.nii")
    assert notes == "" and np.array_equal(volume.data, head())


def test_a_decompression_bomb_is_not_opened(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((1000, 1000, 400))
    header.set_data_dtype(np.float32)
    header["vox_offset"] = 352
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4 + (1 << 20))))
    assert "no real scan" in refusal(path)


def test_a_small_header_does_not_make_a_bomb_small(tmp_path: Path) -> None:
    """What follows the declared voxels is not decompressed to its end."""
    path = save_nifti(tmp_path / "a.nii", head())
    content = path.read_bytes()
    path.write_bytes(content + bytes(100_000))
    volume, notes = passing(compress(path))
    assert "100,000 bytes more" in notes and np.array_equal(volume.data, head())
    path.write_bytes(content + bytes(100 << 20))
    assert "far more than its header says" in refusal(compress(path))


def test_more_voxels_than_any_scan_or_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_nifti(tmp_path / "a.nii", head())
    huge = patch(tmp_path / "a.nii", DIM + 2, np.full(3, 32767, np.int16).tobytes())
    assert "no scan of a head" in refusal(huge)
    path = save_nifti(tmp_path / "b.nii", head())
    monkeypatch.setattr(limits, "free_memory_bytes", lambda: 100_000)
    assert "of memory" in refusal(path)
    assert "of memory" in refusal(Volume(head(), np.eye(4)))


def test_free_memory_is_a_sensible_number() -> None:
    assert 1e6 < limits.free_memory_bytes() < 1e14


def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gate.io, "read", forbidden)
    assert "permissions" in refusal(save_nifti(tmp_path / "a.nii", head()))


def test_a_reader_that_runs_out_of_memory_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(gate.io, "read", full)
    assert "memory" in refusal(save_nifti(tmp_path / "a.nii", head()))


# ---- headers


@pytest.mark.parametrize(
    "dim", [(3, 0, 28, 20), (3, 24, -28, 20), (3, 24, 28, 0), (0, 24, 28, 20), (-1, 1, 1, 1)]
)
def test_dimensions_that_cannot_be(tmp_path: Path, dim: tuple[int, ...]) -> None:
    path = save_nifti(tmp_path / "a.nii", head())
    refusal(patch(path, DIM, np.array(dim, np.int16).tobytes()))
    refusal(compress(path))


def test_a_type_that_does_not_exist(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", head())
    assert "does not know" in refusal(patch(path, DATATYPE, np.int16(1234).tobytes()))


@pytest.mark.parametrize("magic", [b"xyz\0", b"\0\0\0\0", b"ni1\0"])
def test_a_wrong_mark_is_refused(tmp_path: Path, magic: bytes) -> None:
    assert (
        "NIfTI" in refusal(patch(save_nifti(tmp_path / "a.nii", head()), MAGIC, magic)) or magic == b"ni1\0"
    )


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mgz", "a.png", "a.dcm", "a"])
@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>404</html>" * 40, bytes(2000), b"\x1f\x8b" + b"\x07" * 900]
)
def test_what_is_no_image(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert name in refusal(path)


def test_missing_files_and_folders_without_images(tmp_path: Path) -> None:
    assert "no file or folder" in refusal(tmp_path / "absent.nii.gz")
    assert "no DICOM images" in refusal(tmp_path)
    (tmp_path / "readme.txt").write_text("hello")
    save_nifti(tmp_path / "a.nii", head())
    assert "give the image file itself (a.nii)" in refusal(tmp_path)
    refusal("x" * 5000 + ".nii")
    refusal("nul\0byte.nii")


def test_unicode_spaces_and_long_paths(tmp_path: Path) -> None:
    folder = tmp_path / "ünï çödé 脳 مخ" / ("deep " * 40).strip() / ("deeper" * 30)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 260
    for name in ("scän 1.nii.gz", "scän 1.nii"):
        assert np.array_equal(passing(save_nifti(folder / name, head()))[0].data, head())
    for name in ("scän 1.nrrd", "scän 1.mha"):
        image = sitk.GetImageFromArray(head().T)
        sitk.WriteImage(image, str(folder / name))
        assert np.array_equal(passing(str(folder / name))[0].data, head())


# ---- voxels


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd"])
def test_voxels_that_are_no_numbers_are_repaired_and_counted(tmp_path: Path, name: str) -> None:
    data = head()
    data[:3] = np.nan  # background, as programs that mask with NaN leave it
    data[12, 14, 10] = np.inf  # within tissue
    if name == "a.nii":
        save_nifti(tmp_path / name, data)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(data.T), str(tmp_path / name))
    volume, notes = repair(tmp_path / name)
    assert f"{3 * 28 * 20 + 1:,} of {data.size:,}" in notes
    assert (volume.data[:3] == 0).all()
    around = head()[11:14, 13:16, 9:12].ravel()
    assert volume.data[12, 14, 10] == np.median(np.delete(around, 13))
    same = np.isfinite(data)
    assert np.array_equal(volume.data[same], data[same])


def test_the_callers_voxels_are_left_alone() -> None:
    data = head()
    data[0, 0, 0] = np.nan
    repair(Volume(data, np.eye(4)))
    assert np.isnan(data[0, 0, 0])


def test_values_beyond_float32_are_counted_as_infinite(tmp_path: Path) -> None:
    data = head().astype(np.float64)
    data[5, 14, 10] = 1e300
    assert "1 of 13,440 voxels" in repair(save_nifti(tmp_path / "a.nii", data))[1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.full(SHAPE, np.nan, np.float32), "No voxel"),
        (np.full(SHAPE, np.inf, np.float32), "No voxel"),
        (np.zeros(SHAPE, np.float32), "same value"),
        (np.full(SHAPE, 7, np.int16), "same value"),
        (head() > 0, "mask or label map"),
        ((head() / 30).astype(np.int16), "mask or label map"),
        ((head() > 0) * 17.0, "mask or label map"),
        (np.random.default_rng(0).integers(0, 5, SHAPE, np.int16), "mask or label map"),
        (
            np.kron(np.arange(210).reshape(6, 7, 5), np.ones((4, 4, 4))).astype(np.float32),
            "mask or label map",
        ),
        (head()[:, :, 10], "single slice"),
        (head()[:, :, 10:11], "single slice"),
        (head()[:1], "single slice"),
        (head().astype(np.complex64), "complex"),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour"),
    ],
)
def test_content_that_is_no_scan(tmp_path: Path, data: np.ndarray, words: str) -> None:
    assert words in refusal(Volume(data, np.eye(4)))
    stored = data.astype(np.uint8) if data.dtype == bool else data
    assert words in refusal(save_nifti(tmp_path / "a.nii.gz", stored))


def test_colour_and_complex_through_itk(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(head().T)
    sitk.WriteImage(sitk.Cast(image, sitk.sitkComplexFloat32), str(tmp_path / "complex.mha"))
    refusal(tmp_path / "complex.mha")
    sitk.WriteImage(sitk.Compose([image] * 3), str(tmp_path / "rgb.nrrd"))
    assert "3 values in every voxel" in refusal(tmp_path / "rgb.nrrd")


def test_labels_pass_where_labels_are_wanted() -> None:
    labels = (head() > 120).astype(np.float32)
    verdict = inspect(Volume(labels, np.eye(4)), labels=True)
    assert verdict.volume is not None and verdict.volume.data.dtype == np.int32
    assert "whole numbers" in str(inspect(Volume(head(), np.eye(4)), labels=True).reason)


def test_integers_with_few_bits_are_scans(tmp_path: Path) -> None:
    data = head().astype(np.uint8)
    for background in (0, 40):
        volume, notes = passing(save_nifti(tmp_path / "a.nii", data + np.uint8(background)))
        assert notes == "" and volume.data.dtype == np.float32
        assert np.array_equal(volume.data, data + np.uint8(background))


# ---- frames


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_one_frame_in_four_dimensions(tmp_path: Path, name: str) -> None:
    volume, notes = repair(four_d(tmp_path / name, [head()]))
    assert volume.shape == SHAPE and np.array_equal(volume.data, head())
    assert "holds one image" in notes


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mgz"])
def test_several_frames_need_a_choice(tmp_path: Path, name: str) -> None:
    frames = [head(seed=i) for i in range(3)]
    path = four_d(tmp_path / name, frames)
    assert "frame = 0 to 2" in refusal(path)
    left_open = inspect(path).unanswered
    assert left_open is not None and (left_open.asked, left_open.images) == ("frame", 3)
    assert "no frame 3" in refusal(path, frame=3) and inspect(path, frame=3).unanswered is None
    refusal(path, frame=-1)
    for i, frame in enumerate(frames):
        volume, notes = repair(path, frame=i)
        assert np.array_equal(volume.data, frame) and f"number {i}" in notes
        assert volume.meta["frame"] == i


def four_d(path: Path, frames: list[np.ndarray]) -> Path:
    data = np.stack(frames, axis=-1)
    if path.suffix == ".nrrd":
        sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(f.T) for f in frames]), str(path))
    elif path.suffix == ".mgz":
        nib.save(nib.freesurfer.MGHImage(data, np.eye(4)), path)
    else:
        save_nifti(path, data)
    return path


def test_frames_of_a_volume_in_memory_and_of_scaled_integers(tmp_path: Path) -> None:
    data = np.stack([head(seed=i) for i in range(2)], axis=-1)
    assert np.array_equal(repair(Volume(data, np.eye(4)), frame=1)[0].data, data[..., 1])
    refusal(Volume(data, np.eye(4)))
    assert np.array_equal(repair(Volume(data[..., :1], np.eye(4)))[0].data, data[..., 0])
    path = save_nifti(tmp_path / "a.nii", data.astype(np.int16), scl_slope=0.5, scl_inter=1.0)
    assert np.array_equal(repair(path, frame=1)[0].data, data[..., 1].astype(np.int16) * 0.5 + 1)
    assert np.array_equal(passing(Volume(head(), np.eye(4)), frame=0)[0].data, head())
    assert "1 frame," in refusal(Volume(head(), np.eye(4)), frame=1)


@pytest.mark.parametrize("source", [None, b"a.nii", head(), nib.Nifti1Image(head(), np.eye(4))])
def test_what_is_no_path_and_no_volume_is_a_sentence(source: object) -> None:
    assert "a path or as a Volume" in refusal(source)  # type: ignore[arg-type]


def test_voxels_that_are_no_array_are_a_sentence() -> None:
    assert "no array of numbers" in refusal(Volume([[[1.0, 2.0]]], np.eye(4)))  # type: ignore[arg-type]


def test_a_path_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_nifti(tmp_path / "a.nii", head())
    assert np.array_equal(passing("~/a.nii")[0].data, head())


# ---- exact


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (2.0, 2.5, 5.0)])
def test_every_orientation_passes_exactly(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    data = head((23, 31, 17))
    for axes, signs in all_orientations():
        affine = oblique(spacing, axes, signs)
        volume, notes = passing(save_nifti(tmp_path / "a.nii", data, affine))
        assert notes == "" and np.array_equal(volume.data, data)
        assert np.array_equal(volume.affine, affine.astype(np.float32))
        again, _ = passing(Volume(data, affine))
        assert again.data is data and np.array_equal(again.affine, affine)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ((1.0, 1.0, 5.0), "3 times longer"),
        ((0.1, 0.15, 0.2), "0.2 to 6 mm"),
        ((7.0, 7.0, 7.0), "0.2 to 6 mm"),
    ],
)
def test_unusual_voxels_pass_with_a_warning(spacing: tuple[float, ...], words: str) -> None:
    volume, notes = passing(Volume(head(), oblique(spacing)))
    assert words in notes and np.array_equal(volume.affine, oblique(spacing))


def test_few_slices_pass_with_a_warning() -> None:
    assert "only 6 slices" in passing(Volume(head((24, 28, 6)), np.eye(4)))[1]
