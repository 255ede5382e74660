"""Noise by seed: the same seed gives the same noise, bit for bit, in any batch and on any device.

A kind of noise is a function of (shape, seeds, draw) and holds no state: draw 0 is the start of a run, and
draw i belongs to its i-th step. Another kind is another function with this signature (methods.md A27).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import BrainDiffusionError

LARGEST_SEED = 2**32 - 1  # torch's CPU generator silently drops all higher bits of a seed


class Noise(Protocol):
    """A kind of noise."""

    def __call__(self, shape: Sequence[int], seeds: Sequence[int], draw: int = 0) -> Tensor:
        """Noise [len(seeds), *shape], float32, on the CPU; sample b depends on seeds[b] and draw alone."""
        ...


def gaussian(shape: Sequence[int], seeds: Sequence[int], draw: int = 0) -> Tensor:
    """White noise [len(seeds), *shape], float32, on the CPU; `shape` is that of one sample, (1, X, Y, Z)."""
    return torch.stack([torch.randn(*shape, generator=generator(seed, draw)) for seed in seeds])


def generator(seed: int, draw: int = 0) -> torch.Generator:
    """The CPU generator of one sample's draw; raises BrainDiffusionError for a seed that is too large."""
    if not 0 <= seed <= LARGEST_SEED:
        raise BrainDiffusionError(
            f"The seed must be a whole number from 0 to {LARGEST_SEED}, but it is {seed}."
        )
    mixed = seed if draw == 0 else int(np.random.SeedSequence((seed, draw)).generate_state(1)[0])
    return torch.Generator(device="cpu").manual_seed(mixed)


def sample_seeds(seed: int, samples: int) -> list[int]:
    """The seed of each sample of a run, below 2**32; mixed, so that runs of neighbouring seeds share none."""
    return [int(np.random.SeedSequence([seed, n]).generate_state(1)[0]) for n in range(samples)]


@dataclass(frozen=True)
class NoiseStream:
    """The fresh noise of a stochastic solver: one stream per sample, counted by step, without state."""

    seeds: tuple[int, ...]
    kind: Noise = gaussian

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))

    def start(self, shape: Sequence[int]) -> Tensor:
        """The noise that a run starts from, [B, *shape], float32, on the CPU."""
        return self.kind(shape, self.seeds)

    def at(self, step: int, like: Tensor) -> Tensor:
        """The noise of step 1, 2, ... with the shape [B, ...], the type and the device of `like`."""
        if like.shape[0] != len(self.seeds):
            raise BrainDiffusionError(f"{len(self.seeds)} seeds were given for {like.shape[0]} samples.")
        return self.kind(tuple(like.shape[1:]), self.seeds, step).to(like)
