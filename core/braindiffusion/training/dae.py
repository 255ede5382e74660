"""Training of `baseline-dae-2mm`, a denoising autoencoder with coarse noise: a rival of healing.

Kascenas et al. (MIDL 2022; methods.md B3.5, A27) carried to 3D on the network of `t1-brain-2mm`, of the same
size and on the same real brains: what it lacks is the method and not the means. Its weights do not ship.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..imaging.template import template
from ..nets.prior import PriorNet
from ..paths import require_data
from .brains import Brain, brains, draw_brain
from .fields import chance, log_uniform, rolled
from .population import degrade
from .trainer import Batch, Plan, train

NAME = "baseline-dae-2mm"
NODE_SPACING = 8
"""Voxels of 2 mm between two nodes of the noise; Kascenas found 16 nodes across 128 pixels of 1.9 mm best."""
NOISE_SD = 0.2
"""Standard deviation of the noise at its nodes, where white matter is 1."""
FOREGROUND = 0.01
"""Model intensity above which a voxel is brain."""


def coarse_noise(generator: Generator, foreground: Tensor) -> Tensor:
    """Gaussian noise on a coarse grid, upsampled, rolled at random, cut to `foreground` [X, Y, Z] (A27)."""
    shape = foreground.shape
    nodes = torch.randn(1, 1, *(n // NODE_SPACING for n in shape), generator=generator)
    field = functional.interpolate(nodes, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
    return NOISE_SD * rolled(generator, field) * foreground


class Draw:
    """`draw(generator)` of the trainer: a brain as some scanner might show it, and the noise to take off."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.brains: list[Brain] = brains(root, "train", cache)

    def __call__(self, generator: Generator) -> Batch:
        brain = self.brains[int(torch.randint(len(self.brains), (), generator=generator))]
        image = _worn(generator, draw_brain(generator, brain).image)
        return {"x0": image[None], "noise": coarse_noise(generator, image > FOREGROUND)[None]}


def _worn(generator: Generator, image: Tensor) -> Tensor:
    inside = image > FOREGROUND
    if chance(generator, 0.3):
        image = image.clamp(min=0) ** log_uniform(generator, 0.85, 1.18)
    if chance(generator, 0.3):
        image = degrade(generator, image, 0.12, 0.6, 0.04, 0.1)
    return image.clamp(0, 2) * inside


def build() -> PriorNet:
    """The network of `t1-brain-2mm` without covariates; the template stands for a guide's context."""
    return PriorNet(covariates=0, context=1, sigma_data=None)


def _template_on(x: Tensor) -> Tensor:
    """The template on the grid of x [B, 1, X, Y, Z]; one of other size than the model grid stretches it."""
    whole = torch.from_numpy(template().t1.copy()).to(x)[None, None]
    return functional.interpolate(whole, size=x.shape[2:], mode="trilinear").expand(x.shape)


def denoise(net: nn.Module, x: Tensor) -> Tensor:
    """f(x), x and f(x) [B, 1, X, Y, Z] in model intensity; the network adds a change to x."""
    flag, none = x.new_zeros(x.shape[0]), x.new_zeros(x.shape[0], 0)
    empty = torch.zeros_like(x)
    # The second channel tells the prior of white noise; here there is none.
    image = torch.cat([x, empty], 1).contiguous(memory_format=torch.channels_last_3d)
    return x + net(image, flag, empty, empty, _template_on(x), flag, none, none, flag).to(x.dtype)


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """Mean squared error over the foreground, in units of the noise's variance."""
    x0, foreground = batch["x0"], batch["x0"] > FOREGROUND
    error = (denoise(net, x0 + batch["noise"]) - x0).float()
    return (error.square() * foreground).sum() / foreground.sum().clamp(min=1) / NOISE_SD**2


def main(plan: Plan, cache: Path | None = None) -> Path:
    """Train for `plan.hours`; returns the EMA weights. `cache` keeps framed brains."""
    root = require_data("t1_brains")
    return train(build(), Draw(root, cache or plan.folder / "brains"), loss_of, plan)
