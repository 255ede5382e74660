"""NIfTI-1 and -2: bytes counted before the reader, geometry chosen in the open, voxels by nibabel."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError

from ..errors import Refused
from .geometry import check_affine, corner_distance_mm, scale_to_mm, stated_affine
from .limits import check_size, pick_frame
from .notes import Notes
from .stream import file_sha256, first_bytes, is_gzip, open_plain, require_bytes
from .volume import Volume
from .voxels import check_grid, check_kind, one_frame_note

_IMAGE_OF_SIZE = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
_UNITS = {1: "metre", 3: "micron"}
_SPACES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}
_SAME_PLACE_MM = 0.1
_PADDING_BYTES = 4096
_MARKS_BYTES = 4
"""Behind the header, these say whether extensions follow; voxels begin later."""


def header_size(start: bytes) -> int:
    """348 (NIfTI-1 or Analyze), 540 (NIfTI-2) or 0, from a file's first bytes, in either byte order."""
    return next(
        (n for n in _IMAGE_OF_SIZE for order in ("little", "big") if start[:4] == n.to_bytes(4, order)), 0
    )


def read_header(path: Path) -> nib.Nifti1Header:
    """The header of a single-file NIfTI, not yet checked; raises Refused where the file is something else."""
    start = first_bytes(path, 540)
    size = header_size(start)
    if not size or len(start) < size:
        raise Refused(f"{path.name} is not a NIfTI image, or its header is damaged; export the image again.")
    header = _IMAGE_OF_SIZE[size].header_class(start[:size], check=False)
    magic = bytes(header["magic"])
    if magic.startswith((b"ni1", b"ni2")):
        raise Refused(
            f"{path.name} is the header of a pair of files (.hdr and .img); convert them to one .nii file."
        )
    if not magic.startswith((b"n+1", b"n+2")):
        raise Refused(
            f"{path.name} is an Analyze image or its NIfTI mark is damaged; what is left and right in it is "
            "not certain, so export it again as NIfTI."
        )
    return header


def check_stored(path: Path, header: nib.Nifti1Header, notes: Notes) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the voxels that the file truly holds; raises Refused where it does not hold them."""
    n_dimensions = int(header["dim"][0])
    if not 1 <= n_dimensions <= 7:
        raise Refused(f"{path.name} says that it has {n_dimensions} dimensions; its header is damaged.")
    shape = tuple(int(n) for n in header["dim"][1 : n_dimensions + 1])
    try:
        dtype = header.get_data_dtype()
        offset = float(header["vox_offset"])
        if not int(header["sizeof_hdr"]) + _MARKS_BYTES <= offset < 2**63:
            raise ValueError(f"voxels start at byte {offset}")
    except (HeaderDataError, KeyError, ValueError) as error:
        raise Refused(
            f"{path.name} stores voxels in a way that NIfTI does not know; export the image again."
        ) from error
    check_grid(path.name, shape)
    check_kind(path.name, dtype)
    check_size(path.name, shape, dtype.itemsize, path.stat().st_size)
    beyond = require_bytes(path, int(offset), math.prod(shape) * dtype.itemsize)
    if beyond > _PADDING_BYTES:
        notes.warn(f"{path.name} holds {beyond:,} bytes more than its header says; they were not read.")
    return shape, dtype


def read_nifti(
    path: Path, notes: Notes, frame: int | None, orientation: str | None, dtype: type | None = np.float32
) -> Volume:
    """Read one frame; dtype None keeps the stored type (labels). Raises Refused, and what nibabel raises."""
    header = read_header(path)
    if path.name.lower().endswith(".gz") and not is_gzip(path):
        notes.warn(f"{path.name} is named as a compressed file but is not compressed; it was read as it is.")
    shape, _ = check_stored(path, header, notes)
    n_frames = math.prod(shape[3:])
    index = pick_frame(path.name, n_frames, frame, notes)
    affine, space = _affine(path.name, header, shape, orientation, notes)
    with _quiet(), open_plain(path) as stream:
        image = _IMAGE_OF_SIZE[int(header["sizeof_hdr"])].from_file_map({"image": FileHolder(fileobj=stream)})
        if n_frames == 1:
            data = np.asanyarray(image.dataobj, dtype=dtype).reshape(shape[:3], order="F")
        else:
            frame_at = (..., *np.unravel_index(index, shape[3:], order="F"))
            data = np.asanyarray(image.dataobj[frame_at]).astype(dtype or image.get_data_dtype(), copy=False)
    if n_frames == 1 and len(shape) > 3:
        notes.repaired(one_frame_note(path.name, len(shape)))
    descrip = bytes(header["descrip"]).split(b"\0")[0].decode("utf-8", "replace").strip()
    return Volume(
        data,
        affine,
        {
            "source": str(path),
            "format": "NIfTI",
            "sha256": file_sha256(path),
            "descrip": descrip,
            "units": "mm",
            "space": space,
            "frame": index,
            "synthetic": descrip.upper().startswith("SYNTHETIC") or _says_synthetic(image),
        },
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """nibabel prints what it thinks of a header; what matters of it, the gate says."""
    logger = nib.imageglobals.logger
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


def _says_synthetic(image: nib.Nifti1Image) -> bool:
    """Whether a comment of the header, as our own writer leaves it, calls the image synthetic."""
    for extension in image.header.extensions:
        if extension.get_code() == 6:
            try:
                said = json.loads(bytes(extension.get_content()).rstrip(b"\0"))
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("Synthetic") is True:
                return True
    return False


def _affine(
    name: str, header: nib.Nifti1Header, shape: tuple[int, ...], orientation: str | None, notes: Notes
) -> tuple[np.ndarray, str]:
    """Voxel -> RAS mm, and the name of the space: the sform where its code is set, else the qform.

    Where the two disagree, a stated orientation decides between them; otherwise the sform is used, and said.
    """
    codes = {"sform": int(header["sform_code"]), "qform": int(header["qform_code"])}
    stated = _stated_forms(name, header, codes, notes)
    unit = _UNITS.get(int(header["xyzt_units"]) & 7, "mm")
    if not stated:
        affine = stated_affine(name, shape, header["pixdim"][1:4], orientation, notes)
        return scale_to_mm(name, affine, unit, notes), "unknown"
    form = "sform" if "sform" in stated else "qform"
    if len(stated) == 2:
        form = _choose_form(name, stated, shape, orientation, notes)
    affine = stated[form]
    axes = "".join(nib.aff2axcodes(affine))
    if orientation is not None and orientation != axes:
        notes.warn(
            f"{name} itself says that its orientation is {axes}; the stated {orientation} was not used."
        )
    return scale_to_mm(name, affine, unit, notes), _SPACES.get(codes[form], f"code {codes[form]}")


def _stated_forms(
    name: str, header: nib.Nifti1Header, codes: dict[str, int], notes: Notes
) -> dict[str, np.ndarray]:
    """The valid positions of those that the header states; raises Refused, and notes a broken qform."""
    stated: dict[str, np.ndarray] = {}
    if codes["sform"] > 0:
        stated["sform"] = np.asarray(header.get_sform(), dtype=np.float64)
        check_affine(name, stated["sform"])
    if codes["qform"] > 0:
        try:
            qform = np.asarray(header.get_qform(), dtype=np.float64)
            check_affine(name, qform)
            stated["qform"] = qform
        except (HeaderDataError, ValueError, Refused) as error:
            if not stated:
                raise Refused(
                    f"The position of {name} in space (qform) is not valid; export the image again."
                ) from error
            notes.warn(f"One of two positions in {name} (qform) is not valid; the other (sform) was used.")
    return stated


def _choose_form(
    name: str, stated: dict[str, np.ndarray], shape: tuple[int, ...], orientation: str | None, notes: Notes
) -> str:
    sform, qform = stated["sform"], stated["qform"]
    apart = corner_distance_mm(sform, qform, shape)
    if apart <= _SAME_PLACE_MM:
        return "sform"
    axes = {form: "".join(nib.aff2axcodes(matrix)) for form, matrix in stated.items()}
    form = "qform" if orientation == axes["qform"] != axes["sform"] else "sform"
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    doubt = "; they contradict each other on left and right, so check the side" if mirrored else ""
    notes.warn(
        f"{name} holds two positions in space (sform and qform) that are up to {apart:.1f} mm apart{doubt}; "
        f"the {form} was used ({axes[form]})."
    )
    return form
