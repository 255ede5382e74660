"""Inpainting with a prior that knows nothing of holes: mask resampling (Lugmayr 2022; methods.md B2.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import BrainDiffusionError
from .denoise import Denoiser
from .noise import NoiseStream
from .path import Node, checked
from .solve import Step, q_sample


@torch.no_grad()
def resample(
    denoiser: Denoiser,
    x: Tensor,
    nodes: Sequence[Node],
    cond: Any = None,
    *,
    known: Tensor,
    hole: Tensor,
    noise: NoiseStream,
    repeats: int = 10,
    between: tuple[float, float] = (0.0, math.inf),
) -> Iterator[Step]:
    """DDPM's chain with the known voxels put in at each step; each step is made `repeats` times.

    known: the image; hole: where it has to be invented (1), both broadcast against x [B, C, X, Y, Z]. One
    pass alone is badly biased, because what is filled in never hears of what it should fit; noising a step
    back up and making it again lets the two agree. between: ratios sigma / alpha at which steps are made
    again. At the end the known voxels are exactly `known`.
    """
    if repeats < 1:
        raise BrainDiffusionError(f"Each step has to be made at least once, but repeats is {repeats}.")
    nodes, inside = checked(nodes), hole > 0.5
    often = [repeats if between[0] <= n.ratio <= between[1] else 1 for n in nodes[:-2]] + [1]
    i = 0
    for (node, after), times in zip(pairwise(nodes), often):
        for again in reversed(range(times)):
            i += 1
            x = torch.where(inside, x, q_sample(known, noise.at(3 * i, x), node))
            x0 = torch.where(inside, denoiser(x, node, cond), known)
            x = _down(x, x0, node, after, noise.at(3 * i + 1, x))
            yield Step(i, sum(often), torch.where(inside, x, known), x0)
            if again:
                x = _up(x, after, node, noise.at(3 * i + 2, x))


def _down(x: Tensor, x0: Tensor, node: Node, after: Node, fresh: Tensor) -> Tensor:
    """A sample of q(x' | x, x0)."""
    kept = node.alpha / after.alpha
    forward = node.sigma**2 - (kept * after.sigma) ** 2
    share = (after.sigma / node.sigma) ** 2
    mean = kept * share * x + after.alpha * forward / node.sigma**2 * x0
    return mean + math.sqrt(forward * share) * fresh


def _up(x: Tensor, node: Node, before: Node, fresh: Tensor) -> Tensor:
    """A sample of q(x' | x) at the noisier node `before`."""
    kept = before.alpha / node.alpha
    return kept * x + math.sqrt(before.sigma**2 - (kept * node.sigma) ** 2) * fresh
