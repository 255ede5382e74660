"""Denoisers: functions (x, Node, Cond) -> x0, the expected clean image, and what a raw network output means.

Each parametrisation is a pair of pure conversions, written for any path `x = alpha * x0 + sigma * noise`
(methods.md A02, A09). Scalars are float64 on the host; a Node may also hold tensors that broadcast against x,
one noise level for each sample, as in training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from ..errors import BrainDiffusionError
from .cond import Cond
from .path import Node

Denoiser: TypeAlias = Callable[[Tensor, Node, Any], Tensor]
"""(x [B, C, X, Y, Z], node, cond) -> x0 of the same shape; cond is a Cond, or None where nothing is told."""


class Parametrisation(Protocol):
    """What a network's raw output means."""

    def to_x0(self, raw: Tensor, x: Tensor, node: Node) -> Tensor:
        """The clean image behind a raw output at x."""
        ...

    def from_x0(self, x0: Tensor, x: Tensor, node: Node) -> Tensor:
        """The raw output that means x0 at x; with the true x0 it is the training target."""
        ...

    def scale_in(self, node: Node) -> Any:
        """The factor on x before the network sees it."""
        ...

    def time(self, node: Node) -> Any:
        """The noise level that the network is told."""
        ...


class _Plain:
    """The network sees x as it is and is told the path's own time."""

    def scale_in(self, node: Node) -> Any:
        return 1.0

    def time(self, node: Node) -> Any:
        return node.t


@dataclass(frozen=True)
class Eps(_Plain):
    """The raw output is the noise (DDPM)."""

    def to_x0(self, raw: Tensor, x: Tensor, node: Node) -> Tensor:
        if not torch.is_tensor(node.alpha) and node.alpha == 0:
            raise BrainDiffusionError(
                "A network that predicts noise cannot start from pure noise (alpha = 0)."
            )
        return (x - node.sigma * raw) / node.alpha

    def from_x0(self, x0: Tensor, x: Tensor, node: Node) -> Tensor:
        return noise_of(x, x0, node)


@dataclass(frozen=True)
class X0(_Plain):
    """The raw output is the clean image."""

    def to_x0(self, raw: Tensor, x: Tensor, node: Node) -> Tensor:
        return raw

    def from_x0(self, x0: Tensor, x: Tensor, node: Node) -> Tensor:
        return x0


@dataclass(frozen=True)
class V(_Plain):
    """The raw output is v = alpha * noise - sigma * x0 (Salimans and Ho 2022)."""

    def to_x0(self, raw: Tensor, x: Tensor, node: Node) -> Tensor:
        return (node.alpha * x - node.sigma * raw) / (node.alpha**2 + node.sigma**2)

    def from_x0(self, x0: Tensor, x: Tensor, node: Node) -> Tensor:
        return node.alpha * noise_of(x, x0, node) - node.sigma * x0


@dataclass(frozen=True)
class Flow(_Plain):
    """The raw output is the velocity noise - x0 (rectified flow), or x0 - noise with `to_data` (MAISI).

    `time_scale` multiplies the time that the network is told (1000 for MAISI).
    """

    to_data: bool = False
    time_scale: float = 1.0

    def to_x0(self, raw: Tensor, x: Tensor, node: Node) -> Tensor:
        velocity = -raw if self.to_data else raw
        return (x - node.sigma * velocity) / (node.alpha + node.sigma)

    def from_x0(self, x0: Tensor, x: Tensor, node: Node) -> Tensor:
        velocity = noise_of(x, x0, node) - x0
        return -velocity if self.to_data else velocity

    def time(self, node: Node) -> Any:
        return self.time_scale * node.t


@dataclass(frozen=True)
class Edm:
    """EDM's preconditioning (Karras 2022, table 1): x0 = c_skip * x + c_out * raw, network input c_in * x.

    Written in (alpha, sigma): with alpha = 1 it is the paper's, with alpha = 0 all but c_noise are finite.
    `sigma_data` is the standard deviation of the images.
    """

    sigma_data: float = 0.5

    def scalings(self, node: Node) -> tuple[Any, Any, Any]:
        """c_skip, c_out and c_in."""
        spread = (node.sigma**2 + (node.alpha * self.sigma_data) ** 2) ** 0.5
        return (
            node.alpha * self.sigma_data**2 / spread**2,
            node.sigma * self.sigma_data / spread,
            1.0 / spread,
        )

    def scale_in(self, node: Node) -> Any:
        return self.scalings(node)[2]

    def time(self, node: Node) -> Any:
        """c_noise = log(sigma / alpha) / 4."""
        if torch.is_tensor(node.sigma):
            return (node.sigma / node.alpha).log() / 4
        if not math.isfinite(node.lam):
            raise BrainDiffusionError("An EDM network cannot be asked at pure noise or at the clean image.")
        return -node.lam / 4

    def to_x0(self, raw: Tensor, x: Tensor, node: Node) -> Tensor:
        c_skip, c_out, _ = self.scalings(node)
        return c_skip * x + c_out * raw

    def from_x0(self, x0: Tensor, x: Tensor, node: Node) -> Tensor:
        c_skip, c_out, _ = self.scalings(node)
        return (x0 - c_skip * x) / c_out


def noise_of(x: Tensor, x0: Tensor, node: Node) -> Tensor:
    """The noise in x if x0 is its clean image."""
    return (x - node.alpha * x0) / node.sigma


def parametrisation(name: str, **options: Any) -> Parametrisation:
    """The parametrisation that a model card names: eps, x0, v, flow or edm, with its own options."""
    kinds: dict[str, Callable[..., Parametrisation]] = {
        "eps": Eps,
        "x0": X0,
        "v": V,
        "flow": Flow,
        "edm": Edm,
    }
    if name not in kinds:
        raise BrainDiffusionError(f"There is no parametrisation '{name}'; choose from {', '.join(kinds)}.")
    return kinds[name](**options)


def call_with_cond(net: Callable[..., Tensor], x_in: Tensor, time: Tensor, cond: Cond) -> Tensor:
    """Asks net(x_in, time [B], guide, hole, has_guide, covariates, known, real); an absent image is zeros."""
    guide, hole = (torch.zeros_like(x_in) if v is None else v.to(x_in) for v in (cond.guide, cond.hole))
    return net(x_in, time, guide, hole, cond.has_guide, cond.covariates, cond.known, cond.real)


def call_with_time(net: Callable[..., Tensor], x_in: Tensor, time: Tensor, cond: Any) -> Tensor:
    """Asks a network that takes the noisy image and the noise level only."""
    return net(x_in, time)


@dataclass(frozen=True)
class NetDenoiser:
    """A Denoiser made of a network.

    `call` hands the network its input and conditions and is the one place that knows its signature.
    `combine`, where given, turns (raw, x, node, cond) into x0 instead of the parametrisation, for a network
    that predicts the change to a guide.
    """

    net: Callable[..., Tensor]
    parametrisation: Parametrisation
    call: Callable[[Callable[..., Tensor], Tensor, Tensor, Any], Tensor] = call_with_cond
    combine: Callable[[Tensor, Tensor, Node, Any], Tensor] | None = None

    def __call__(self, x: Tensor, node: Node, cond: Any = None) -> Tensor:
        """x0 [B, C, X, Y, Z] in the type of x; the noise level is told as float32 [B]."""
        level = torch.as_tensor(self.parametrisation.time(node), dtype=torch.float32, device=x.device)
        time = level.reshape(-1).expand(x.shape[0])
        raw = self.call(self.net, self.parametrisation.scale_in(node) * x, time, cond).to(x.dtype)
        if self.combine is not None:
            return self.combine(raw, x, node, cond)
        return self.parametrisation.to_x0(raw, x, node)
