"""From healed samples to one heat map: the residual as a z-score against residuals of normal brains and the
samples' spread.

The normal maps live in template space and reach a brain through its affine; they come from brains that the
prior was not trained on, so that they show how it errs on new ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save
from scipy.ndimage import gaussian_filter, label

from .healing import Healed
from .imaging.frame import Frame
from .imaging.grid import GRID_SHAPE, VOXEL_ML, sample

RESIDUAL_SIGMA = 0.75
"""Blur of the residual in voxels of 2 mm: single-voxel noise is no finding."""
SMALLEST_ML = 0.1


@dataclass(frozen=True)
class NormalMaps:
    """Residuals of normal brains in template space: mean and shrunken SD, [80, 96, 80] each, in units of
    white matter.

    threshold: |z| above which normal brains show at most one finding of 0.1 ml or more on average. brains:
    how many.
    """

    mean: np.ndarray
    deviation: np.ndarray
    threshold: float
    brains: int

    @classmethod
    def fit(
        cls, residuals: Sequence[np.ndarray], weights: Sequence[np.ndarray], threshold: float = np.inf
    ) -> NormalMaps:
        """Maps of residuals [80, 96, 80] in template space with brain `weights` (0..1) each; mirror images
        count too.

        The local variance of few brains is itself noisy, so it is smoothed over 4 mm and shrunk towards the
        brain's mean variance as if that had been seen in three further brains (mirror images count too).
        """
        both = [array[::side] for array in residuals for side in (1, -1)]
        seen = [array[::side] for array in weights for side in (1, -1)]
        count = gaussian_filter(sum(seen), 1.0) + 1e-3
        mean = gaussian_filter(sum(r * w for r, w in zip(both, seen)), 1.0) / (count + 6)
        squares = gaussian_filter(sum(w * (r - mean) ** 2 for r, w in zip(both, seen)), 2.0)
        weight = gaussian_filter(sum(seen), 2.0)
        overall = squares.sum() / max(weight.sum(), 1e-6)
        variance = (squares + 6 * overall) / (weight + 6)
        return cls(
            mean.astype(np.float32), np.sqrt(variance).astype(np.float32), float(threshold), len(residuals)
        )

    def save(self, path: Path) -> None:
        """Write as safetensors, float16: one half, because with mirror images both are alike."""
        half = len(self.mean) // 2
        maps = {
            name: np.ascontiguousarray(getattr(self, name)[:half], np.float16)
            for name in ("mean", "deviation")
        }
        path.write_bytes(save(maps, {"threshold": repr(self.threshold), "brains": str(self.brains)}))

    @classmethod
    def load(cls, path: Path) -> NormalMaps:
        """Read what `save` wrote."""
        maps = load_file(path)
        with safe_open(path, "numpy") as file:
            said = file.metadata()
        halves = (maps[name].astype(np.float32) for name in ("mean", "deviation"))
        mean, deviation = (np.concatenate([half, half[::-1]]) for half in halves)
        return cls(mean, deviation, float(said["threshold"]), int(said["brains"]))


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


def to_template(array: np.ndarray, frame: Frame) -> np.ndarray:
    """A map on the model grid, in template space through the frame's affine."""
    return sample(array, frame.template_index, GRID_SHAPE)


def heat(image: np.ndarray, healed: Healed, frame: Frame, normal: NormalMaps) -> Heat:
    """The heat map of one brain `image` [80, 96, 80] and its healthy counterparts."""
    inside = image > 0
    to_model = np.linalg.inv(frame.template_index)
    mean, deviation = (sample(array, to_model, GRID_SHAPE) for array in (normal.mean, normal.deviation))
    floor = float(np.median(normal.deviation))
    spread = healed.samples.std(0, ddof=1) if len(healed.samples) > 1 else np.zeros_like(image)
    # Outside the template the normal maps are 0: the typical deviation stands in.
    deviation = np.where(deviation > 0, deviation, floor)
    # The residual is that of a mean, so the samples' doubt enters as its standard error.
    doubt = gaussian_filter(spread, RESIDUAL_SIGMA) / len(healed.samples) ** 0.5
    uncertainty = np.sqrt(deviation**2 + doubt**2)
    signed = (residual(image, healed) - mean) / uncertainty * inside
    return Heat(
        np.abs(signed).astype(np.float32), signed.astype(np.float32), (spread * inside).astype(np.float32)
    )


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
    """The lowest threshold at which |z| `maps` of normal brains show at most `allowed` regions per brain on
    average.
    """
    low, high = 1.0, max(float(z.max()) for z in maps) + 1
    for _ in range(24):
        middle = (low + high) / 2
        found = sum(regions(z, middle)[1] for z in maps) / len(maps)
        low, high = (middle, high) if found > allowed else (low, middle)
    return math.ceil(high * 100) / 100
