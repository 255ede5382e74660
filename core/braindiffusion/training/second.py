"""Training of the second network of `t1-brain-2mm`, which heals and does nothing else (`braindiffusion train
t1-brain-2mm-second --hours H --resume runs/baseline-dae-2mm/ema.safetensors`).

What is expected of a healthy brain, the heat map starts from: this network says it, alone or averaged with
what the first network says (`release._SHARES`). It works at half of the resolution from the start. Its guides
carry no lesions but coarse noise everywhere (methods.md B3.5, A27): what it learns so is what a brain is, and
it trusts no place of a scan, whereas the first network learns where simulated lesions are. It goes on from a
denoising autoencoder that was trained with such noise of one coarseness.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from ..healing import GUIDED_START
from ..models.storage import load_weights
from ..nets.prior import SIGMA_DATA, PriorNet
from ..paths import require_data
from . import dae, prior
from .lesions import disturb
from .trainer import Plan, train

NAME = "t1-brain-2mm-second"
NETWORK: dict[str, Any] = {"covariates": len(prior.COVARIATES)}
EXAMPLES = 2
"""Of a step."""
NOISE = 0.135
"""Factor of a smooth field: the noise's standard deviation is then 0.11, where white matter is 1, as that of
the autoencoder's is between its nodes.
"""
COARSENESS = (6, 12)
"""Voxels of 2 mm from crest to crest, drawn anew for each brain: lesions are of every size."""
_GUIDE, _MEAN = 2, 4
"""Where the network takes the guide and what the population shows, among its seven images."""
_FAINT = 0.02
"""Weight of what the autoencoder did not see, in units of that of what it saw."""


class Draw(prior.Draw):
    """Brains to heal, and nothing else, at the noise at which healing asks for the expected brain. Their
    volumes, which healing never tells, are not known.
    """

    def __init__(self, root: Path, cache: Path) -> None:
        super().__init__(root, cache, {})

    def modes(self, generator: Generator) -> list[str]:
        return ["heal"] * EXAMPLES

    def level(self, generator: Generator, guided: bool) -> float:
        return GUIDED_START

    def _guide(self, generator: Generator, image: Tensor, mode: str) -> tuple[Tensor, Tensor]:
        return disturb(generator, image, NOISE, COARSENESS, dae.FOREGROUND), torch.zeros_like(image)


def from_autoencoder(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a `PriorNet(**NETWORK)` that answers nearly as the autoencoder whose `weights` these are.

    The autoencoder's scan becomes the guide, and the template it saw the population's mean; its output in
    voxels becomes one in units of sigma_data. What is new begins faintly.
    """
    net = PriorNet(**NETWORK)
    wanted = net.state_dict()
    moved = {name: weights[name] for name in wanted if not name.startswith("embedding")}
    for name in ("stem.weight", "fine_in.weight"):
        moved[name] = _shown(weights[name], wanted[name])
    for name in ("fine_out.weight", "fine_out.bias"):
        moved[name] = weights[name] / SIGMA_DATA
    return moved | _embedding(weights, wanted)


def _shown(weight: Tensor, wanted: Tensor) -> Tensor:
    """A first convolution [out, 5 images * e, ...] of the autoencoder as one of seven images."""
    scan, _, _, _, template = weight.chunk(5, 1)
    generator = torch.Generator().manual_seed(0)
    images = [
        _FAINT * scan.std() * torch.randn(part.shape, generator=generator) for part in wanted.chunk(7, 1)
    ]
    images[_GUIDE], images[_MEAN] = scan, template
    return torch.cat(images, 1)


def _embedding(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The embedding: always the autoencoder's only one, and a little of what is to be learnt."""
    autoencoder = dae.build()
    autoencoder.load_state_dict(weights)
    zero, none = torch.zeros(1), torch.zeros(1, 0)
    with torch.no_grad():
        always = autoencoder.embedding(zero, none, none, zero, zero)[0]
    embedding = {name: value for name, value in wanted.items() if name.startswith("embedding")}
    for part in ("noise", "condition"):
        embedding[f"embedding.{part}.2.weight"] = 0.05 * embedding[f"embedding.{part}.2.weight"]
    embedding["embedding.noise.2.bias"] = torch.zeros_like(always)
    return embedding | {"embedding.condition.2.bias": always}


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights. `plan.resume` may be an autoencoder's weights."""
    root = require_data("t1_brains", "label_maps", "priors", "ms", "stroke")
    torch.manual_seed(plan.seed)
    draw = Draw(root, plan.folder / "brains")
    return train(PriorNet(**NETWORK), draw, prior.loss_of, _started(plan))


def _started(plan: Plan) -> Plan:
    """The plan; where it resumes from an autoencoder, from what its weights are here."""
    if plan.resume is None or plan.resume.suffix != ".safetensors":
        return plan
    weights = load_weights(plan.resume)
    if weights.keys() != dae.build().state_dict().keys() or weights["stem.weight"].shape[1] != 5 * 8:
        return plan
    start = plan.folder / "start.safetensors"
    save_file({name: value.contiguous() for name, value in from_autoencoder(weights).items()}, start)
    return replace(plan, resume=start)
