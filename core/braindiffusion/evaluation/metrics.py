"""Figures of merit (methods.md C32), each checked against a hand-computed case or a well-kept library.

Average precision is pooled over the voxels of all cases. Its bootstrap resamples subjects, not voxels,
because the voxels of one brain say the same thing many times; histograms of the scores make a thousand
resamples a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, label
from scipy.stats import chi2

BINS = 4096


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under precision and recall by steps (as scikit-learn defines it) of `score` against bool `truth`,
    any shape.

    NaN where `truth` has no true voxel.
    """
    order = np.argsort(score.ravel())[::-1]
    sorted_score, hits = score.ravel()[order], truth.ravel()[order].astype(np.float64)
    last_of_tie = np.append(np.flatnonzero(np.diff(sorted_score)), len(hits) - 1)
    found, shown = np.cumsum(hits)[last_of_tie], last_of_tie + 1.0
    return _area(found, shown)


def _area(found: np.ndarray, shown: np.ndarray) -> float:
    """Steps' area from cumulative true positives and cumulative positives, from the highest score down."""
    if not len(found) or found[-1] == 0:
        return float("nan")
    precision = found / np.maximum(shown, 1)
    return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])


@dataclass(frozen=True)
class Histogram:
    """Voxels of one case or of many: counts [bins] of lesion and of normal voxels, lowest score first."""

    lesion: np.ndarray
    normal: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, truth: np.ndarray, edges: np.ndarray) -> Histogram:
        """Count `score` (N,) between `edges` (bins + 1,), whose ends are infinite."""
        bins = np.searchsorted(edges, score, side="right") - 1
        size = len(edges) - 1
        return cls(np.bincount(bins[truth], minlength=size), np.bincount(bins[~truth], minlength=size))

    def average_precision(self) -> float:
        """As the function, with the scores of one bin counted as ties."""
        found = np.cumsum(self.lesion[::-1].astype(np.float64))
        return _area(found, found + np.cumsum(self.normal[::-1].astype(np.float64)))


def edges_of(lesion_scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin edges (bins + 1 at most) at the quantiles of the lesion voxels' scores: average precision steps
    only there.
    """
    inner = np.unique(np.quantile(lesion_scores, np.arange(1, bins) / bins))
    return np.concatenate([[-np.inf], inner, [np.inf]])


@dataclass(frozen=True)
class Difference:
    """Average precision of two methods, their difference, and its 95 % interval."""

    first: float
    second: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.first - self.second


def pooled(cases: Sequence[Histogram], weights: np.ndarray | None = None) -> float:
    """Average precision over the voxels of all `cases`, each counted `weights[i]` times."""
    share = np.ones(len(cases)) if weights is None else weights
    lesion = share @ np.stack([case.lesion for case in cases])
    return Histogram(lesion, share @ np.stack([case.normal for case in cases])).average_precision()


def bootstrap_difference(
    first: Sequence[Histogram],
    second: Sequence[Histogram],
    subjects: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> Difference:
    """Average precision of `first` minus `second` on the same cases, with the percentile interval over
    subjects.

    `subjects[i]` names the brain of case i; a resample draws brains with replacement, and all of a drawn
    brain's cases.
    """
    names = sorted(set(subjects))
    column = np.array([names.index(name) for name in subjects])
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names)).astype(float)
        differences.append(pooled(first, times[column]) - pooled(second, times[column]))
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    return Difference(pooled(first), pooled(second), float(low), float(high))


def bootstrap_interval(values: Sequence[float], resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of one value per subject."""
    rng, sample = np.random.default_rng(seed), np.asarray(values, float)
    means = sample[rng.integers(len(sample), size=(resamples, len(sample)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two bool masks; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2 * int((first & second).sum()) / total


def best_threshold_dice(cases: Sequence[Histogram], edges: np.ndarray) -> tuple[float, float]:
    """(highest pooled Dice over all thresholds, that threshold). It uses the truth: an upper bound, not a
    result.
    """
    found = np.cumsum(sum(case.lesion for case in cases)[::-1].astype(float))  # type: ignore[index]
    wrong = np.cumsum(sum(case.normal for case in cases)[::-1].astype(float))  # type: ignore[index]
    values = 2 * found / (found + wrong + found[-1])
    best = int(values.argmax())
    return float(values[best]), float(edges[::-1][best + 1])


def findings(above: np.ndarray, voxel_ml: float, smallest_ml: float = 0.1) -> np.ndarray:
    """Connected regions (corners touch) of bool `above` of at least `smallest_ml`, numbered from 1, int32."""
    numbered, count = label(above, np.ones((3, 3, 3)))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1) * voxel_ml
    kept = np.flatnonzero((sizes >= smallest_ml - 1e-9) & (np.arange(count + 1) > 0))
    renumber = np.zeros(count + 1, np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    return renumber[numbered]


def poisson_interval(count: int, exposure: float) -> tuple[float, float]:
    """Exact (Garwood) 95 % interval of a rate: `count` events in `exposure` units."""
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low / exposure), float(chi2.ppf(0.975, 2 * count + 2) / 2 / exposure)


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    if total == 0:
        return float("nan"), float("nan")
    share, z = count / total, 1.959964
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def hd95(first: np.ndarray, second: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile of the distances (mm) between the surfaces of two bool masks; NaN if one is empty."""
    if not first.any() or not second.any():
        return float("nan")
    surfaces = [mask & ~binary_erosion(mask) for mask in (first, second)]
    distances = [distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return float(np.percentile(np.concatenate([distances[1][surfaces[0]], distances[0][surfaces[1]]]), 95))


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """Correlation coefficient of two series; NaN where one of them is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def mean_power(images: Sequence[np.ndarray]) -> np.ndarray:
    """Mean power at each frequency [X, Y, Z] of `images`, the same in all directions: what a Wiener filter
    expects. White noise of variance v has power v.
    """
    power = np.mean([np.abs(np.fft.fftn(image, norm="ortho")) ** 2 for image in images], 0)
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*map(np.fft.fftfreq, power.shape), indexing="ij")))
    ring = np.rint(radius * max(power.shape)).astype(int)
    return (np.bincount(ring.ravel(), power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1))[ring]


def radial_power(image: np.ndarray, spacing: float, rings: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """(spatial frequency (rings,) in cycles per mm, mean power (rings,)) of `image` [X, Y, Z] after a cosine
    window.

    Power is per voxel, so white noise of variance v has power v at every frequency (times the window's mean
    square, which is divided out). Rings end at the Nyquist frequency of the axes.
    """
    x, y, z = (np.hanning(size) for size in image.shape)
    window = x[:, None, None] * y[:, None] * z
    spectrum = np.abs(np.fft.fftn(image * window)) ** 2 / (window**2).sum()
    axes = np.meshgrid(*(np.fft.fftfreq(n, spacing) for n in image.shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    ring = np.minimum((radius * 2 * spacing * rings).astype(int), rings)
    power = np.bincount(ring.ravel(), spectrum.ravel(), rings + 1) / np.bincount(
        ring.ravel(), minlength=rings + 1
    )
    return (np.arange(rings) + 0.5) / (2 * spacing * rings), power[:rings]
