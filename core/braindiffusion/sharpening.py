"""A brain at 1 mm from a brain at 2 mm: diffusion of what the coarse one leaves open (methods.md B4.2, C14).

All brains lie in the field of view of the model grid: [80, 96, 80] at 2 mm, [160, 192, 160] at 1 mm, white
matter 1, background 0. The denoiser sees tiles that overlap, and what it says of them is blended at every
step, so that all of the brain moves on together and no tile has a border of its own.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .diffusion.denoise import Denoiser
from .diffusion.noise import gaussian
from .diffusion.path import Node
from .diffusion.solve import dpmpp2m, q_sample
from .generating import cleaned
from .healing import Partway
from .imaging.grid import FINE_SHAPE, GRID_SHAPE
from .models.loading import Model
from .nets.detail import Seen, expected_of, places

STEPS = 6
TILE = (80, 56, 80)
"""Most voxels of 2 mm that the denoiser sees at once."""
OVERLAP, UNSEEN = 12, 4
"""Voxels of 2 mm that two tiles share, and how many of those at either end the nearer tile alone decides:
what a network says there suffers from the tile's border.
"""
MARGIN = 4
"""Voxels of 2 mm around the brain that are denoised too."""

Box = tuple[slice, slice, slice]


class Tile(NamedTuple):
    """A part of the grid of 2 mm, and what its voxels of 1 mm count [1, 1, X, Y, Z]; the weights of all tiles
    sum to 1.
    """

    box: Box
    weight: Tensor

    @property
    def coarse(self) -> tuple[slice, ...]:
        """The index of its voxels in a [B, C, X, Y, Z] of 2 mm."""
        return (slice(None), slice(None), *self.box)

    @property
    def fine(self) -> tuple[slice, ...]:
        """The same of 1 mm."""
        return (slice(None), slice(None), *(slice(2 * s.start, 2 * s.stop) for s in self.box))

    def of(self, seen: Seen) -> Seen:
        """What is seen of the tile."""
        return Seen(seen.expected[self.fine], seen.places[self.coarse])


def sharpen(
    model: Model,
    brains: Sequence[np.ndarray],
    seeds: Sequence[int],
    steps: int = STEPS,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    most: tuple[int, int, int] = TILE,
) -> Generator[Partway, None, np.ndarray]:
    """Yields how far it is after each step, and returns the brains at 1 mm, [N, 160, 192, 160].

    brains: [80, 96, 80] each. The noise of a brain belongs to its seed and lies on the whole grid. most: the
    largest tile, in voxels of 2 mm; smaller ones need less memory. DPM-Solver++(2M) on a Karras grid.
    """
    denoise, nodes = model.detail_denoiser(device, precision), model.path.karras(steps)
    made: list[np.ndarray] = []
    for brain, seed in zip(brains, seeds, strict=True):
        coarse = torch.from_numpy(np.ascontiguousarray(brain, np.float32))[None, None].to(device)
        if not bool((coarse > 0).any()):
            made.append(np.zeros(FINE_SHAPE, np.float32))
            continue
        seen = Seen(expected_of(coarse), places(GRID_SHAPE)[None].to(device))
        whole = tiled(denoise, tiles(around(brain), most))
        x = q_sample(seen.expected, gaussian((1, *FINE_SHAPE), [seed]).to(device), nodes[0])
        for step in dpmpp2m(whole, x, nodes, seen):
            yield Partway((len(made) + step.i / step.n) / len(brains), (), step.x0)
        made.append(cleaned(step.x[0, 0].float().cpu().numpy()))
    return np.stack(made)


def tiled(denoise: Denoiser, some: Sequence[Tile]) -> Denoiser:
    """A Denoiser of a whole brain that asks `denoise` about one tile after the other, always in one order;
    what is expected stays outside them.
    """

    def blended(x: Tensor, node: Node, seen: Seen) -> Tensor:
        change = torch.zeros_like(x)
        for tile in some:
            part = tile.of(seen)
            weight = tile.weight.to(x)
            change[tile.fine] += weight * (denoise(x[tile.fine], node, part) - part.expected)
        return seen.expected + change

    return blended


def around(brain: np.ndarray) -> Box:
    """The box of a brain [X, Y, Z] with a margin, on even voxels: the network halves the grid once more."""
    box = []
    for axis, side in enumerate(brain.shape):
        there = np.flatnonzero((brain > 0).any(tuple(a for a in range(3) if a != axis)))
        first, last = max(int(there[0]) - MARGIN, 0), min(int(there[-1]) + 1 + MARGIN, side)
        box.append(slice(first // 2 * 2, -(-last // 2) * 2))
    return tuple(box)  # type: ignore[return-value]


def tiles(box: Box, most: tuple[int, int, int] = TILE) -> list[Tile]:
    """Tiles of at most `most` voxels that cover `box`, all on even voxels."""
    axes = [spans(side, longest) for side, longest in zip(box, most, strict=True)]
    made = []
    for trio in product(*axes):
        x, y, z = (weight for _, weight in trio)
        weight = x[:, None, None] * y[:, None] * z
        made.append(Tile(tuple(span for span, _ in trio), weight[None, None]))  # type: ignore[arg-type]
    return made


def spans(side: slice, longest: int) -> list[tuple[slice, Tensor]]:
    """Overlapping parts of one axis of 2 mm, and what their voxels of 1 mm count. A tile is never shorter
    than three overlaps, so that no more than two share a voxel.
    """
    length, longest = side.stop - side.start, max(longest // 2 * 2, 3 * OVERLAP)
    count = 1 if length <= longest else math.ceil((length - OVERLAP) / (longest - OVERLAP))
    own = (length - OVERLAP) / count
    firsts = [side.start + round(n * own / 2) * 2 for n in range(count)]
    lasts = [first + OVERLAP for first in firsts[1:]] + [side.stop]
    made = []
    for n, (first, last) in enumerate(zip(firsts, lasts)):
        weight = torch.ones(2 * (last - first))
        if n > 0:
            weight[: 2 * OVERLAP] = _RISE
        if n < count - 1:
            weight[-2 * OVERLAP :] = 1 - _RISE
        made.append((slice(first, last), weight))
    return made


def _rise() -> Tensor:
    """From 0 to 1 over the voxels of 1 mm that two tiles share, smoothly."""
    at = (torch.arange(2 * OVERLAP) + 0.5 - 2 * UNSEEN) / (2 * (OVERLAP - 2 * UNSEEN))
    return torch.sin(at.clamp(0, 1) * math.pi / 2) ** 2


_RISE = _rise()
