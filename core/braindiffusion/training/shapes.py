"""Real lesion shapes, split by patient: some for training, the others for the evaluation's implants."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import find_objects, label, zoom
from torch import Tensor

TEST_CASE = "patient19"
"""Its masks are the truth of a test case: never a shape for training or for implants."""


def held_out(patient: str) -> bool:
    """True for the third of the patients whose shapes only the evaluation uses."""
    return crc32(patient.encode()) % 3 == 0


def masks(root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(patient, lesion mask bool [X, Y, Z] at 1 mm) of every MS and stroke patient but the test case."""
    for path in sorted((root / "ms" / "lesion_masks").glob("*.nii.gz")):
        patient = path.name.split("_")[0]
        if patient != TEST_CASE:
            yield patient, np.asarray(nib.load(path).dataobj) > 0  # type: ignore[attr-defined]
    with tarfile.open(root / "stroke" / "soop_lesion_masks_mni.tar") as archive:
        for member in archive.getmembers():
            if member.isfile() and member.name.endswith((".nii", ".nii.gz")):
                content = archive.extractfile(member).read()  # type: ignore[union-attr]
                raw = nib.Nifti1Image.from_bytes(_plain(content))
                yield member.name.split("/")[-1].split("_")[0], np.nan_to_num(np.asarray(raw.dataobj)) > 0.5


def _plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def components(mask: np.ndarray, smallest_ml: float) -> Iterator[np.ndarray]:
    """Connected lesions of a 1 mm mask that have at least `smallest_ml`, each cropped to its box."""
    numbered, _ = label(mask)
    for number, box in enumerate(find_objects(numbered), 1):
        piece = numbered[box] == number
        if piece.sum() / 1000 >= smallest_ml:
            yield piece


def training_shapes(root: Path) -> list[Tensor]:
    """Shapes for training, bool at 2 mm, from patients that are not held out, 0.1 to 40 ml."""
    shapes = []
    for patient, mask in masks(root):
        if held_out(patient):
            continue
        for piece in components(mask, 0.1):
            small = zoom(np.pad(piece, 2).astype(np.float32), 0.5, order=1) > 0.4
            if 5 < small.sum() < 5000:
                shapes.append(torch.from_numpy(small))
    return shapes
