"""Noise paths and their grids: the only place that knows schedules (methods.md A01, A09; engine.md 6).

A path is a curve (alpha, sigma) with `x = alpha * x0 + sigma * noise`, from noise to the clean image.
Schedules are float64 host scalars. A grid is a tuple of n + 1 nodes for n evaluations of the denoiser: its
log signal-to-noise ratio rises strictly, and its last node is clean (sigma = 0, exactly).

A place on a path is given by its ratio sigma / alpha, which is EDM's sigma on every path.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import BrainDiffusionError


@dataclass(frozen=True)
class Node:
    """One noise level: `x = alpha * x0 + sigma * noise`; `t` is the time a network is told."""

    alpha: float
    sigma: float
    t: float

    @property
    def lam(self) -> float:
        """Log signal-to-noise ratio log(alpha / sigma): -inf for pure noise, +inf for the clean image."""
        if self.alpha <= 0:
            return -math.inf
        return math.inf if self.sigma <= 0 else math.log(self.alpha) - math.log(self.sigma)

    @property
    def ratio(self) -> float:
        """sigma / alpha: EDM's sigma; infinite for pure noise."""
        return math.inf if self.alpha <= 0 else self.sigma / self.alpha


Grid = tuple[Node, ...]


class NoisePath(ABC):
    """A curve (alpha, sigma) over the time t, and grids along it.

    Every grid takes `start`, a node to begin at instead of pure noise (partial diffusion, methods.md A29):
    the n evaluations are then all spent below it.
    """

    t_start: float
    t_clean: float

    @abstractmethod
    def node(self, t: float) -> Node:
        """The node at time t; raises BrainDiffusionError outside the path."""

    @abstractmethod
    def at_ratio(self, ratio: float) -> Node:
        """The node with sigma / alpha = ratio; raises BrainDiffusionError outside the path."""

    @property
    @abstractmethod
    def ratio_range(self) -> tuple[float, float]:
        """Smallest and largest finite sigma / alpha that grids use."""

    @property
    def start(self) -> Node:
        """The noisiest node; alpha is 0 there on a rectified flow."""
        return self.node(self.t_start)

    @property
    def clean(self) -> Node:
        """The image itself: alpha = 1, sigma = 0."""
        return Node(1.0, 0.0, self.t_clean)

    def logsnr(self, n: int, start: Node | None = None) -> Grid:
        """n nodes uniform in the log signal-to-noise ratio, then the clean one: the default for dpmpp2m."""
        low, high = self._range(n, start)
        return self._through(np.geomspace(high, low, n), start)

    def karras(self, n: int, rho: float = 7.0, start: Node | None = None) -> Grid:
        """n nodes by the EDM rule, uniform in ratio ** (1 / rho) (Karras 2022), then the clean one."""
        low, high = self._range(n, start)
        return self._through(np.linspace(high ** (1 / rho), low ** (1 / rho), n) ** rho, start)

    def uniform_t(self, n: int, start: Node | None = None) -> Grid:
        """n + 1 nodes at equal steps of time, the last one clean (Euler's grid of a rectified flow)."""
        _positive(n)
        first = start or self.start
        times = np.linspace(first.t, self.t_clean, n + 1)[1:-1]
        return checked((first, *(self.node(float(t)) for t in times), self.clean))

    def _range(self, n: int, start: Node | None) -> tuple[float, float]:
        _positive(n)
        low, high = self.ratio_range
        if start is not None and math.isfinite(start.ratio):
            high = start.ratio
        if n > 1 and high <= low:
            raise BrainDiffusionError(
                f"A grid of {n} steps cannot start at noise level {high:g}, because the path ends at "
                f"{low:g}; start higher or take one step."
            )
        return low, high

    def _through(self, ratios: np.ndarray, start: Node | None) -> Grid:
        first = start or self.start
        return checked((first, *(self.at_ratio(float(r)) for r in ratios[1:]), self.clean))


class VariancePreserving(NoisePath):
    """alpha**2 + sigma**2 = 1 from a table of betas (DDPM; methods.md A01).

    t is the table's index, from T - 1 (noise) to 0, and -1 is the image. Between two indices the log ratio is
    interpolated linearly, so a network trained on whole steps can be asked between them.
    """

    t_clean = -1.0

    def __init__(self, betas: Iterable[float]) -> None:
        self.betas = np.asarray(tuple(betas), dtype=np.float64)
        if self.betas.ndim != 1 or len(self.betas) < 1 or not ((self.betas > 0) & (self.betas <= 1)).all():
            raise BrainDiffusionError(
                "A variance preserving path needs a list of betas above 0 and at most 1."
            )
        self.alphas_bar = np.cumprod(1.0 - self.betas)
        self.t_start = float(len(self.betas) - 1)

    @property
    def steps(self) -> int:
        """The number of steps T that the table has."""
        return len(self.betas)

    @cached_property
    def _log_ratios(self) -> np.ndarray:
        """log(sigma / alpha) by index, without a last step of zero signal."""
        bar = self.alphas_bar[self.alphas_bar > 0]
        return 0.5 * (np.log1p(-bar) - np.log(bar))

    @property
    def ratio_range(self) -> tuple[float, float]:
        return float(np.exp(self._log_ratios[0])), float(np.exp(self._log_ratios[-1]))

    def node(self, t: float) -> Node:
        if t == self.t_clean:
            return self.clean
        if not 0 <= t <= self.t_start:
            raise BrainDiffusionError(
                f"Time {t:g} lies outside this path, whose steps run from 0 to {self.t_start:g}."
            )
        if float(t).is_integer():
            bar = float(self.alphas_bar[int(t)])
            return Node(math.sqrt(bar), math.sqrt(1.0 - bar), float(t))
        if t > len(self._log_ratios) - 1:
            raise BrainDiffusionError(
                f"Time {t:g} lies between the last step, which has no signal, and the one below."
            )
        log_ratio = np.interp(t, np.arange(len(self._log_ratios)), self._log_ratios)
        return _unit_node(float(np.exp(log_ratio)), float(t))

    def at_ratio(self, ratio: float) -> Node:
        _inside(ratio, self.ratio_range)
        t = np.interp(math.log(ratio), self._log_ratios, np.arange(len(self._log_ratios)))
        return _unit_node(ratio, float(t))

    def leading(self, n: int, offset: int = 0) -> Grid:
        """Whole steps at stride T // n, counted from `offset` (MONAI up to 1.5, DDIM's paper)."""
        self._fits(n)
        return self._at_indices((np.arange(n) * (self.steps // n) + offset)[::-1])

    def trailing(self, n: int) -> Grid:
        """Whole steps at stride T / n, counted down from the last (Lin 2024)."""
        self._fits(n)
        return self._at_indices(np.round(np.arange(self.steps, 0, -self.steps / n))[:n] - 1)

    def linspace(self, n: int) -> Grid:
        """Whole steps spread evenly over the first to the last one.

        MONAI 1.6 and diffusers place DDIM's steps like this and then step by T // n (engine.md 4, row 1);
        here the node that follows is always the next one of the grid.
        """
        self._fits(n)
        return self._at_indices(np.round(np.linspace(0, self.steps - 1, n))[::-1])

    def _at_indices(self, indices: np.ndarray) -> Grid:
        return checked((*(self.node(float(t)) for t in indices), self.clean))

    def _fits(self, n: int) -> None:
        _positive(n)
        if n > self.steps:
            raise BrainDiffusionError(f"{n} steps are too many: this path has {self.steps}.")


@dataclass(frozen=True)
class VarianceExploding(NoisePath):
    """alpha = 1 (VE, EDM; methods.md A09); t is sigma itself, in units of the image."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    t_clean = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise BrainDiffusionError("A variance exploding path needs 0 < sigma_min < sigma_max.")

    @property
    def t_start(self) -> float:  # type: ignore[override]
        return self.sigma_max

    @property
    def ratio_range(self) -> tuple[float, float]:
        return self.sigma_min, self.sigma_max

    def node(self, t: float) -> Node:
        if not 0 <= t <= self.sigma_max:
            raise BrainDiffusionError(
                f"Noise level {t:g} lies outside this path, which runs from 0 to {self.sigma_max:g}."
            )
        return Node(1.0, float(t), float(t))

    def at_ratio(self, ratio: float) -> Node:
        return self.node(ratio)


@dataclass(frozen=True)
class RectifiedFlow(NoisePath):
    """alpha = 1 - t, sigma = t, from t = 1 (noise, alpha = 0) to 0 (image) (Liu 2023; Lipman 2023).

    `shift` is the resolution shift of Esser 2024, t = shift * u / (1 + (shift - 1) * u): it bends equal steps
    towards noise and moves no point of the path. Grids in the ratio begin with the node of alpha = 0 and are
    spread over the finite `ratio_min` to `ratio_max`.
    """

    shift: float = 1.0
    ratio_min: float = 0.002
    ratio_max: float = 80.0
    t_start = 1.0
    t_clean = 0.0

    def __post_init__(self) -> None:
        if not (self.shift > 0 and 0 < self.ratio_min < self.ratio_max < math.inf):
            raise BrainDiffusionError("A rectified flow needs shift > 0 and 0 < ratio_min < ratio_max.")

    @property
    def ratio_range(self) -> tuple[float, float]:
        return self.ratio_min, self.ratio_max

    def node(self, t: float) -> Node:
        if not 0 <= t <= 1:
            raise BrainDiffusionError(
                f"Time {t:g} lies outside a rectified flow, which runs from 1 (noise) to 0 (image)."
            )
        return Node(1.0 - t, float(t), float(t))

    def at_ratio(self, ratio: float) -> Node:
        if not 0 <= ratio < math.inf:
            raise BrainDiffusionError(f"Noise level {ratio:g} lies outside this path.")
        return Node(1.0 / (1.0 + ratio), ratio / (1.0 + ratio), ratio / (1.0 + ratio))

    def uniform_t(self, n: int, start: Node | None = None) -> Grid:
        """n + 1 nodes at equal steps of the time before the shift, the last one clean."""
        _positive(n)
        first = start or self.start
        u = np.linspace(first.t / (self.shift - (self.shift - 1) * first.t), 0.0, n + 1)[1:-1]
        times = self.shift * u / (1 + (self.shift - 1) * u)
        return checked((first, *(self.node(float(t)) for t in times), self.clean))


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """DDPM's betas (Ho 2020), [steps] float64."""
    return np.linspace(first, last, steps, dtype=np.float64)


def scaled_linear_betas(steps: int = 1000, first: float = 0.0015, last: float = 0.0205) -> np.ndarray:
    """Betas with linear roots (latent diffusion; defaults: the UK Biobank model's), [steps] float64."""
    return np.linspace(first**0.5, last**0.5, steps, dtype=np.float64) ** 2


def cosine_betas(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> np.ndarray:
    """Betas of the cosine schedule (Nichol and Dhariwal 2021), [steps] float64."""
    t = np.arange(steps + 1, dtype=np.float64) / steps
    bar = np.cos((t + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - bar[1:] / bar[:-1], largest)


def vp(schedule: str = "linear", **options: Any) -> VariancePreserving:
    """A variance preserving path by its table's name (linear, scaled_linear or cosine) and options."""
    tables = {"linear": linear_betas, "scaled_linear": scaled_linear_betas, "cosine": cosine_betas}
    if schedule not in tables:
        raise BrainDiffusionError(
            f"There is no noise schedule '{schedule}'; choose from {', '.join(tables)}."
        )
    return VariancePreserving(tables[schedule](**options))


def edm(sigma_min: float = 0.002, sigma_max: float = 80.0) -> VarianceExploding:
    """EDM's path (Karras 2022): alpha = 1, sigma in units of the image."""
    return VarianceExploding(sigma_min, sigma_max)


def flow(shift: float = 1.0) -> RectifiedFlow:
    """A rectified flow from noise at t = 1 to the image at t = 0."""
    return RectifiedFlow(shift)


def from_spec(spec: dict[str, Any]) -> NoisePath:
    """The path that a model card names, e.g. {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80}."""
    kinds: dict[str, Callable[..., NoisePath]] = {"vp": vp, "edm": edm, "flow": flow}
    options = dict(spec)
    kind = str(options.pop("kind", ""))
    if kind not in kinds:
        raise BrainDiffusionError(f"There is no noise path '{kind}'; choose from {', '.join(kinds)}.")
    return kinds[kind](**options)


def truncate(grid: Sequence[Node], strength: float) -> Grid:
    """The last part of a grid: strength 1 keeps all of it, 0.25 the last quarter, at least one step."""
    if not 0 < strength <= 1:
        raise BrainDiffusionError(f"Strength must lie above 0 and be at most 1, but it is {strength:g}.")
    n = len(grid) - 1
    return tuple(grid[n - max(1, round(strength * n)) :])


def checked(grid: Sequence[Node]) -> Grid:
    """The grid as a tuple; raises BrainDiffusionError unless it rises strictly to a last, clean node."""
    if len(grid) < 2 or grid[-1].sigma != 0 or not all(a.lam < b.lam for a, b in pairwise(grid)):
        raise BrainDiffusionError(
            "The steps must go strictly from more noise to less and end at the clean image."
        )
    return tuple(grid)


def _positive(n: int) -> None:
    if n < 1:
        raise BrainDiffusionError(f"At least one step is needed, but {n} were asked for.")


def _inside(ratio: float, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not low * (1 - 1e-9) <= ratio <= high * (1 + 1e-9):
        raise BrainDiffusionError(
            f"Noise level {ratio:g} lies outside this path, which runs from {low:g} to {high:g}."
        )


def _unit_node(ratio: float, t: float) -> Node:
    return Node(1.0 / math.hypot(1.0, ratio), ratio / math.hypot(1.0, ratio), t)
