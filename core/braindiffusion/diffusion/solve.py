"""Solvers: generators that walk a grid of nodes from noise to the image, or back (methods.md A03, A05, A06).

Each yields one Step for each evaluation of the denoiser, so progress, previews and cancelling belong to the
caller, and no state outlives a run. All are written in (alpha, sigma) with the exponential integrator

    x' = (sigma' / sigma) * x + alpha' * (1 - exp(-h)) * x0,    h = lam' - lam,

which is finite from alpha = 0 (h is infinite there) down to sigma = 0. Gradients are off in the solver; a
denoiser that needs them turns them on for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import BrainDiffusionError
from .denoise import Denoiser, noise_of
from .noise import NoiseStream
from .path import Node, checked


@dataclass(frozen=True)
class Step:
    """Step i of n (1 to n): the state x after it, and the clean image x0 that the denoiser saw in it."""

    i: int
    n: int
    x: Tensor
    x0: Tensor


def start(noise: Tensor, node: Node) -> Tensor:
    """The state at the noisiest node, where nothing of an image is left: sigma * noise."""
    return node.sigma * noise


def q_sample(x0: Tensor, noise: Tensor, node: Node) -> Tensor:
    """alpha * x0 + sigma * noise: the noised image, where partial diffusion starts (methods.md A29)."""
    return node.alpha * x0 + node.sigma * noise


@torch.no_grad()
def dpmpp2m(denoiser: Denoiser, x: Tensor, nodes: Sequence[Node], cond: Any = None) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu 2022): second order, one evaluation a step, deterministic. The default."""
    nodes, last, h_last = checked(nodes), None, math.inf
    for i, (node, after) in enumerate(pairwise(nodes), start=1):
        x0 = denoiser(x, node, cond)
        h = after.lam - node.lam
        x = _integrate(x, _extrapolate(x0, last, h, h_last), node, after)
        last, h_last = x0, h
        yield Step(i, len(nodes) - 1, x, x0)


@torch.no_grad()
def ddim(
    denoiser: Denoiser,
    x: Tensor,
    nodes: Sequence[Node],
    cond: Any = None,
    *,
    eta: float = 0.0,
    noise: NoiseStream | None = None,
) -> Iterator[Step]:
    """DDIM (Song 2021): eta = 0 is deterministic, of first order; eta = 1 is DDPM's chain on these nodes."""
    nodes = checked(nodes)
    if eta and noise is None:
        raise BrainDiffusionError("DDIM with eta above 0 needs a noise stream with one seed for each sample.")
    for i, (node, after) in enumerate(pairwise(nodes), start=1):
        x0 = denoiser(x, node, cond)
        fresh = eta * after.sigma * math.sqrt(-math.expm1(-2 * (after.lam - node.lam)))
        kept = math.sqrt(max(after.sigma**2 - fresh**2, 0.0))
        x = after.alpha * x0 + kept * noise_of(x, x0, node)
        if fresh and noise is not None:
            x = x + fresh * noise.at(i, x)
        yield Step(i, len(nodes) - 1, x, x0)


@torch.no_grad()
def ancestral(
    denoiser: Denoiser,
    x: Tensor,
    nodes: Sequence[Node],
    cond: Any = None,
    *,
    noise: NoiseStream,
    variance: Literal["small", "large"] = "small",
) -> Iterator[Step]:
    """DDPM's reverse chain (Ho 2020) on the nodes that are kept, whatever their stride.

    The step is the posterior q(x' | x, x0) between two neighbours of this grid; "small" is its own variance
    (beta tilde), "large" that of the forward step (beta). No noise is added on the step to the clean image.
    """
    nodes = checked(nodes)
    for i, (node, after) in enumerate(pairwise(nodes), start=1):
        x0 = denoiser(x, node, cond)
        kept = node.alpha / after.alpha
        forward = node.sigma**2 - (kept * after.sigma) ** 2
        share = (after.sigma / node.sigma) ** 2
        x = kept * share * x + after.alpha * forward / node.sigma**2 * x0
        if after.sigma > 0:
            x = x + math.sqrt(forward * share if variance == "small" else forward) * noise.at(i, x)
        yield Step(i, len(nodes) - 1, x, x0)


@torch.no_grad()
def invert(
    denoiser: Denoiser, x: Tensor, nodes: Sequence[Node], cond: Any = None, *, order: Literal[1, 2] = 2
) -> Iterator[Step]:
    """The way back: from the clean image x to the noise that a solver turns into it (methods.md A06).

    `nodes` is the very grid of the way down, noise first. Order 1 pairs with ddim, order 2 with dpmpp2m. The
    first step inverts x = x0(x') by one fixed-point step from alpha' * x, because at sigma = 0 the denoiser
    says nothing about the noise. x is never clipped.
    """
    nodes = checked(nodes)[::-1]
    last, h_last = None, math.inf
    for i, (node, after) in enumerate(pairwise(nodes), start=1):
        if node.sigma == 0:
            x0 = denoiser(after.alpha * x, after, cond)
            x = after.alpha * (2 * x - x0)
        else:
            x0 = denoiser(x, node, cond)
            h = after.lam - node.lam
            x = _integrate(x, _extrapolate(x0, last if order == 2 else None, h, h_last), node, after)
            last, h_last = x0, h
        yield Step(i, len(nodes) - 1, x, x0)


def run(steps: Iterable[Step], on_step: Callable[[Step], None] | None = None) -> Step:
    """Walks a solver to its end and returns the last Step; `on_step` sees each and may raise to stop."""
    step = None
    for step in steps:
        if on_step is not None:
            on_step(step)
    if step is None:
        raise BrainDiffusionError("The solver had no step to make.")
    return step


def _integrate(x: Tensor, x0: Tensor, node: Node, after: Node) -> Tensor:
    """Exact step of the probability-flow ODE while the denoiser says x0."""
    carry = after.sigma / node.sigma
    # alpha' * (1 - exp(-h)) without its exponential, which overflows on the way back to alpha = 0
    return carry * x + (after.alpha - node.alpha * carry) * x0


def _extrapolate(x0: Tensor, last: Tensor | None, h: float, h_last: float) -> Tensor:
    """x0 at the middle of the step, on the line through this evaluation and the last one (in lam)."""
    if last is None or math.isinf(h) or math.isinf(h_last):
        return x0
    return x0 + (h / (2 * h_last)) * (x0 - last)
