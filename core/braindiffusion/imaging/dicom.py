"""A folder of DICOM files, or one file of it: which series is meant; `dicom_stack` stacks its slices."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Refused
from .dicom_stack import Slice, slices_of, stack
from .notes import Notes
from .stream import file_sha256
from .volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_FILES = 20_000
_T1 = re.compile(r"t1|mp-?2?rage|spgr|bravo|tfl3d", re.IGNORECASE)
_OTHER_IMAGE = re.compile(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|mgz|mgh)$", re.IGNORECASE)
_NO_SCOUT = 10
"""Fewer images than this beside a series of more are a scout."""


@dataclass(frozen=True)
class Series:
    """The images of one series: a slice per image plane, also of multi-frame files, or why there are none."""

    headers: list[tuple[Path, Dataset]]
    slices: list[Slice]
    problem: Refused | None = None

    @property
    def description(self) -> str:
        """Number, name and count: what tells series of one examination apart, without a patient's name."""
        first = self.headers[0][1]
        name = str(first.get("SeriesDescription", "") or first.get("ProtocolName", "") or "without a name")
        return f"{first.get('SeriesNumber', '?')} '{name}' ({len(self.slices) or len(self.headers)} images)"

    @property
    def is_stack(self) -> bool:
        """Whether all planes are parallel, as in every series but a three-plane scout."""
        cosines = np.array([s.cosines for s in self.slices])
        return len(self.slices) > 1 and bool(np.abs(cosines - cosines[0]).max() < 1e-3)

    @property
    def looks_t1(self) -> bool:
        first = self.headers[0][1]
        return bool(_T1.search(f"{first.get('SeriesDescription', '')} {first.get('ProtocolName', '')}"))


def read_dicom(path: Path, notes: Notes, frame: int | None, orientation: str | None) -> Volume:
    """Read the series in a folder (subfolders included), or the series that one file belongs to.

    DICOM always says how it lies in the patient: a stated orientation is noted as unused where it differs.
    Raises Refused where no series, or no single one, is meant, and where slices do not make a whole volume.
    """
    found = _by_series(path if path.is_dir() else path.parent, deep=path.is_dir())
    if path.is_dir():
        series = _choose(path, found, notes)
    else:
        own = [s for s in found if any(p == path for p, _ in s.headers)]
        if not own:
            raise Refused(
                f"{path.name} holds no image (it may be a report or a damaged file); give the scan itself."
            )
        series = own[0]
        if len(series.headers) > 1:
            notes.warn(
                f"{path.name} is one image of the series {series.description}; the whole series was read."
            )
    if series.problem:
        raise series.problem
    first = series.headers[0][1]
    data, affine = stack(series.description, series.slices, frame, notes)
    _warn_of_origin(series, notes)
    volume = Volume(
        data,
        affine,
        {
            "source": str(path),
            "format": "DICOM",
            "sha256": _sha256(series),
            "units": "mm",
            "space": "scanner",
            "descrip": str(first.get("SeriesDescription", "")),
            "frame": frame or 0,
            "synthetic": first.get("SyntheticData", "") == "YES",
            "series_uid": str(first.get("SeriesInstanceUID", "")),
            "study_uid": str(first.get("StudyInstanceUID", "")),
        },
    )
    axes = "".join(volume.axcodes)
    if orientation is not None and orientation != axes:
        notes.warn(
            f"The series itself says that its orientation is {axes}; the stated {orientation} was not used."
        )
    return volume


def _by_series(folder: Path, deep: bool) -> list[Series]:
    """Every series with images in the folder, by number; raises Refused for a damaged file."""
    headers: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    for path in _files(folder, deep):
        header = _header(path)
        if header is not None:
            headers[str(header.get("SeriesInstanceUID", ""))].append((path, header))
    return sorted(
        map(_one_series, headers.values()),
        key=lambda s: (int(s.headers[0][1].get("SeriesNumber") or 0), s.description),
    )


def _one_series(headers: list[tuple[Path, Dataset]]) -> Series:
    try:
        return Series(headers, [one for path, header in headers for one in slices_of(path, header)])
    except Refused as problem:
        return Series(headers, [], problem)


def _files(folder: Path, deep: bool) -> Iterator[Path]:
    count = 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                raise Refused(
                    f"The folder {folder.resolve().name} holds more than {MAX_FILES:,} files; "
                    "give the folder of one series."
                )
            yield Path(root) / name
        if not deep:
            return


def _header(path: Path) -> Dataset | None:
    """What a DICOM image says before its voxels, None for other files; raises Refused for a damaged one."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    if path.name.upper() == "DICOMDIR":
        return None
    damaged = Refused(
        f"The DICOM file {path.name} is damaged or cut short, so a slice would be missing; "
        "export the series again."
    )
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        if path.suffix.lower() == ".dcm":
            raise damaged from error
        return None
    except Exception as error:  # the file begins as DICOM, and its parser may raise anything at what follows
        raise damaged from error
    kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
    is_image = "Rows" in header or (kind is not None and "Image Storage" in kind.name)
    if is_image and not ("Rows" in header and "Columns" in header):
        raise damaged
    return header if is_image else None


def _choose(folder: Path, found: list[Series], notes: Notes) -> Series:
    """The one series a clinician can mean: the only stack, or the only one called T1. Raises Refused."""
    if not found:
        raise Refused(f"The folder {folder.resolve().name} holds no DICOM images; {_instead(folder)}.")
    if len(found) == 1:
        return found[0]
    largest = max(len(s.slices) for s in found)
    whole = [s for s in found if s.is_stack and (len(s.slices) >= _NO_SCOUT or largest < _NO_SCOUT)]
    t1 = [s for s in whole if s.looks_t1]
    chosen = whole if len(whole) == 1 else t1
    if len(chosen) != 1:
        listed = "; ".join(s.description for s in found)
        raise Refused(
            f"The folder {folder.resolve().name} holds {len(found)} series ({listed}); "
            "give the folder of the one you mean, or any one of its files."
        )
    others = "; ".join(s.description for s in found if s is not chosen[0])
    why = "the only one called T1" if len(whole) > 1 else "the only whole stack of slices"
    notes.warn(f"Of {len(found)} series, {chosen[0].description} was used, {why}; not used: {others}.")
    return chosen[0]


def _instead(folder: Path) -> str:
    """What to give where a folder has no series: the image files of other formats in it, if there are any."""
    images = sorted(p.name for p in folder.iterdir() if _OTHER_IMAGE.search(p.name))
    if not images:
        return "give a folder with one series, or an image file"
    return f"give the image file itself ({', '.join(images[:3])}{', ...' * (len(images) > 3)})"


def _warn_of_origin(series: Series, notes: Notes) -> None:
    """Say what the headers tell of the scan's kind and completeness beyond its geometry."""
    first = series.headers[0][1]
    modality = str(first.get("Modality", ""))
    if modality not in ("MR", ""):
        notes.warn(f"The series is {modality}, not MR.")
    promised = int(first.get("ImagesInAcquisition") or 0)
    if promised > len(series.slices):
        notes.warn(
            f"The series says that it has {promised} images and {len(series.slices)} are here; slices at its "
            "ends may be missing."
        )
    if first.get("BurnedInAnnotation", "NO") == "YES":
        notes.warn("The series has text burned into its images.")


def _sha256(series: Series) -> str:
    """One hash over the series' objects, whatever the files are called and however they are sorted."""
    digest = hashlib.sha256()
    for one in sorted(file_sha256(path) for path, _ in series.headers):
        digest.update(one.encode())
    return digest.hexdigest()
