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
from ..diffusion.solve import dpmpp2m, start
from ..diffusion.solve import run as walk
from ..healing import guide_context
from ..imaging.expected import population
from ..imaging.grid import GRID_AFFINE, GRID_SHAPE, GRID_SPACING
from ..imaging.volume import Volume
from ..models.loading import Model, load_model
from . import metrics, pictures
from .anatomy_eval import segmented
from .cases import Case, training_maps, val_cases
from .setting import Setting

STEPS = 20
SIGMAS = (0.1, 0.3, 1.0, 3.0, 10.0, 40.0)
REQUESTS: tuple[dict[str, Any], ...] = tuple(
    {"age": age, "sex": sex, "ventricles": ventricles, "brain": brain}
    for age, sex, ventricles, brain in (
        (20, "female", 10, 1000),
        (20, "male", 15, 1200),
        (25, "female", 20, 1050),
        (25, "male", 12, 1300),
        (30, "female", 30, 1100),
        (30, "male", 25, 1150),
        (35, "female", 14, 950),
        (35, "male", 35, 1250),
        (42, "female", 18, 1050),
        (42, "male", 45, 1200),
        (50, "female", 28, 1000),
        (50, "male", 22, 1150),
    )
)


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `prior.json`."""
    model = load_model("t1-brain-2mm")
    brains = [case for case in val_cases(setting) if case.normal]
    requests = REQUESTS[: 2 if setting.quick else None]
    samples, seconds = _samples(setting, model, requests)
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
        "loss": _losses(setting, model, brains[: 2 if setting.quick else None], training),
        "brains": len(brains),
        "spectrum": _spectrum(setting, samples, real),
        "control": _control(setting, samples, requests),
    }


def _samples(setting: Setting, model: Model, requests: Sequence[dict]) -> tuple[list[np.ndarray], float]:
    """Samples [80, 96, 80], one for each request, and the seconds that one takes (median)."""
    denoise = model.denoiser(setting.plan.device, setting.plan.precision)
    nodes = model.path.karras(STEPS)
    made, seconds = [], []
    for seed, request in enumerate(requests):
        setting.say(f"Prior: sample {seed + 1} of {len(requests)}")
        begun = time.monotonic()
        cond = Cond.from_values(model.covariates, [request], real=1.0, allow_outside=True).to(
            setting.plan.device
        )
        noise = gaussian((1, *GRID_SHAPE), [seed]).to(setting.plan.device)
        made.append(walk(dpmpp2m(denoise, start(noise, nodes[0]), nodes, cond)).x[0, 0].float().cpu().numpy())
        seconds.append(time.monotonic() - begun)
    return [sample.clip(0, None) for sample in made], float(np.median(seconds))


def _losses(
    setting: Setting, model: Model, brains: Sequence[Case], training: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """At each noise level, without and with the brain itself as guide: error in the brain, and EDM's loss.

    The error is the root mean square of x0 - the image in percent of white matter; the loss is the mean
    square over the grid divided by EDM's c_out squared, as in training. "linear" is the error of the best
    linear filter, which knows the spectrum of brains about their mean and nothing of their shape.
    """
    denoise = model.denoiser(setting.plan.device, setting.plan.precision)
    typical = population().typical
    power = metrics.mean_power([image - typical for image in training])
    rows = []
    for sigma in SIGMAS:
        setting.say(f"Prior: denoising at sigma {sigma:g}")
        row: dict[str, Any] = {"sigma": sigma}
        c_out = sigma * denoise.sigma_data / (sigma**2 + denoise.sigma_data**2) ** 0.5
        for kind in ("free", "guided"):
            errors, losses = [], []
            for n, case in enumerate(brains):
                difference = _denoised(setting, model, denoise, case, sigma, n, kind == "guided") - case.image
                errors.append(100 * float(np.sqrt((difference[case.image > 0] ** 2).mean())))
                losses.append(float((difference**2).mean()) / c_out**2)
            row[kind] = {"error": float(np.mean(errors)), "loss": float(np.mean(losses))}
        linear = [_linear_error(case, typical, power, sigma, n) for n, case in enumerate(brains)]
        row["linear"] = float(np.mean(linear))
        rows.append(row)
    return rows


@torch.inference_mode()
def _denoised(
    setting: Setting, model: Model, denoise: Any, case: Case, sigma: float, seed: int, guided: bool
) -> np.ndarray:
    """x0 of the model for one noised brain, nothing known about it but, if `guided`, the brain itself."""
    device = setting.plan.device
    x0 = torch.from_numpy(case.image)[None, None].to(device)
    cond = Cond.from_values(model.covariates, [{}], real=1.0).to(device)
    cond = cond.with_guide(x0, context=guide_context(x0, case.frame.expected)) if guided else cond
    x = x0 + sigma * gaussian((1, *case.image.shape), [seed]).to(device)
    return denoise(x, Node(1.0, sigma, sigma), cond)[0, 0].float().cpu().numpy()


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
    rows = []
    for n, (sample, request) in enumerate(zip(samples, requests, strict=True)):
        setting.say(f"Prior: measuring sample {n + 1} of {len(samples)}")
        # A sample's background is dark, not empty; a stripped scan's is empty.
        stripped = np.where(sample > 0.02, sample, 0).astype(np.float32)
        volume = Volume(stripped, GRID_AFFINE, {"source": "a sample", "synthetic": True})
        found = segmented(setting, volume).volumes()
        rows.append({name: [request[name], round(found[name], 1)] for name in ("ventricles", "brain")})
    content: dict[str, Any] = {"rows": rows}
    for name in ("ventricles", "brain"):
        asked, got = zip(*(row[name] for row in rows), strict=True)
        error = float(np.mean(np.abs(np.subtract(asked, got))))
        content[name] = {"r": metrics.pearson(asked, got), "mean_error_ml": error}
    return content
