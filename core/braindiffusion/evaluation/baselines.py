"""What healing has to beat, measured on the same cases in the same run. None of these weights or maps ship.

All maps are on the model grid [80, 96, 80], higher where stranger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter

from ..healing import Healed
from ..imaging.grid import GRID_SHAPE, sample
from .cases import Case
from .setting import Arrays, Setting, key_of

RESIDUAL_UNIT = 0.02
"""Plain residuals are given in units of 2 % of white matter, so that their thresholds lie where calibration
looks.
"""


@dataclass(frozen=True)
class Variant:
    """One way to score. family: which baseline it belongs to. label: its settings. Either `score(case)` is a
    map as it is, or `healed(case)` is compared with normal brains voxel by voxel (`heatmap.deviation`).
    """

    family: str
    label: str
    score: Callable[[Case], np.ndarray] | None = None
    healed: Callable[[Case], Healed] | None = None


def population_scores(maps: Arrays) -> list[Variant]:
    """|z| of every voxel against mean and deviation of the training population in affine template space."""
    return [_population(maps, sigma) for sigma in (0.0, 0.75, 1.5)]


def _population(maps: Arrays, sigma: float) -> Variant:
    inside = maps["inside"]
    count = np.maximum(inside.sum(0), 1)
    images = np.stack([_smooth(image.astype(np.float32), sigma) for image in maps["images"]])
    mean = np.where(inside, images, 0).sum(0) / count
    variance = np.where(inside, (images - mean) ** 2, 0).sum(0) / np.maximum(count - 1, 1)
    # Where few brains reach, their deviation says little: a floor keeps the quotient finite.
    deviation = np.sqrt(np.maximum(variance, 0.05**2))
    seen = inside.mean(0) > 0.5

    def score(case: Case) -> np.ndarray:
        to_model = np.linalg.inv(case.frame.template_index)
        here = (sample(array.astype(np.float32), to_model, GRID_SHAPE) for array in (mean, deviation, seen))
        expected, spread, known = here
        z = np.abs(_smooth(case.image, sigma) - expected) / np.maximum(spread, 0.05)
        return z * (known > 0.5) * (case.image > 0)

    return Variant("population z-score", f"{len(images)} brains, blur {2 * sigma:g} mm", score=score)


def smoothed_copies() -> list[Variant]:
    """The residual to a smoothed copy of the scan itself: as it is, and against normal brains."""
    variants = []
    for sigma in (1.5, 3.0, 5.0):
        copy = _Smoothed(sigma)
        label = f"blur {2 * sigma:g} mm"
        variants.append(Variant("smoothed copy", label, score=_residual_of(copy)))
        variants.append(Variant("smoothed copy", f"{label}, against normal brains", healed=copy))
    return variants


@dataclass(frozen=True)
class _Smoothed:
    sigma: float

    def __call__(self, case: Case) -> Healed:
        return Healed.of((_smooth(case.image, self.sigma) * (case.image > 0))[None])


def _residual_of(healed: Callable[[Case], Healed]) -> Callable[[Case], np.ndarray]:
    def score(case: Case) -> np.ndarray:
        difference = np.abs(case.image - healed(case).mean) * (case.image > 0)
        return median_filter(difference, 3) / RESIDUAL_UNIT

    return score


def autoencoder(setting: Setting) -> list[Variant]:
    """The denoising autoencoder with coarse noise (methods.md B3.5), of the size of the prior; [] where it is
    not trained.

    Its input is the clean scan. Scored as published (5 x 5 x 5 median, foreground eroded), without the
    erosion, and against normal brains.
    """
    if not setting.dae.is_file():
        return []
    healed = Autoencoder(setting)
    return [
        Variant(
            "denoising autoencoder",
            "median 5, eroded",
            score=lambda case: _published(case, healed(case).mean),
        ),
        Variant("denoising autoencoder", "median 3", score=_residual_of(healed)),
        Variant("denoising autoencoder", "against normal brains", healed=healed),
    ]


def _published(case: Case, output: np.ndarray) -> np.ndarray:
    foreground = (case.image > 0.01).astype(np.float32)
    eroded = uniform_filter(foreground, 5, mode="constant") > 0.95
    return median_filter(np.abs(case.image - output) * eroded, 5) / RESIDUAL_UNIT


class Autoencoder:
    """f(x) of a case, kept on disk."""

    def __init__(self, setting: Setting) -> None:
        from safetensors.torch import load_file

        from ..models.loading import prepared
        from ..training.dae import build

        net = build().eval().requires_grad_(False)
        net.load_state_dict({name: value.float() for name, value in load_file(setting.dae).items()})
        self.setting, self.net = setting, prepared(net, setting.plan.device, setting.plan.precision)
        self.key = key_of(setting.dae, setting.plan.precision)

    def __call__(self, case: Case) -> Healed:
        kept = self.setting.cached(
            f"dae-{case.name}", key_of(self.key, case.image.tobytes()), lambda: self._make(case)
        )
        return Healed.of(kept["output"].astype(np.float32))

    def _make(self, case: Case) -> Arrays:
        import torch

        from ..training.dae import denoise

        with torch.inference_mode():
            x = torch.from_numpy(case.image)[None, None].to(self.setting.plan.device)
            output = denoise(self.net, x)[0].float().cpu().numpy() * (case.image > 0)
        return {"output": output.astype(np.float16)}


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurred among the voxels of the brain only, so that its edge does not fade."""
    if sigma == 0:
        return image
    inside = (image > 0).astype(np.float32)
    return gaussian_filter(image * inside, sigma) / np.maximum(gaussian_filter(inside, sigma), 0.05)
