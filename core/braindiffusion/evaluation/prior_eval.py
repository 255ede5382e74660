"""The conditional prior: what its samples look like, how well it denoises val brains, and whether conditions
hold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..diffusion.cond import Cond
from ..diffusion.noise import gaussian
from ..diffusion.path import Node
from ..generating import conditions, generate, measured, template_of
from ..healing import guide_context
from ..imaging.expected import population
from ..imaging.grid import GRID_SPACING
from ..models.loading import Model, load_model
from ..nets.deformable import FILE
from ..segment import Segmenter
from ..telling import finished
from . import metrics, pictures
from .cases import Case, normal_cases, training_maps
from .setting import Setting

STEPS = 20
SIGMAS = (0.1, 0.3, 1.0, 3.0, 10.0, 40.0)
REQUESTS: tuple[dict[str, Any], ...] = tuple(
    {"age": age, "sex": sex, "ventricles": ventricles, "brain": brain}
    for age, sex, ventricles, brain in (
        (20, "female", 10, 1000),
        (20, "male", 15, 1200),
        (25, "female", 20, 1050),
        (25, "male", 12, 1250),
        (30, "female", 30, 1100),
        (30, "male", 25, 1150),
        (35, "female", 14, 950),
        (35, "male", 34, 1250),
        (42, "female", 18, 1050),
        (42, "male", 32, 1200),
        (50, "female", 28, 1000),
        (50, "male", 22, 1150),
    )
)


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `prior.json`."""
    model = load_model("t1-brain-2mm")
    brains = normal_cases(setting)
    requests = REQUESTS[: 2 if setting.quick else None]
    maker = load_model("t1-brain-2mm-generate")
    samples, seconds = _samples(setting, maker, requests)
    captions = [
        f"{r['age']} y, {r['sex']}, ventricles {r['ventricles']} ml, brain {r['brain']} ml" for r in requests
    ]
    pictures.sample_sheet(setting.pictures / "samples.png", samples, captions)
    training = [image.astype(np.float32) for image in training_maps(setting)["model"]]
    real = [case.image for case in brains] + training
    return {
        "steps": STEPS,
        "samples": len(samples),
        "seconds_per_sample": seconds,
        "loss": _losses(setting, (model, maker), brains[: 2 if setting.quick else None], training),
        "brains": len(brains),
        "spectrum": _spectrum(setting, samples, real),
        "control": _control(setting, samples, requests),
    }


def _samples(setting: Setting, model: Model, requests: Sequence[dict]) -> tuple[list[np.ndarray], float]:
    """Samples [80, 96, 80], one for each request, and the seconds that one takes (median)."""
    made, seconds = [], []
    for seed, request in enumerate(requests):
        setting.say(f"Prior: sample {seed + 1} of {len(requests)}")
        begun = time.monotonic()
        steps = generate(
            model, request, [seed], STEPS, device=setting.plan.device, precision=setting.plan.precision
        )
        made.append(finished(steps)[0])
        seconds.append(time.monotonic() - begun)
    return made, float(np.median(seconds))


def _losses(
    setting: Setting, models: tuple[Model, Model], brains: Sequence[Case], training: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """At each noise level, without and with the brain itself as guide, and of the generator that knows the
    brain's shape by registration: error in the brain, and EDM's loss.

    The error is the root mean square of x0 - the image in percent of white matter; the loss is the mean
    square over the grid divided by EDM's c_out squared, as in training. "linear" is the error of the best
    linear filter, which knows the spectrum of brains about their mean and nothing of their shape.
    """
    model, maker = models
    typical = population().typical
    power = metrics.mean_power([image - typical for image in training])
    template, shapes = template_of(maker.file(FILE)), []
    for n, case in enumerate(brains):
        setting.say(f"Prior: shape of brain {n + 1} of {len(brains)}")
        shapes.append(template.show(template.fit(case.image)))
    rows = []
    for sigma in SIGMAS:
        setting.say(f"Prior: denoising at sigma {sigma:g}")
        row: dict[str, Any] = {"sigma": sigma}
        told: dict[str, tuple[Model, Any]] = {
            "free": (model, lambda n: conditions(model, [{}])),
            "guided": (model, lambda n: _guided(model, brains[n])),
            "shaped": (maker, lambda n: conditions(maker, [{}], [shapes[n]])),
        }
        for kind, (used, cond_of) in told.items():
            if sigma <= used.path.ratio_range[1]:
                row[kind] = _loss(setting, used, [cond_of(n) for n in range(len(brains))], brains, sigma)
        linear = [_linear_error(case, typical, power, sigma, n) for n, case in enumerate(brains)]
        row["linear"] = float(np.mean(linear))
        rows.append(row)
    return rows


def _guided(model: Model, case: Case) -> Cond:
    x0 = torch.from_numpy(case.image)[None, None]
    return conditions(model, [{}]).with_guide(x0, context=guide_context(x0, case.frame.expected))


def _loss(
    setting: Setting, model: Model, conds: Sequence[Cond], brains: Sequence[Case], sigma: float
) -> dict[str, float]:
    denoise = model.denoiser(setting.plan.device, setting.plan.precision)
    c_out = sigma * denoise.sigma_data / (sigma**2 + denoise.sigma_data**2) ** 0.5
    errors, losses = [], []
    for n, (cond, case) in enumerate(zip(conds, brains, strict=True)):
        difference = _denoised(setting, denoise, cond, case, sigma, n) - case.image
        errors.append(100 * float(np.sqrt((difference[case.image > 0] ** 2).mean())))
        losses.append(float((difference**2).mean()) / c_out**2)
    return {"error": float(np.mean(errors)), "loss": float(np.mean(losses))}


@torch.inference_mode()
def _denoised(setting: Setting, denoise: Any, cond: Cond, case: Case, sigma: float, seed: int) -> np.ndarray:
    """x0 for one noised brain."""
    device = setting.plan.device
    noise = gaussian((1, *case.image.shape), [seed])
    x = (torch.from_numpy(case.image)[None, None] + sigma * noise).to(device)
    return denoise(x, Node(1.0, sigma, sigma), cond.to(device))[0, 0].float().cpu().numpy()


def _linear_error(case: Case, typical: np.ndarray, power: np.ndarray, sigma: float, seed: int) -> float:
    """The error of the Wiener filter for white noise of `sigma` about the mean brain, in percent."""
    noise = gaussian((1, *case.image.shape), [seed])[0, 0].numpy()
    filtered = np.fft.fftn(case.image + sigma * noise - typical) * power / (power + sigma**2)
    x0 = typical + np.fft.ifftn(filtered).real
    return 100 * float(np.sqrt(((x0 - case.image)[case.image > 0] ** 2).mean()))


def _spectrum(setting: Setting, samples: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> dict[str, Any]:
    """How much of the samples' power lies within the range of real brains, ring by ring, and the ratio at
    fine detail.
    """
    frequency = metrics.radial_power(real[0], GRID_SPACING)[0]
    there = np.stack([metrics.radial_power(image, GRID_SPACING)[1] for image in real])
    made = np.stack([metrics.radial_power(sample, GRID_SPACING)[1] for sample in samples])
    pictures.spectrum(setting.pictures / "spectrum.png", frequency, there, made)
    fine = len(frequency) // 2
    ratio = np.median(made, 0) / np.median(there, 0)
    return {
        "real_brains": len(real),
        "rings_within": float(_between(made, there).mean()),
        "median_within": float(_between(np.median(made, 0), there).mean()),
        "fine_ratio": float(np.exp(np.log(ratio[fine:]).mean())),
        "finest_mm": float(1 / (2 * frequency[-1])),
    }


def _between(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    return (made >= real.min(0)) & (made <= real.max(0))


def _control(setting: Setting, samples: Sequence[np.ndarray], requests: Sequence[dict]) -> dict[str, Any]:
    """Volumes that the anatomy network measures in the samples, against those that were asked for."""
    segmenter = Segmenter.load(setting.plan.device, setting.plan.precision)
    rows = []
    for n, (sample, request) in enumerate(zip(samples, requests, strict=True)):
        setting.say(f"Prior: measuring sample {n + 1} of {len(samples)}")
        found = measured(sample, segmenter)
        rows.append({name: [request[name], round(found[name], 1)] for name in ("ventricles", "brain")})
    content: dict[str, Any] = {"rows": rows}
    for name in ("ventricles", "brain"):
        asked, got = zip(*(row[name] for row in rows), strict=True)
        error = float(np.mean(np.abs(np.subtract(asked, got))))
        content[name] = {"r": metrics.pearson(asked, got), "mean_error_ml": error}
    return content
