"""Guidance: wrappers Denoiser -> Denoiser. They compose; the caller writes the order.

A guided denoiser answers with another clean image: adding a slope of log p(y | x) to the score moves x0 by
sigma^2 / alpha times that slope (methods.md A04, A20).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import BrainDiffusionError
from .cond import Cond
from .denoise import Denoiser
from .path import Node


def without_covariates(cond: Cond) -> Cond:
    """Every covariate unknown; a guide and its hole stay."""
    return cond.null(*cond.names)


def cfg(
    denoiser: Denoiser,
    weight: float,
    interval: tuple[float, float] = (0.0, math.inf),
    null: Callable[[Cond], Cond] = without_covariates,
    batched: bool = True,
) -> Denoiser:
    """Classifier-free guidance (Ho 2022; methods.md A21): x0 = null + weight * (told - null).

    weight 1 is the plain condition and 0 none at all, each for one evaluation. interval: ratios sigma / alpha
    at which it acts (Kynkaanniemi 2024); elsewhere the condition is plain. batched: both in one evaluation of
    twice the batch, else one after the other.
    """
    if not math.isfinite(weight):
        raise BrainDiffusionError("The weight of guidance must be a number.")

    def guided(x: Tensor, node: Node, cond: Cond) -> Tensor:
        if weight == 1 or not interval[0] <= node.ratio <= interval[1]:
            return denoiser(x, node, cond)
        if weight == 0:
            return denoiser(x, node, null(cond))
        if batched:
            both = denoiser(torch.cat([x, x]), node, Cond.cat([null(cond), cond]))
            untold, told = both.chunk(2)
        else:
            untold, told = denoiser(x, node, null(cond)), denoiser(x, node, cond)
        return untold + weight * (told - untold)

    return guided


def less_denoised(denoiser: Denoiser, share: float) -> Denoiser:
    """Leave this share of the noise that the denoiser would take off (epsilon scaling, Ning 2024).

    Sampling shows a network images that carry its own errors, which it takes for noise: it smooths too much.
    Along a path to ratio sigma / alpha = r the samples' spread s about what is expected becomes
    s * (1 + r^2 / s^2)^(share / 2): detail, which varies little, gains most.
    """
    if not 0 <= share < 1:
        raise BrainDiffusionError("The share of noise that is left must be at least 0 and below 1.")

    def guided(x: Tensor, node: Node, cond: Any = None) -> Tensor:
        x0 = denoiser(x, node, cond)
        return x0 if node.alpha == 0 else x0 + share * (x / node.alpha - x0)

    return guided


def posterior(
    denoiser: Denoiser, measure: Callable[[Tensor], Tensor], y: Tensor, noise_std: float, strength: float = 1
) -> Denoiser:
    """Guidance by a measurement y = measure(x0) + noise (methods.md C5).

    measure is linear: [B, C, X, Y, Z] -> any shape; y has that shape or broadcasts. Where DPS sets a step
    size by hand, the spread of x0 given x comes from the denoiser's own derivative (Boys 2023), so that the
    answer is exact for Gaussian data. Costs an evaluation and two backward passes.
    """
    if not noise_std > 0:
        raise BrainDiffusionError("The measurement's noise must be above 0.")

    def guided(x: Tensor, node: Node, cond: Any = None) -> Tensor:
        if node.alpha == 0 or node.sigma == 0:
            return denoiser(x, node, cond)
        scale = node.sigma**2 / node.alpha
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = denoiser(x, node, cond)
            seen = measure(x0)
            (slope,) = torch.autograd.grad(seen, x, torch.ones_like(seen), retain_graph=True)
            variance = noise_std**2 + scale * measure(slope).clamp(min=0)
            (pull,) = torch.autograd.grad(seen, x, ((y - seen) / variance).detach())
        return (x0 + strength * scale * pull).detach()

    return guided
