"""Training of `t1-brain-2mm-generate` (`braindiffusion train t1-brain-2mm-generate --hours H`): brains from
covariates.

What is expected of a brain is the deformable template in that brain's shape; the network learns the
difference to it. An example is a moved copy of a training brain and the template, moved alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..diffusion.cond import Cond
from ..diffusion.covariate import Covariate
from ..diffusion.path import Node
from ..nets.deformable import FILE, DeformableTemplate, coarsened
from ..nets.prior import CONTEXT, PriorDenoiser, PriorNet
from ..nets.warping import inverse, warp
from ..paths import require_data
from . import prior
from .brains import Brain, brains, draw_move
from .fields import chance, log_uniform
from .template import Built, build, refitted
from .trainer import Batch, Plan, train
from .volumes import real_volumes

NAME = "t1-brain-2mm-generate"
_SEEN = {"ventricles": (7, 33), "brain": (855, 1285)}
"""Volumes of the training brains, ml; the prior's range comes from drawn label maps too."""


def _narrowed(covariate: Covariate) -> Covariate:
    """With the range of the training brains, and scaled as in the prior."""
    low, high = _SEEN.get(covariate.name, (covariate.low, covariate.high))
    return replace(covariate, low=low, high=high, span=(covariate.scale(low), covariate.scale(high)))


COVARIATES = tuple(_narrowed(covariate) for covariate in prior.COVARIATES)
SIGMA_DATA = 0.06
"""Standard deviation of brains around the template in their shape, about, where white matter is 1."""
SIGMA_MIN, SIGMA_MAX = 0.01, 20.0
WHOLE = 0.25
"""Share of the steps that see all of a brain; others see a part of the prior's size."""
REDRAWN = 0.5
"""Share of examples whose template has drawn folds in place of the brain's own: those that a sample begins
with fit no brain, and what is expected of folds must be learnt from such.
"""
NETWORK: dict[str, Any] = {
    "covariates": len(COVARIATES),
    "widths": [24, 64, 96],
    "blocks": [2, 2, 2],
    "fine": 12,
    "folds": 1,
    "sigma_data": SIGMA_DATA,
}
"""Half of the resolution from the start: what is left to draw are folds, and they are fine."""


class Draw:
    """`draw(generator)` of the trainer. `fields` [3, X, Y, Z] make each of `some` brains of the template's
    mean brain.
    """

    def __init__(
        self,
        some: list[Brain],
        volumes: Mapping[str, dict[str, float]],
        template: DeformableTemplate,
        fields: Sequence[np.ndarray],
    ) -> None:
        self.brains, self.volumes, self.template, self.fields = some, volumes, template, fields
        self.back = [inverse(torch.from_numpy(field)).half() for field in fields]
        self.mean = torch.from_numpy(template.mean)[None]

    def __call__(self, generator: Generator) -> Batch:
        example = self._example(generator)
        if not chance(generator, WHOLE):
            example = prior.part_of(generator, example, ("x0", "expected"))
        noise = torch.randn(example["x0"].shape, generator=generator)
        return example | {"sigma": torch.tensor(noise_level(generator)), "noise": noise}

    def _example(self, generator: Generator) -> Batch:
        n = int(torch.randint(len(self.brains), (), generator=generator))
        brain, move = self.brains[n], draw_move(generator, gentle=True)
        shown = self._expected(generator, n, move.points)
        sizes = [self.volumes[brain.name][name] * move.growth for name in ("ventricles", "brain")]
        values: list[float | None] = [brain.age, brain.sex, *sizes]
        covariates, known = prior.conditions_of(generator, values, "generate")
        return {
            "x0": move.turned(brain.sample(move.points))[None],
            "expected": move.turned(shown)[None],
            "covariates": covariates,
            "known": known,
        }

    def _expected(self, generator: Generator, n: int, points: Tensor) -> Tensor:
        """The template [X, Y, Z] as a copy of brain `n` shows it, whose voxels lie at `points` of that."""
        field = self.back[n]
        if chance(generator, REDRAWN):
            drawn = self.template.with_folds(coarsened(self.fields[n]), generator)
            field = inverse(torch.from_numpy(drawn))
        return warp(self.mean, points + warp(field.float(), points, outside="border"))[0]


def noise_level(generator: Generator) -> float:
    """sigma: mostly log-normal about where folds take shape, else log-uniform up to where sampling starts."""
    if chance(generator, 0.8):
        drawn = math.exp(math.log(0.15) + float(torch.randn((), generator=generator)))
        return min(max(drawn, SIGMA_MIN), SIGMA_MAX)
    return log_uniform(generator, 0.02, SIGMA_MAX)


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """EDM's loss of the difference to what is expected."""
    context = functional.pad(batch["expected"], (0,) * 7 + (CONTEXT - 1,))
    real = torch.ones(len(context), device=context.device)
    cond = Cond(batch["covariates"], batch["known"], real, context=context)
    sigma = batch["sigma"].view(-1, 1, 1, 1, 1)
    node = Node(1.0, sigma, sigma)  # type: ignore[arg-type]
    x, denoiser = batch["x0"] + sigma * batch["noise"], PriorDenoiser(net, SIGMA_DATA)
    shown = denoiser.shown(x, cond)
    raw = denoiser.raw(x, node, cond, shown).float()
    return (raw - denoiser.target(batch["x0"], x, node, shown)).square().mean()


def _built(some: list[Brain], volumes: Mapping[str, dict[str, float]], plan: Plan) -> Built:
    """The template beside the weights to go on from, if it lies there, else a new one."""
    folder = plan.folder / "template"
    file = plan.resume.with_name(FILE) if plan.resume else None
    if file is not None and file.is_file():
        return refitted(DeformableTemplate.load(file), some, folder)
    return build(some, volumes, folder)


def main(plan: Plan) -> Path:
    """Train for `plan.hours` after the template is there; returns the EMA weights. The template lies beside
    them.
    """
    root = require_data("t1_brains", "label_maps", "priors", "ms", "stroke")
    torch.manual_seed(plan.seed)
    volumes = real_volumes(root, "train", plan.folder / "volumes.json")
    some = brains(root, "train", plan.folder / "brains")
    built = _built(some, volumes, plan)
    built.template.save(plan.folder / FILE)
    return train(PriorNet(**NETWORK), Draw(some, volumes, built.template, built.fields), loss_of, plan)
