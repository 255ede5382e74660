"""Displacement fields on a grid of voxels: `field` [3, X, Y, Z] says, in voxels along each axis, how far from
a voxel to look.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_ROUNDS, _LAST_ROUNDS, _STRIDE, _MOMENTUM = 40, 8, 0.35, 0.3
"""Of the search for an inverse, at half and at full resolution. Whole strides would never settle where a
field expands more than twofold; momentum (Polyak 1964) makes up for short ones.
"""
_NEAR = 0.01
"""Voxels by which an inverse may be off."""


def identity_grid(shape: tuple[int, ...]) -> Tensor:
    """Voxel indices [3, X, Y, Z]."""
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij"))


def warp(image: Tensor, points: Tensor, mode: str = "bilinear", outside: str = "zeros") -> Tensor:
    """Sample `image` [C, X, Y, Z] at `points` [3, ...3D], voxel indices; outside is "zeros" or "border"."""
    sides = torch.tensor(image.shape[1:], dtype=torch.float32).view(3, 1, 1, 1)
    unit = (2 * points / (sides - 1) - 1).flip(0).movedim(0, -1)
    return functional.grid_sample(
        image[None], unit[None], mode=mode, padding_mode=outside, align_corners=True
    )[0]


def pull(image: Tensor, field: Tensor, outside: str = "zeros") -> Tensor:
    """The image [C, X, Y, Z] whose voxel p shows what `image` shows at p + field(p)."""
    return warp(image, identity_grid(tuple(field.shape[1:])) + field, outside=outside)


def inverse(field: Tensor) -> Tensor:
    """The field [3, X, Y, Z] that undoes `field`: pulled through both, an image is itself again.

    It is sought on a grid of half the resolution first, which takes an eighth of the time.
    """
    sides = tuple(field.shape[1:])
    half = _settled(functional.avg_pool3d(field[None], 2, ceil_mode=True)[0] / 2, _ROUNDS)
    first = 2 * functional.interpolate(half[None], size=sides, mode="trilinear")[0]
    return _settled(field, _LAST_ROUNDS, first)


def _settled(field: Tensor, rounds: int, back: Tensor | None = None) -> Tensor:
    back = -field if back is None else back
    step = torch.zeros_like(back)
    for _ in range(rounds):
        off = back + pull(field, back, "border")
        if float(off.abs().max()) < _NEAR:
            break
        step = _MOMENTUM * step - _STRIDE * off
        back = back + step
    return back


def mirrored(field: Tensor) -> Tensor:
    """The field between the mirror images (along the first axis) of what `field` lies between."""
    turned = field.flip(1)
    turned[0] *= -1
    return turned


def growth(field: Tensor) -> Tensor:
    """By what factor [X, Y, Z] volumes at each voxel grow on the way that `field` leads: its Jacobian."""
    along = torch.gradient(field, dim=(1, 2, 3))
    x, y, z = (slope + unit.view(3, 1, 1, 1) for slope, unit in zip(along, torch.eye(3)))
    return (
        x[0] * (y[1] * z[2] - y[2] * z[1])
        + x[1] * (y[2] * z[0] - y[0] * z[2])
        + x[2] * (y[0] * z[1] - y[1] * z[0])
    )
