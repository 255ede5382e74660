"""FreeSurfer's MGH and MGZ."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.fileholders import FileHolder

from ..errors import Refused
from .geometry import stated_affine
from .limits import check_size, pick_frame
from .notes import Notes
from .stream import file_sha256, first_bytes, open_plain, require_bytes
from .volume import Volume
from .voxels import check_grid

_HEADER = ">7ih3f"
_HEADER_BYTES = 284
_ITEMSIZE = {0: 1, 1: 4, 3: 4, 4: 2, 10: 2}


def read_mgh(
    path: Path, notes: Notes, frame: int | None, orientation: str | None, dtype: type | None = np.float32
) -> Volume:
    """Read one frame; dtype None keeps the stored type (labels). Raises Refused, and what nibabel raises."""
    start = first_bytes(path, _HEADER_BYTES)
    if len(start) < _HEADER_BYTES:
        raise Refused(f"{path.name} is not an MGH image, or it is cut short; copy or export the file again.")
    version, *shape, n_frames, kind, _, has_geometry, dx, dy, dz = struct.unpack_from(_HEADER, start)
    if version != 1 or kind not in _ITEMSIZE:
        raise Refused(f"{path.name} is not an MGH image, or its header is damaged; export the image again.")
    stored = (*shape, n_frames)
    check_grid(path.name, stored)
    check_size(path.name, stored, _ITEMSIZE[kind], path.stat().st_size)
    require_bytes(path, _HEADER_BYTES, math.prod(stored) * _ITEMSIZE[kind])
    index = pick_frame(path.name, n_frames, frame, notes)
    with open_plain(path) as stream:
        image = nib.freesurfer.MGHImage.from_file_map({"image": FileHolder(fileobj=stream)})
        if n_frames == 1:
            data = np.asanyarray(image.dataobj, dtype=dtype).reshape(shape, order="F")
        else:
            data = np.asanyarray(image.dataobj[..., index]).astype(
                dtype or image.get_data_dtype(), copy=False
            )
    affine = image.affine
    if has_geometry != 1:
        affine = stated_affine(path.name, shape, np.array([dx, dy, dz]), orientation, notes)
    return Volume(
        data,
        affine,
        {
            "source": str(path),
            "format": "MGH",
            "sha256": file_sha256(path),
            "descrip": "",
            "units": "mm",
            "space": "scanner",
            "frame": index,
            "synthetic": False,
        },
    )
