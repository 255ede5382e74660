"""Files of made-up voxels say so in their header, whoever has them written."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

SYNTHETIC = "BrainDiffusion.Synthetic"
"""Attribute of a node: "YES" where voxels are made up."""

_DESCRIP, _DESCRIP_BYTES = 148, 80  # where NIfTI-1 has its description
_WORDS = b"SYNTHETIC - research use only"


def mark_file(node: Any, path: str) -> None:
    """Mark the .nrrd or .nii file that a volume was just written to, if the volume's voxels are made up."""
    if node.GetAttribute(SYNTHETIC) != "YES" or not node.IsA("vtkMRMLVolumeNode"):
        return
    name = path.lower()
    if name.endswith(".nrrd"):
        _rewrite(Path(path), open, _nrrd_header)
    elif name.endswith(".nii"):
        _rewrite(Path(path), open, _nifti_header)
    elif name.endswith(".nii.gz"):
        _rewrite(Path(path), gzip.open, _nifti_header)


def _rewrite(path: Path, opener: Callable[..., Any], header: Callable[[BinaryIO], bytes]) -> None:
    """The file with another header, whole or not at all."""
    part = path.with_name(f".part-{uuid4().hex}")
    options = {"compresslevel": 6} if opener is gzip.open else {}
    try:
        with opener(path, "rb") as old, opener(part, "wb", **options) as new:
            new.write(header(old))
            shutil.copyfileobj(old, new)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _nrrd_header(file: BinaryIO) -> bytes:
    """All lines up to the empty one, with two keys more."""
    lines = list(takewhile(lambda line: line != b"\n", file))
    return b"".join([*lines, b"Synthetic:=true\n", b"Description:=", _WORDS, b"\n\n"])


def _nifti_header(file: BinaryIO) -> bytes:
    header = bytearray(file.read(_DESCRIP + _DESCRIP_BYTES))
    header[_DESCRIP:] = _WORDS.ljust(_DESCRIP_BYTES, b"\0")
    return bytes(header)
