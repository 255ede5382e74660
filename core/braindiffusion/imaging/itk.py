"""NRRD and MetaImage through SimpleITK, whose LPS ends here."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Refused
from .geometry import LPS_TO_RAS, scale_to_mm, stated_affine
from .limits import check_size, pick_frame
from .notes import Notes
from .stream import file_sha256, require_bytes, require_inflated
from .volume import Volume
from .voxels import check_grid, check_kind, one_frame_note

_NRRD_SPACE = "left-posterior-superior"
"""What SimpleITK reports once it has converted a named patient space."""
_META_AXES = re.compile(r"^\s*(TransformMatrix|Orientation|Rotation)\s*=", re.MULTILINE)
_NRRD_UNITS = re.compile(r'^space units:\s*"([^"]*)"', re.MULTILINE)
_UNITS = {"m": "metre", "um": "micron", "µm": "micron", "micron": "micron", "microns": "micron"}
_META_BINARY = re.compile(r"^\s*BinaryData\s*=\s*True", re.MULTILINE | re.IGNORECASE)
_END_OF_META = re.compile(rb"^\s*ElementDataFile\s*=\s*(\S+)[^\n]*\n", re.MULTILINE)
_END_OF_NRRD = re.compile(rb"\r?\n\r?\n")
_SEGMENT_VALUE = re.compile(r"(Segment\d+)_LabelValue")
_DETACHED = (".nhdr", ".mhd")


def read_itk(
    path: Path, notes: Notes, frame: int | None, orientation: str | None, dtype: type | None = np.float32
) -> Volume:
    """Read one frame; dtype None keeps the stored type (labels). Raises Refused and what SimpleITK raises."""
    import SimpleITK as sitk

    name = path.name
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    header, offset = _attached(path)
    reader.ReadImageInformation()
    n_values, shape = reader.GetNumberOfComponents(), tuple(int(n) for n in reader.GetSize())
    if n_values > 1:
        raise Refused(
            f"{name} holds {n_values} values in every voxel (a colour or a vector), not a scan in grey "
            "values; give the original scan."
        )
    check_grid(name, shape)
    stored = sitk.GetArrayViewFromImage(sitk.Image([1, 1], reader.GetPixelID())).dtype
    check_kind(name, stored)
    check_size(
        name, shape, stored.itemsize, None if path.suffix.lower() in _DETACHED else path.stat().st_size
    )
    if offset is not None:
        _check_stored(path, header, offset, math.prod(shape) * stored.itemsize)
    n_frames = int(np.prod(shape[3:], dtype=np.int64))
    index = pick_frame(name, n_frames, frame, notes)
    if len(shape) > 3:
        place = np.unravel_index(index, shape[3:], order="F")
        reader.SetExtractSize([*shape[:3], *(0 for _ in shape[3:])])
        reader.SetExtractIndex([0, 0, 0, *(int(i) for i in place)])
        if n_frames == 1:
            notes.repaired(one_frame_note(name, len(shape)))
    affine = _affine(name, reader, header, orientation, notes)
    data = sitk.GetArrayFromImage(reader.Execute()).T
    described = {
        key: reader.GetMetaData(key) for key in ("Description", "Synthetic") if reader.HasMetaDataKey(key)
    }
    return Volume(
        data.astype(dtype or stored, copy=False),
        affine,
        {
            "source": str(path),
            "format": "NRRD" if _is_nrrd(reader) else "MetaImage",
            "sha256": file_sha256(path),
            "descrip": described.get("Description", ""),
            "units": "mm",
            "space": "scanner",
            "frame": index,
            "synthetic": described.get("Synthetic", "").lower() in ("true", "yes"),
            **_segments(reader),
        },
    )


def _segments(reader: Any) -> dict[str, Any]:
    """The names of a segmentation's segments by their values, as 3D Slicer writes them; nothing without."""
    names = {}
    for key in reader.GetMetaDataKeys():
        found = _SEGMENT_VALUE.fullmatch(key)
        name = f"{found.group(1)}_Name" if found else ""
        if name and reader.HasMetaDataKey(name) and reader.GetMetaData(key).strip().isdecimal():
            names[int(reader.GetMetaData(key))] = reader.GetMetaData(name)
    return {"names": names} if names else {}


def _is_nrrd(reader: Any) -> bool:
    return reader.GetMetaData("ITK_InputFilterName") == "NrrdImageIO"


def _affine(name: str, reader: Any, header: str, orientation: str | None, notes: Notes) -> np.ndarray:
    """Voxel -> RAS mm; a file that names no space is not taken to be LPS, as SimpleITK does silently.

    The one exception is a 4-D NRRD: that is how ITK itself writes, which always means LPS.
    """
    n = reader.GetDimension()
    spacing = np.array(reader.GetSpacing()[:3])
    is_nrrd = _is_nrrd(reader)
    if is_nrrd:
        space = reader.GetMetaData("NRRD_space") if reader.HasMetaDataKey("NRRD_space") else ""
        named = space == _NRRD_SPACE or (n > 3 and not space)
    else:
        named = bool(_META_AXES.search(header))
    if named:
        lps = np.eye(4)
        lps[:3, :3] = np.reshape(reader.GetDirection(), (n, n))[:3, :3] * spacing
        lps[:3, 3] = reader.GetOrigin()[:3]
        affine = LPS_TO_RAS @ lps
    else:
        affine = stated_affine(name, reader.GetSize(), spacing, orientation, notes)
    unit = _NRRD_UNITS.search(header) if is_nrrd else None
    return scale_to_mm(name, affine, _UNITS.get(unit.group(1).lower(), "mm") if unit else "mm", notes)


def _attached(path: Path) -> tuple[str, int | None]:
    """The header's text, and at which byte voxels follow it, None where they lie in a file of their own.

    Raises Refused where the file ends within its header.
    """
    with path.open("rb") as file:
        start = file.read(1 << 16)
    is_nrrd = start.startswith(b"NRRD")
    end = _END_OF_NRRD.search(start) if is_nrrd else _END_OF_META.search(start)
    header = (start[: end.start()] if end else start).decode("utf-8", "replace")
    if is_nrrd:
        detached = re.search(r"^data ?file:", header, re.MULTILINE | re.IGNORECASE) is not None
    else:
        detached = end is not None and end.group(1).upper() != b"LOCAL"
    if detached or (end is None and path.suffix.lower() in _DETACHED):
        return header, None
    if end is None:
        raise Refused(f"{path.name} is cut short: it ends within its header; copy or export the file again.")
    return header, end.end()


def _check_stored(path: Path, header: str, offset: int, voxel_bytes: int) -> None:
    """Count the bytes behind the header, which SimpleITK reports as an error of its own; raises Refused."""
    encoding = re.search(r"^encoding:\s*(\w+)", header, re.MULTILINE | re.IGNORECASE)
    if re.search(r"^\s*CompressedData\s*=\s*True", header, re.MULTILINE | re.IGNORECASE) or (
        encoding and encoding.group(1).lower() in ("gzip", "gz")
    ):
        require_inflated(path, offset, voxel_bytes)
    elif encoding.group(1).lower() == "raw" if encoding else _META_BINARY.search(header):
        require_bytes(path, offset, voxel_bytes)
