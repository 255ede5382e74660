"""Findings: the connected regions of a heat map, measured and named for a reader."""

from __future__ import annotations

from typing import Any

import numpy as np

from .anatomy import CSF, STRUCTURES
from .imaging.frame import Frame
from .imaging.grid import GRID_AFFINE

_MIDLINE_MM = 4.0
_SHARE = 0.1
"""Share of a region beyond the midline from which it lies on that side too."""


def measure(
    numbered: np.ndarray,
    count: int,
    signed: np.ndarray,
    agreeing: np.ndarray,
    anatomy: np.ndarray,
    frame: Frame,
    native: np.ndarray,
    voxel_ml: float,
) -> list[dict[str, Any]]:
    """One row for each region of `numbered` (1..`count`) on the model grid [80, 96, 80].

    signed: z, above 0 where the scan is brighter than its healed self. agreeing: share of the samples, per
    voxel, that deviate in the same direction. anatomy: structures of the healed brain on the model grid.
    native: the regions on the user's grid, whose voxels of `voxel_ml` are counted. Positions are native RAS
    mm of the voxel with the largest |z|.
    """
    counted = np.bincount(native.ravel(), minlength=count + 1)
    rows = []
    for number in range(1, count + 1):
        region = np.argwhere(numbered == number)
        values = signed[tuple(region.T)]
        peak = region[np.abs(values).argmax()]
        x, y, z = frame.model_to_native_mm(peak[None])[0]
        side, structure = name(region, anatomy, peak)
        rows.append(
            {
                "number": number,
                "volume_ml": round(float(counted[number] * voxel_ml), 3),
                "peak_z": round(float(np.abs(values).max()), 2),
                "x_mm": round(float(x), 1),
                "y_mm": round(float(y), 1),
                "z_mm": round(float(z), 1),
                "side": side,
                "structure": structure,
                "direction": "brighter than expected" if values.mean() > 0 else "darker than expected",
                "agreement": round(float(agreeing[tuple(region.T)].mean()), 2),
            }
        )
    return rows


def name(region: np.ndarray, anatomy: np.ndarray, peak: np.ndarray) -> tuple[str, str]:
    """Side and structure of a region (N, 3) of model voxels, from the structures of the *healed* brain.

    The commonest structure that is not fluid around the brain names it. The side is where the region lies,
    and its `peak` (3,), to which a viewer jumps: on both sides where a share of it does.
    """
    votes = np.bincount(anatomy[tuple(region.T)], minlength=len(STRUCTURES))
    tissue = votes.copy()
    tissue[[0, *CSF]] = 0
    chosen = STRUCTURES[int((tissue if tissue.sum() >= 0.2 * votes.sum() else votes).argmax())]
    x = _right_mm(region)
    left, right = (
        (x * sign > _MIDLINE_MM).mean() >= _SHARE or _right_mm(peak[None])[0] * sign > _MIDLINE_MM
        for sign in (-1, 1)
    )
    side = "both sides" if left and right else "left" if left else "right" if right else chosen.side
    return side or "midline", chosen.name if chosen.index else "edge of the brain"


def _right_mm(voxels: np.ndarray) -> np.ndarray:
    """Millimetre to the right of the middle of the brain (N,) of model voxels (N, 3)."""
    return (voxels @ GRID_AFFINE[:3, :3].T + GRID_AFFINE[:3, 3])[:, 0]
