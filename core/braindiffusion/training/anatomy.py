"""Training of `brain-anatomy-2mm` on the population (`braindiffusion train brain-anatomy-2mm --hours H`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ..anatomy import STRUCTURES
from ..imaging.grid import GRID_SHAPE
from ..nets.anatomy import AnatomyNet
from ..paths import data_root
from .label_maps import subjects
from .population import anatomy_pair
from .trainer import Batch, Plan, train

NAME = "brain-anatomy-2mm"


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy plus soft Dice over the structures that are present, mean over the batch."""
    logits = net(batch["image"].contiguous(memory_format=torch.channels_last_3d)).float()
    target = batch["target"].long()
    log_probability = logits.log_softmax(1)
    log_of_truth = log_probability.gather(1, target[:, None])
    zeros = logits.new_zeros(len(STRUCTURES))
    overlap = zeros.scatter_add(0, target.flatten(), log_of_truth.exp().flatten())
    size = log_probability.exp().sum((0, 2, 3, 4)) + torch.bincount(
        target.flatten(), minlength=len(STRUCTURES)
    )
    dice = (2 * overlap + 10) / (size + 10)
    return 1 - dice.mean() - log_of_truth.mean()


class Draw:
    """`draw(generator)` of the trainer: one image and its truth from a random subject."""

    def __init__(self, root: Path, split: str = "train") -> None:
        self.root, self.subjects = root, subjects(root, split)

    def __call__(self, generator: Generator) -> Batch:
        subject = self.subjects[int(torch.randint(len(self.subjects), (), generator=generator))]
        image, target = anatomy_pair(generator, subject, GRID_SHAPE, self.root)
        return {"image": image, "target": target}


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights."""
    return train(AnatomyNet(len(STRUCTURES)), Draw(data_root()), loss_of, plan)
