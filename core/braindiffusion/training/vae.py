"""Training of `baseline-vae-2mm`, a variational autoencoder: a rival of generation.

Kingma & Welling (2014), with MONAI's network, on the same real brains as `t1-brain-2mm-generate`. Its weights
do not ship.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import VarAutoEncoder
from torch import Generator, Tensor, nn

from ..imaging.expected import population
from ..imaging.grid import GRID_SHAPE
from ..paths import require_data
from .brains import Brain, brains, draw_brain
from .trainer import Batch, Plan, train

NAME = "baseline-vae-2mm"
LATENT = 64
NOISE_SD = 0.1
"""Standard deviation of a voxel about its reconstruction, where white matter is 1: what the code need not
say.
"""
EXAMPLES = 2
"""Of a step."""


class Autoencoder(VarAutoEncoder):
    """MONAI's, which takes images in any memory layout."""

    def encode_forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code of x [B, 1, 80, 96, 80], each [B, LATENT]."""
        seen = self.intermediate(self.encode(x)).flatten(1)
        return self.mu(seen), self.logvar(seen).clamp(-8, 2)


def build() -> Autoencoder:
    """A code of 64 numbers for the difference [B, 1, 80, 96, 80] to the average brain."""
    return Autoencoder(
        spatial_dims=3,
        in_shape=(1, *GRID_SHAPE),
        out_channels=1,
        latent_size=LATENT,
        channels=(16, 32, 64, 128),
        strides=(2, 2, 2, 2),
        num_res_units=1,
        norm=("group", {"num_groups": 1}),
        use_sigmoid=False,
    )


class Draw:
    """`draw(generator)` of the trainer: brains moved as generation's are."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.brains: list[Brain] = brains(root, "train", cache)

    def __call__(self, generator: Generator) -> Batch:
        some = [
            self.brains[int(n)] for n in torch.randint(len(self.brains), (EXAMPLES,), generator=generator)
        ]
        return {"x0": torch.stack([draw_brain(generator, brain, gentle=True).image[None] for brain in some])}


def _average() -> Tensor:
    return torch.from_numpy(population().typical.copy())[None, None]


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """Negative evidence lower bound in nats per voxel of the grid, without its constant."""
    difference = batch["x0"].flatten(0, 1) - _average().to(batch["x0"])
    again, mean, log_variance, _ = net(difference)
    error = (again.float() - difference).square().flatten(1).sum(1) / (2 * NOISE_SD**2)
    mean, log_variance = mean.float(), log_variance.float()
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
    return (error + divergence).mean() / difference[0].numel()


@torch.no_grad()
def sample(net: Autoencoder, seeds: Sequence[int]) -> np.ndarray:
    """Brains [N, 80, 96, 80] from codes drawn at random, one for each seed."""
    codes = [torch.randn(LATENT, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    made = net.eval().decode_forward(torch.stack(codes), use_sigmoid=False) + _average()
    return made[:, 0].numpy()


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights. Framed brains are kept in the folder."""
    root = require_data("t1_brains")
    torch.manual_seed(plan.seed)
    return train(build(), Draw(root, plan.folder / "brains"), loss_of, plan)
