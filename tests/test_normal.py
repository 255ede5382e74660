"""What healing usually leaves in normal brains: learnt from few, true in a new one, on its own side."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from braindiffusion.nets.correspondence import Correspondence
from braindiffusion.normal import Example, NormalMaps

SHAPE = (24, 28, 24)
BRAIN = np.zeros(SHAPE, np.float32)
BRAIN[3:-3, 3:-3, 3:-3] = 0.9
DEEP = binary_erosion(BRAIN > 0, iterations=4)
HERE = Correspondence(np.zeros((3, *SHAPE), np.float32))


def examples(count: int, deviation, mean=0.0, healed: np.ndarray = BRAIN, seed: int = 0) -> list[Example]:
    """Brains that lie on the mean brain, whose residuals are white noise."""
    random = np.random.default_rng(seed)
    noise = (random.normal(size=SHAPE) for _ in range(count))
    return [Example((mean + deviation * n) * (healed > 0), healed, HERE) for n in noise]


def moved(voxels: float) -> Correspondence:
    """A brain that lies `voxels` further left than the mean brain (the first axis runs to the right)."""
    field = np.zeros((3, *SHAPE), np.float32)
    field[0] = voxels
    return Correspondence(field)


def test_the_usual_residual_of_many_brains_is_found():
    normal = NormalMaps.fit(examples(40, 0.05, 0.1), BRAIN, 3.5)
    assert (normal.threshold, normal.brains) == (3.5, 40)
    usual = normal.expected(BRAIN, HERE)
    assert usual.mean[DEEP].mean() == pytest.approx(0.1 * 80 / 82, rel=0.02)
    assert usual.deviation[DEEP].mean() == pytest.approx(0.05, rel=0.06)


def test_a_place_that_varies_more_is_known_for_it():
    spread = np.where(np.arange(SHAPE[2]) < SHAPE[2] // 2, 0.03, 0.12)
    usual = NormalMaps.fit(examples(30, spread), BRAIN).expected(BRAIN, HERE)
    for part, own in ((slice(6, 8), 0.03), (slice(16, 18), 0.12)):
        assert usual.deviation[8:16, 8:20, part].mean() == pytest.approx(own, rel=0.15)


def test_borders_of_the_healed_brain_are_known_to_err_more():
    """Each brain has its fold elsewhere, and errs there: in a new brain it is expected at its own fold."""
    random, brains = np.random.default_rng(1), []
    for fold in range(6, 18):
        healed = BRAIN.copy()
        healed[fold] *= 0.5
        spread = np.full(SHAPE, 0.03)
        spread[fold - 1 : fold + 2] = 0.15
        noise = random.normal(size=SHAPE)
        brains.append(Example(spread * noise * (healed > 0), healed, HERE))
    normal, healed = NormalMaps.fit(brains, BRAIN), BRAIN.copy()
    healed[:, 14] *= 0.5
    usual = normal.expected(healed, HERE).deviation
    assert usual[8:16, 14, 8:16].mean() > 2 * usual[8:16, 7, 8:16].mean()


def test_one_z_means_the_same_everywhere_in_a_new_brain():
    spread = 0.03 + 0.09 * gaussian_filter(np.random.default_rng(5).random(SHAPE), 3)
    normal = NormalMaps.fit(examples(11, spread), BRAIN)
    new = examples(1, spread, seed=9)[0]
    usual = normal.expected(BRAIN, HERE)
    z = ((new.residual - usual.mean) / usual.deviation)[DEEP]
    assert z.std() == pytest.approx(1, abs=0.08) and abs(z.mean()) < 0.08


def test_what_normal_brains_show_is_expected_at_its_place_in_another():
    """A residual at one spot of the mean brain is expected where that spot lies in a shifted brain."""
    spot = np.zeros(SHAPE, np.float32)
    spot[8, 14, 12] = 1
    spot = gaussian_filter(spot, 1.5)
    normal = NormalMaps.fit(examples(8, 0.001, 0.3 * spot / spot.max()), BRAIN)
    mean = normal.expected(BRAIN, moved(-3.0)).mean
    assert mean[11, 14, 12] > 0.08 and mean[11, 14, 12] > 2 * mean[8, 14, 12]
    assert mean[18, 14, 12] == pytest.approx(mean[11, 14, 12], rel=1e-3), "on the other side too"


def test_examples_that_lie_elsewhere_meet_in_the_mean_brain():
    brains = []
    for shift in (-2.0, -1.0, 0.0, 1.0, 2.0):
        residual = np.zeros(SHAPE, np.float32)
        residual[int(12 - shift), 14, 12] = 1
        brains.append(Example(residual, BRAIN, moved(shift)))
    mean = NormalMaps.fit(brains, BRAIN).mean
    assert mean[12, 14, 12] == mean.max() and mean[12, 14, 12] > 5 * mean[15, 14, 12]


def test_left_and_right_are_the_same_in_normal_maps():
    """Brains that differ on one side only leave the same mark on both."""
    one_sided = examples(8, np.where(np.arange(SHAPE[0]) < 12, 0.15, 0.05)[:, None, None])
    found = NormalMaps.fit(one_sided, BRAIN)
    assert np.abs(found.mean - found.mean[::-1]).max() < 1e-6
    assert np.abs(found.deviation - found.deviation[::-1]).max() < 1e-6


def test_where_the_mean_brain_does_not_reach_the_typical_deviation_stands_in():
    normal = NormalMaps.fit(examples(12, 0.05), BRAIN)
    usual = normal.expected(BRAIN, moved(60.0))
    assert not usual.mean.any() and np.isfinite(usual.deviation).all()
    assert usual.deviation[DEEP].mean() == pytest.approx(0.05, rel=0.5)


def test_maps_come_back_from_a_file(tmp_path):
    made = NormalMaps.fit(examples(5, 0.05, 0.1), BRAIN, 4.123456789012345, 0.6)
    before = os.umask(0o022)
    try:
        made.save(tmp_path / "normal.npz")
    finally:
        os.umask(before)
    back = NormalMaps.load(tmp_path / "normal.npz")
    assert (back.threshold, back.brains, back.level) == (4.123456789012345, 5, 0.6)
    assert back.mean.dtype == back.deviation.dtype == np.float32
    for name in ("brain", "mean", "deviation"):
        own, theirs = getattr(made, name), getattr(back, name)
        assert np.abs(own - theirs).max() <= 0.01 * np.abs(own).max()
    first, second = (one.expected(BRAIN, HERE).deviation[DEEP] for one in (made, back))
    assert np.abs(first / second - 1).max() < 0.03
    if os.name != "nt":
        assert (tmp_path / "normal.npz").stat().st_mode & 0o777 == 0o644
