"""The region that a user's mask marks, on the grid of the scan."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from .errors import Refused
from .imaging.grid import sample
from .imaging.membrane import box_around
from .imaging.volume import Volume

_SAME_MM = 1e-3


def region_on(scan: Volume, mask: Volume, label: int = 0) -> tuple[np.ndarray, list[str]]:
    """Where `mask` says to fill, bool [X, Y, Z] on the grid of `scan`, and notes on how it came there.

    label: the value that counts; 0 takes all that is not zero. A mask on another grid is resampled (nearest
    neighbour). Raises Refused where nothing is marked, or nothing on the scan.
    """
    marked = mask.data == label if label else mask.data != 0
    if not marked.any():
        there = ", ".join(str(int(value)) for value in np.unique(mask.data)[:12] if value)
        if not there:
            raise Refused("The mask is empty; mark the region that is to be filled.")
        raise Refused(f"The mask marks nothing with the label {label}; the labels in it are {there}.")
    region, notes = on_grid_of(scan, mask.with_data(marked.astype(np.uint8)))
    return region > 0, notes


def on_grid_of(scan: Volume, mask: Volume) -> tuple[np.ndarray, list[str]]:
    """What `mask` (uint8, 0: nothing) says at the voxels of `scan`, [X, Y, Z] (nearest neighbour), and notes.

    Raises Refused where it says nothing on the scan.
    """
    if mask.shape == scan.shape and np.allclose(mask.affine, scan.affine, atol=_SAME_MM):
        return mask.data, []
    to_mask = np.linalg.inv(mask.affine) @ scan.affine
    region = sample(mask.data, to_mask, scan.shape, order=0)
    if not region.any():
        raise Refused(
            "The mask lies outside the scan; choose a mask that was drawn on this scan, or on one that is "
            "aligned with it."
        )
    before, after = np.count_nonzero(mask.data) * mask.voxel_ml, np.count_nonzero(region) * scan.voxel_ml
    return region, [
        f"The mask lies on another grid than the scan and was brought to the scan's (nearest voxel): "
        f"{before:.2f} ml became {after:.2f} ml."
    ]


def widened(scan: Volume, region: np.ndarray, by_mm: float) -> tuple[np.ndarray, list[str]]:
    """`region` (bool [X, Y, Z]) and all voxels of the scan within `by_mm` of it, and a note that says so."""
    if not by_mm:
        return region, []
    wider, box = region.copy(), box_around(region, int(np.ceil(by_mm / scan.spacing.min())))
    wider[box] = distance_transform_edt(~region[box], scan.spacing) <= by_mm
    before, after = (float(some.sum()) * scan.voxel_ml for some in (region, wider))
    return wider, [f"The mask was widened by {by_mm:g} mm: {before:.2f} ml became {after:.2f} ml."]
