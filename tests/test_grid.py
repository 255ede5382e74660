"""The model grid: arrays keep their place in space when they move between grids."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.imaging.grid import (
    GRID_AFFINE,
    GRID_CENTRE,
    GRID_SHAPE,
    GRID_SPACING,
    resample,
    sample,
    sample_at,
    smooth_for,
    spacing_of,
    upright,
)
from braindiffusion.imaging.template import template
from scan_files import oblique


def at(affine: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Voxel index -> millimetre, or the other way with the inverse."""
    return affine[:3, :3] @ point + affine[:3, 3]


def ball(shape: tuple[int, ...], affine: np.ndarray, centre_mm: np.ndarray, sigma_mm: float) -> np.ndarray:
    """A Gaussian ball of `sigma_mm` around a place in space."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = index @ affine[:3, :3].T + affine[:3, 3] - centre_mm
    return np.exp(-0.5 * (distance**2).sum(-1) / sigma_mm**2).astype(np.float32)


def centroid_mm(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"), -1).reshape(-1, 3)
    return at(affine, np.average(index, axis=0, weights=data.ravel()))


def test_the_grid_is_upright_ras_and_its_centre_is_its_middle():
    assert np.array_equal(GRID_AFFINE[:3, :3], GRID_SPACING * np.eye(3))
    corners = [at(GRID_AFFINE, np.zeros(3)), at(GRID_AFFINE, np.array(GRID_SHAPE) - 1.0)]
    assert np.allclose(np.mean(corners, axis=0), GRID_CENTRE)
    assert GRID_CENTRE[0] == 0, "a left-right flip of the array is a flip about the template's midline"
    assert all(side % 16 == 0 for side in GRID_SHAPE), "the networks halve it four times"
    assert np.allclose(upright(GRID_SPACING, GRID_SHAPE, GRID_CENTRE), GRID_AFFINE)


def test_the_template_lies_inside_the_grid_and_is_shared_read_only():
    maps = template()
    for array in maps:
        assert array.shape == GRID_SHAPE and array.dtype == np.float32
        assert 0 <= array.min() and 0.9 < array.max() <= 1
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1
    for axis in range(3):
        for end in (0, -1):
            assert not (np.take(maps.t1, end, axis) > 0.1).any()
    white = maps.t1[maps.white > 0.9].mean()
    grey = maps.t1[maps.grey > 0.9].mean()
    assert grey < 0.85 * white
    assert template() is maps


def test_spacing_is_the_length_of_the_columns():
    assert np.allclose(spacing_of(oblique((0.7, 1.3, 3.0))), (0.7, 1.3, 3.0))


def test_sampling_on_the_same_grid_changes_nothing():
    data = np.random.default_rng(0).random((7, 8, 9), np.float32)
    for order in (0, 1, 3):
        assert np.allclose(sample(data, np.eye(4), data.shape, order), data, atol=1e-5)


def test_outside_is_zero():
    shift = np.eye(4)
    shift[0, 3] = 2
    moved = sample(np.ones((4, 4, 4), np.float32), shift, (4, 4, 4))
    assert (moved[:2] == 1).all() and not moved[2:].any()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_labels_keep_their_type_and_their_values(kind):
    labels = np.random.default_rng(1).choice(np.array([0, 2, 41, 77], kind), (9, 9, 9))
    turned = sample(
        labels, np.array([[0, 1, 0, 0.2], [1, 0, 0, -0.3], [0, 0, 1, 0.1], [0, 0, 0, 1]]), (9, 9, 9), 0
    )
    assert turned.dtype == kind and set(np.unique(turned)) <= {0, 2, 41, 77}
    assert np.array_equal(turned[2:7, 2:7, 2:7], labels.swapaxes(0, 1)[2:7, 2:7, 2:7])


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int16])
def test_whole_numbers_are_interpolated_as_numbers(kind):
    """A mask or an integer scan between two voxels has a value between theirs."""
    step = np.zeros((4, 4, 4), kind)
    step[2:] = 1
    half = np.eye(4)
    half[0, 3] = 0.5
    assert np.allclose(sample(step, half, (3, 4, 4))[:, 1, 1], (0, 0.5, 1))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.8, 3.0)])
def test_resampling_keeps_places(spacing):
    shape = tuple(int(70 / s) for s in spacing)
    affine = oblique(spacing)
    middle = at(affine, (np.array(shape) - 1) / 2)
    place = middle + (4.0, -6.0, 5.0)
    data = ball(shape, affine, place, 4.0)
    moved = resample(data, affine, 2.0, (40, 44, 36), middle + 1.0)
    assert moved.dtype == np.float32
    found = centroid_mm(moved, upright(2.0, (40, 44, 36), middle + 1.0))
    assert np.abs(found - place).max() < 0.1
    assert moved.sum() * 8 == pytest.approx(data.sum() * np.prod(spacing), rel=0.02)


def test_smoothing_stops_aliasing_on_fine_axes_and_leaves_coarse_axes_alone():
    stripes = np.zeros((40, 20, 20), np.float32)
    stripes[::2] = 1
    calm = smooth_for(stripes, np.array([1.0, 1.0, 1.0]), 4.0)[10:30, 10, 10]
    assert np.ptp(calm) < 0.01 and calm.mean() == pytest.approx(0.5, abs=0.01)
    assert smooth_for(stripes, np.array([2.0, 2.0, 3.0]), 2.0) is stripes
    along = smooth_for(stripes.swapaxes(0, 2), np.array([1.0, 1.0, 4.0]), 4.0)
    assert np.ptp(along[10, 10, 5:35]) == 1, "an axis that is coarser already is not blurred"


def test_sampling_some_voxels_gives_them_what_sampling_all_does():
    random = np.random.default_rng(3)
    data, where = random.normal(size=(9, 8, 7)).astype(np.float32), random.random((12, 11, 10)) > 0.6
    to_index = np.linalg.inv(oblique((1.2, 1.2, 1.2))) @ oblique((0.9, 0.8, 0.7))
    every, some = sample(data, to_index, where.shape, 3), sample_at(data, to_index, where, 3)
    assert np.abs(some - every[where]).max() < 1e-4 and some.dtype == np.float32
