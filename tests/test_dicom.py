"""DICOM folders as clinics export them: whole, mixed, incomplete, damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileMetaDataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from braindiffusion.imaging import dicom
from dicom_files import change, dataset, set_pixels, write_multiframe, write_series
from scan_files import all_orientations, cut, head, oblique
from verdicts import passing, refusal, repair

SHAPE = (24, 28, 12)
DATA = head(SHAPE).astype(np.uint16)
AFFINE = oblique((1.0, 1.2, 2.5))


def test_slices_are_sorted_by_their_place(tmp_path: Path) -> None:
    for axes, signs in all_orientations()[::5]:
        affine = oblique((1.0, 1.2, 2.5), axes, signs)
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        write_series(tmp_path / "s", DATA, affine)
        volume, notes = passing(tmp_path / "s")
        assert notes == "" and volume.data.dtype == np.float32
        # sorting along the normal may turn the stack around: the same voxel is at the same place
        turned = np.linalg.det(affine[:3, :3]) < 0
        same = volume.data[:, :, ::-1] if turned else volume.data
        assert np.array_equal(same, DATA)
        for index in ([0, 0, 0], [23, 0, 0], [0, 27, 0], [5, 6, 11]):
            here = [index[0], index[1], 11 - index[2] if turned else index[2], 1]
            assert np.abs(volume.affine @ here - affine @ [*index, 1]).max() <= 1e-4


def test_the_same_place_as_itk(tmp_path: Path) -> None:
    write_series(tmp_path / "s", DATA, AFFINE)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "s"))
    image = sitk.ReadImage(names)
    volume, _ = passing(tmp_path / "s")
    assert np.array_equal(sitk.GetArrayFromImage(image).T, volume.data)
    for index in ((0, 0, 0), (23, 27, 11), (3, 4, 5)):
        lps = image.TransformIndexToPhysicalPoint(index)
        assert np.abs(np.array(lps) * [-1, -1, 1] - (volume.affine @ [*index, 1])[:3]).max() <= 1e-4


def test_slope_and_intercept_of_every_slice(tmp_path: Path) -> None:
    write_series(tmp_path, DATA, AFFINE, RescaleSlope=lambda k: f"{1 + k / 4}", RescaleIntercept="-5")
    volume, _ = passing(tmp_path)
    assert np.array_equal(volume.data, DATA * (1 + np.arange(12) / 4).astype(np.float32) - 5)


def test_a_folder_tree_with_other_files(tmp_path: Path) -> None:
    write_series(tmp_path / "DICOM" / "PA0" / "SE0", DATA, AFFINE)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "readme.txt").write_text("viewer")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "logo.jpg").write_bytes(b"\xff\xd8\xff" * 50)
    assert np.array_equal(passing(tmp_path)[0].data, DATA)


def test_files_without_an_ending(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "s", DATA, AFFINE):
        path.rename(path.with_suffix(""))
    assert np.array_equal(passing(tmp_path / "s")[0].data, DATA)


def test_what_the_file_says_is_kept_and_no_name(tmp_path: Path) -> None:
    write_series(tmp_path, DATA, AFFINE, SyntheticData="YES")
    volume, notes = passing(tmp_path)
    assert volume.meta["format"] == "DICOM" and volume.meta["descrip"] == "t1_mprage"
    assert volume.meta["synthetic"] is True and "synthetic" in notes
    assert "Doe" not in str(volume.meta) and "1234" not in str(volume.meta["descrip"])


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "a", DATA, AFFINE):
        (tmp_path / "b").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "b" / path.name[::-1])
    assert passing(tmp_path / "a")[0].meta["sha256"] == passing(tmp_path / "b")[0].meta["sha256"]


# ---- incomplete


@pytest.mark.parametrize(
    ("gone", "words"), [([5], "lacks 1 slice "), ([3, 4, 5], "lacks 3 slices"), ([2, 7], "lacks 2 slices")]
)
def test_missing_slices(tmp_path: Path, gone: list[int], words: str) -> None:
    paths = write_series(tmp_path, DATA, AFFINE)
    for k in gone:
        paths[k].unlink()
    assert words in refusal(tmp_path)


def test_uneven_slices(tmp_path: Path) -> None:
    paths = write_series(tmp_path, DATA, np.diag([1.0, 1, 2, 1]))
    change(paths[6], ImagePositionPatient=[0, 0, 6 * 2 + 0.7])
    assert "uneven distances (1.30 to 2.70 mm)" in refusal(tmp_path)


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1, 1.1999, 1])
    paths = write_series(tmp_path, DATA, affine)
    for k, path in enumerate(paths):
        change(path, ImagePositionPatient=[0, 0, round(k * 1.1999, 2)])
    volume, notes = passing(tmp_path)
    assert notes == "" and volume.spacing[2] == pytest.approx(1.2, abs=1e-3)


def test_slices_missing_at_the_end_are_said_where_the_series_knows(tmp_path: Path) -> None:
    paths = write_series(tmp_path, DATA, AFFINE, ImagesInAcquisition=12)
    paths[-1].unlink()
    paths[-2].unlink()
    assert "has 12 images and 10 are here" in passing(tmp_path)[1]


def test_one_slice(tmp_path: Path) -> None:
    for path in write_series(tmp_path, DATA, AFFINE)[1:]:
        path.unlink()
    assert "single slice" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 140])
def test_an_unreadable_end_slice_without_an_ending_is_no_other_file(tmp_path: Path, kept: int) -> None:
    paths = [path.rename(path.with_suffix("")) for path in write_series(tmp_path, DATA, AFFINE)]
    paths[-1].write_bytes(paths[-1].read_bytes()[:kept])
    reason = refusal(tmp_path)
    assert paths[-1].name in reason and "a slice would be missing" in reason
    assert "a slice would be missing" in refusal(paths[0])


def test_a_file_named_otherwise_may_be_a_slice_and_is_said(tmp_path: Path) -> None:
    write_series(tmp_path, DATA, AFFINE)
    (tmp_path / "VERSION").write_text("7")
    (tmp_path / ".hidden").write_text("7")
    (tmp_path / "notes.txt").write_text("7")
    volume, notes = passing(tmp_path)
    assert np.array_equal(volume.data, DATA) and "no DICOM (VERSION)" in notes


@pytest.mark.parametrize("ending", ["", ".dcm"])
def test_slices_without_preamble_are_read(tmp_path: Path, ending: str) -> None:
    paths = write_series(tmp_path, DATA, AFFINE)
    for number, path in enumerate([p.rename(p.with_suffix(ending)) for p in paths[-5:]]):
        one = pydicom.dcmread(path)
        if number % 2:  # all that stands before the header proper is gone
            one.file_meta, one.preamble = FileMetaDataset(), None
            one.save_as(path, enforce_file_format=False, implicit_vr=number > 2, little_endian=True)
        else:
            path.write_bytes(path.read_bytes()[132:])
    volume, notes = passing(tmp_path)
    assert notes == "" and np.array_equal(volume.data, DATA)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    write_series(tmp_path / "elsewhere", DATA, AFFINE)
    exam = tmp_path / "exam"
    exam.mkdir()
    (exam / "SE1").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (exam / "again").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (exam / "round").symlink_to(exam, target_is_directory=True)
    volume, notes = passing(exam)
    assert notes == "" and np.array_equal(volume.data, DATA)


def test_copies_of_files_are_left_out(tmp_path: Path) -> None:
    for path in write_series(tmp_path, DATA, AFFINE)[:3]:
        shutil.copy(path, path.with_name("copy " + path.name))
    volume, notes = repair(tmp_path)
    assert "3 files are copies" in notes and np.array_equal(volume.data, DATA)


def test_two_images_at_one_place(tmp_path: Path) -> None:
    path = write_series(tmp_path, DATA, AFFINE)[4]
    double = path.with_name("double.dcm")
    shutil.copy(path, double)
    change(double, SOPInstanceUID=generate_uid())
    assert "several images at 1 of its 12 slice positions" in refusal(tmp_path)


def test_two_images_at_every_place_are_frames(tmp_path: Path) -> None:
    uid = generate_uid()
    write_series(tmp_path / "late", DATA + np.uint16(7), AFFINE, uid=uid, EchoTime="30")
    write_series(tmp_path / "early", DATA, AFFINE, uid=uid, EchoTime="10")
    assert "holds 2 images of the head" in refusal(tmp_path)
    assert np.array_equal(repair(tmp_path, frame=0)[0].data, DATA)
    assert np.array_equal(repair(tmp_path, frame=1)[0].data, DATA + 7)


def test_mixed_sizes_directions_and_voxel_sizes(tmp_path: Path) -> None:
    uid = generate_uid()
    write_series(tmp_path / "a" / "1", DATA[:, :, :6], AFFINE, uid=uid)
    write_series(tmp_path / "a" / "2", DATA[:20, :, 6:], AFFINE, uid=uid)
    assert "different sizes (20 x 28, 24 x 28)" in refusal(tmp_path / "a")
    write_series(tmp_path / "b" / "1", DATA[:, :, :3], AFFINE, uid=uid)
    write_series(tmp_path / "b" / "2", DATA[:, :, :3], oblique(axes=(1, 2, 0)), uid=uid)
    assert "different directions" in refusal(tmp_path / "b")
    paths = write_series(tmp_path / "c", DATA, AFFINE)
    change(paths[3], PixelSpacing=["1.3", "1.3"])
    assert "different voxel sizes" in refusal(tmp_path / "c")


def test_a_tilted_stack_is_straightened(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1, 2, 1])
    affine[1, 2] = 0.6
    write_series(tmp_path, DATA, affine)
    assert "right angles" in repair(tmp_path)[1]


def test_slices_shifted_sideways(tmp_path: Path) -> None:
    paths = write_series(tmp_path, DATA, np.diag([1.0, 1, 2, 1]))
    change(paths[6], ImagePositionPatient=[4, 0, 12])
    assert "shifted sideways" in refusal(tmp_path)


# ---- damaged


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.95])
def test_a_file_that_was_cut_short(tmp_path: Path, share: float) -> None:
    path = write_series(tmp_path, DATA, AFFINE)[5]
    cut(path, share)
    reason = refusal(tmp_path)
    assert path.name in reason and ("cut short" in reason or "does not say where" in reason)


def test_pixels_of_another_size_than_said(tmp_path: Path) -> None:
    for path in write_series(tmp_path, DATA, AFFINE):
        change(path, Rows=40)
    assert "cut short" in refusal(tmp_path)


def test_no_geometry_is_no_scan(tmp_path: Path) -> None:
    for path in write_series(tmp_path, DATA, AFFINE):
        change(path, ImagePositionPatient=None)
    assert "does not say where it lies" in refusal(tmp_path)


def test_colour_and_segmentation(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "seg", DATA, AFFINE, Modality="SEG"):
        assert path.exists()
    assert "segmentation" in refusal(tmp_path / "seg")
    for path in write_series(tmp_path / "rgb", DATA, AFFINE):
        change(path, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert "colour" in refusal(tmp_path / "rgb")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelSpacing": ["0", "1"]}, "no size"),
        ({"PixelSpacing": ["-1", "1"]}, "no size"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "in the same direction"),
    ],
)
def test_a_plane_that_spans_nothing(tmp_path: Path, tags: dict, words: str) -> None:
    for path in write_series(tmp_path, DATA, AFFINE):
        change(path, **tags)
    assert words in refusal(tmp_path)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ContrastBolusAgent": "Gadovist"}, "contrast agent was given"),
        ({"ContrastBolusAgent": "NONE", "BodyPartExamined": "BRAIN"}, ""),
        ({"BodyPartExamined": "HEADNECK"}, ""),
        ({"BodyPartExamined": "KNEE"}, "another part of the body (KNEE)"),
    ],
)
def test_what_the_header_says_against_the_scan_is_noted(tmp_path: Path, tags: dict, words: str) -> None:
    write_series(tmp_path, DATA, AFFINE, **tags)
    notes = passing(tmp_path)[1]
    assert words in notes and bool(words) == bool(notes)


def test_other_modalities_are_named(tmp_path: Path) -> None:
    write_series(tmp_path, DATA, AFFINE, Modality="CT")
    assert "is CT, not MR" in passing(tmp_path)[1]


def test_jpeg_2000_is_opened(tmp_path: Path) -> None:
    for path in write_series(tmp_path, DATA, AFFINE):
        image = sitk.ReadImage(str(path))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG2000")
        writer.SetFileName(str(path))
        writer.Execute(image)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    volume, _ = passing(tmp_path)
    assert np.array_equal(volume.data, DATA)
    cut(path, 0.7)
    assert path.name in refusal(tmp_path)


# ---- several series


def test_one_stack_beside_scouts_and_reports(tmp_path: Path) -> None:
    uid = generate_uid()
    write_series(tmp_path / "scout" / "1", DATA[:, :, :3], AFFINE, uid=uid, number=1, description="localizer")
    write_series(
        tmp_path / "scout" / "2",
        DATA[:, :, :3],
        oblique(axes=(1, 2, 0)),
        uid=uid,
        number=1,
        description="localizer",
    )
    write_series(tmp_path / "head", DATA, AFFINE, number=2, description="ax 3d")
    screenshot = dataset(SecondaryCaptureImageStorage)
    screenshot.SeriesInstanceUID, screenshot.SeriesNumber = generate_uid(), 99
    set_pixels(screenshot, DATA[:, :, 5].T)
    screenshot.save_as(tmp_path / "screenshot.dcm", enforce_file_format=True)
    volume, notes = passing(tmp_path)
    assert np.array_equal(volume.data, DATA)
    assert "2 'ax 3d' (12 images) was used" in notes and "localizer" in notes


def test_the_only_t1_is_taken_and_said(tmp_path: Path) -> None:
    write_series(tmp_path / "a", DATA + np.uint16(9), AFFINE, number=2, description="T2 FLAIR")
    write_series(tmp_path / "b", DATA, AFFINE, number=3, description="Sag MPRAGE")
    volume, notes = passing(tmp_path)
    assert np.array_equal(volume.data, DATA) and "the only one called T1" in notes and "T2 FLAIR" in notes


@pytest.mark.parametrize("names", [("t1_mprage", "t1_mprage_gd"), ("T2", "FLAIR")])
def test_several_series_are_listed(tmp_path: Path, names: tuple[str, str]) -> None:
    paths = [
        write_series(tmp_path / name, DATA + np.uint16(i), AFFINE, number=i + 2, description=name)
        for i, name in enumerate(names)
    ]
    reason = refusal(tmp_path)
    assert "2 series" in reason and all(f"'{name}' (12 images)" in reason for name in names)
    assert np.array_equal(passing(tmp_path / names[1])[0].data, DATA + 1)
    volume, notes = passing(paths[0][4])
    assert np.array_equal(volume.data, DATA) and "the whole series was read" in notes


def test_one_file_finds_its_series_in_a_mixed_folder(tmp_path: Path) -> None:
    first = write_series(tmp_path, DATA, AFFINE, number=2, description="T2")
    second = write_series(tmp_path, DATA + np.uint16(1), AFFINE, number=3, description="FLAIR")
    assert np.array_equal(passing(first[0])[0].data, DATA)
    assert np.array_equal(passing(second[7])[0].data, DATA + 1)


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, DATA, AFFINE)
    monkeypatch.setattr(dicom, "MAX_FILES", 5)
    assert "more than 5 files" in refusal(tmp_path)


# ---- multi-frame


def test_an_enhanced_image_is_sorted_and_rescaled(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(12)
    path = write_multiframe(tmp_path / "a.dcm", DATA, AFFINE, order, slope=0.5)
    for source in (path, tmp_path):
        volume, notes = passing(source)
        assert notes == "" and np.array_equal(volume.data, DATA * np.float32(0.5))
        assert np.abs(volume.affine - AFFINE).max() <= 1e-4


def test_an_enhanced_image_with_a_gap_or_cut_short(tmp_path: Path) -> None:
    path = write_multiframe(tmp_path / "a.dcm", DATA, AFFINE, np.delete(np.arange(12), 4))
    assert "lacks 1 slice " in refusal(path)
    path = write_multiframe(tmp_path / "a.dcm", DATA, AFFINE, np.arange(12))
    assert "cut short" in refusal(cut(path, 0.8))


def test_frames_without_a_place(tmp_path: Path) -> None:
    one = dataset()
    one.SeriesInstanceUID, one.NumberOfFrames = generate_uid(), 12
    set_pixels(one, DATA.transpose(2, 1, 0))
    one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert "does not say where each lies" in refusal(tmp_path / "a.dcm")
