"""Smooth random fields and deformations on the model grid, all from an explicit torch.Generator."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ..nets.warping import identity_grid, warp


def uniform(generator: Generator, low: float, high: float) -> float:
    """One number between `low` and `high`."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def log_uniform(generator: Generator, low: float, high: float) -> float:
    """One positive number, uniform in its logarithm."""
    return math.exp(uniform(generator, math.log(low), math.log(high)))


def chance(generator: Generator, probability: float) -> bool:
    return float(torch.rand((), generator=generator)) < probability


def smooth_field(
    generator: Generator, shape: tuple[int, ...], wavelength: float, channels: int = 1
) -> Tensor:
    """Gaussian field [channels, X, Y, Z] of about unit variance whose features are `wavelength` voxels
    across.
    """
    coarse = [max(2, round(n / wavelength) + 1) for n in shape]
    seed = torch.randn(1, channels, *coarse, generator=generator)
    # Trilinear interpolation averages its nodes; 1.5 restores about unit variance.
    return 1.5 * functional.interpolate(seed, size=tuple(shape), mode="trilinear", align_corners=True)[0]


def rolled(generator: Generator, field: Tensor) -> Tensor:
    """`field` [X, Y, Z] shifted round its grid at random, so that its nodes lie anywhere."""
    shifts = [int(torch.randint(n, (), generator=generator)) for n in field.shape]
    return field.roll(shifts, (0, 1, 2))


def moved_grid(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Voxel indices [3, X, Y, Z] after an affine `matrix` (4, 4)."""
    return (
        torch.einsum("ij,jxyz->ixyz", matrix[:3, :3], identity_grid(shape)) + matrix[:3, 3, None, None, None]
    )


def diffeomorphism(
    generator: Generator, shape: tuple[int, ...], amplitude: float, wavelength: float
) -> Tensor:
    """Displacement [3, X, Y, Z] in voxels of a smooth invertible deformation with about `amplitude` voxels
    RMS.

    A stationary velocity field is integrated on a grid four times coarser.
    """
    coarse = tuple(n // 4 for n in shape)
    flow = exponential(smooth_field(generator, coarse, wavelength / 4, 3) * amplitude / 4)
    return 4 * functional.interpolate(flow[None], size=shape, mode="trilinear", align_corners=False)[0]


def exponential(velocity: Tensor) -> Tensor:
    """Displacement [3, X, Y, Z] in voxels of the flow of a stationary `velocity`, by scaling and squaring."""
    flow, grid = velocity / 2**5, identity_grid(tuple(velocity.shape[1:]))
    for _ in range(5):
        flow = flow + warp(flow, grid + flow, outside="border")
    return flow


def gaussian_blur(image: Tensor, sigma: float | tuple[float, float, float]) -> Tensor:
    """Blur [C, X, Y, Z] with a Gaussian of `sigma` voxels along each axis; 0 leaves an axis alone."""
    sigmas = (sigma,) * 3 if isinstance(sigma, (int, float)) else sigma
    channels = image.shape[0]
    for axis, width in enumerate(sigmas):
        if width < 0.05:
            continue
        radius = max(1, math.ceil(3 * width))
        taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / width) ** 2)
        shape, padding = [1, 1, 1], [0, 0, 0]
        shape[axis], padding[axis] = 2 * radius + 1, radius
        kernel = (taps / taps.sum()).view(1, 1, *shape).repeat(channels, 1, 1, 1, 1)
        image = functional.conv3d(image[None], kernel, padding=padding, groups=channels)[0]
    return image


def random_linear(generator: Generator, degrees: float, scale: float, shear: float) -> Tensor:
    """(3, 3) matrix: rotations up to `degrees` about each axis, scales 1 ± `scale`, shears ± `shear`."""
    matrix = torch.eye(3)
    for axis in range(3):
        angle = math.radians(uniform(generator, -degrees, degrees))
        a, b = [i for i in range(3) if i != axis]
        turn = torch.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    stretch = torch.diag(torch.tensor([uniform(generator, 1 - scale, 1 + scale) for _ in range(3)]))
    slant = torch.eye(3) + torch.triu(
        torch.tensor([[uniform(generator, -shear, shear) for _ in range(3)] for _ in range(3)]), 1
    )
    return matrix @ stretch @ slant
