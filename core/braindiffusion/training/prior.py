"""Training of `t1-brain-2mm`: one network that generates, heals and inpaints (`braindiffusion train
t1-brain-2mm --hours H`).

An example is a brain x0 and what the network is told about it: nothing but covariates (generate), the brain
with implanted lesions (heal), the brain as it is (heal: must come back unchanged), or the brain with a hole
(inpaint).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..anatomy import from_freesurfer, volumes_ml
from ..diffusion.cond import Cond
from ..diffusion.covariate import Covariate
from ..diffusion.path import Node
from ..imaging.expected import LEAST_DEVIATION, population
from ..imaging.grid import GRID_SHAPE, VOXEL_ML
from ..nets.anatomy import mirror
from ..nets.prior import CONTEXT, PriorDenoiser, PriorNet, context_of
from ..nets.warping import warp
from ..paths import require_data
from .brains import Brain, brains, draw_brain
from .fields import chance, log_uniform, moved_grid
from .label_maps import subjects
from .lesions import blob, disturb, implant
from .population import Subject, degrade, draw_pose, paint_labels, posed_labels, slip, strip, t1_contrast
from .shapes import training_shapes
from .trainer import Batch, Plan, train
from .volumes import real_volumes

NAME = "t1-brain-2mm"
COVARIATES = (
    Covariate("age", "Age", "years", 19, 52, (-1, 1)),
    Covariate("sex", "Sex", "", 0, 1, (-1, 1), {"female": 0.0, "male": 1.0}),
    Covariate("ventricles", "Ventricular volume", "ml", 8, 60, (-1, 1)),
    Covariate("brain", "Brain volume", "ml", 850, 1400, (-1, 1)),
)
GUIDES = {"heal": 0.8, "inpaint": 0.2}
"""Shares of what a guide shows; every step sees a brain without, one with, and one of either kind."""
PART = (64, 80, 64)
"""Most steps see this much of a brain: half the cost. The context says where it lies (B4.2)."""
REAL = 0.85
"""Share of examples that are real brains; the others are T1-like images drawn from label maps."""
WHOLE = 0.2
"""Share of the steps that see all of it."""
SICK = 0.6
"""Share of the brains to heal that have lesions; all are disturbed."""
MISPLACED = {"degrees": 1.5, "scale": 0.015, "shear": 0.01, "shift": 1.5}
"""How far registration may be off: degrees, shares, mm."""
SIGMA_MIN, SIGMA_MAX = 0.01, 80.0
NETWORK: dict[str, Any] = {
    "covariates": len(COVARIATES),
    "widths": [112, 128, 160],
    "blocks": [2, 2, 2],
    "folds": 2,
    "reach": 1,
}
"""Most work is at a quarter of the resolution, with two channels for each Haar coefficient: 16 channels at
half of it cost as much and came no further than a linear (Wiener) filter of the noise.
"""


class Draw:
    """`draw(generator)` of the trainer. `volumes` gives ventricular and brain volume of real brains in ml."""

    def __init__(self, root: Path, cache: Path, volumes: Mapping[str, dict[str, float]]) -> None:
        self.root = root
        self.brains = brains(root, "train", cache)
        self.subjects = subjects(root, "train")
        self.shapes = training_shapes(root)
        self.volumes = volumes
        self.aligned = torch.from_numpy(np.stack(population().aligned))
        self.typical = torch.zeros(CONTEXT, *GRID_SHAPE)
        self.typical[0] = torch.from_numpy(population().typical.copy())

    def modes(self, generator: Generator) -> list[str]:
        """What each example of a step teaches."""
        modes = ["generate", _pick(generator, GUIDES)]
        return [*modes, "generate" if chance(generator, 0.5) else _pick(generator, GUIDES)]

    def __call__(self, generator: Generator) -> Batch:
        some = [self._example(generator, mode) for mode in self.modes(generator)]
        if not chance(generator, WHOLE):
            some = [part_of(generator, example, _IMAGES) for example in some]
        some = [self._noised(generator, example) for example in some]
        return {key: torch.stack([example[key] for example in some]) for key in KEYS}

    def _example(self, generator: Generator, mode: str) -> Batch:
        if chance(generator, REAL):
            brain = self.brains[int(torch.randint(len(self.brains), (), generator=generator))]
            image, values, where = self._real(generator, brain, mode == "generate")
            real = 1.0
        else:
            subject = self.subjects[int(torch.randint(len(self.subjects), (), generator=generator))]
            image, values, where = self._synthetic(generator, subject)
            real = 0.0
        if mode != "generate":
            image = _worn(generator, image)
        guide, hole = self._guide(generator, image, mode)
        covariates, known = conditions_of(generator, values, mode)
        return {
            "x0": image[None],
            "guide": guide[None],
            "hole": hole[None],
            "context": self._context(generator, guide, hole, where, mode),
            "has_guide": torch.tensor(float(mode != "generate")),
            "covariates": covariates,
            "known": known,
            "real": torch.tensor(0.5 if chance(generator, 0.1) else real),
        }

    def _real(
        self, generator: Generator, brain: Brain, gentle: bool
    ) -> tuple[Tensor, list[float | None], Tensor]:
        drawn = draw_brain(generator, brain, gentle)
        known = self.volumes.get(brain.name)
        sizes = [known["ventricles"] * drawn.growth, known["brain"] * drawn.growth] if known else [None, None]
        return drawn.image, [brain.age, brain.sex, *sizes], drawn.to_template

    def _synthetic(self, generator: Generator, subject: Subject) -> tuple[Tensor, list[float | None], Tensor]:
        limits = {"degrees": 3.0, "scale": 0.08, "shear": 0.03, "shift": 2.0, "bend": 2.0}
        pose = draw_pose(generator, GRID_SHAPE, limits)
        fine, truth = posed_labels(subject, GRID_SHAPE, pose)
        fine = strip(generator, fine, subject.codes, keep_csf=True)
        image = paint_labels(generator, fine, *t1_contrast(generator, subject.codes, self.root))
        image = degrade(generator, image, 0.05, 0.5, 0.02, 0.0)
        inside = (
            functional.avg_pool3d((subject_brain(subject)[fine.long()]).float()[None, None], 2)[0, 0] > 0.5
        )
        sizes = volumes_ml(from_freesurfer(subject.codes)[truth.long().numpy()], VOXEL_ML)
        image, where = image.clamp(0, 2) * inside, subject.to_template @ pose.matrix(GRID_SHAPE)
        if chance(generator, 0.5):
            image, where = image.flip(0), mirror(GRID_SHAPE) @ where @ mirror(GRID_SHAPE)
        return image, [None, None, sizes["ventricles"], sizes["brain"]], where

    def level(self, generator: Generator, guided: bool) -> float:
        """sigma of an example's noise."""
        return (guided_level if guided else noise_level)(generator)

    def _noised(self, generator: Generator, example: Batch) -> Batch:
        """The example with a noise level and noise of its own."""
        noise = torch.randn(example["x0"].shape, generator=generator)
        sigma = self.level(generator, bool(example["has_guide"] > 0.5))
        return example | {"sigma": torch.tensor(sigma), "noise": noise}

    def _context(self, generator: Generator, guide: Tensor, hole: Tensor, where: Tensor, mode: str) -> Tensor:
        """What goes with the guide [3, X, Y, Z]; `where` (4, 4) says where the brain truly lies in the
        template.
        """
        if mode == "generate" or chance(generator, 0.05):
            return self.typical
        matrix = where @ slip(generator, MISPLACED)
        mean, deviation = warp(self.aligned, moved_grid(matrix, GRID_SHAPE))[:, None, None]
        deviation = deviation.clamp(min=LEAST_DEVIATION)
        return context_of(guide[None, None], hole[None, None], mean, deviation)[0]

    def _guide(self, generator: Generator, image: Tensor, mode: str) -> tuple[Tensor, Tensor]:
        empty = torch.zeros_like(image)
        if mode == "generate":
            return empty, empty
        if mode == "heal":
            sick = implant(generator, image, self.shapes)[0] if chance(generator, SICK) else image
            return disturb(generator, sick), empty
        hole = blob(generator, image > 0.05, log_uniform(generator, 0.5, 120))
        return image * (1 - hole), hole


_IMAGES = ("x0", "guide", "hole", "context")
KEYS = (*_IMAGES, "has_guide", "covariates", "known", "real", "sigma", "noise")


def part_of(generator: Generator, example: Batch, images: Sequence[str]) -> Batch:
    """A part of an example of the size PART, anywhere; `images` are its keys that lie on the grid."""
    firsts = [
        int(torch.randint(side - size + 1, (), generator=generator)) for side, size in zip(GRID_SHAPE, PART)
    ]
    slices = [slice(first, first + size) for first, size in zip(firsts, PART)]
    return example | {key: example[key][(slice(None), *slices)] for key in images}


def subject_brain(subject: Subject) -> Tensor:
    """bool per value of `subject.labels`: inside the intracranial space."""
    return torch.from_numpy(from_freesurfer(subject.codes) > 0)


def _pick(generator: Generator, shares: dict[str, float]) -> str:
    names = list(shares)
    return names[int(torch.multinomial(torch.tensor(list(shares.values())), 1, generator=generator))]


def _worn(generator: Generator, image: Tensor) -> Tensor:
    """The brain as another scanner might show it: contrast, bias field, blur and noise. It is the target too,
    so all of it stays.
    """
    inside = image > 0.02
    if chance(generator, 0.4):
        image = image.clamp(min=0) ** log_uniform(generator, 0.85, 1.18)
    if chance(generator, 0.5):
        image = degrade(generator, image, 0.1, 0.5, 0.04, 0.1)
    return image.clamp(0, 2) * inside


def conditions_of(generator: Generator, values: list[float | None], mode: str) -> tuple[Tensor, Tensor]:
    """Scaled covariates and known flags [K]: each dropped 15 % and all together 15 %; volumes oftener where
    there is a guide.
    """
    drop_all = chance(generator, 0.15)
    known, scaled = [], []
    for covariate, value in zip(COVARIATES, values):
        volume = covariate.name in ("ventricles", "brain")
        dropped = drop_all or chance(generator, 0.6 if volume and mode != "generate" else 0.15)
        known.append(value is not None and not dropped)
        scaled.append(covariate.scale(value) if value is not None and not dropped else 0.0)
    return torch.tensor(scaled), torch.tensor(known)


def noise_level(generator: Generator) -> float:
    """sigma: mostly log-normal where images take shape (EDM), else log-uniform so that the start at 80 is
    trained too.
    """
    if chance(generator, 0.7):
        return min(
            max(math.exp(-1.0 + 1.2 * float(torch.randn((), generator=generator))), SIGMA_MIN), SIGMA_MAX
        )
    return log_uniform(generator, 0.05, SIGMA_MAX)


def guided_level(generator: Generator) -> float:
    """sigma with a guide: mostly where the guide decides and the noisy image says little."""
    low, high = (1.0, 8.0) if chance(generator, 0.75) else (0.02, 1.0)
    return log_uniform(generator, low, high)


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """EDM's loss, of the brain where it has to be drawn and of the change where a guide is followed.

    The batch is [1, samples, ...]: a step's examples come from one draw.
    """
    batch = {key: value.flatten(0, 1) for key, value in batch.items()}
    told = (batch["covariates"], batch["known"], batch["real"])
    cond = Cond(
        *told,
        guide=batch["guide"],
        hole=batch["hole"],
        context=batch["context"],
        has_guide=batch["has_guide"],
    )
    sigma = batch["sigma"].view(-1, 1, 1, 1, 1)
    node = Node(1.0, sigma, sigma)  # type: ignore[arg-type]
    x, denoiser = batch["x0"] + sigma * batch["noise"], PriorDenoiser(net)
    shown = denoiser.shown(x, cond)
    raw = denoiser.raw(x, node, cond, shown).float()
    error = (raw - denoiser.target(batch["x0"], x, node, shown)).square()
    return _mean(error, ~shown.followed) + _mean(error, shown.doubted)


def _mean(error: Tensor, where: Tensor) -> Tensor:
    return (error * where).sum() / where.sum().clamp(min=1)


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights. Framed brains and their volumes are kept in the
    folder.
    """
    root = require_data("t1_brains", "label_maps", "priors", "ms", "stroke")
    torch.manual_seed(plan.seed)
    volumes = real_volumes(root, "train", plan.folder / "volumes.json")
    draw = Draw(root, plan.folder / "brains", volumes)
    return train(PriorNet(**NETWORK), draw, loss_of, plan)
