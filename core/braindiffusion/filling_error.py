"""How far a filling may be off: a map whose stated share of voxels holds the truth.

Fillings of one region differ less from each other than all of them from the truth, because none knows how the
hidden folds run. So the error of the first, whose shape is the likeliest, is learnt from healthy regions of
brains that the model was not trained on: from the fillings' spread, the borders and intensity of what was
filled, and the depth in the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from .inpainting import Site
from .models.loading import Model
from .normal import gamma_regression

SHARE = 0.683
"""Of the voxels whose truth lies within the map's value of the first filling: that of one standard deviation
of a Gaussian.
"""
_FAINT = 0.01
_SAMPLES = 4000
"""Voxels of each region that the error is fitted to."""


class Example(NamedTuple):
    """One filled region whose truth is known: `terms` [T, voxels] of it, and the errors of the first
    filling there, white matter 1.
    """

    terms: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, site: Site, joined: np.ndarray, truth: np.ndarray) -> Example:
        """joined: fillings [N, x, y, z] and truth [x, y, z] of the place, white matter 1."""
        return cls(terms(site, joined), (joined[0] - truth)[site.region])


def terms(site: Site, joined: np.ndarray) -> np.ndarray:
    """What the logarithm of the error's variance is linear in, [T, voxels of the region].

    joined: two or more fillings [N, x, y, z] of the place, white matter 1.
    """
    first, each = joined[0], 1 / site.spacing
    spread = np.sqrt(gaussian_filter(joined.var(0, ddof=1), 1.5 * each))
    looks = [
        np.log(spread + _FAINT),
        *(np.log(_steepness(gaussian_filter(first, mm * each), site.spacing) + _FAINT) for mm in (1.0, 3.0)),
        np.log(distance_transform_edt(site.region, sampling=site.spacing) + 1),
        gaussian_filter(first, 1.5 * each),
        gaussian_filter(site.brain.astype(np.float32), 4 * each),
    ]
    linear = np.stack([look[site.region] for look in looks])
    return np.concatenate([np.ones_like(linear[:1]), linear, linear**2])


def _steepness(image: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    return np.sqrt(sum(slope**2 for slope in np.gradient(image, *spacing)))


def fit(examples: Sequence[Example]) -> np.ndarray:
    """Weights [T] by which `expected` is as large as the errors of `SHARE` of the voxels at most."""
    some = [
        np.random.default_rng(n).choice(e.errors.size, min(_SAMPLES, e.errors.size), replace=False)
        for n, e in enumerate(examples)
    ]
    seen = np.concatenate([e.terms[:, at] for e, at in zip(examples, some)], 1)
    squares = np.concatenate([e.errors[at] ** 2 for e, at in zip(examples, some)])
    weights = gamma_regression(seen.T, squares)
    # Errors are not Gaussian: the share is counted.
    weights[0] += 2 * np.log(np.quantile(np.sqrt(squares) / expected(weights, seen), SHARE))
    return weights


def expected(weights: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """The error [voxels], white matter 1, below which `SHARE` of the voxels with those terms [T, voxels]
    stay.
    """
    return np.exp((weights @ terms).clip(-14, 0) / 2)


def calibrated(model: Model, site: Site, joined: np.ndarray) -> np.ndarray | None:
    """The map [x, y, z] of one place, 0 outside its region; None where the model's card has no weights for it
    or there is one filling alone.
    """
    weights = weights_of(model.card.measured)
    if weights is None or len(joined) < 2:
        return None
    whole = np.zeros(site.region.shape, np.float32)
    whole[site.region] = expected(weights, terms(site, joined))
    return whole


def weights_of(measured: dict[str, Any]) -> np.ndarray | None:
    """The weights among the measured figures of a card."""
    entry = measured.get("calibration", {}).get("filling")
    return None if entry is None else np.array(entry["weights"])


def within_range(measured: dict[str, Any], count: int) -> float | None:
    """Share of voxels of healthy regions whose truth lay between the lowest and the highest of `count`
    fillings, by the measured figures of a card; None where it was not measured for so many.
    """
    entry = measured.get("calibration", {}).get("filling", {}).get("range")
    return entry["share"] if entry and entry["fillings"] == count else None
