"""Training of `t1-brain-1mm` (`braindiffusion train t1-brain-1mm --hours H`): a brain at 1 mm from the same
brain at 2 mm, by patches (methods.md B4.2, C14).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..diffusion.path import Node
from ..imaging.frame import Frame
from ..imaging.grid import FINE_SHAPE, GRID_SHAPE, TO_GRID, sample
from ..nets.detail import DetailDenoiser, DetailNet, Seen, expected_of, places
from ..paths import require_data
from .brains import QUANTUM, framed, in_bytes, on_fine_grid, participants
from .fields import chance, gaussian_blur, log_uniform, smooth_field, uniform
from .trainer import Batch, Plan, train

NAME = "t1-brain-1mm"
SIGMA_DATA = 0.04
"""Standard deviation of 1 mm brains around what 2 mm brains imply, about, where white matter is 1."""
SIGMA_MIN, SIGMA_MAX = 0.005, 0.3
PATCH = 24
"""Side of a patch in voxels of 2 mm."""
MARGIN = 4
"""Voxels around it that decide what is expected in it."""
WORN = 0.5
"""Share of the patches whose 2 mm brain is made a little softer or noisier, as generated brains are."""
MOST_BLUR, MOST_NOISE = 0.5, 0.02
"""Of those: blur in voxels of 2 mm, and noise where white matter is 1."""
NETWORK: dict[str, Any] = {"widths": [32, 64], "blocks": [1, 3, 3]}


@dataclass(frozen=True)
class Pair:
    """One brain twice. fine: uint8 [160, 192, 160] at 1 mm, as sharp as its scan, white matter 127. coarse:
    float16 [80, 96, 80] at 2 mm, as a frame shows it to the models.
    """

    fine: Tensor
    coarse: Tensor


def sharp(data: np.ndarray, frame: Frame) -> np.ndarray:
    """A framed, stripped scan [X, Y, Z] at 1 mm, [160, 192, 160], as sharp as it is: by cubic splines."""
    inside = sample((data > 0).astype(np.float32), frame.index @ TO_GRID, FINE_SHAPE) > 0.5
    return on_fine_grid(data, frame, order=3) * inside


def pairs(root: Path, split: str, cache: Path) -> list[Pair]:
    """The real brains of `split`, framed once and kept in `cache` (a folder)."""
    cache.mkdir(parents=True, exist_ok=True)
    return [pair(root, row["participant_id"], cache) for row in participants(root, split)]


def pair(root: Path, name: str, cache: Path) -> Pair:
    """The brain of one participant."""
    file = cache / f"{name}.npz"
    if not file.exists():
        data, frame = framed(root / "t1_brains" / f"{name}_T1w_brain.nii.gz")
        np.savez(file, fine=in_bytes(sharp(data, frame)), coarse=frame.image.astype(np.float16))
    with np.load(file) as arrays:
        return Pair(torch.from_numpy(arrays["fine"]), torch.from_numpy(arrays["coarse"]))


class Draw:
    """`draw(generator)` of the trainer: a patch of one of `some` brains, mirrored half the time."""

    def __init__(self, some: list[Pair]) -> None:
        self.pairs = some
        self.inside = [torch.nonzero(brain.coarse > 0) for brain in some]
        self.places = places(GRID_SHAPE)

    def __call__(self, generator: Generator) -> Batch:
        n = int(torch.randint(len(self.pairs), (), generator=generator))
        brain, inside = self.pairs[n], self.inside[n]
        middle = inside[int(torch.randint(len(inside), (), generator=generator))]
        mirrored = chance(generator, 0.5)
        firsts = [min(max(int(at) - PATCH // 2, 0), side - PATCH) for at, side in zip(middle, GRID_SHAPE)]
        x0 = brain.fine[_fine(firsts)].float()[None] * QUANTUM
        around = [max(at - MARGIN, 0) for at in firsts]
        coarse = brain.coarse[tuple(slice(at, at + PATCH + 2 * MARGIN) for at in around)].float()[None]
        within = [at - start for at, start in zip(firsts, around)]
        expected = expected_of(_worn(generator, coarse)[None])[0][(slice(None), *_fine(within))]
        if mirrored:  # it lies on the other side then
            x0, expected = x0.flip(1), expected.flip(1)
            firsts[0] = GRID_SHAPE[0] - PATCH - firsts[0]
        return {
            "x0": x0,
            "expected": expected,
            "places": self.places[(slice(None), *(slice(at, at + PATCH) for at in firsts))],
            "sigma": torch.tensor(noise_level(generator)),
            "noise": torch.randn(x0.shape, generator=generator),
        }


def _fine(firsts: Sequence[int]) -> tuple[slice, ...]:
    """The fine voxels of the patch whose first coarse voxel is `firsts`."""
    return tuple(slice(2 * at, 2 * (at + PATCH)) for at in firsts)


def _worn(generator: Generator, coarse: Tensor) -> Tensor:
    """The 2 mm brain [1, X, Y, Z], now and then softer or noisier than a real one."""
    if not chance(generator, WORN):
        return coarse
    soft = gaussian_blur(coarse, uniform(generator, 0, MOST_BLUR))
    grain = smooth_field(generator, tuple(coarse.shape[1:]), log_uniform(generator, 1, 3))
    return (soft + uniform(generator, 0, MOST_NOISE) * grain).clamp(min=0) * (coarse > 0)


def noise_level(generator: Generator) -> float:
    """sigma: half of them log-normal about where detail takes shape, the others log-uniform."""
    if chance(generator, 0.5):
        drawn = SIGMA_DATA * math.exp(float(torch.randn((), generator=generator)))
        return min(max(drawn, SIGMA_MIN), SIGMA_MAX)
    return log_uniform(generator, SIGMA_MIN, SIGMA_MAX)


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """EDM's loss of the difference to what is expected, in the brain and near it."""
    denoiser, sigma = DetailDenoiser(net, SIGMA_DATA), batch["sigma"].view(-1, 1, 1, 1, 1)
    node = Node(1.0, sigma, sigma)  # type: ignore[arg-type]
    seen = Seen(batch["expected"], batch["places"])
    truth = batch["x0"] - seen.expected
    noisy = truth + sigma * batch["noise"]
    error = denoiser.raw(noisy, node, seen).float() - denoiser.edm.from_x0(truth, noisy, node)
    near = functional.max_pool3d((seen.expected > 0).float(), 5, 1, 2)
    return (error.square() * near).sum() / near.sum()


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights. The framed brains are kept in the folder."""
    root = require_data("t1_brains")
    torch.manual_seed(plan.seed)
    return train(DetailNet(**NETWORK), Draw(pairs(root, "train", plan.folder / "brains")), loss_of, plan)
