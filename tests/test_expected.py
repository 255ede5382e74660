"""What the training brains look like: maps that ship, and where they are brought to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from braindiffusion.imaging.expected import LEAST_DEVIATION, expected, population
from braindiffusion.imaging.grid import GRID_SHAPE
from braindiffusion.imaging.template import template
from braindiffusion.nets.anatomy import mirror
from braindiffusion.nets.warping import identity_grid, warp
from braindiffusion.training.brains import Brain, draw_brain
from braindiffusion.training.fields import gaussian_blur


def test_the_population_is_a_brain_in_template_space():
    mean, deviation = population().aligned
    brain = template().t1 > 0.3
    assert mean.shape == deviation.shape == population().typical.shape == GRID_SHAPE
    blurred = gaussian_filter(template().t1, 2)
    assert np.corrcoef(mean[brain], blurred[brain])[0, 1] > 0.7
    assert np.median(mean[template().white > 0.95]) == pytest.approx(1.0, abs=0.05), "white matter is 1"
    assert deviation.min() >= LEAST_DEVIATION and np.median(deviation[template().white > 0.95]) < 0.15
    assert mean[0].max() == 0


def test_mirror_images_count_so_the_population_is_symmetric():
    for array in (population().aligned.mean, population().typical):
        assert np.abs(array - array[::-1]).mean() < 0.01


def test_expected_follows_the_place():
    """A brain that lies 3 voxels further right than the template is expected 3 voxels further right."""
    place = np.eye(4)
    place[0, 3] = -3.0
    moved, still = expected(place), population().aligned
    assert np.allclose(moved.mean[3:], still.mean[:-3], atol=1e-5)
    assert np.allclose(moved.deviation[3:], still.deviation[:-3], atol=1e-5)
    assert moved.deviation.min() >= LEAST_DEVIATION


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_brain_knows_where_it_lies(seed):
    """The template sampled at the place that a drawn copy of it reports is that copy, mirrored or not."""
    whole = torch.from_numpy(template().t1.copy())
    fine = torch.nn.functional.interpolate(whole[None, None], scale_factor=2, mode="trilinear")[0, 0]
    place = torch.eye(4)
    place[1, 3] = 5.0
    to_template = mirror(GRID_SHAPE) @ place @ mirror(GRID_SHAPE)
    brain = Brain("template", 30.0, 0.0, (127 * fine).round().byte(), to_template)
    drawn = draw_brain(torch.Generator().manual_seed(seed), brain)
    points = torch.einsum("ij,jxyz->ixyz", drawn.to_template[:3, :3], identity_grid(GRID_SHAPE))
    points = points + drawn.to_template[:3, 3].view(3, 1, 1, 1)
    points[1] -= 5.0
    found = warp(whole[None], points)
    correlation = np.corrcoef(
        gaussian_blur(found, 1.0)[0].flatten(), gaussian_blur(drawn.image[None], 1.0)[0].flatten()
    )[0, 1]
    assert correlation > 0.97
    assert drawn.growth == pytest.approx(1 / float(torch.linalg.det(drawn.to_template[:3, :3])), rel=1e-4)
