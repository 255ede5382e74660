"""Slices of one DICOM series, put in order by their place in the patient, and their voxels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Refused
from .geometry import LPS_TO_RAS
from .limits import check_size, pick_frame
from .notes import Notes

if TYPE_CHECKING:
    from pydicom import Dataset

_SAME_PLACE_MM = 0.01
_EVEN = 0.05
"""Departure from even spacing, as a share of it, that rounded positions and tables explain."""


@dataclass(frozen=True)
class Slice:
    """One image plane: a file, or one frame of a multi-frame file. Positions in LPS mm, as DICOM has them."""

    path: Path
    index: int | None
    uid: str
    position: np.ndarray
    cosines: np.ndarray
    spacing: tuple[float, float]
    size: tuple[int, int]
    slope: float
    intercept: float
    order: tuple[float, ...]


def open_dicom(path: Path, *, stop_before_pixels: bool = False, force: bool = False) -> Dataset:
    """A DICOM file; where `force`, also one without preamble, mark and file header, which then says how it is
    encoded. Raises what pydicom raises.
    """
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=force)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def slices_of(path: Path, header: Dataset) -> list[Slice]:
    """The planes of one file, classic or multi-frame; raises Refused for a plane without a place."""
    if int(header.get("SamplesPerPixel", 1)) != 1:
        raise Refused(
            f"{path.name} is a colour picture, not a scan in grey values; give the original series."
        )
    if str(header.get("Modality", "")) == "SEG":
        raise Refused(f"{path.name} is a segmentation, not a scan; give the scan itself.")
    if "PerFrameFunctionalGroupsSequence" not in header:
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise Refused(
                f"{path.name} holds several frames and does not say where each lies; export the series as "
                "single slices or as NIfTI."
            )
        return [_slice(path, None, header, [header])]
    shared = header.get("SharedFunctionalGroupsSequence") or [None]
    frames = header.PerFrameFunctionalGroupsSequence
    if len(frames) != int(header.get("NumberOfFrames") or 0):
        raise Refused(
            f"{path.name} describes {len(frames)} of its {header.get('NumberOfFrames')} frames; "
            "export the series again."
        )
    return [_slice(path, i, header, list(_groups(frame, shared[0]))) for i, frame in enumerate(frames)]


def _groups(frame: Dataset, shared: Dataset | None) -> Iterator[Dataset]:
    """The first item of every functional group, a frame's own before those it shares."""
    for holder in (frame, shared):
        if holder is not None:
            for element in holder:
                if element.VR == "SQ" and element.value:
                    yield element.value[0]


def _first(groups: list[Dataset], keyword: str, default: Any = None) -> Any:
    return next((g[keyword].value for g in groups if keyword in g and g[keyword].value is not None), default)


def _slice(path: Path, index: int | None, header: Dataset, groups: list[Dataset]) -> Slice:
    position, cosines = _first(groups, "ImagePositionPatient"), _first(groups, "ImageOrientationPatient")
    spacing = _first(groups, "PixelSpacing")
    numbers = [np.array(v if v is not None else [], dtype=np.float64) for v in (position, cosines, spacing)]
    if [v.size for v in numbers] != [3, 6, 2] or not np.isfinite(np.concatenate(numbers)).all():
        raise Refused(
            f"{path.name} does not say where it lies in the patient or how large its voxels are; "
            "export the original series, not screenshots of it."
        )
    if numbers[2].min() <= 0:
        raise Refused(
            f"{path.name} says that its voxels have no size (PixelSpacing); export the original series again."
        )
    if np.linalg.norm(np.cross(*numbers[1].reshape(2, 3))) < 0.1:
        raise Refused(
            f"{path.name} says that its rows and columns run in the same direction "
            "(ImageOrientationPatient), which cannot be; export the original series again."
        )
    keys = (
        "TemporalPositionIndex",
        "TemporalPositionIdentifier",
        "AcquisitionNumber",
        "EffectiveEchoTime",
        "EchoTime",
    )
    order = [float(_first([*groups, header], key) or 0) for key in keys]
    return Slice(
        path,
        index,
        str(header.get("SOPInstanceUID", path)),
        numbers[0],
        numbers[1].reshape(2, 3),
        (float(numbers[2][0]), float(numbers[2][1])),
        (int(header.Rows), int(header.Columns)),
        float(_first([*groups, header], "RescaleSlope", 1.0)),
        float(_first([*groups, header], "RescaleIntercept", 0.0)),
        (*order, float(header.get("InstanceNumber") or 0), float(index or 0)),
    )


def stack(name: str, slices: list[Slice], frame: int | None, notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [X, Y, Z] float32 and their affine (RAS mm), with slices sorted along their normal.

    Raises Refused for planes that differ in size, direction or spacing, that leave gaps or lie twice, and for
    voxels that are cut short.
    """
    name = f"The series {name}"
    slices = _without_copies(slices, notes)
    if len(slices) == 1:
        raise Refused(f"{name} is a single slice; a whole scan of the head is needed.")
    _check_alike(name, slices)
    levels = _levels(slices)
    counts = {len(level) for level in levels}
    if len(counts) > 1:
        raise Refused(
            f"{name} has several images at {sum(len(level) > 1 for level in levels)} of its {len(levels)} "
            "slice positions and one at others; export the series again, on its own."
        )
    index = pick_frame(name, counts.pop(), frame, notes)
    ordered = [sorted(level, key=lambda s: s.order)[index] for level in levels]
    affine = _affine(name, ordered)
    rows, columns = ordered[0].size
    check_size(name, (columns, rows, len(ordered)), 4)
    return _voxels(ordered), affine


def _without_copies(slices: list[Slice], notes: Notes) -> list[Slice]:
    kept = {(s.uid, s.index): s for s in slices}
    if len(kept) < len(slices):
        notes.repaired(
            f"{len(slices) - len(kept)} files are copies of others in the series and were left out."
        )
    return list(kept.values())


def _check_alike(name: str, slices: list[Slice]) -> None:
    sizes = {s.size for s in slices}
    if len(sizes) > 1:
        listed = ", ".join(f"{columns} x {rows}" for rows, columns in sorted(sizes))
        raise Refused(
            f"{name} mixes images of different sizes ({listed}); export the series again, on its own."
        )
    cosines = np.array([s.cosines for s in slices])
    if np.abs(cosines - cosines[0]).max() > 1e-3:
        raise Refused(
            f"{name} has slices in different directions, as a scout does; give a series of parallel slices."
        )
    if np.ptp([s.spacing for s in slices], axis=0).max() > 1e-3:
        raise Refused(f"{name} mixes images with different voxel sizes; export the series again, on its own.")


def _levels(slices: list[Slice]) -> list[list[Slice]]:
    """Slices grouped by their place along the normal, in its direction."""
    normal = np.cross(*slices[0].cosines)
    placed = sorted(((float(s.position @ normal), s) for s in slices), key=lambda pair: pair[0])
    levels: list[list[Slice]] = []
    last = -np.inf
    for place, one in placed:
        if place - last > _SAME_PLACE_MM:
            levels.append([])
        levels[-1].append(one)
        last = place
    return levels


def _affine(name: str, slices: list[Slice]) -> np.ndarray:
    """Voxel index -> RAS mm; slices that shift sideways evenly come out sheared (the gate straightens)."""
    if len(slices) == 1:
        raise Refused(f"{name} is a single slice; a whole scan of the head is needed.")
    positions = np.array([s.position for s in slices])
    along = positions @ np.cross(*slices[0].cosines)
    steps = np.diff(along)
    step = float(np.median(steps))
    if np.abs(steps - step).max() > max(_EVEN * step, _SAME_PLACE_MM):
        _refuse_gaps(name, steps, step)
    mean_step = (positions[-1] - positions[0]) / (len(slices) - 1)
    if np.abs(positions - positions[0] - np.outer(np.arange(len(slices)), mean_step)).max() > max(
        0.1 * step, 0.1
    ):
        raise Refused(
            f"{name} has slices that are shifted sideways by different amounts; export the series again."
        )
    row_spacing, column_spacing = slices[0].spacing
    lps = np.eye(4)
    lps[:3, 0] = slices[0].cosines[0] * column_spacing
    lps[:3, 1] = slices[0].cosines[1] * row_spacing
    lps[:3, 2] = mean_step
    lps[:3, 3] = positions[0]
    return LPS_TO_RAS @ lps


def _refuse_gaps(name: str, steps: np.ndarray, step: float) -> None:
    wide = np.flatnonzero(steps > 1.5 * step)
    whole = np.abs(steps / step - np.rint(steps / step)).max() < 0.1
    if wide.size and whole:
        missing = int(np.rint(steps[wide] / step).sum()) - wide.size
        raise Refused(
            f"{name} lacks {missing} slice{'s' * (missing > 1)} (the first gap, of {steps[wide[0]]:.2f} mm "
            f"instead of {step:.2f} mm, is behind slice {wide[0] + 1}); export the whole series again."
        )
    raise Refused(
        f"{name} has slices at uneven distances ({steps.min():.2f} to {steps.max():.2f} mm); "
        "slices are missing or two scans are mixed, so export the series again."
    )


def _voxels(slices: list[Slice]) -> np.ndarray:
    """[columns, rows, slices] float32, rescaled; each file is opened once."""
    rows, columns = slices[0].size
    data = np.empty((columns, rows, len(slices)), dtype=np.float32, order="F")
    by_file: dict[Path, list[int]] = {}
    for k, one in enumerate(slices):
        by_file.setdefault(one.path, []).append(k)
    for path, wanted in by_file.items():
        frames, is_rescaled = _pixels(path)
        for k in wanted:
            one = slices[k]
            plane = frames if one.index is None or frames.ndim == 2 else frames[one.index]
            if plane.shape != (rows, columns):
                raise Refused(
                    f"{path.name} holds other pixels than its header says; export the series again."
                )
            data[:, :, k] = plane.T
            if not is_rescaled and (one.slope, one.intercept) != (1.0, 0.0):
                data[:, :, k] = data[:, :, k] * one.slope + one.intercept
    return data


def _pixels(path: Path) -> tuple[np.ndarray, bool]:
    """Stored pixels, and whether slope and intercept are already applied; raises Refused for damaged ones.

    Compressions that pydicom cannot open without further packages are left to SimpleITK, which applies them.
    """
    dataset = open_dicom(path, force=True)
    try:
        return dataset.pixel_array, False
    except Exception as error:  # decoders raise anything; the refusal keeps what they said as its cause
        if dataset.file_meta.TransferSyntaxUID.is_compressed and int(dataset.get("NumberOfFrames") or 1) == 1:
            return _pixels_by_itk(path), True
        raise Refused(
            f"The pixels of {path.name} are cut short or damaged; export the series again."
        ) from error


def _pixels_by_itk(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    except RuntimeError as error:
        raise Refused(
            f"The pixels of {path.name} are damaged, or compressed in a way that cannot be opened here; "
            "export the series uncompressed."
        ) from error
