"""Training of `brain-anatomy-2mm` on the population (`braindiffusion train brain-anatomy-2mm --hours H`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ..anatomy import STRUCTURES
from ..imaging.grid import GRID_SHAPE
from ..nets.anatomy import AnatomyNet, flat_prior, located
from ..paths import data_root
from .fields import chance
from .label_maps import subjects, with_atlases
from .population import anatomy_pair
from .trainer import Batch, Plan, train

NAME = "brain-anatomy-2mm"


_SLABS = 16
"""Half-resolution slabs whose logits enter the loss: decoding all 40 would double the cost of a step."""


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy plus soft Dice over the structures that are present, on some slabs of the volume."""
    first = int(batch["first"][0])
    image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
    logits = net(image, batch["prior"], batch["coordinates"], slice(first, first + _SLABS)).float()
    target = batch["target"][:, 2 * first : 2 * (first + _SLABS)].long()
    log_probability = logits.log_softmax(1)
    log_of_truth = log_probability.gather(1, target[:, None])
    zeros = logits.new_zeros(len(STRUCTURES))
    overlap = zeros.scatter_add(0, target.flatten(), log_of_truth.exp().flatten())
    truth = torch.bincount(target.flatten(), minlength=len(STRUCTURES))
    size = log_probability.exp().sum((0, 2, 3, 4)) + truth
    dice = ((2 * overlap + 10) / (size + 10))[truth > 0]
    return 1 - dice.mean() - log_of_truth.mean()


class Draw:
    """`draw(generator)` of the trainer: one image and its truth from a random subject, two thirds with their
    place.
    """

    def __init__(self, root: Path, split: str = "train") -> None:
        self.root, self.subjects = root, with_atlases(subjects(root, split))

    def __call__(self, generator: Generator) -> Batch:
        subject = self.subjects[int(torch.randint(len(self.subjects), (), generator=generator))]
        aligned = chance(generator, 2 / 3)
        image, target, where = anatomy_pair(generator, subject, GRID_SHAPE, self.root, aligned)
        if where is None or subject.atlas is None:
            prior = flat_prior(len(STRUCTURES), [n // 2 for n in GRID_SHAPE])[0]
            coordinates = torch.zeros(3, *GRID_SHAPE)
        else:
            prior, coordinates = located(subject.atlas, where, GRID_SHAPE)
        first = torch.randint(GRID_SHAPE[0] // 2 - _SLABS + 1, (), generator=generator)
        return {"image": image, "target": target, "prior": prior, "coordinates": coordinates, "first": first}


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights."""
    torch.manual_seed(plan.seed)
    return train(AnatomyNet(len(STRUCTURES)), Draw(data_root()), loss_of, plan)
