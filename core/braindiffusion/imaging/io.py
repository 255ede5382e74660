"""Files in and out. Reading goes through `gate`; writing leaves a whole file or none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import nibabel as nib
import numpy as np

from ..errors import BrainDiffusionError, Refused
from .dicom import read_dicom
from .geometry import LPS_TO_RAS
from .itk import read_itk
from .mgh import read_mgh
from .nifti import header_size, read_nifti
from .notes import Notes
from .stream import first_bytes
from .volume import Volume

READABLE = "NIfTI (.nii, .nii.gz), NRRD, MHA, MGZ or a folder of DICOM files"
_NIFTI_COMMENT = 6
_DESCRIP_BYTES = 79
_SPACE_CODES = {"scanner": 1, "aligned": 2, "Talairach": 3, "MNI": 4, "template": 5}


def read(
    path: Path,
    notes: Notes,
    frame: int | None = None,
    orientation: str | None = None,
    dtype: type | None = np.float32,
) -> Volume:
    """Read one image by its content, not its name; dtype None keeps the stored type (labels).

    For the gate, which checks what comes back. Raises Refused, and whatever the format's library raises.
    """
    if not path.exists():
        raise Refused(f"There is no file or folder '{path}'; check its name.")
    if path.is_dir():
        return read_dicom(path, notes, frame, orientation)
    if path.stat().st_size == 0:
        raise Refused(f"{path.name} is empty (0 bytes); copy or export the file again.")
    kind = _kind(path)
    if kind == "dicom":
        return read_dicom(path, notes, frame, orientation)
    reader = {"nifti": read_nifti, "mgh": read_mgh, "itk": read_itk}[kind]
    return reader(path, notes, frame, orientation, dtype)


def _kind(path: Path) -> str:
    """Which reader the content asks for, and only where it says nothing, which one the name asks for."""
    start = first_bytes(path, 540)
    name = path.name.lower()
    if start[128:132] == b"DICM":
        return "dicom"
    if start.startswith(b"NRRD000") or re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", start):
        return "itk"
    if name.endswith((".mgh", ".mgz", ".mgh.gz")):
        return "mgh"
    if header_size(start) or name.endswith((".nii", ".nii.gz", ".hdr", ".img")):
        return "nifti"
    if name.endswith(".dcm"):
        return "dicom"
    if name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
        raise Refused(f"{path.name} is damaged or is no image of that kind; copy or export the file again.")
    raise Refused(f"{path.name} is not an image that can be read; give {READABLE}.")


def write_nifti(
    volume: Volume,
    path: str | Path,
    *,
    synthetic: bool,
    description: str,
    sidecar: dict[str, Any] | None = None,
) -> None:
    """Write .nii or .nii.gz; an image with made-up voxels says so in header, header comment and sidecar.

    `volume` may have a fourth axis, of images of one kind: [X, Y, Z, N].
    The mark is the word SYNTHETIC at the start of `descrip` (80 bytes), and `"Synthetic": true` in a JSON
    comment (extension code 6) and in the .json file beside the image. A volume that was made from a synthetic
    one inherits the mark. sform and qform hold the same affine in float32. Raises BrainDiffusionError for
    voxels that are not numbers and for types that cannot be written; OSError where the disk refuses.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise BrainDiffusionError(f"'{path.name}' must end in .nii or .nii.gz.")
    synthetic = _is_synthetic(volume, synthetic)
    if synthetic and not description.startswith("SYNTHETIC"):
        description = f"SYNTHETIC {description}"
    said = {
        "Description": description,
        "GeneratedBy": [{"Name": "BrainDiffusion"}],
        **(sidecar or {}),
        "Synthetic": synthetic,
    }
    text = json.dumps(said, indent=1, ensure_ascii=False, default=_plain)
    image = nib.Nifti1Image(writable(volume.data, (3, 4)), None)
    code = _SPACE_CODES.get(volume.meta.get("space", "scanner"), 2)
    image.set_sform(volume.affine, code=code)
    image.set_qform(volume.affine, code=code)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = description.encode()[:_DESCRIP_BYTES].decode(errors="ignore").encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension(_NIFTI_COMMENT, text.encode()))
    with whole_file(path) as part:
        nib.save(image, part)
    if sidecar is not None or synthetic:
        with whole_file(sidecar_path(path)) as part:
            part.write_text(text + "\n", encoding="utf-8")


def write_nrrd(volume: Volume, path: str | Path, *, synthetic: bool, description: str) -> None:
    """Write .nrrd, compressed, with the affine in float64 and the keys Synthetic and Description.

    The format for handing voxels to another process: its readers raise where a file is cut short. Raises as
    `write_nifti`.
    """
    import SimpleITK as sitk

    path = Path(path)
    if path.suffix.lower() != ".nrrd":
        raise BrainDiffusionError(f"'{path.name}' must end in .nrrd.")
    lps = LPS_TO_RAS @ volume.affine
    image = sitk.GetImageFromArray(writable(volume.data).T)
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection((lps[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetMetaData("Synthetic", "true" if _is_synthetic(volume, synthetic) else "false")
    image.SetMetaData("Description", " ".join(description.split()))
    with whole_file(path) as part:
        sitk.WriteImage(image, str(part), True)


def sidecar_path(path: Path) -> Path:
    """The .json file beside an image, as BIDS names it."""
    return path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".json")


def _is_synthetic(volume: Volume, synthetic: bool) -> bool:
    return synthetic or bool(volume.meta.get("synthetic"))


def writable(data: np.ndarray, dimensions: tuple[int, ...] = (3,)) -> np.ndarray:
    """The voxels in a type that every reader knows; raises BrainDiffusionError where there is none."""
    if data.ndim not in dimensions or data.dtype.kind not in "biuf":
        raise BrainDiffusionError(f"Voxels of shape {data.shape} and type {data.dtype} cannot be written.")
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise BrainDiffusionError("The image holds voxels that are not numbers; nothing was written.")
        return data.astype(np.float32, copy=False)
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.itemsize == 8:
        if data.size and (data.max() > np.iinfo(np.int32).max or data.min() < np.iinfo(np.int32).min):
            raise BrainDiffusionError("The image holds labels beyond 32 bits; nothing was written.")
        return data.astype(np.int32)
    return data


def _plain(value: Any) -> Any:
    """What JSON does not know: numpy's numbers and arrays, and paths."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` once all is written, and vanishes otherwise."""
    suffix = re.search(r"(\.nii)?\.[^.]+$", path.name.lower())
    part = path.with_name(f".part-{uuid4().hex}{suffix.group() if suffix else ''}")
    part.touch(exist_ok=False)  # by the user's umask, where tempfile's would be for the user's eyes alone
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
