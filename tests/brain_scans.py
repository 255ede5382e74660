"""Stripped brains for tests: the template, put obliquely into a scanner, with or without a lesion."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.ndimage import binary_fill_holes
from scipy.spatial.transform import Rotation

from braindiffusion.anatomy import STRUCTURES
from braindiffusion.imaging.frame import Frame
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_CENTRE, GRID_SHAPE, sample
from braindiffusion.imaging.intensity import TissueScale
from braindiffusion.imaging.template import template
from braindiffusion.imaging.volume import Volume

POSE = np.eye(4)
"""Model millimetre -> the patient's millimetre: a head turned by some 14 degrees and moved by 3 cm."""
POSE[:3, :3] = Rotation.from_euler("xyz", [8, -6, 10], degrees=True).as_matrix()
POSE[:3, 3] = [14.0, -25.0, 11.0]
SIZE = np.diag([0.9, 0.9, 0.9, 1.0])
"""Template millimetre -> model millimetre: the template is larger than most people's brains."""
SPACING = (2.5, 2.2, 2.8)
SHAPE = (72, 90, 70)
WHITE = 800.0
"""About the scanner's intensity of white matter."""
INSIDE = binary_fill_holes(template().t1 > 0.1)
"""The intracranial space of the template, [80, 96, 80]."""
INDEX = {(s.side, s.name): s.index for s in STRUCTURES}


def oblique_affine(shape: tuple[int, ...] = SHAPE, spacing: tuple[float, ...] = SPACING) -> np.ndarray:
    """A turned grid whose first axis runs to the left, around the brain at `POSE`."""
    turn = Rotation.from_euler("zyx", [12, 5, -9], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing * np.array([-1.0, 1.0, 1.0])
    middle = to_patient(GRID_CENTRE)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def to_patient(point: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """Template millimetre (3,) -> the patient's millimetre (3,)."""
    return (POSE @ SIZE @ [*point, 1.0])[:3]


def to_template(affine: np.ndarray) -> np.ndarray:
    """(4, 4) voxel of a scan -> voxel of the template grid."""
    return np.linalg.inv(POSE @ SIZE @ GRID_AFFINE) @ affine


def brain(
    t1: np.ndarray | None = None, shape: tuple[int, ...] = SHAPE, affine: np.ndarray | None = None
) -> Volume:
    """A stripped brain in the scanner, background exactly 0: `t1` [80, 96, 80], by default the template's."""
    affine = oblique_affine(shape) if affine is None else affine
    index = to_template(affine)
    inside = sample(INSIDE.astype(np.float32), index, shape) > 0.5
    scan = (WHITE / 0.9) * sample(template().t1 if t1 is None else t1, index, shape)
    # No voxel of the brain is 0, as the background is.
    return Volume(np.where(inside, np.maximum(scan, 1.0), 0).astype(np.float32), affine, {"source": "a test"})


@lru_cache(maxsize=1)
def grid_mm() -> np.ndarray:
    """Template RAS millimetre of every voxel of the model grid, [80, 96, 80, 3]."""
    axes = (GRID_AFFINE[i, i] * np.arange(n) + GRID_AFFINE[i, 3] for i, n in enumerate(GRID_SHAPE))
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def sphere(centre_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """Bool [80, 96, 80] around a place in template RAS mm."""
    return np.linalg.norm(grid_mm() - centre_mm, axis=-1) < radius_mm


def with_lesion(centre_mm: tuple[float, float, float], radius_mm: float, factor: float) -> np.ndarray:
    """The template's T1 with a ball of `factor` times its intensity, [80, 96, 80]."""
    return np.where(sphere(centre_mm, radius_mm), factor * template().t1, template().t1)


@lru_cache(maxsize=4)
def labels(ventricle_radius_mm: float = 12.0) -> np.ndarray:
    """A coarse anatomy of the template: cortex, white matter, two round ventricles, left and right."""
    left = grid_mm()[..., 0] < 0
    white = template().white > template().grey
    found = np.zeros(GRID_SHAPE, np.uint8)
    for side, there in (("left", left), ("right", ~left)):
        x = -14.0 if side == "left" else 14.0
        found[INSIDE & there] = INDEX[side, "cerebral cortex"]
        found[INSIDE & there & white] = INDEX[side, "cerebral white matter"]
        found[sphere((x, -15.0, 12.0), ventricle_radius_mm) & there] = INDEX[side, "lateral ventricle"]
    return found


def frame_of(volume: Volume) -> Frame:
    """The frame of a brain at `POSE` as it is known, without searching for it."""
    image = sample(volume.data, np.linalg.inv(volume.affine) @ POSE @ GRID_AFFINE, GRID_SHAPE) / WHITE
    nothing = np.zeros(GRID_SHAPE, np.float32)
    return Frame(
        volume.data.shape, volume.affine, np.linalg.inv(POSE), np.linalg.inv(SIZE), image > 0, nothing,
        TissueScale(0.7 * WHITE, WHITE), image, np.array([[0.35, 0.7, 1.0], [0.1] * 3, [1 / 3] * 3]),
    )  # fmt: skip


def stored(volume: Volume, axes: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same image with its voxel axes in another order and direction."""
    data = np.transpose(volume.data, axes)[tuple(slice(None, None, sign) for sign in signs)]
    move = np.zeros((4, 4))
    move[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs)):
        move[old, new] = sign
        move[old, 3] = 0 if sign > 0 else volume.data.shape[old] - 1
    return replace(volume, data=np.ascontiguousarray(data), affine=volume.affine @ move)
