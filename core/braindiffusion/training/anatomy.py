"""Training of `brain-anatomy-2mm` on the population (`braindiffusion train brain-anatomy-2mm --hours H`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ..anatomy import STRUCTURES
from ..imaging.grid import GRID_SHAPE
from ..nets.anatomy import AnatomyNet, flat_prior, located
from ..nets.tissue import CLASSES, tissue_model
from ..paths import require_data
from .fields import chance
from .label_maps import subjects, with_atlases
from .population import anatomy_pair
from .trainer import Batch, Plan, train

NAME = "brain-anatomy-2mm"


_SLABS = 16
"""Half-resolution slabs whose logits enter the loss: decoding all 40 would double the cost of a step."""


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy plus soft Dice over the structures that are present, on some slabs of the volume.

    Where the network is not told the place, only inside and outside count: the frame that this finds tells
    the rest.
    """
    first, aligned = int(batch["first"][0]), bool(batch["aligned"][0])
    image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
    place = (batch["prior"], batch["coordinates"], batch["tissue"]) if aligned else (None, None, None)
    logits = net(image, *place, (first, first + _SLABS)).float()
    target = batch["target"][:, 2 * first : 2 * (first + _SLABS)].long()
    if not aligned:
        logits = torch.stack([logits[:, 0], logits[:, 1:].logsumexp(1)], 1)
        target = (target > 0).long()
    log_probability = logits.log_softmax(1)
    log_of_truth = log_probability.gather(1, target[:, None])
    zeros = logits.new_zeros(logits.shape[1])
    overlap = zeros.scatter_add(0, target.flatten(), log_of_truth.exp().flatten())
    truth = torch.bincount(target.flatten(), minlength=logits.shape[1])
    size = log_probability.exp().sum((0, 2, 3, 4)) + truth
    dice = ((2 * overlap + 10) / (size + 10))[truth > 0]
    return 1 - dice.mean() - log_of_truth.mean()


class Draw:
    """`draw(generator)` of the trainer: one image and its truth of a random subject, often with its place."""

    def __init__(self, root: Path, split: str = "train") -> None:
        self.root, self.subjects = root, with_atlases(subjects(root, split))

    def __call__(self, generator: Generator) -> Batch:
        subject = self.subjects[int(torch.randint(len(self.subjects), (), generator=generator))]
        aligned = chance(generator, 0.9)
        image, target, where = anatomy_pair(generator, subject, GRID_SHAPE, self.root, aligned)
        first = torch.randint(GRID_SHAPE[0] // 2 - _SLABS + 1, (), generator=generator)
        prior = flat_prior(len(STRUCTURES), [n // 2 for n in GRID_SHAPE])[0]
        coordinates, tissue = torch.zeros(3, *GRID_SHAPE), torch.ones(2, CLASSES)
        if where is not None and subject.atlas is not None:
            prior, coordinates = located(subject.atlas, where, GRID_SHAPE)
            tissue = tissue_model(image[0], prior)
        place = {
            "prior": prior,
            "coordinates": coordinates,
            "tissue": tissue,
            "aligned": torch.tensor(aligned),
        }
        return {"image": image, "target": target, "first": first, **place}


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights."""
    root = require_data("label_maps", "priors")
    torch.manual_seed(plan.seed)
    return train(AnatomyNet(len(STRUCTURES)), Draw(root), loss_of, plan)
