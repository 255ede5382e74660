"""From healed samples to one heat map: the residual as a z-score against residuals of normal brains and the
samples' spread, less what both hemispheres share, and weighed by its surroundings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, label

from .healing import Healed
from .imaging.grid import VOXEL_ML
from .nets.correspondence import Correspondence
from .normal import Example, NormalMaps

RESIDUAL_SIGMA = 0.75
"""Blur of the residual in voxels of 2 mm: single-voxel noise is no finding."""
DOUBT = 0.5
"""Weight of the samples' standard error beside what is usual for normal brains. The residual is that of a
mean which is asked for itself and not of the samples, so their doubt is its own in part only.
"""
SHARED = 0.3
"""Share of what the other hemisphere shows too that is taken off: brains differ from each other on both sides
alike, and lesions seldom do.
"""
_MIRROR_SIGMA = 1.0
"""Blur in voxels of the other hemisphere: no brain is quite its own mirror image."""
SUPPORT = 0.4
"""Weight of a voxel's surroundings in the geometric mean with its own value: a lesion is a region."""
_SUPPORT_SIGMA = 3.0
"""How far they reach, the width of a Gaussian in voxels of 2 mm."""
SMALLEST_ML = 0.1


@dataclass(frozen=True)
class Heat:
    """z: |z| as shown. signed: z, above 0 where the scan is brighter than healed. spread: SD of the samples,
    white matter 1.

    All float32 [80, 96, 80] on the model grid.
    """

    z: np.ndarray
    signed: np.ndarray
    spread: np.ndarray


def residual(image: np.ndarray, healed: Healed) -> np.ndarray:
    """Scan minus what is expected of the healthy brain, lightly blurred inside the brain; 0 outside."""
    inside = (image > 0).astype(np.float32)
    blurred = gaussian_filter((image - healed.mean) * inside, RESIDUAL_SIGMA)
    return blurred / np.maximum(gaussian_filter(inside, RESIDUAL_SIGMA), 0.2) * inside


def example(image: np.ndarray, healed: Healed, place: Correspondence) -> Example:
    """What a normal brain `image` [80, 96, 80] and its healthy counterparts teach `NormalMaps`."""
    return Example(residual(image, healed), healed.mean, place)


def heat(image: np.ndarray, healed: Healed, place: Correspondence, normal: NormalMaps) -> Heat:
    """The heat map of one brain `image` [80, 96, 80] and its healthy counterparts. place: where it lies in
    the mean brain of `normal`.
    """
    inside = image > 0
    signed = one_sided(deviation(image, healed, place, normal))
    z = supported(np.abs(signed), inside)
    return Heat(z, np.copysign(z, signed), (_spread(healed) * inside).astype(np.float32))


def deviation(
    image: np.ndarray, healed: Healed, place: Correspondence, normal: NormalMaps, weight: float = DOUBT
) -> np.ndarray:
    """The residual of each voxel in deviations of what is usual for normal brains, above 0 where the scan is
    brighter than healed, float32 [80, 96, 80]. weight: of the samples' standard error.
    """
    usual = normal.expected(healed.mean, place)
    doubt = weight * gaussian_filter(_spread(healed), RESIDUAL_SIGMA) / len(healed.samples) ** 0.5
    z = (residual(image, healed) - usual.mean) / np.hypot(usual.deviation, doubt) * (image > 0)
    return z.astype(np.float32)


def _spread(healed: Healed) -> np.ndarray:
    return healed.samples.std(0, ddof=1) if len(healed.samples) > 1 else np.zeros_like(healed.mean)


def one_sided(signed: np.ndarray) -> np.ndarray:
    """`signed` [X, Y, Z] without `SHARED` of what its mirror image, which is that of the grid, shows at the
    same place with the same sign.
    """
    other = gaussian_filter(signed[::-1], _MIRROR_SIGMA)
    alike = np.where(other * signed > 0, np.minimum(np.abs(signed), np.abs(other)), 0)
    return np.copysign(np.abs(signed) - SHARED * alike, signed).astype(np.float32)


def supported(z: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The weighted geometric mean of each `z` [X, Y, Z], at least 0, and the root mean square about it, bool
    `inside` the brain; where all are alike it is z.
    """
    share = np.maximum(gaussian_filter(inside.astype(np.float32), _SUPPORT_SIGMA), 0.05)
    about = np.sqrt(gaussian_filter(np.square(z) * inside, _SUPPORT_SIGMA) / share)
    return (z ** (1 - SUPPORT) * about**SUPPORT * inside).astype(np.float32)


def level(z: np.ndarray, inside: np.ndarray) -> float:
    """The typical |z| of a brain, bool `inside`: the median, which a lesion hardly moves. A scan of another
    scanner differs from normal brains everywhere.
    """
    return float(np.median(z[inside]))


def raised(threshold: float, typical: float, usual: float) -> float:
    """The threshold that makes up for a scan whose typical |z| (`level`) is above the `usual` one."""
    return threshold * max(1.0, typical / usual)


def regions(z: np.ndarray, threshold: float, smallest_ml: float = SMALLEST_ML) -> tuple[np.ndarray, int]:
    """Connected regions of z >= threshold with at least `smallest_ml`: labels [80, 96, 80] from 1, largest
    first, and how many.
    """
    numbered, count = label(z >= threshold, np.ones((3, 3, 3)))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    kept = [n for n in np.argsort(-sizes, kind="stable") if sizes[n] * VOXEL_ML >= smallest_ml]
    order = np.zeros(count + 1, np.int32)
    for rank, n in enumerate(kept, 1):
        order[n + 1] = rank
    return order[numbered], len(kept)


def calibrate(maps: Sequence[np.ndarray], allowed: float = 1.0) -> float:
    """The lowest threshold at which one more normal brain is expected to show at most `allowed` regions,
    given the |z| `maps` of some.

    Conformal risk control (Angelopoulos 2022): a brain like the worst of them is counted with them, because
    a threshold chosen to suit a few brains suits the next one less.
    """
    low, high = 1.0, max(float(z.max()) for z in maps) + 1
    for _ in range(24):
        middle = (low + high) / 2
        found = [regions(z, middle)[1] for z in maps]
        expected = (sum(found) + max(found)) / (len(found) + 1)
        low, high = (middle, high) if expected > allowed else (low, middle)
    return math.ceil(high * 100) / 100
