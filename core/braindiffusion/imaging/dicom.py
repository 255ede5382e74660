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
from .dicom_stack import Slice, open_dicom, slices_of, stack
from .notes import Notes
from .stream import file_sha256
from .volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

MAX_FILES = 20_000
_T1 = re.compile(r"t1|mp-?2?rage|spgr|bravo|tfl3d", re.IGNORECASE)
_OTHER_IMAGE = re.compile(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|mgz|mgh)$", re.IGNORECASE)
_NO_SCOUT = 10
"""Fewer images than this beside a series of more are a scout."""
_BARE = (b"\x02\x00", b"\x08\x00")
"""How DICOM begins where a program left out its 128 bytes of preamble and its mark."""
_NO_AGENT = ("", "NO", "NONE", "N", "N/A", "0")
_HEAD = re.compile(r"head|brain|skull|cranium|neuro", re.IGNORECASE)


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
    found, unread = _by_series(path if path.is_dir() else path.parent, deep=path.is_dir())
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
    _check_unread(series, unread, notes)
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


def _by_series(folder: Path, deep: bool) -> tuple[list[Series], list[Path]]:
    """Every series with images in the folder, by number, and the files that are no DICOM; raises Refused for
    a damaged file.
    """
    headers: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    unread = []
    for path in _files(folder, deep):
        if path.name.upper() == "DICOMDIR":
            continue
        header = _header(path)
        if header is None:
            unread.append(path)
        elif _is_image(path, header):
            headers[str(header.get("SeriesInstanceUID", ""))].append((path, header))
    series = sorted(
        map(_one_series, headers.values()),
        key=lambda s: (int(s.headers[0][1].get("SeriesNumber") or 0), s.description),
    )
    return series, unread


def _one_series(headers: list[tuple[Path, Dataset]]) -> Series:
    try:
        return Series(headers, [one for path, header in headers for one in slices_of(path, header)])
    except Refused as problem:
        return Series(headers, [], problem)


def _files(folder: Path, deep: bool) -> Iterator[Path]:
    """The files in the folder and, where `deep`, below it, also behind links; each folder once."""
    count = 0
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(root)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
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
    """What a DICOM file says before its voxels, None for other files; raises Refused for a damaged one."""
    from pydicom.errors import InvalidDicomError

    try:
        header = open_dicom(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        bare = _bare_header(path)
        if bare is None and path.suffix.lower() == ".dcm":
            raise _damaged(path) from error
        return bare
    except Exception as error:  # the file begins as DICOM, and its parser may raise anything at what follows
        raise _damaged(path) from error
    return header if _kind(header) or "Rows" in header else None


def _kind(header: Dataset) -> UID | None:
    return header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")


def _bare_header(path: Path) -> Dataset | None:
    """The header of DICOM that lacks preamble and mark, as some programs store it; None for other files."""
    try:
        with path.open("rb") as file:
            if file.read(2) not in _BARE:
                return None
        header = open_dicom(path, stop_before_pixels=True, force=True)
        return header if "SOPClassUID" in header else None
    except Exception:  # two bytes are a weak mark: what is no DICOM may make its parser raise anything
        return None


def _is_image(path: Path, header: Dataset) -> bool:
    """Whether a header belongs to an image; raises Refused where it says so but not how large it is."""
    kind = _kind(header)
    is_image = "Rows" in header or (kind is not None and "Image Storage" in kind.name)
    if is_image and not ("Rows" in header and "Columns" in header):
        raise _damaged(path)
    return is_image


def _damaged(path: Path) -> Refused:
    return Refused(
        f"The DICOM file {path.name} is damaged or cut short, so a slice would be missing; "
        "export the series again."
    )


def _check_unread(series: Series, unread: list[Path], notes: Notes) -> None:
    """Raise Refused for an unreadable file that is named as the slices beside it are, and say where another
    file without an ending might be one.
    """
    patterns = {(path.parent, _pattern(path)) for path, _ in series.headers}
    folders = {folder for folder, _ in patterns}
    for path in unread:
        if (path.parent, _pattern(path)) in patterns:
            raise _damaged(path)
    doubtful = [p for p in unread if p.parent in folders and not p.suffix and not p.name.startswith(".")]
    if doubtful:
        listed = ", ".join(p.name for p in doubtful[:3]) + ", ..." * (len(doubtful) > 3)
        notes.warn(
            f"Beside the slices lie files that are no DICOM ({listed}); if they were slices, the scan is "
            "incomplete."
        )


def _pattern(path: Path) -> str:
    """A file's name without what counts slices."""
    return re.sub(r"\d+", "#", path.name.lower())


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
    agent = str(first.get("ContrastBolusAgent") or "").strip()
    if agent.upper() not in _NO_AGENT or first.get("ContrastBolusAgentSequence"):
        notes.warn(
            "The series says that contrast agent was given, which brightens vessels and some lesions; choose "
            "the T1 series without contrast agent where there is one."
        )
    part = str(first.get("BodyPartExamined") or "").strip()
    if part and not _HEAD.search(part):
        notes.warn(f"The series says that it shows another part of the body ({part}) than the head.")
    if first.get("BurnedInAnnotation", "NO") == "YES":
        notes.warn("The series has text burned into its images.")


def _sha256(series: Series) -> str:
    """One hash over the series' objects, whatever the files are called and however they are sorted."""
    digest = hashlib.sha256()
    for one in sorted(file_sha256(path) for path, _ in series.headers):
        digest.update(one.encode())
    return digest.hexdigest()
