"""How much made-up brains are like real ones: realism, variety and nearness to the training brains.

Realism: KID, an unbiased MMD with a polynomial kernel (Binkowski 2018), beside FID for comparison with papers
(methods.md C21). Variety: MS-SSIM over pairs (C22). Privacy: correlation with the nearest training brain
(C24). Features are energies of detail at three scales in blocks of the grid, so that they see texture, and
need no network that was trained on something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter, zoom

SCALES = (0.5, 1.0, 2.0, 4.0)
"""Widths in voxels whose differences are the bands of detail."""
BLOCK = 16
"""Edge of a block in voxels; every side of the model grid is a multiple of it."""
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
"""Of the scales of MS-SSIM (Wang 2003); those that a grid is too small for are left out."""
_WINDOW = 1.5
_LEAST_SIDE = 8
"""Voxels along the shortest side below which the window of SSIM does not fit any more."""


def features(image: np.ndarray) -> np.ndarray:
    """What a brain [X, Y, Z] looks like, [F]: in each block its mean, and the logarithm of the energy of each
    band of detail.
    """
    blurred = [image, *(gaussian_filter(image, width) for width in SCALES)]
    bands = [np.log(_blocks((fine - coarse) ** 2) + 1e-6) for fine, coarse in zip(blurred, blurred[1:])]
    return np.concatenate([_blocks(image).ravel(), *(band.ravel() for band in bands)])


def _blocks(image: np.ndarray) -> np.ndarray:
    """Mean of each block of BLOCK voxels' edge."""
    parts = [part for side in image.shape for part in (side // BLOCK, BLOCK)]
    return image.reshape(parts).mean((1, 3, 5))


_FARTHEST = 10.0
"""Deviations of the reference: what lies further away counts as that far. A block that the reference brains
hardly reach has next to no deviation, and one brain with anything in it would decide alone.
"""


class Scale(NamedTuple):
    """Standardises features by those of a reference; what never varies there is left out."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, reference: np.ndarray) -> Scale:
        return cls(reference.mean(0), reference.std(0))

    def __call__(self, found: np.ndarray) -> np.ndarray:
        varies = self.deviation > 1e-3
        z = (found[:, varies] - self.mean[varies]) / self.deviation[varies]
        return z.clip(-_FARTHEST, _FARTHEST)


def kid(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared MMD of features [N, F] and [M, F] with the kernel (x.y / F + 1)^3: 0 in the mean where
    both are of one kind, and so at times below 0.
    """
    kernel = _kernel(np.concatenate([first, second]))
    return _mmd(kernel, np.arange(len(first)), len(first) + np.arange(len(second)))


def _kernel(found: np.ndarray) -> np.ndarray:
    return (found @ found.T / found.shape[1] + 1) ** 3


def _mmd(kernel: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    n, m = len(first), len(second)
    within = [kernel[np.ix_(part, part)] for part in (first, second)]
    own = [(part.sum() - np.trace(part)) / (len(part) * (len(part) - 1)) for part in within]
    return float(own[0] + own[1] - 2 * kernel[np.ix_(first, second)].sum() / (n * m))


def kid_by_chance(
    first: np.ndarray, second: np.ndarray, permutations: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of KID between two sets of these sizes that are drawn from both as one: where the two
    are alike, their KID lies in it.
    """
    kernel, count = _kernel(np.concatenate([first, second])), len(first) + len(second)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(permutations):
        order = generator.permutation(count)
        drawn.append(_mmd(kernel, order[: len(first)], order[len(first) :]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def fid(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the Gaussians of features [N, F] and [M, F]; too large for few of them, the more so
    the larger F is.
    """
    covariances = [np.atleast_2d(np.cov(part, rowvar=False)) for part in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    apart = ((first.mean(0) - second.mean(0)) ** 2).sum()
    return float(apart + np.trace(covariances[0] + covariances[1] - 2 * root))


def main_directions(reference: np.ndarray, count: int) -> np.ndarray:
    """The `count` directions [F, count] in which standardised features [N, F] vary most."""
    return np.linalg.svd(reference - reference.mean(0), full_matrices=False)[2][:count].T


def ms_ssim(first: np.ndarray, second: np.ndarray, peak: float = 1.0) -> float:
    """Multi-scale SSIM of two images of one shape; 1 for the same image. Scales at which the window would not
    fit are left out.
    """
    terms = []
    while True:
        contrast, whole = _ssim(first, second, peak)
        terms.append((contrast, whole))
        if len(terms) == len(_WEIGHTS) or min(first.shape) // 2 < _LEAST_SIDE:
            break
        first, second = (zoom(gaussian_filter(image, 0.8), 0.5, order=1) for image in (first, second))
    weights = _WEIGHTS[: len(terms)] / _WEIGHTS[: len(terms)].sum()
    factors = [contrast for contrast, _ in terms[:-1]] + [terms[-1][1]]
    return float(np.prod(np.maximum(factors, 0) ** weights))


def _ssim(first: np.ndarray, second: np.ndarray, peak: float) -> tuple[float, float]:
    """Mean of the contrast term, and of the whole SSIM, where either image shows anything."""
    low, high = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean = [gaussian_filter(image, _WINDOW) for image in (first, second)]
    variance = [gaussian_filter(i * i, _WINDOW) - m * m for i, m in zip((first, second), mean)]
    together = gaussian_filter(first * second, _WINDOW) - mean[0] * mean[1]
    contrast = (2 * together + high) / (variance[0] + variance[1] + high)
    bright = (2 * mean[0] * mean[1] + low) / (mean[0] ** 2 + mean[1] ** 2 + low)
    shown = np.maximum(*mean) > 0.05 * peak
    shown = shown if shown.any() else np.ones(shown.shape, bool)
    return float(contrast[shown].mean()), float((contrast * bright)[shown].mean())


def variety(images: Sequence[np.ndarray], pairs: int = 60, seed: int = 0) -> list[float]:
    """MS-SSIM of `pairs` pairs of different images, chosen by `seed`; all pairs where there are fewer. High
    means little variety.
    """
    every = list(combinations(range(len(images)), 2))
    chosen = np.random.default_rng(seed).permutation(len(every))[:pairs]
    return [ms_ssim(images[every[n][0]], images[every[n][1]]) for n in chosen]


class Nearest(NamedTuple):
    """The most similar reference: its correlation (at most 1), its number from 0, and whether mirrored."""

    similarity: float
    number: int
    flipped: bool


def nearest(
    image: np.ndarray, references: Sequence[np.ndarray], typical: np.ndarray, but: int = -1
) -> Nearest:
    """The reference most similar to `image`, or its mirror image, in what sets either apart from `typical`,
    all [X, Y, Z]. `but`: a reference that is passed over, such as the image itself.
    """
    inside = typical > 0.1
    own = (image - typical)[inside]
    return max(
        Nearest(_correlation(own, (turned - typical)[inside]), number, flipped)
        for number, flipped, turned in _turned(references)
        if number != but
    )


def _turned(images: Sequence[np.ndarray]) -> Iterator[tuple[int, bool, np.ndarray]]:
    for number, image in enumerate(images):
        yield number, False, image
        yield number, True, image[::-1]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / max(float(np.sqrt((first**2).sum() * (second**2).sum())), 1e-12))
