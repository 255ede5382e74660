"""Denoisers whose score is known exactly, and the exact probability-flow maps (methods.md 7, O1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from braindiffusion.diffusion.path import Grid, Node


def seeded(seed: int = 0) -> torch.Generator:
    """A generator that starts anew."""
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Gaussian:
    """White Gaussian data; called, it is the optimal denoiser."""

    mean: float = 0.3
    std: float = 0.2

    def __call__(self, x: Tensor, node: Node, cond: object = None) -> Tensor:
        gain = node.alpha * self.std**2 / (node.alpha**2 * self.std**2 + node.sigma**2)
        return self.mean + gain * (x - node.alpha * self.mean)

    def spread(self, node: Node) -> float:
        """Standard deviation of the noised data."""
        return math.sqrt(node.alpha**2 * self.std**2 + node.sigma**2)

    def flow_map(self, x: Tensor, node: Node, after: Node) -> Tensor:
        """Where the probability-flow ODE carries x from node to after (methods.md A04)."""
        return after.alpha * self.mean + self.spread(after) / self.spread(node) * (x - node.alpha * self.mean)


@dataclass(frozen=True)
class Mixture:
    """Data of isotropic Gaussians at `means` [M, D] with one std; called on [B, D], the optimal denoiser."""

    means: Tensor
    std: float
    weights: Tensor

    def __call__(self, x: Tensor, node: Node, cond: object = None) -> Tensor:
        means = self.means.to(x)
        var = node.alpha**2 * self.std**2 + node.sigma**2
        away = x[:, None, :] - node.alpha * means[None]
        share = torch.softmax(self.weights.to(x).log() - (away**2).sum(-1) / (2 * var), dim=1)
        inside = means[None] + node.alpha * self.std**2 / var * away
        return (share[..., None] * inside).sum(1)

    def sample(self, n: int, seed: int) -> Tensor:
        """n samples [n, D] of the data, float64."""
        rng = np.random.default_rng(seed)
        modes = rng.choice(len(self.weights), size=n, p=self.weights.numpy())
        return self.means[modes] + self.std * torch.from_numpy(rng.standard_normal((n, self.means.shape[1])))

    def flow_map(self, x: Tensor, node: Node, after: Node) -> Tensor:
        """The probability-flow ODE from node to after, integrated in sigma / alpha to 1e-10."""

        def slope(ratio: float, scaled: np.ndarray) -> np.ndarray:
            at = torch.from_numpy(scaled.reshape(x.shape))
            return ((at - self(at, Node(1.0, ratio, ratio))) / ratio).numpy().ravel()

        solved = solve_ivp(
            slope,
            (node.ratio, after.ratio),
            (x / node.alpha).numpy().ravel(),
            method="DOP853",
            rtol=1e-10,
            atol=1e-12,
        )
        return after.alpha * torch.from_numpy(solved.y[:, -1].reshape(x.shape))


def two_modes() -> Mixture:
    """Unequal modes on a line."""
    means = torch.tensor([[-1.0], [1.5]], dtype=torch.float64)
    return Mixture(means, 0.3, torch.tensor([0.3, 0.7], dtype=torch.float64))


def many_modes(modes: int = 64, dims: int = 256) -> Mixture:
    """Modes of unit spread in many dimensions, as latent images are (engine.md 3.1)."""
    means = torch.from_numpy(np.random.default_rng(0).standard_normal((modes, dims)))
    return Mixture(means, 0.3, torch.full((modes,), 1 / modes, dtype=torch.float64))


def normal(*shape: int, seed: int = 0) -> Tensor:
    """White noise, float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def rms(x: Tensor) -> float:
    """Root of the mean square."""
    return float((x**2).mean().sqrt())


def order_of(steps: list[int], errors: list[float]) -> float:
    """The observed order of convergence: minus the slope of log error over log steps."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def spread_along(data: Gaussian, nodes: Grid, eta: float) -> float:
    """Standard deviation of DDIM's samples of `data`, in closed form."""
    var = 1.0
    for node, after in pairwise(nodes):
        gain = node.alpha * data.std**2 / data.spread(node) ** 2
        bar, bar_after = node.alpha**2, after.alpha**2
        fresh = eta**2 * (1 - bar_after) / (1 - bar) * (1 - bar / bar_after)  # sigma(eta)^2 of methods.md A05
        kept = math.sqrt(1 - bar_after - fresh) / node.sigma
        var = (kept + (after.alpha - node.alpha * kept) * gain) ** 2 * var + fresh
    return math.sqrt(var)
