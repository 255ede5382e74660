"""The evaluation's figures against scikit-learn, scipy, and cases small enough to count by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import poisson
from sklearn.metrics import average_precision_score

from braindiffusion.evaluation import metrics


def _voxels(rng: np.random.Generator, size: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.random(size) < share
    return (rng.normal(size=size) + 1.5 * truth).astype(np.float32), truth


@pytest.mark.parametrize("decimals", [None, 1])
def test_average_precision_is_scikit_learns_with_and_without_ties(decimals):
    score, truth = _voxels(np.random.default_rng(0), 4000, 0.03)
    score = score if decimals is None else score.round(decimals)
    assert metrics.average_precision(score, truth) == pytest.approx(
        average_precision_score(truth, score), abs=1e-12
    )


def test_average_precision_without_a_lesion_is_not_a_number():
    assert np.isnan(metrics.average_precision(np.arange(5.0), np.zeros(5, bool)))


@pytest.mark.parametrize("share", [0.0008, 0.01, 0.3])
@pytest.mark.parametrize("shape", [np.asarray, np.exp, np.square], ids=["normal", "skewed", "folded"])
def test_binned_average_precision_is_exact_to_a_thousandth(share, shape):
    score, truth = _voxels(np.random.default_rng(1), 300_000, share)
    score = shape(score)
    edges = metrics.edges_of(score[truth])
    binned = metrics.Histogram.of(score, truth, edges).average_precision()
    assert abs(binned - average_precision_score(truth, score)) < 1e-3


def test_cases_pool_to_the_average_precision_of_all_their_voxels():
    rng = np.random.default_rng(2)
    cases = [_voxels(rng, 20_000, share) for share in (0.01, 0.05, 0.0)]
    score, truth = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    edges = metrics.edges_of(score[truth])
    histograms = [metrics.Histogram.of(*case, edges) for case in cases]
    assert metrics.pooled(histograms) == pytest.approx(average_precision_score(truth, score), abs=1e-3)
    twice = np.array([2.0, 1.0, 0.0])
    doubled = [np.concatenate([part, part, other]) for part, other in zip(cases[0], cases[1], strict=True)]
    assert metrics.pooled(histograms, twice) == pytest.approx(
        average_precision_score(doubled[1], doubled[0]), abs=1e-3
    )


def _histograms(rng: np.random.Generator, gain: float, subjects: int) -> list[metrics.Histogram]:
    edges = np.concatenate([[-np.inf], np.linspace(-4, 7, 400), [np.inf]])
    cases = []
    for _ in range(subjects):
        truth = rng.random(5000) < 0.02
        cases.append(metrics.Histogram.of(rng.normal(size=5000) + gain * truth, truth, edges))
    return cases


def test_the_bootstrap_sees_a_better_method_and_no_difference_where_there_is_none():
    rng = np.random.default_rng(3)
    good, poor, alike = (_histograms(rng, gain, 24) for gain in (2.5, 1.5, 2.5))
    names = [f"sub-{i // 2}" for i in range(24)]
    better = metrics.bootstrap_difference(good, poor, names)
    same = metrics.bootstrap_difference(good, alike, names)
    assert 0 < better.low < better.value < better.high
    assert same.low < 0 < same.high
    assert metrics.bootstrap_difference(good, good, names).high == 0


def test_the_bootstrap_resamples_subjects_not_their_copies():
    """Copies of one brain must not narrow the interval."""
    rng = np.random.default_rng(4)
    first, second = _histograms(rng, 2.0, 8), _histograms(rng, 1.6, 8)
    names = [f"sub-{i}" for i in range(8)]
    once = metrics.bootstrap_difference(first, second, names)
    many = metrics.bootstrap_difference(first * 5, second * 5, names * 5)
    assert many.high - many.low == pytest.approx(once.high - once.low, rel=1e-9)


def test_a_thousand_resamples_of_the_whole_set_take_seconds():
    rng = np.random.default_rng(5)
    cases = [
        metrics.Histogram(rng.integers(0, 9, metrics.BINS), rng.integers(0, 400, metrics.BINS))
        for _ in range(60)
    ]
    start = time.process_time()
    metrics.bootstrap_difference(cases, cases[::-1], [f"sub-{i % 12}" for i in range(60)])
    assert time.process_time() - start < 6


def test_the_interval_of_a_mean_covers_it():
    low, high = metrics.bootstrap_interval([1.0, 2.0, 3.0, 4.0])
    assert 1 <= low < 2.5 < high <= 4
    assert metrics.bootstrap_interval([0.7] * 5) == pytest.approx((0.7, 0.7))


def test_dice_by_hand():
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[:2, :2], second[1:3, :2] = True, True
    assert metrics.dice(first, second) == 0.5
    assert metrics.dice(first & False, second & False) == 1.0
    assert metrics.dice(first, second & False) == 0.0


def test_the_best_threshold_is_the_best():
    score, truth = _voxels(np.random.default_rng(6), 20_000, 0.05)
    edges = metrics.edges_of(score[truth])
    best, threshold = metrics.best_threshold_dice([metrics.Histogram.of(score, truth, edges)], edges)
    tried = [metrics.dice(score >= t, truth) for t in np.linspace(-1, 4, 500)]
    assert best == pytest.approx(max(tried), abs=2e-3)
    assert metrics.dice(score >= threshold, truth) == pytest.approx(best, abs=1e-9)


def test_findings_have_a_least_volume_and_touch_by_corners():
    above = np.zeros((12, 12, 12), bool)
    above[1:3, 1:3, 1:3] = True
    above[3, 3, 3] = True
    above[11, 0, 0] = True
    above[6:11, 6:11, 6:10] = True
    found = metrics.findings(above, voxel_ml=0.001, smallest_ml=0.1)
    assert found.max() == 1 and (found == 1).sum() == 100
    assert metrics.findings(above, 0.001, 0.009).max() == 2
    assert metrics.findings(above, 0.001, 0.001).max() == 3
    assert not metrics.findings(above & False, 0.001).any()


def test_the_poisson_interval_is_exact():
    assert metrics.poisson_interval(0, 10) == pytest.approx((0, 0.36889), abs=1e-4)
    low, high = metrics.poisson_interval(7, 2)
    assert poisson.sf(6, 2 * low) == pytest.approx(0.025, abs=1e-9)
    assert poisson.cdf(7, 2 * high) == pytest.approx(0.025, abs=1e-9)


def test_the_proportion_interval_is_wilsons():
    assert metrics.proportion_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)
    assert metrics.proportion_interval(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)


def test_surface_distance_of_shifted_cubes_is_the_shift():
    first, second = np.zeros((30, 30, 30), bool), np.zeros((30, 30, 30), bool)
    first[5:20, 5:20, 5:20], second[8:23, 5:20, 5:20] = True, True
    assert metrics.hd95(first, second, (2.0, 1.0, 1.0)) == 6.0
    assert metrics.hd95(first, first, (1, 1, 1)) == 0.0
    assert np.isnan(metrics.hd95(first, first & False, (1, 1, 1)))


def test_pearson_is_one_for_a_line():
    assert metrics.pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert metrics.pearson([1, 2, 3], [6, 4, 2]) == pytest.approx(-1.0)
    assert np.isnan(metrics.pearson([1, 2, 3], [5, 5, 5]))


def test_white_noise_has_a_flat_spectrum_and_a_wave_peaks_at_its_frequency():
    rng = np.random.default_rng(7)
    _, power = metrics.radial_power(2 * rng.normal(size=(48, 40, 44)), 2.0)
    assert power[3:] == pytest.approx(4.0, rel=0.35)
    assert power[3:].mean() == pytest.approx(4.0, rel=0.05)
    x = np.arange(64) * 2.0
    wave = np.sin(2 * np.pi * 0.125 * x)[:, None, None] * np.ones((64, 64, 64))
    frequency, power = metrics.radial_power(wave, 2.0)
    assert frequency[power.argmax()] == pytest.approx(0.125, abs=0.011)


def test_the_mean_power_makes_the_best_linear_filter():
    """Of a stationary Gaussian field under white noise, the Wiener filter's error is known exactly."""
    rng = np.random.default_rng(8)
    shape = (32, 40, 36)
    frequencies = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
    power = np.exp(-200 * sum(axis**2 for axis in frequencies)) + 0.01

    def field():
        return np.fft.ifftn(np.fft.fftn(rng.normal(size=shape)) * np.sqrt(power)).real

    found = metrics.mean_power([field() for _ in range(12)])
    assert found.mean() == pytest.approx(power.mean(), rel=0.05)
    truth = field()
    noisy = np.fft.fftn(truth + 0.5 * rng.normal(size=shape))
    error = (np.fft.ifftn(noisy * found / (found + 0.25)).real - truth).var()
    assert error == pytest.approx((power * 0.25 / (power + 0.25)).mean(), rel=0.1)
