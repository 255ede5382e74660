"""Brains from covariates, and the volumes that are measured in them (methods.md B1, A21).

Everything lies on the model grid, [80, 96, 80] at 2 mm in template space, with white matter 1 and a
background of 0. Volumes are measured twice: by the anatomy network, which also measured the conditions of the
training brains, and by counting dark voxels where the atlas has ventricles, which knows no network.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch.nn import functional

from .anatomy import CSF, VENTRICLES
from .diffusion.cond import Cond
from .diffusion.guide import cfg, less_denoised
from .diffusion.noise import gaussian
from .diffusion.solve import dpmpp2m, q_sample
from .healing import Partway
from .imaging.align import affine_to_template
from .imaging.atlas import atlas
from .imaging.expected import population
from .imaging.frame import Frame
from .imaging.grid import FINE_AFFINE, GRID_AFFINE, GRID_SHAPE, VOXEL_ML, sample
from .imaging.intensity import GREY, WHITE, TissueScale
from .imaging.volume import Volume
from .models.loading import Model
from .nets.anatomy import normalise
from .nets.deformable import FILE, DeformableTemplate
from .nets.prior import CONTEXT
from .segment import Segmenter, one_region
from .telling import Tell, between, silent

GUIDED_BETWEEN = (0.1, 10.0)
"""sigma (white matter is 1) at which guidance acts: outside it costs variety and helps nothing
(Kynkaanniemi 2024).
"""
LEFT = 0.015
"""Share of the noise that is left at each step: fine detail then has the power of training brains'."""
BACKGROUND = 0.05
"""What is darker (white matter is 1) outside the brain is background; fluid inside it stays."""
LEAST_ML = 100.0
"""A smaller region is no brain, and there is nothing to measure in it."""
FLUID = 0.6
"""Between fluid and white matter: what is darker where the ventricles lie is counted as ventricle."""
_MAY_BE = 0.02
"""Probability of the atlas above which a place may be ventricle."""


def conditions(
    model: Model, values: Sequence[Mapping[str, Any]], shapes: Sequence[np.ndarray] | None = None
) -> Cond:
    """Conditions of real brains, one mapping of covariates for each; None is unknown, and what lies outside
    the training range extrapolates.

    shapes: what each brain is expected to look like, [80, 96, 80]; the average brain where it is not given.
    """
    told = [{name: value for name, value in each.items() if value is not None} for each in values]
    cond = Cond.from_values(model.covariates, told, real=1.0, allow_outside=True)
    if shapes is None:
        return cond
    images = torch.from_numpy(np.stack(shapes).astype(np.float32))[:, None]
    return replace(cond, context=functional.pad(images, (0,) * 7 + (CONTEXT - 1,)))


def expected(model: Model, values: Mapping[str, Any], seeds: Sequence[int]) -> list[np.ndarray]:
    """What brains with these covariates are expected to look like before any detail is drawn, [80, 96, 80],
    one shape for each seed: by the model's deformable template, or the average brain where it has none.
    """
    if FILE not in model.card.files:
        return [population().typical] * len(seeds)
    template = template_of(model.file(FILE))
    return [template.draw(numbers(model, values), seed) for seed in seeds]


def numbers(model: Model, values: Mapping[str, Any]) -> dict[str, float]:
    """The covariates that are known, as numbers in the units of the model's card."""
    known = (c for c in model.covariates if values.get(c.name) is not None)
    return {c.name: c.value_of(values[c.name]) for c in known}


@lru_cache(maxsize=2)
def template_of(file: Path) -> DeformableTemplate:
    """The deformable template in `file`, read once."""
    return DeformableTemplate.load(file)


def generate(
    model: Model,
    values: Mapping[str, Any],
    seeds: Sequence[int],
    steps: int = 20,
    *,
    weight: float = 1.0,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int = 0,
) -> Generator[Partway, None, np.ndarray]:
    """Yields how far it is after each step, and returns brains [N, 80, 96, 80], one for each seed.

    values: covariates by name, in the units of the model's card. weight: of classifier-free guidance, 1 for
    none. DPM-Solver++(2M) on a Karras grid, `batch` brains at a time (0: all); noise belongs to its seed, so
    the batch changes nothing but rounding.
    """
    denoise = less_denoised(cfg(model.denoiser(device, precision), weight, GUIDED_BETWEEN), LEFT)
    nodes = model.path.karras(steps)
    chunk = batch or len(seeds)
    made: list[np.ndarray] = []
    for first in range(0, len(seeds), chunk):
        some = seeds[first : first + chunk]
        noise = gaussian((1, *GRID_SHAPE), some).to(device)
        shapes = expected(model, values, some)
        cond = conditions(model, [values] * len(some), shapes).to(device)
        # What noise hides of a brain is still expected: it is about there that sampling begins.
        x = q_sample(cond.context[:, :1], noise, nodes[0])  # type: ignore[index]
        for step in dpmpp2m(denoise, x, nodes, cond):
            share = (first + len(some) * step.i / step.n) / len(seeds)
            yield Partway(share, tuple(made), step.x0)
        made.append(step.x[:, 0].float().cpu().numpy())
    return np.stack([cleaned(brain) for brain in np.concatenate(made)])


def in_template_space(image: np.ndarray, title: str = "") -> Volume:
    """A made-up brain [80, 96, 80] on the model grid, which lies in the space of the MNI template, or [160,
    192, 160] on its 1 mm copy.
    """
    affine = GRID_AFFINE if image.shape == GRID_SHAPE else FINE_AFFINE
    return Volume(image, affine, {"synthetic": True, "space": "MNI"} | ({"title": title} if title else {}))


def cleaned(image: np.ndarray) -> np.ndarray:
    """A brain [X, Y, Z] as a stripped scan has it: not negative, and 0 outside its one region."""
    return np.where(one_region(image > BACKGROUND), image.clip(0), 0).astype(np.float32)


def placed(image: np.ndarray, tell: Tell = silent) -> Frame:
    """The frame of a brain [80, 96, 80] that already lies on the model grid and has its intensities."""
    means = np.array([[0.25, GREY, WHITE], [0.1] * 3, [1 / 3] * 3])
    return Frame(
        shape=GRID_SHAPE,
        affine=GRID_AFFINE,
        rigid=np.eye(4),
        to_template=affine_to_template(image, tell),
        mask=image > 0,
        log_bias=np.zeros(GRID_SHAPE, np.float32),
        scale=TissueScale(GREY, WHITE),
        image=image,
        tissue=means,
    )


def measured(image: np.ndarray, segmenter: Segmenter, tell: Tell = silent) -> dict[str, float]:
    """Volumes in ml of a brain [80, 96, 80] on the model grid: "intracranial", "brain" and "ventricles" by
    the anatomy network, and "dark_ventricles" by threshold (`dark_ml`). All are 0 where there is no brain.
    """
    if (image > 0).sum() * VOXEL_ML < LEAST_ML:
        return dict.fromkeys(("intracranial", "brain", "ventricles", "dark_ventricles"), 0.0)
    frame = placed(image, between(tell, 0.0, 0.5))
    seen = normalise(torch.from_numpy(image))
    found = segmenter.segment_model(seen, frame, between(tell, 0.5, 1.0))
    return found.volumes() | {"dark_ventricles": dark_ml(image, np.linalg.inv(frame.template_index))}


def dark_ml(image: np.ndarray, to_template: np.ndarray) -> float:
    """Ventricular volume in ml without a network: what is dark where the atlas may have ventricles.

    image: [80, 96, 80], white matter 1. to_template: (4, 4) its voxel -> template grid voxel. Fluid that is
    likelier to lie around the brain is left out.
    """
    # The atlas has every second voxel: its voxel (0, 0, 0) lies between the grid's first and second.
    to_atlas = np.diag([0.5, 0.5, 0.5, 1.0])
    to_atlas[:3, 3] = -0.25
    chances = (atlas()[list(VENTRICLES)].sum(0), atlas()[[0, *CSF]].sum(0))
    inside, outside = (sample(chance, to_atlas @ to_template, GRID_SHAPE) for chance in chances)
    # The atlas' fluid around the brain reaches into cisterns beside the ventricles.
    where = binary_dilation(inside > _MAY_BE) & (outside < inside + 0.3)
    # Fluid may be as dark as the background, which it never touches.
    return float(((image < FLUID) & where & one_region(image > 0)).sum() * VOXEL_ML)
