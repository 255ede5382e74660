"""The error map of a filling: on regions whose errors are known it holds the truth as often as it says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from braindiffusion.filling_error import SHARE, Example, calibrated, expected, fit, terms, within_range
from braindiffusion.inpainting import Site

SHAPE = (28, 30, 26)
SPACING = np.array([1.0, 1.0, 1.5])


def place(seed: int = 0) -> Site:
    """A ball of a region in a brain that fills the box."""
    away = np.sqrt(((np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2) ** 2).sum(0))
    return Site((slice(0, 28),) * 3, away < 9, np.ones(SHAPE, bool), np.zeros(SHAPE, np.float32), SPACING)


def filled(seed: int, noisy: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Fillings [5, x, y, z] and the truth, which is twice as far off on the right as on the left."""
    random, left = np.random.default_rng(seed), np.indices(SHAPE)[0] < 14
    deviation = np.where(left, 0.05, 0.1)
    mean = np.full(SHAPE, 0.8)
    joined = mean + 0.2 * deviation * random.standard_normal((5, *SHAPE))
    errors = random.standard_t(4, SHAPE) if noisy else random.standard_normal(SHAPE)
    return joined.astype(np.float32), (joined.mean(0) + deviation * errors).astype(np.float32)


@pytest.mark.parametrize("noisy", [False, True])
def test_the_stated_share_of_the_truth_lies_within_it(noisy):
    """On both sides, and where errors are not Gaussian, too."""
    site = place()
    examples = [Example.of(site, *filled(seed, noisy)) for seed in range(6)]
    weights = fit(examples)
    joined, truth = filled(99, noisy)
    error = expected(weights, terms(site, joined))
    within = np.abs(joined.mean(0) - truth)[site.region] <= error
    left = (np.indices(SHAPE)[0] < 14)[site.region]
    for side in (left, ~left):
        assert within[side].mean() == pytest.approx(SHARE, abs=0.05)
    assert np.median(error[~left]) / np.median(error[left]) == pytest.approx(2, abs=0.4)


def test_a_map_needs_weights_and_two_fillings():
    site, (joined, _) = place(), filled(1)
    weights = fit([Example.of(site, *filled(seed)) for seed in range(3)])
    entry = {"calibration": {"filling": {"weights": weights.tolist()}}}
    model, other = (SimpleNamespace(card=SimpleNamespace(measured=measured)) for measured in (entry, {}))
    whole = calibrated(model, site, joined)
    assert whole.shape == SHAPE and not whole[~site.region].any() and (whole[site.region] > 0).all()
    assert calibrated(other, site, joined) is None and calibrated(model, site, joined[:1]) is None


def test_what_a_range_holds_is_said_of_as_many_fillings_as_were_measured():
    measured = {"calibration": {"filling": {"range": {"fillings": 5, "share": 0.45}}}}
    assert within_range(measured, 5) == 0.45
    assert within_range(measured, 4) is None and within_range({}, 5) is None
