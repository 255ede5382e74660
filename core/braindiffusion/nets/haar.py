"""Folding space into channels by the orthonormal Haar transform, and back.

White noise stays white (the transform is a rotation), so a diffusion network may fold its input without
changing the noise it was told about. One level halves each axis and makes eight bands of one channel: the
block mean first, then the details.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional


@lru_cache(maxsize=8)
def _kernel(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The eight orthonormal 2x2x2 Haar filters, [8, 1, 2, 2, 2]."""
    low, high = torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([1.0, -1.0]) / 2**0.5
    filters = [torch.einsum("i,j,k->ijk", *axes) for axes in product((low, high), repeat=3)]
    return torch.stack(filters)[:, None].to(device=device, dtype=dtype)


def fold(x: Tensor) -> Tensor:
    """[B, C, X, Y, Z] with even X, Y, Z -> [B, 8 C, X/2, Y/2, Z/2]; orthonormal."""
    kernel = _kernel(x.dtype, x.device).repeat(x.shape[1], 1, 1, 1, 1)
    return functional.conv3d(x, kernel, stride=2, groups=x.shape[1])


def unfold(x: Tensor) -> Tensor:
    """The inverse of `fold`: [B, 8 C, X, Y, Z] -> [B, C, 2 X, 2 Y, 2 Z]."""
    # A product of matrices: a transposed convolution of so many groups takes twice the time.
    batch, channels, *sides = x.shape
    rotation = _kernel(x.dtype, x.device).reshape(8, 8).clone()  # one made in inference mode has no gradient
    voxels = x.permute(0, 2, 3, 4, 1).reshape(batch, *sides, channels // 8, 8) @ rotation
    blocks = voxels.unflatten(-1, (2, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(batch, *(2 * side for side in sides), channels // 8).permute(0, 4, 1, 2, 3)
