"""The smooth continuation of an image into a region: exact where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.imaging.membrane import Membrane, box_around, steepness

SHAPE = (14, 12, 10)
SPACING = np.array([1.0, 2.0, 0.5])


def place() -> tuple[np.ndarray, np.ndarray]:
    """Millimetre of every voxel [3, X, Y, Z], and a region inside the grid."""
    mm = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING)), indexing="ij"))
    region = np.zeros(SHAPE, bool)
    region[3:10, 2:9, 3:8] = True
    region[5, 5, 5] = False
    return mm, region


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_a_slope_goes_on_exactly_whatever_was_in_the_region(dtype):
    """Also where voxels are longer in one direction than in another."""
    mm, region = place()
    slope = (100 + 4 * mm[0] - 3 * mm[1] + 6 * mm[2]).astype(dtype)
    spoilt = np.where(region, 9999, slope).astype(dtype)
    filled = Membrane(region, ~region, SPACING)(spoilt)
    assert filled.dtype == np.float32 and np.abs(filled - slope[region]).max() < 0.02


def test_a_saddle_is_harmonic_and_goes_on_exactly():
    mm, region = place()
    saddle = mm[0] ** 2 - mm[1] ** 2
    assert np.abs(Membrane(region, ~region, SPACING)(saddle) - saddle[region]).max() < 0.02


def test_it_solves_laplaces_equation_in_a_region_of_many_blocks():
    """Each voxel is the mean of its neighbours, to a thousandth of what the border differs by."""
    generator = np.random.default_rng(0)
    image = generator.random((26, 24, 22))
    region = np.zeros(image.shape, bool)
    region[1:-1, 1:-1, 1:-1] = generator.random((24, 22, 20)) < 0.9
    image[region] = Membrane(region, ~region, np.ones(3))(image)
    around = sum(np.roll(image, step, axis) for axis in range(3) for step in (1, -1)) / 6
    assert np.abs(around - image)[region].max() < 1e-3


def test_it_stays_between_the_values_at_the_border():
    _, region = place()
    noise = np.random.default_rng(0).uniform(5, 7, SHAPE)
    filled = Membrane(region, ~region, SPACING)(noise)
    assert 5 <= filled.min() < 6 < filled.max() <= 7


def test_what_is_not_known_lets_nothing_through():
    """Beyond the brain's edge lies background, which must not darken the brain."""
    mm, region = place()
    known = ~region & (mm[0] < 8)
    image = np.where(known, 50.0, 0.0)
    assert np.abs(Membrane(region, known, SPACING)(image) - 50).max() < 0.01


def test_a_piece_that_touches_nothing_known_is_as_the_others_are_on_average():
    region = np.zeros(SHAPE, bool)
    region[2:5, 2:5, 2:5] = region[9:12, 5:8, 5:8] = True
    known = np.zeros(SHAPE, bool)
    known[:7] = True
    filled = np.zeros(SHAPE)
    filled[region] = Membrane(region, known, SPACING)(np.full(SHAPE, 3.0))
    assert np.abs(filled[region] - 3).max() < 1e-3
    assert not Membrane(region, np.zeros(SHAPE, bool), SPACING)(np.full(SHAPE, 3.0)).any()


def test_it_reaches_the_grids_edge():
    region = np.zeros(SHAPE, bool)
    region[10:, :, :] = True
    assert np.abs(Membrane(region, ~region, SPACING)(np.full(SHAPE, 2.0)) - 2).max() < 1e-3


def test_the_box_is_the_regions_and_stays_on_the_grid():
    _, region = place()
    assert box_around(region, 0) == (slice(3, 10), slice(2, 9), slice(3, 8))
    assert box_around(region, 4) == (slice(0, 14), slice(0, 12), slice(0, 10))


def test_steepness_is_a_difference_per_millimetre():
    mm, region = place()
    assert steepness(5 * mm[1], region, region, SPACING) == pytest.approx(5 / 3, rel=0.1)
    step = np.where(region, 10.0, 0.0)
    face = np.zeros(SHAPE, bool)
    face[2, 3:8, 4:7] = True
    assert steepness(step, region, face, SPACING) == 10.0
    assert steepness(step, region, np.zeros(SHAPE, bool), SPACING) is None
