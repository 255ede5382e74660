"""The model grid, and moving arrays between grids. Everything here is RAS millimetre."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

GRID_SHAPE = (80, 96, 80)
GRID_SPACING = 2.0
"""Voxel edge of the model grid in millimetre."""
VOXEL_ML = GRID_SPACING**3 / 1000
"""Volume of a voxel of the model grid in millilitre."""
GRID_AFFINE = np.array([[2.0, 0, 0, -79.0], [0, 2.0, 0, -113.0], [0, 0, 2.0, -74.0], [0, 0, 0, 1.0]])
"""Model voxel index -> template RAS millimetre; the field of view is 160 x 192 x 160 mm around the template
brain.
"""
FINE_SHAPE = tuple(2 * n for n in GRID_SHAPE)
TO_GRID = np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1.0]])
"""Voxel index of the 1 mm copy of the model grid, with the same field of view -> model voxel index."""
FINE_AFFINE = GRID_AFFINE @ TO_GRID
"""The same -> template RAS millimetre."""
GRID_CENTRE = GRID_AFFINE[:3, :3] @ ((np.array(GRID_SHAPE) - 1) / 2) + GRID_AFFINE[:3, 3]


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Edge lengths (3,) in millimetre of the voxels of `affine` (4, 4)."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def smooth_for(data: np.ndarray, spacing: np.ndarray, target: float) -> np.ndarray:
    """Blur `data` [X, Y, Z] so that sampling it every `target` millimetre does not alias.

    The Gaussian has the full width at half maximum that widens a voxel of `spacing` (3,) mm to `target` mm;
    axes that are coarser already are left alone.
    """
    width = np.sqrt(np.maximum(0.0, target**2 - np.asarray(spacing) ** 2))
    sigma = width / 2.3548 / spacing
    return gaussian_filter(data, sigma) if sigma.any() else data


def sample(data: np.ndarray, to_index: np.ndarray, shape: tuple[int, ...], order: int = 1) -> np.ndarray:
    """Sample `data` at `to_index @ [i, j, k, 1]` for every index of a grid of `shape`; outside is 0.

    `to_index` (4, 4) maps output voxel index to (fractional) index of `data`. Slabs keep the memory small.
    Order 0 is the nearest neighbour (labels), 1 linear, 3 cubic.
    """
    if order > 0:
        # map_coordinates answers in the type of its input, which would cut whole numbers off.
        data = np.asarray(data, np.float32)
    if order > 1:
        data = spline_filter(data, order, output=np.float32)
    out = np.empty(shape, dtype=data.dtype)
    j, k = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    plane = to_index[:3, 1, None, None] * j + to_index[:3, 2, None, None] * k + to_index[:3, 3, None, None]
    for i in range(shape[0]):
        points = plane + i * to_index[:3, 0, None, None]
        out[i] = map_coordinates(data, points, order=order, mode="constant", cval=0.0, prefilter=False)
    return out


def sample_at(data: np.ndarray, to_index: np.ndarray, where: np.ndarray, order: int = 1) -> np.ndarray:
    """As `sample`, at the voxels alone that the bool `where` [X, Y, Z] marks: float32 (N,)."""
    points = to_index[:3, :3] @ np.argwhere(where).T + to_index[:3, 3:]
    return map_coordinates(np.asarray(data, np.float32), points, order=order, mode="constant", cval=0.0)


def resample(
    data: np.ndarray, affine: np.ndarray, spacing: float, shape: tuple[int, int, int], centre: np.ndarray
) -> np.ndarray:
    """`data` [X, Y, Z] of `affine` on an upright RAS grid of `shape` and `spacing` mm around `centre` (3,)
    RAS mm.
    """
    target = upright(spacing, shape, centre)
    blurred = smooth_for(np.asarray(data, np.float32), spacing_of(affine), spacing)
    return sample(blurred, np.linalg.inv(affine) @ target, shape)


def upright(spacing: float, shape: tuple[int, int, int], centre: np.ndarray) -> np.ndarray:
    """Affine (4, 4) of an axis-aligned RAS grid of `shape` and `spacing` mm whose middle lies at `centre`
    (3,) mm.
    """
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(centre) - spacing * (np.array(shape) - 1) / 2
    return affine
