"""The network of `t1-brain-1mm`: what a brain at 2 mm leaves open at 1 mm, from a noisy guess -> EDM's raw
output F.

What diffuses is the difference to the sharpest brain that the coarse one alone implies: interpolated, and
corrected until it looks like the coarse one when it is blurred again (back-projection, Irani 1991). The
network works on the 2 mm grid, where the eight Haar coefficients of each 2 x 2 x 2 block of fine voxels are
channels. Nothing in it looks at a whole patch: it has neither attention nor normalisation (as Lim 2017,
EDSR), whose statistics would change with the patch's size, and global coordinates tell it where a patch lies
(methods.md B4.2, PatchDDM). So it answers about a tile as it answers about the whole brain, but near the
tile's border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.denoise import Edm
from ..diffusion.path import Node
from .haar import fold, unfold

_SEEN = 8 + 8 + 3
"""Channels at 2 mm: the noisy difference, what is expected, the coordinates."""
_ROUNDS = 4
"""Of back-projection: more sharpen noise rather than the brain."""
_BLUR = math.sqrt(3) / 2.3548
"""Standard deviation in fine voxels of the blur that widens 1 mm to 2 mm."""
_REACH = 4
"""Fine voxels beyond a coarse one that count in it."""


class Seen(NamedTuple):
    """What goes with a noisy brain [B, 1, 2 X, 2 Y, 2 Z]: what is `expected` of it, of the same shape, white
    matter 1; `places` [B, 3, X, Y, Z], where the coarse voxels lie on the model grid, from -1 to 1.
    """

    expected: Tensor
    places: Tensor


def interpolated(coarse: Tensor) -> Tensor:
    """[B, 1, X, Y, Z] at half the spacing by linear interpolation, [B, 1, 2 X, 2 Y, 2 Z]: fine voxel f lies
    at coarse voxel f / 2 - 1 / 4.
    """
    return functional.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=False)


def coarsened(fine: Tensor) -> Tensor:
    """[B, 1, 2 X, 2 Y, 2 Z] at 1 mm as a frame shows it to the models at 2 mm, [B, 1, X, Y, Z]: blurred
    (`imaging.grid.smooth_for`), and sampled between its voxels.
    """
    taps = torch.exp(-0.5 * (torch.arange(-_REACH, _REACH + 1) / _BLUR) ** 2)
    taps = functional.conv1d((taps / taps.sum()).view(1, 1, -1), torch.full((1, 1, 2), 0.5), padding=1)
    fine = functional.pad(fine, (_REACH,) * 6, mode="replicate")
    for axis in range(3):
        shape, stride = [1, 1, 1], [1, 1, 1]
        shape[axis], stride[axis] = taps.shape[-1], 2
        fine = functional.conv3d(fine, taps.view(1, 1, *shape).to(fine), stride=stride)
    return fine


def expected_of(coarse: Tensor) -> Tensor:
    """The sharpest brain [B, 1, 2 X, 2 Y, 2 Z] that a coarse one [B, 1, X, Y, Z] implies; 0 where it is 0."""
    plain = interpolated(coarse)
    fine = plain
    for _ in range(_ROUNDS):
        fine = fine + interpolated(coarse - coarsened(fine))
    return fine.clamp(min=0) * (plain > 0)


def places(shape: tuple[int, ...]) -> Tensor:
    """Coordinates [3, X, Y, Z] of a grid's voxels, from -1 to 1 along each axis."""
    axes = (torch.linspace(-1, 1, side) for side in shape)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


class DetailBlock(nn.Module):
    """x + conv(silu(told(conv(silu(x))))), where `told` scales and shifts by the noise level."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.told = nn.Linear(embedding, 2 * width)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.told(level)[..., None, None, None].chunk(2, 1)
        h = self.first(functional.silu(x))
        return x + self.second(functional.silu(torch.addcmul(shift, h, 1 + scale)))


class DetailNet(nn.Module):
    """See the module's text. `widths` at 2 mm and at 4 mm, with so many `blocks` at 2 mm before, at 4 mm, and
    at 2 mm after.
    """

    def __init__(
        self,
        widths: tuple[int, int] = (32, 64),
        blocks: tuple[int, int, int] = (1, 3, 3),
        embedding: int = 128,
    ) -> None:
        super().__init__()
        fine, coarse = widths
        self.waves = embedding // 2
        self.level = nn.Sequential(
            nn.Linear(self.waves, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.stem = nn.Conv3d(_SEEN, fine, 3, padding=1)
        self.before, self.around, self.after = (
            nn.ModuleList(DetailBlock(width, embedding) for _ in range(n))
            for width, n in zip((fine, coarse, fine), blocks, strict=True)
        )
        self.down = nn.Conv3d(fine, coarse, 2, stride=2)
        self.up = nn.Conv3d(coarse, fine, 1)
        self.head = nn.Conv3d(fine, 8, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, c_noise: Tensor, expected: Tensor, places: Tensor) -> Tensor:
        """x [B, 1, 2 X, 2 Y, 2 Z], the noisy difference scaled; c_noise [B]; expected of the shape of x;
        places [B, 3, X, Y, Z] with even sides. Returns F of the shape of x.
        """
        level = self.level(get_timestep_embedding(1000 * c_noise.float(), self.waves).to(x))
        h = torch.cat([fold(x), fold(expected.to(x)), places.to(x)], 1)
        h = self.stem(h.contiguous(memory_format=torch.channels_last_3d))
        for block in self.before:
            h = block(h, level)
        low = self.down(h)
        for block in self.around:
            low = block(low, level)
        h = h + functional.interpolate(self.up(low), scale_factor=2.0, mode="nearest")
        for block in self.after:
            h = block(h, level)
        return unfold(self.head(functional.silu(h)))


@dataclass(frozen=True)
class DetailDenoiser:
    """The Denoiser of a DetailNet: EDM's preconditioning (methods.md A09) of the difference to what is
    expected, whose standard deviation is `sigma_data` (white matter is 1).
    """

    net: nn.Module
    sigma_data: float

    def __call__(self, x: Tensor, node: Node, seen: Seen) -> Tensor:
        """x0 [B, 1, 2 X, 2 Y, 2 Z] at x of that shape; `node` holds numbers or tensors that broadcast."""
        difference = x - node.alpha * seen.expected
        return seen.expected + self.edm.to_x0(self.raw(difference, node, seen).to(x), difference, node)

    @property
    def edm(self) -> Edm:
        """The preconditioning of the difference."""
        return Edm(self.sigma_data)

    def raw(self, difference: Tensor, node: Node, seen: Seen) -> Tensor:
        """The network's output F for a noisy `difference` to what is expected."""
        level = torch.as_tensor(self.edm.time(node), dtype=torch.float32, device=difference.device)
        level = level.reshape(-1).expand(len(difference))
        # The noisy image counts by what it says under its noise: where that is nothing, the coarse one is
        # left.
        scale = self.edm.scale_in(node) ** 2 * self.sigma_data
        return self.net(scale * difference, level, seen.expected, seen.places)
