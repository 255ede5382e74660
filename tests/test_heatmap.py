"""The heat map: normal maps from few brains, z-scores that mean what they say, sides that stay."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from braindiffusion.healing import Healed
from braindiffusion.heatmap import (
    NormalMaps,
    calibrate,
    heat,
    regions,
    residual,
    to_template,
)
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE
from braindiffusion.imaging.template import template

SMALL = (24, 28, 24)
INSIDE = np.zeros(SMALL, np.float32)
INSIDE[3:-3, 3:-3, 3:-3] = 1.0
DEEP = binary_erosion(INSIDE > 0, iterations=4)
BRAIN = template().t1 > 0.2
IMAGE = np.where(BRAIN, 0.9, 0).astype(np.float32)


def aligned(to_template: np.ndarray | None = None) -> SimpleNamespace:
    """What the heat map uses of a frame: where its brain lies in template space."""
    matrix = np.eye(4) if to_template is None else to_template
    index = np.linalg.inv(GRID_AFFINE) @ np.linalg.inv(matrix) @ GRID_AFFINE
    return SimpleNamespace(template_index=index)


def maps(mean: float = 0.0, deviation: float = 0.05) -> NormalMaps:
    """Normal maps that are the same everywhere."""
    return NormalMaps(
        np.full(GRID_SHAPE, mean, np.float32), np.full(GRID_SHAPE, deviation, np.float32), 4.0, 12
    )


def residuals(brains: int, deviation, mean=0.0, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [(mean + deviation * random.normal(size=SMALL)) * INSIDE for _ in range(brains)]


def within(values: np.ndarray, expected: float, share: float) -> bool:
    """Whether all values are the expected one up to a share of it."""
    return bool(np.abs(values / expected - 1).max() < share)


def test_the_mean_and_spread_of_many_brains_are_found():
    found = NormalMaps.fit(residuals(40, 0.05, 0.1), [INSIDE] * 40, 3.5)
    assert found.threshold == 3.5 and found.brains == 40 and found.mean.dtype == np.float32
    shrunk = 0.1 * 80 / 86
    assert found.mean[DEEP].mean() == pytest.approx(shrunk, rel=0.02)
    assert found.deviation[DEEP].mean() == pytest.approx(np.hypot(0.05, 0.1 - shrunk), rel=0.02)
    assert found.deviation[DEEP].std() < 0.05 * 0.05, "voxels of one kind have one spread"


def test_a_region_that_varies_more_has_a_larger_spread_that_is_shrunk():
    spread = np.where(np.arange(SMALL[2]) < SMALL[2] // 2, 0.02, 0.06)
    found = NormalMaps.fit(residuals(30, spread), [INSIDE] * 30).deviation
    overall = (0.02**2 + 0.06**2) / 2
    for part, own in ((slice(5, 7), 0.02), (slice(17, 19), 0.06)):
        expected = np.sqrt((60 * own**2 + 6 * overall) / 66)
        assert found[10:14, 10:18, part].mean() == pytest.approx(expected, rel=0.06)


def test_one_brain_says_little():
    found = NormalMaps.fit(residuals(1, 0.0, 0.1), [INSIDE])
    assert within(found.mean[DEEP], 0.1 * 2 / 8, 0.01), "mostly the prior, which is 0"


def test_outside_the_brains_the_overall_spread_stands_in():
    found = NormalMaps.fit(residuals(12, 0.05), [INSIDE] * 12)
    corner = found.deviation[0, 0, 0]
    assert corner == pytest.approx(0.05, rel=0.05) and np.isfinite(found.deviation).all()
    assert found.deviation.min() > 0


def test_left_and_right_are_the_same_in_normal_maps():
    """Brains that differ on one side only leave the same mark on both."""
    one_sided = residuals(8, 0.05)
    for array in one_sided:
        array[:12] *= 3
        array[:12] += 0.1 * INSIDE[:12]
    found = NormalMaps.fit(one_sided, [INSIDE] * 8)
    assert np.abs(found.mean - found.mean[::-1]).max() < 1e-6
    assert np.abs(found.deviation - found.deviation[::-1]).max() < 1e-6
    assert found.mean[DEEP].mean() > 0.01


def test_brains_count_where_they_are():
    """What half of the brains do not show is judged by the other half."""
    half = INSIDE.copy()
    half[:, :, 12:] = 0
    some = [array * weight for array, weight in zip(residuals(20, 0.05, 0.2), [INSIDE, half] * 10)]
    found = NormalMaps.fit(some, [INSIDE, half] * 10).mean
    assert found[10:14, 10:18, 6:8].mean() == pytest.approx(0.2 * 40 / 46, rel=0.03)
    assert found[10:14, 10:18, 16:18].mean() == pytest.approx(0.2 * 20 / 26, rel=0.03)


def test_maps_come_back_from_a_file(tmp_path):
    made = NormalMaps.fit(residuals(3, 0.05, 0.1), [INSIDE] * 3, 4.123456789012345)
    before = os.umask(0o022)
    try:
        made.save(tmp_path / "normal.safetensors")
    finally:
        os.umask(before)
    back = NormalMaps.load(tmp_path / "normal.safetensors")
    assert (back.threshold, back.brains) == (4.123456789012345, 3)
    assert back.mean.dtype == back.deviation.dtype == np.float32
    assert np.abs(back.mean - made.mean).max() < 1e-4
    assert np.abs(back.deviation / made.deviation - 1).max() < 1e-3, "half precision is enough"
    if os.name != "nt":
        assert (tmp_path / "normal.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_residual_is_the_scan_minus_the_mean_of_its_samples():
    image = np.where(INSIDE > 0, 1.0, 0).astype(np.float32)
    samples = np.stack([0.8 * image, 0.6 * image])
    found = residual(image, Healed.of(samples))
    assert within(found[INSIDE > 0], 0.3, 1e-5), "up to the very edge of the brain"
    assert not found[INSIDE == 0].any()


def test_single_voxels_are_blurred_away_in_the_residual():
    image = np.ones(SMALL, np.float32)
    samples = np.ones((1, *SMALL), np.float32)
    samples[0, 12, 14, 12] = 0
    found = residual(image, Healed.of(samples))
    assert 0.05 < found[12, 14, 12] < 0.3 and found.sum() == pytest.approx(1, abs=1e-3)


def gaussian_brains(count: int, seed: int) -> list[np.ndarray]:
    """Healed samples [1, 80, 96, 80] of brains whose residual is white noise of SD 0.1."""
    random = np.random.default_rng(seed)
    return [
        (IMAGE - 0.1 * random.standard_normal(GRID_SHAPE) * BRAIN)[None].astype(np.float32)
        for _ in range(count)
    ]


def test_z_is_calibrated_on_gaussian_residuals():
    """In a new brain 4.6 % of the voxels lie above 2 and 0.27 % above 3."""
    normal = NormalMaps.fit(
        [residual(IMAGE, Healed.of(s)) for s in gaussian_brains(6, 0)], [BRAIN.astype(np.float32)] * 6
    )
    warm = heat(IMAGE, Healed.of(gaussian_brains(1, 99)[0]), aligned(), normal)
    deep = binary_erosion(BRAIN, iterations=5)
    assert (warm.z[deep] > 2).mean() == pytest.approx(0.0455, abs=0.012)
    assert (warm.z[deep] > 3).mean() == pytest.approx(0.0027, abs=0.0015)
    assert abs(warm.signed[deep].mean()) < 0.05 and np.array_equal(warm.z, np.abs(warm.signed))
    assert not warm.z[~BRAIN].any() and not warm.spread.any(), "one sample has no spread"


def test_brighter_is_positive_and_the_normal_mean_is_taken_away():
    samples = (IMAGE - 0.2 * BRAIN)[None].astype(np.float32)
    assert within(heat(IMAGE, Healed.of(samples), aligned(), maps()).signed[BRAIN], 4, 1e-3)
    assert within(heat(IMAGE, Healed.of(samples), aligned(), maps(mean=0.25)).signed[BRAIN], -1, 2e-3)


def test_doubt_among_the_samples_lowers_z():
    change = 0.3 * BRAIN
    agreed = np.stack([IMAGE - change, IMAGE - change]).astype(np.float32)
    doubted = np.stack([IMAGE - 1.5 * change, IMAGE - 0.5 * change]).astype(np.float32)
    sure, unsure = (heat(IMAGE, Healed.of(samples), aligned(), maps()) for samples in (agreed, doubted))
    deep = binary_erosion(BRAIN, iterations=3)
    assert sure.spread.max() == 0
    assert within(unsure.spread[deep], 0.15 * 2**0.5, 1e-4)
    assert within(unsure.z[deep], 0.3 / np.hypot(0.05, 0.15), 0.01)
    assert (unsure.z[BRAIN] < sure.z[BRAIN]).all()


def blob(centre_mm: tuple[float, float, float], radius_mm: float = 9.0) -> np.ndarray:
    """1 within `radius_mm` of a place in RAS mm on the model grid."""
    axes = (GRID_AFFINE[i, i] * np.arange(n) + GRID_AFFINE[i, 3] for i, n in enumerate(GRID_SHAPE))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return (np.linalg.norm(grid - centre_mm, axis=-1) < radius_mm).astype(np.float32)


def middle_mm(values: np.ndarray) -> np.ndarray:
    """Centre of mass in RAS mm."""
    places = np.argwhere(values > 0)
    return np.average(places, axis=0, weights=values[values > 0]) @ GRID_AFFINE[:3, :3].T + GRID_AFFINE[:3, 3]


TO_TEMPLATE = np.diag([1.1, 0.95, 1.05, 1.0])
TO_TEMPLATE[:3, 3] = [3.0, -6.0, 4.0]
LEFT_FRONT = np.array([-40.0, 20.0, 30.0])


def test_a_map_reaches_template_space_on_its_own_side():
    there = to_template(blob(LEFT_FRONT), aligned(TO_TEMPLATE))
    assert middle_mm(there) == pytest.approx((TO_TEMPLATE @ [*LEFT_FRONT, 1])[:3], abs=0.5)
    assert there.sum() == pytest.approx(blob(LEFT_FRONT).sum() * np.linalg.det(TO_TEMPLATE), rel=0.03)


def test_normal_maps_reach_a_brain_on_its_own_side():
    """What normal brains show in the left front is taken away there, and nowhere else."""
    place = (TO_TEMPLATE @ [*LEFT_FRONT, 1])[:3]
    normal = NormalMaps(0.3 * blob(place), np.full(GRID_SHAPE, 0.05, np.float32), 4.0, 12)
    warm = heat(IMAGE, Healed.of(IMAGE[None]), aligned(TO_TEMPLATE), normal)
    assert middle_mm(warm.z * (warm.z > 3)) == pytest.approx(LEFT_FRONT, abs=0.7)
    assert warm.signed.min() < -5 and warm.signed.max() == 0


def test_outside_the_templates_grid_the_typical_deviation_stands_in():
    far = np.eye(4)
    far[0, 3] = 60.0
    samples = (IMAGE - 0.2 * BRAIN)[None].astype(np.float32)
    assert within(heat(IMAGE, Healed.of(samples), aligned(far), maps()).signed[BRAIN], 4, 0.01)


def test_regions_are_sorted_by_size_and_small_ones_are_none():
    z = np.zeros(GRID_SHAPE, np.float32)
    z[10:13, 10:12, 10:12] = 9.0  # 12 voxels, 0.096 ml
    z[30:33, 30:33, 30:32] = 5.0  # 18 voxels
    z[50:54, 50:54, 50:54] = 4.0  # 64 voxels
    z[60:73, 60, 60] = 4.0  # 13 voxels, 0.104 ml
    numbered, count = regions(z, 4.0)
    assert count == 3 and [int((numbered == n).sum()) for n in range(5)][1:] == [64, 18, 13, 0]
    assert numbered[51, 51, 51] == 1 and numbered[11, 11, 11] == 0
    assert regions(z, 4.1)[1] == 1 and regions(z, 4.0, smallest_ml=0.05)[1] == 4 and regions(z, 10)[1] == 0


def test_voxels_that_touch_at_a_corner_are_one_region():
    z = np.zeros(GRID_SHAPE, np.float32)
    for start in (20, 22, 24):
        z[start : start + 2, start : start + 2, start : start + 2] = 5.0
    assert regions(z, 4.0)[1] == 1


def normal_heat(count: int, seed: int) -> list[np.ndarray]:
    """|z| maps of smooth Gaussian fields."""
    random = np.random.default_rng(seed)
    fields = [gaussian_filter(random.standard_normal((40, 48, 40)), 1.5) for _ in range(count)]
    return [np.abs(field / field.std()) for field in fields]


@pytest.mark.parametrize("allowed", [0.0, 1.0, 3.0])
def test_the_calibrated_threshold_keeps_its_promise(allowed):
    brains = normal_heat(6, 0)
    threshold = calibrate(brains, allowed)
    per_brain = [sum(regions(z, t)[1] for z in brains) / 6 for t in (threshold, threshold - 0.15)]
    assert per_brain[0] <= allowed < per_brain[1], "and it is no higher than needed"
    assert 2 < threshold < 5


def test_nothing_to_find_calibrates_to_the_lowest_threshold():
    assert calibrate([np.zeros(GRID_SHAPE)]) == pytest.approx(1.0, abs=1e-3)
