"""A prior and an anatomy network that know the truth: Gaussian brains whose mean the covariates set."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from brain_scans import INDEX, INSIDE, POSE, SHAPE, WHITE, frame_of, oblique_affine
from braindiffusion import generating, segment
from braindiffusion.anatomy import VENTRICLES
from braindiffusion.diffusion.path import VarianceExploding
from braindiffusion.imaging.atlas import atlas
from braindiffusion.imaging.frame import Frame
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE, VOXEL_ML, sample
from braindiffusion.imaging.template import template
from braindiffusion.imaging.volume import Volume
from braindiffusion.models import loading
from braindiffusion.models.card import Card
from braindiffusion.segment import Segmentation
from braindiffusion.tasks.generate import DETAIL_MODEL, MODEL
from braindiffusion.telling import Tell, silent
from braindiffusion.training.prior import COVARIATES

FLUID, USUAL_ML, SHADE = 0.25, 25.0, 0.03
"""Intensity of fluid; ventricles of who is not described; SD of each voxel around the mean."""
STRIPE = 0.1
"""By which share the detail at 1 mm darkens every second voxel along x."""


@lru_cache(maxsize=1)
def _chance() -> np.ndarray:
    to_atlas = np.diag([0.5, 0.5, 0.5, 1.0])
    to_atlas[:3, 3] = -0.25
    return sample(atlas()[list(VENTRICLES)].sum(0), to_atlas, GRID_SHAPE)


@lru_cache(maxsize=64)
def mean_brain(ventricles_ml: float) -> np.ndarray:
    """A brain [80, 96, 80], white matter 1, whose likeliest `ventricles_ml` of the atlas are fluid."""
    chance = _chance()
    grey = np.clip(template().t1 / 0.9, 0.7, 1.2)
    filled = np.where(binary_dilation(chance > 0.01, iterations=3), 1.0, grey)
    dark = np.zeros(chance.size, bool)
    dark[np.argsort(chance.ravel(), kind="stable")[::-1][: round(ventricles_ml / VOXEL_ML)]] = True
    return (np.where(dark.reshape(GRID_SHAPE), FLUID, filled) * INSIDE).astype(np.float32)


def scan_of(image: np.ndarray) -> Volume:
    """A brain [80, 96, 80] in a scanner: turned and moved, on an oblique grid."""
    affine = oblique_affine()
    to_model = np.linalg.inv(POSE @ GRID_AFFINE) @ affine
    return Volume((WHITE * sample(image, to_model, SHAPE)).astype(np.float32), affine, {"source": "a test"})


class KnownBrains:
    """The exact denoiser of such brains, and the network that finds their ventricles. `interrupt` is raised
    when the denoiser is asked for the `after`-th time.
    """

    def __init__(self) -> None:
        self.asked, self.after, self.interrupt = 0, 0, None
        self.card = card("brain-anatomy-2mm")

    def denoise(self, x, node, cond):
        self.asked += 1
        if self.interrupt is not None and self.asked > self.after:
            raise self.interrupt
        column = cond.names.index("ventricles")
        told = [COVARIATES[column].unscale(float(value)) for value in cond.covariates[:, column]]
        ml = [round(v, 3) if known else USUAL_ML for v, known in zip(told, cond.known[:, column])]
        centre = torch.stack([torch.from_numpy(mean_brain(v)) for v in ml])[:, None].to(x)
        gain = node.alpha * SHADE**2 / (node.alpha**2 * SHADE**2 + node.sigma**2)
        return centre + gain * (x - node.alpha * centre)

    def detail(self, x, node, seen):
        """Whatever the coarse brain expects, a little darker in every second voxel of 1 mm."""
        darker = torch.ones_like(x)
        darker[:, :, ::2] -= STRIPE
        return seen.expected * darker

    def frame(self, scan: Volume, tell: Tell = silent) -> Frame:
        return replace(frame_of(scan), to_template=np.eye(4))

    def segment(self, frame: Frame, data: np.ndarray, tell: Tell = silent) -> Segmentation:
        return self.segment_model(torch.from_numpy(frame.image), frame, tell)

    def segment_model(self, image: torch.Tensor, frame: Frame, tell: Tell = silent) -> Segmentation:
        tell(1.0)
        # Half of what is brightest lies between fluid and tissue, whether or not 0..1 is what it is given.
        shown = image.numpy()
        fluid = (shown < 0.45 * np.percentile(shown, 99.5)) & (_chance() > 0.005)
        labels = np.where(fluid, INDEX["left", "lateral ventricle"], INDEX["left", "cerebral cortex"])
        labels = (labels * (frame.image > 0)).astype(np.uint8)
        return Segmentation.certain(labels, frame.affine @ frame.index, 0.9)


def card(name: str) -> Card:
    return Card(
        name=name, title="", intended_use="", not_for="", frame={}, training={}, licence="", architecture={},
        path={"kind": "edm", "sigma_min": 0.01, "sigma_max": 80.0}, parameters=0, fingerprint=[],
        covariates=[covariate.to_json() for covariate in COVARIATES], sha256=name[0] * 64,
    )  # fmt: skip


def installed(patch: pytest.MonkeyPatch) -> KnownBrains:
    """Put them in the place of the networks, and the brains' place, which is known, for registration."""
    world = KnownBrains()
    prior = loading.Model(card(MODEL), torch.nn.Identity(), None)
    models = {
        MODEL: prior,
        DETAIL_MODEL: SimpleNamespace(
            card=card(DETAIL_MODEL),
            path=VarianceExploding(0.01, 0.5),
            detail_denoiser=lambda device, precision: world.detail,
        ),
        "brain-anatomy-2mm": SimpleNamespace(card=world.card),
    }
    patch.setattr(generating, "LEFT", 0.0)  # these denoisers do not smooth too much
    patch.setattr(loading, "load_model", lambda name: models[name])
    patch.setattr(loading.Model, "denoiser", lambda self, device, precision: world.denoise)
    patch.setattr(segment.Segmenter, "load", lambda device, precision, model: world)
    patch.setattr(generating, "affine_to_template", lambda image, tell=silent: np.eye(4))
    return world
