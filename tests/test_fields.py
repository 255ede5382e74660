"""Random fields and deformations: smooth, invertible, reproducible, and in the place that they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from braindiffusion.training.fields import (
    chance,
    diffeomorphism,
    gaussian_blur,
    identity_grid,
    log_uniform,
    random_linear,
    smooth_field,
    uniform,
    warp,
)
from oracles import seeded

SHAPE = (40, 48, 40)


def jacobian(displacement: torch.Tensor) -> torch.Tensor:
    """Determinant of the deformation's derivative at every voxel but the last of each axis."""
    points = identity_grid(tuple(displacement.shape[1:])) + displacement
    rows = [points.diff(dim=axis + 1)[:, :-1, :-1, :-1] for axis in range(3)]
    sides = [min(row.shape[i + 1] for row in rows) for i in range(3)]
    matrix = torch.stack([row[:, : sides[0], : sides[1], : sides[2]] for row in rows], 1)
    return torch.linalg.det(matrix.permute(2, 3, 4, 0, 1))


def test_one_seed_gives_one_sequence():
    first, again = (
        [
            uniform(g, -2, 3),
            log_uniform(g, 0.1, 40),
            float(chance(g, 0.5)),
            float(random_linear(g, 9, 0.1, 0.1)[0, 0]),
        ]
        for g in (seeded(4), seeded(4))
    )
    assert first == again
    assert torch.equal(smooth_field(seeded(2), SHAPE, 9), smooth_field(seeded(2), SHAPE, 9))
    assert torch.equal(diffeomorphism(seeded(2), SHAPE, 1.0, 20), diffeomorphism(seeded(2), SHAPE, 1.0, 20))
    assert not torch.equal(
        diffeomorphism(seeded(2), SHAPE, 1.0, 20), diffeomorphism(seeded(3), SHAPE, 1.0, 20)
    )


def test_numbers_stay_in_their_range():
    g = seeded()
    linear = [uniform(g, -2, 3) for _ in range(300)]
    logarithmic = np.array([log_uniform(g, 0.1, 10) for _ in range(300)])
    assert min(linear) >= -2 and max(linear) <= 3 and abs(np.mean(linear) - 0.5) < 0.3
    assert logarithmic.min() >= 0.1 and logarithmic.max() <= 10
    assert abs((logarithmic < 1).mean() - 0.5) < 0.1, "as many between 0.1 and 1 as between 1 and 10"
    assert abs(np.mean([chance(g, 0.2) for _ in range(1000)]) - 0.2) < 0.05


@pytest.mark.parametrize("wavelength", [5, 12])
def test_a_smooth_field_has_unit_variance_and_is_smooth(wavelength):
    fields = torch.stack([smooth_field(seeded(i), SHAPE, wavelength)[0] for i in range(12)])
    assert 0.7 < float(fields.std()) < 1.3 and abs(float(fields.mean())) < 0.2
    assert float(fields.diff(dim=1).std()) < 2.5 / wavelength
    assert smooth_field(seeded(), SHAPE, wavelength, 3).shape == (3, *SHAPE)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_warping_agrees_with_scipy(mode):
    image = torch.rand((2, 9, 11, 8), generator=seeded())
    points = torch.rand((3, 6, 7, 5), generator=seeded(1)) * torch.tensor([8.0, 10, 7]).view(3, 1, 1, 1)
    expected = [
        map_coordinates(c, points.numpy(), order=1 if mode == "bilinear" else 0) for c in image.numpy()
    ]
    assert np.abs(warp(image, points, mode).numpy() - np.stack(expected)).max() < 1e-4


def test_warping_is_zero_outside_and_nothing_on_the_identity():
    image = torch.rand((1, 6, 7, 8), generator=seeded()) + 1
    grid = identity_grid((6, 7, 8))
    assert torch.allclose(warp(image, grid), image, atol=1e-5)
    assert not warp(image, grid + 20).any()


@pytest.mark.parametrize(("amplitude", "wavelength"), [(1.75, 20), (0.8, 16), (1.75, 50)])
def test_deformations_fold_nowhere_and_are_as_large_as_asked(amplitude, wavelength):
    moves = [diffeomorphism(seeded(i), SHAPE, amplitude, wavelength) for i in range(6)]
    assert moves[0].shape == (3, *SHAPE)
    assert min(float(jacobian(move).min()) for move in moves) > 0.1
    assert 0.6 < float(torch.stack(moves).square().mean().sqrt()) / amplitude < 1.4


def test_large_deformations_fold_nowhere_either():
    """Scaling and squaring keeps what a plain displacement of this size would tear."""
    assert min(float(jacobian(diffeomorphism(seeded(i), SHAPE, 4.0, 24)).min()) for i in range(6)) > 0


def test_no_amplitude_is_no_deformation():
    assert not diffeomorphism(seeded(), SHAPE, 0.0, 20).any()


@pytest.mark.parametrize("sigma", [0.7, (1.5, 0.0, 0.4), 2.2])
def test_blur_agrees_with_scipy(sigma):
    image = torch.rand((2, 20, 22, 18), generator=seeded())
    expected = [gaussian_filter(c, sigma, mode="constant", truncate=4) for c in image.numpy()]
    assert np.abs(gaussian_blur(image, sigma).numpy() - np.stack(expected)).max() < 0.02


def test_blur_keeps_the_sum_of_what_lies_inside():
    image = torch.zeros((1, 30, 30, 30))
    image[:, 10:18, 12:20, 11:15] = torch.rand((8, 8, 4), generator=seeded())
    for sigma in (0.0, 0.5, (1.0, 2.0, 0.0)):
        assert float(gaussian_blur(image, sigma).sum()) == pytest.approx(float(image.sum()), rel=1e-4)
    assert gaussian_blur(image, 0.0) is image
    assert torch.allclose(gaussian_blur(torch.ones(1, 20, 20, 20), 1.0)[:, 5:15, 5:15, 5:15], torch.ones(1))


def test_linear_parts_turn_and_stretch_within_their_limits():
    assert torch.equal(random_linear(seeded(), 0, 0, 0), torch.eye(3))
    for seed in range(20):
        turn = random_linear(seeded(seed), 20, 0, 0)
        assert (
            torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-5) and float(torch.linalg.det(turn)) > 0.999
        )
        whole = random_linear(seeded(seed), 20, 0.15, 0.1)
        assert 0.85**3 <= float(torch.linalg.det(whole)) <= 1.15**3
