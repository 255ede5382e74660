"""Brains at 1 mm: tiles leave no seam, the seed decides, and the coarse brain is what it was."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from braindiffusion.diffusion.path import VarianceExploding
from braindiffusion.imaging.grid import (
    FINE_AFFINE,
    FINE_SHAPE,
    GRID_AFFINE,
    GRID_SHAPE,
    GRID_SPACING,
    TO_GRID,
    sample,
    smooth_for,
)
from braindiffusion.nets.detail import (
    DetailDenoiser,
    DetailNet,
    Seen,
    coarsened,
    expected_of,
    interpolated,
    places,
)
from braindiffusion.sharpening import MARGIN, OVERLAP, TILE, around, sharpen, spans, tiles
from braindiffusion.telling import finished

SMALL = (36, 36, 36)
SPREAD = 0.05


def ball() -> np.ndarray:
    """A brain [80, 96, 80] with folds: stripes of grey and white matter in a ball."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in GRID_SHAPE), indexing="ij")
    stripes = 0.85 + 0.15 * np.sin(x / 2) * np.cos(y / 3)
    return (stripes * ((x / 30) ** 2 + (y / 38) ** 2 + (z / 28) ** 2 < 1)).astype(np.float32)


@dataclass
class Local:
    """A denoiser whose answer depends on a voxel's neighbours alone: the noisy brain, blurred, beside what is
    expected.
    """

    shown: list[tuple[int, ...]]

    def __call__(self, x, node, seen: Seen):
        self.shown.append(tuple(x.shape))
        difference = functional.avg_pool3d(x - seen.expected, 3, 1, 1, count_include_pad=False)
        gain = SPREAD**2 / (SPREAD**2 + node.sigma**2)
        texture = 0.02 * seen.expected * interpolated(seen.places).sum(1, keepdim=True).cos()
        return seen.expected + gain * difference + texture


def made_by(denoise, most=TILE, seed=3, brain=None, steps=5) -> np.ndarray:
    model = SimpleNamespace(
        detail_denoiser=lambda device, precision: denoise, path=VarianceExploding(0.005, 0.5)
    )
    return finished(sharpen(model, [ball() if brain is None else brain], [seed], steps, most=most))[0]


def test_the_grids_have_one_field_of_view():
    corners = [np.array([-0.5, -0.5, -0.5, 1.0]), np.array([*(np.array(GRID_SHAPE) - 0.5), 1.0])]
    fine = [np.array([-0.5, -0.5, -0.5, 1.0]), np.array([*(np.array(FINE_SHAPE) - 0.5), 1.0])]
    for coarse_corner, fine_corner in zip(corners, fine):
        np.testing.assert_allclose(FINE_AFFINE @ fine_corner, GRID_AFFINE @ coarse_corner)


def test_interpolation_and_coarsening_keep_every_point_in_its_place():
    ramp = np.add.outer(np.add.outer(np.arange(80.0), 2 * np.arange(96.0)), 3 * np.arange(80.0))
    fine = interpolated(torch.from_numpy(ramp)[None, None])
    at = np.stack(np.meshgrid(*(np.arange(n) for n in FINE_SHAPE), indexing="ij"))
    inner = (slice(6, -6),) * 3
    slopes = np.array([1, 2, 3])[:, None, None, None]
    np.testing.assert_allclose(fine[0, 0].numpy()[inner], (slopes * (at / 2 - 0.25)).sum(0)[inner])
    np.testing.assert_allclose(coarsened(fine)[0, 0].numpy()[inner], ramp[inner], rtol=1e-5)


def test_coarsening_is_what_a_frame_does():
    fine = np.random.default_rng(0).random(FINE_SHAPE, np.float32)
    seen = sample(smooth_for(fine, np.ones(3), GRID_SPACING), np.linalg.inv(TO_GRID), GRID_SHAPE)
    made = coarsened(torch.from_numpy(fine)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(made[2:-2, 2:-2, 2:-2], seen[2:-2, 2:-2, 2:-2], atol=1e-5)


def test_what_is_expected_looks_like_the_coarse_brain_when_it_is_blurred_again():
    """Interpolation alone does not: it blurs what is blurred already."""
    coarse = torch.from_numpy(ball())[None, None]
    errors = [
        float((coarsened(fine) - coarse)[coarse > 0].square().mean().sqrt())
        for fine in (interpolated(coarse), expected_of(coarse))
    ]
    assert errors[1] < errors[0] / 2
    assert not expected_of(coarse)[interpolated(coarse) == 0].any() and expected_of(coarse).min() >= 0


@pytest.mark.parametrize(("side", "longest"), [((4, 76), 80), ((0, 96), 56), ((2, 94), 36), ((0, 80), 10)])
def test_tiles_count_every_voxel_once(side, longest):
    parts = spans(slice(*side), longest)
    total = torch.zeros(2 * 96)
    for part, weight in parts:
        assert part.start % 2 == part.stop % 2 == 0 and part.stop - part.start <= max(longest, 3 * OVERLAP)
        assert weight.min() >= 0
        total[2 * part.start : 2 * part.stop] += weight
    torch.testing.assert_close(total[2 * side[0] : 2 * side[1]], torch.ones(2 * (side[1] - side[0])))


def test_tiled_is_untiled_for_a_denoiser_that_looks_near():
    whole, cut = Local([]), Local([])
    first, second = made_by(whole, GRID_SHAPE), made_by(cut, SMALL)
    assert len(cut.shown) > 8 * len(whole.shown)
    assert max(max(shape[2:]) for shape in cut.shown) <= 2 * max(SMALL)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_shipped_kind_of_network_leaves_no_seam():
    """Tiles suffer from their borders; where one gives way to another the brain is as steep as elsewhere."""
    torch.manual_seed(0)
    net = DetailNet((8, 8), (1, 1, 1), 16).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    denoise = DetailDenoiser(net, SPREAD)
    whole, cut = (made_by(denoise, most, steps=2) for most in (GRID_SHAPE, SMALL))
    assert np.quantile(np.abs(whole - cut)[whole > 0], 0.999) < 0.01
    steps, (x, _, _) = np.abs(np.diff(cut, axis=0)), around(ball())
    inside = (cut[1:] > 0) & (cut[:-1] > 0)
    seams = {2 * part.start + n for part, _ in spans(x, SMALL[0])[1:] for n in range(2 * OVERLAP)}
    across = np.isin(np.arange(len(steps)), list(seams))
    ratio = steps[across][inside[across]].mean() / steps[~across][inside[~across]].mean()
    whole_steps = np.abs(np.diff(whole, axis=0))
    usual = whole_steps[across][inside[across]].mean() / whole_steps[~across][inside[~across]].mean()
    assert ratio == pytest.approx(usual, rel=0.01)


def test_the_same_seed_gives_the_same_voxels_and_another_gives_others():
    first, again, other = (made_by(Local([]), seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other)[ball().repeat(2, 0).repeat(2, 1).repeat(2, 2) > 0].std() > 0.001


def test_brains_beside_each_other_change_nothing():
    model = SimpleNamespace(
        detail_denoiser=lambda device, precision: Local([]), path=VarianceExploding(0.005, 0.5)
    )
    both = finished(sharpen(model, [ball(), ball()[::-1]], [3, 4], 2))
    alone = finished(sharpen(model, [ball()[::-1]], [4], 2))
    np.testing.assert_array_equal(both[1], alone[0])


def test_background_stays_and_no_brain_stays_none():
    made = made_by(Local([]))
    far = gaussian_filter(ball().repeat(2, 0).repeat(2, 1).repeat(2, 2), 3) < 1e-3
    assert not made[far].any() and (made >= 0).all() and made.any()
    assert not made_by(Local([]), brain=np.zeros(GRID_SHAPE, np.float32)).any()


def test_the_box_has_a_margin_and_even_ends():
    for part, n in zip(around(ball()), (60, 76, 56)):
        assert part.start % 2 == part.stop % 2 == 0
        assert n + 2 * MARGIN <= part.stop - part.start <= n + 2 * MARGIN + 4
    touching = np.zeros(GRID_SHAPE, np.float32)
    touching[0, 95, 40] = 1
    assert [(p.start, p.stop) for p in around(touching)] == [(0, 6), (90, 96), (36, 46)]


def test_a_network_without_training_gives_what_is_expected():
    """Its last layer is 0, so that noise goes and nothing comes."""
    torch.manual_seed(0)
    made = made_by(DetailDenoiser(DetailNet((8, 8), (1, 1, 1), 16).eval().requires_grad_(False), SPREAD))
    expected = expected_of(torch.from_numpy(ball())[None, None])[0, 0].numpy()
    inside = expected > 0.5
    assert np.abs(made - expected)[inside].mean() < 2 * SPREAD


def test_coordinates_are_those_of_the_whole_grid():
    """A tile's are a part of them (PatchDDM): they say where it lies."""
    at = places(GRID_SHAPE)
    assert at.min() == -1 and at.max() == 1 and at[:, 0, 0, 0].tolist() == [-1, -1, -1]
    seen = Seen(torch.zeros(1, 1, *FINE_SHAPE), at[None])
    for tile in tiles((slice(0, 80), slice(0, 96), slice(0, 80)), SMALL):
        x, y, z = tile.box
        torch.testing.assert_close(tile.of(seen).places[0], at[:, x, y, z], rtol=0, atol=0)
