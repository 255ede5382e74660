"""Voxels between a viewer and the engine: raw NRRD, whose readers raise where a file is cut short.

Their geometry travels beside the file, as no format and no library holds every affine exactly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Refused
from .io import whole_file, writable
from .stream import file_sha256
from .volume import Volume

_TYPES = {
    "f4": "float", "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32"
}  # fmt: skip
_HEADER = """NRRD0004
type: {type}
dimension: 3
sizes: {sizes}
space: left-posterior-superior
space directions: (1,0,0) (0,1,0) (0,0,1)
space origin: (0,0,0)
endian: little
encoding: raw
Synthetic:={synthetic}

"""


def read(path: str | Path, affine: Any, meta: dict[str, Any]) -> Volume:
    """The voxels of an NRRD file in the type it stores, with `affine` (4, 4) and `meta` that came beside it.

    Not yet through the gate. What the file says of its geometry is not looked at. Where `meta` names the
    source file with its whole path and no sha256 of it, that is added. Raises Refused where there is no such
    file, where it is no NRRD or cut short, and where it holds vectors.
    """
    import SimpleITK as sitk

    name = meta.get("name") or Path(path).name
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO")
    reader.SetFileName(os.fspath(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise Refused(
            f"The voxels of {name} did not arrive whole (the file '{path}' is missing, damaged or no NRRD); "
            "start the run again."
        ) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise Refused(
            f"{name} holds several values in every voxel (a colour or a vector), not a scan in grey values; "
            "give the original scan."
        )
    return Volume(sitk.GetArrayFromImage(image).T, affine, _identified(meta))


def _identified(meta: dict[str, Any]) -> dict[str, Any]:
    source = Path(meta.get("source", ""))
    if meta.get("sha256") or not (source.is_absolute() and source.is_file()):
        return meta
    if not os.access(source, os.R_OK):  # the viewer has read it, so the voxels are there
        return meta
    return meta | {"sha256": file_sha256(source)}


def write(volume: Volume, path: str | Path, *, synthetic: bool) -> None:
    """Write the voxels of `volume`, x fastest, and nothing of its affine; the whole file or none.

    Raises BrainDiffusionError for voxels that are not numbers, OSError where the disk refuses.
    """
    data = writable(volume.data)
    header = _HEADER.format(
        type=_TYPES[data.dtype.str[1:]],
        sizes=" ".join(map(str, data.shape)),
        synthetic=str(synthetic).lower(),
    )
    with whole_file(Path(path)) as part, part.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(np.ascontiguousarray(data.T, data.dtype.newbyteorder("<")).data)
