"""One image and where it lies in the patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels with their place in space; nothing above the readers sees LPS or a file format.

    data: [X, Y, Z], float32, or an integer type for labels.
    affine: (4, 4) float64, voxel index -> RAS millimetre.
    meta: what the file said about itself: source, format, sha256, descrip, notes (list of sentences), units
        ("mm"), synthetic (bool), orientation (where it is the user's word, as the file holds none), names (of
        segments, by value), and what a format adds. Never a patient's name.

    Raises ValueError where `affine` is not a 4 x 4 matrix of numbers. A volume made in memory may hold
    anything else that is wrong; `gate.inspect` finds it.
    """

    data: np.ndarray
    affine: np.ndarray
    meta: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"affine must be 4 x 4, not {affine.shape}")
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def spacing(self) -> np.ndarray:
        """Distance between neighbouring voxels along each voxel axis, (3,) mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitre."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axcodes(self) -> tuple[str, str, str]:
        """Letter of the direction in which each voxel axis runs, such as ("R", "A", "S")."""
        return nib.aff2axcodes(self.affine)

    def with_data(self, data: np.ndarray) -> Volume:
        """Other voxels on the same grid; raises ValueError where the grid differs."""
        if data.shape != self.data.shape:
            raise ValueError(f"voxels of shape {data.shape} do not fit a grid of shape {self.data.shape}")
        return Volume(data, self.affine, dict(self.meta))

    def content_hash(self) -> str:
        """SHA-256 over voxels, type and affine, the same for every memory order and byte order."""
        native = self.data.dtype.newbyteorder("<")
        digest = hashlib.sha256(f"{self.data.shape} {native.str}".encode())
        digest.update(self.affine.astype("<f8").tobytes())
        for slab in self.data:
            digest.update(np.ascontiguousarray(slab, dtype=native).tobytes())
        return digest.hexdigest()
