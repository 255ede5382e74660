"""How healing errs on normal brains: by how much, where in the brain, and beside which anatomy.

A residual of 10 % of white matter is nothing at a fold and much in the middle of white matter. So its
expected size is learnt from normal brains that the prior was not trained on: from its mean and deviation at
each place of a mean brain, and from what the healed brain looks like there, its borders above all, because
few brains do not show where folds can lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from .nets.correspondence import Correspondence
from .telling import Tell, silent

_SMOOTH = 0.7
"""Blur in voxels of 2 mm of what is averaged over brains."""
_FURTHER = 2.0
"""As if this many more images had a residual of 0, and the overall variance."""
_LEAST = 0.01
"""Deviation (white matter 1) below which no residual is expected to lie."""
_FAINT = 0.02
_SAMPLES = 8000
"""Voxels of each brain that the expected size is fitted to."""
_ROUNDS = 8
"""Of the fit, each a weighted least squares."""


class Example(NamedTuple):
    """One normal brain: its `residual` and the `healed` brain, [X, Y, Z] each, and where it lies in the mean
    brain.
    """

    residual: np.ndarray
    healed: np.ndarray
    place: Correspondence


class Usual(NamedTuple):
    """mean and deviation [X, Y, Z] of what healing leaves in one normal brain, white matter 1."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True, eq=False)
class NormalMaps:
    """Residuals of normal brains.

    brain: the mean brain, left and right alike; mean and deviation of residuals at its voxels, [80, 96, 80]
    each, white matter 1.
    weights: what makes of a deviation there the one in a brain (`expected`). threshold: |z| above which
    normal brains show at most one finding of 0.1 ml or more on average. brains: how many. level: the highest
    typical |z| (`heatmap.level`) of a normal brain that was judged by the others.
    """

    brain: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    threshold: float
    brains: int
    level: float = np.inf

    @classmethod
    def fit(
        cls,
        examples: Sequence[Example],
        brain: np.ndarray,
        threshold: float = np.inf,
        level: float = np.inf,
    ) -> NormalMaps:
        """Maps of `examples` on the mean `brain` [X, Y, Z]. At least three are needed, because each is
        compared with the others.
        """
        moved = [example.place.to_mean(example.residual) for example in examples]
        there = [example.place.to_mean((example.healed > 0).astype(np.float32)) for example in examples]
        terms, squares = [], []
        for n, example in enumerate(examples):
            others = _maps(moved[:n] + moved[n + 1 :], there[:n] + there[n + 1 :])
            mean, deviation = (example.place.to_brain(array) for array in others)
            inside = np.flatnonzero(example.healed > 0)
            some = np.random.default_rng(n).choice(inside, min(_SAMPLES, len(inside)), replace=False)
            terms.append(_terms(deviation, example.healed)[:, some])
            squares.append(np.square(example.residual - mean).ravel()[some])
        weights = gamma_regression(np.concatenate(terms, 1).T, np.concatenate(squares))
        return cls(brain, *_maps(moved, there), weights, float(threshold), len(examples), float(level))

    def place(self, image: np.ndarray, tell: Tell = silent) -> Correspondence:
        """Where the brain `image` [X, Y, Z] lies in the mean brain."""
        return Correspondence.find(image, self.brain, tell)

    def expected(self, healed: np.ndarray, place: Correspondence) -> Usual:
        """The residual that is usual beside the `healed` brain [X, Y, Z], were it normal."""
        mean, deviation = (place.to_brain(array) for array in (self.mean, self.deviation))
        # Where the mean brain does not reach, the typical deviation stands in.
        deviation = np.where(deviation > 0, deviation, float(np.median(self.deviation)))
        terms = _terms(deviation, healed)
        variance = np.exp((self.weights.astype(np.float32) @ terms).clip(-14, 0)).reshape(healed.shape)
        return Usual(mean, np.sqrt(variance + _LEAST**2))

    def save(self, path: Path) -> None:
        """Write as npz: of maps one half, in 8 bits whose steps are less than 1 % of the largest value."""
        half = len(self.brain) // 2
        brain = np.rint(self.brain[:half].clip(0, 2) * 127).astype(np.uint8)
        stored = {"brain": brain, "weights": self.weights}
        for name in ("mean", "deviation"):
            unit = max(float(np.abs(getattr(self, name)).max()), 1e-6) / 127
            stored |= {
                name: np.rint(getattr(self, name)[:half] / unit).astype(np.int8),
                f"{name}_unit": np.array(unit),
            }
        stored |= {name: np.array(getattr(self, name)) for name in ("threshold", "brains", "level")}
        with open(path, "wb") as file:
            np.savez_compressed(file, **stored)

    @classmethod
    def load(cls, path: Path) -> NormalMaps:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            units = {"brain": 1 / 127} | {n: float(stored[f"{n}_unit"]) for n in ("mean", "deviation")}
            halves = [stored[name].astype(np.float32) * unit for name, unit in units.items()]
            brain, mean, deviation = (np.concatenate([half, half[::-1]]) for half in halves)
            numbers = float(stored["threshold"]), int(stored["brains"]), float(stored["level"])
            return cls(brain, mean, deviation, stored["weights"], *numbers)


def _maps(residuals: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> Usual:
    """Mean and deviation over brains at each voxel of the mean brain, shrunk because there are few. Mirror
    images count too: the mean brain is its own.
    """
    residuals, weights = (
        [array[::side] for array in some for side in (1, -1)] for some in (residuals, weights)
    )
    count = gaussian_filter(sum(weights), _SMOOTH)
    mean = gaussian_filter(sum(r * w for r, w in zip(residuals, weights)), _SMOOTH) / (count + _FURTHER)
    squares = gaussian_filter(sum(w * (r - mean) ** 2 for r, w in zip(residuals, weights)), _SMOOTH)
    overall = squares.sum() / max(count.sum(), 1e-6)
    variance = (squares + _FURTHER * overall) / (count + _FURTHER)
    return Usual(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))


def _terms(deviation: np.ndarray, healed: np.ndarray) -> np.ndarray:
    """What the logarithm of a residual's variance is linear in, [15, voxels]: how it deviates in that place,
    the healed brain's borders at two widths, its intensity and its rim, their squares, and how place and
    looks go together.
    """
    fine, coarse = (np.log(_slope(healed, sigma) + _FAINT) for sigma in (0.5, 1.5))
    rim = gaussian_filter((healed > _FAINT).astype(np.float32), 2.0)
    looks = np.stack([np.log(deviation + 0.005), fine, coarse, gaussian_filter(healed, 0.75), rim])
    looks = looks.reshape(len(looks), -1).astype(np.float32)
    return np.concatenate([np.ones_like(looks[:1]), looks, looks**2, looks[:1] * looks[1:]])


def _slope(image: np.ndarray, sigma: float) -> np.ndarray:
    along = np.gradient(gaussian_filter(image, sigma))
    return np.sqrt(sum(slope**2 for slope in along))


def gamma_regression(terms: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Weights by which exp(terms @ weights) is the mean of `squares` (N,): a gamma regression with a
    logarithmic link (McCullagh and Nelder 1989), begun at the logarithms themselves.
    """
    weights = np.linalg.lstsq(terms, np.log(squares + 2.5e-5), rcond=None)[0]
    for _ in range(_ROUNDS):
        linear = (terms @ weights).clip(-14, 0)
        expected = np.exp(linear)
        weights = np.linalg.lstsq(terms, (linear + squares / expected - 1).clip(-30, 30), rcond=None)[0]
    return weights
