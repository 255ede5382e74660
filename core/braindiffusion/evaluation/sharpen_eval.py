"""Brains at 1 mm from brains at 2 mm: nearer to the real ones than interpolation, as sharp, and without
seams?
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from ..generating import generate
from ..imaging.grid import FINE_SHAPE, TO_GRID, sample
from ..models.loading import Model, load_model
from ..nets.detail import coarsened, expected_of
from ..plan import Plan
from ..sharpening import OVERLAP, STEPS, TILE, around, sharpen, spans
from ..telling import finished
from ..training.sharpen import NAME, sharp
from . import metrics, pictures
from .cases import normal_cases
from .implants import scan
from .inpaint_eval import psnr, ssim
from .setting import Setting, key_of

GENERATED = 3
"""Brains of the generator that are brought to 1 mm too."""
BEYOND = 12
"""Of the 24 rings of a 1 mm spectrum, the first beyond what 2 mm can show."""
SHARPENED = "sharpened"
Upscale = Callable[[np.ndarray], np.ndarray]


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `sharpen.json`."""
    model = load_model(NAME)
    rows, powers = [], []
    for number, case in enumerate(normal_cases(setting)):
        setting.say(f"Detail: brain {number + 1}, {case.subject}")
        fine, coarse = sharp(scan(setting.root, case.subject).data, case.frame), case.image
        images = {how: upscale(coarse) for how, upscale in RIVALS.items()}
        images[SHARPENED] = _sharpened(setting, model, case.subject, coarse, number)
        rows.append(compared(case.subject, fine, coarse, images))
        powers.append(power(fine))
        if number == 0:
            pictures.detail_sheet(
                setting.pictures / "detail.png", {"2 mm": coarse, **images, "real, 1 mm": fine}
            )
    made = _generated(setting, model, float(np.median(powers)))
    setting.say("Detail: seconds and memory")
    return {
        "brains": len(rows),
        "steps": STEPS,
        "methods": [summary(name, rows) for name in rows[0]["methods"]],
        "against": [against(name, rows) for name in RIVALS],
        "consistency": float(np.mean([row["consistency"] for row in rows])),
        "seam": {name: [row[name] for row in rows] for name in ("seam", "natural")},
        "generated": made,
        "cost": cost(setting.plan, coarse),
    }


def linear(coarse: np.ndarray) -> np.ndarray:
    """[80, 96, 80] at 2 mm on the 1 mm grid by linear interpolation."""
    return sample(coarse, TO_GRID, FINE_SHAPE)


def cubic(coarse: np.ndarray) -> np.ndarray:
    """The same by cubic splines."""
    return sample(coarse, TO_GRID, FINE_SHAPE, order=3).clip(0)


def back_projection(coarse: np.ndarray) -> np.ndarray:
    """Linear interpolation corrected until it looks like `coarse` when blurred again: where diffusion
    begins.
    """
    return expected_of(torch.from_numpy(coarse)[None, None])[0, 0].numpy()


RIVALS: dict[str, Upscale] = {
    "linear interpolation": linear,
    "cubic interpolation": cubic,
    "back-projection": back_projection,
}


def compared(
    name: str, fine: np.ndarray, coarse: np.ndarray, images: dict[str, np.ndarray]
) -> dict[str, Any]:
    """What there is to say of `images` [160, 192, 160] that were made from `coarse`, beside the real
    `fine`.
    """
    inside, own = fine > 0, power(fine)
    found = {
        how: {
            "psnr": psnr(image, fine, inside),
            "ssim": ssim(image, fine, inside),
            "power": power(image) / own,
        }
        for how, image in images.items()
    }
    drawn = images[SHARPENED]
    return {
        "subject": name,
        "methods": found,
        "consistency": consistency(drawn, coarse),
        "seam": seam(drawn, coarse),
        "natural": seam(fine, coarse),
    }


def consistency(fine: np.ndarray, coarse: np.ndarray) -> float:
    """Root mean square difference of `coarse` to `fine` blurred and sampled again, in the brain."""
    again = coarsened(torch.from_numpy(fine)[None, None])[0, 0].numpy()
    return float(np.sqrt(np.square(again - coarse)[coarse > 0].mean()))


def power(fine: np.ndarray) -> float:
    """Mean power (geometric, over rings) of an image at 1 mm beyond what 2 mm can show."""
    return float(np.exp(np.log(metrics.radial_power(fine, 1.0)[1][BEYOND:] + 1e-12).mean()))


def seam(fine: np.ndarray, coarse: np.ndarray) -> float:
    """How steep `fine` is where tiles of the brain `coarse` meet, over how steep it is elsewhere."""
    across = np.zeros(FINE_SHAPE[1] - 1, bool)
    for part, _ in spans(around(coarse)[1], TILE[1])[1:]:
        across[2 * part.start : 2 * (part.start + OVERLAP)] = True
    steps = np.abs(np.diff(fine, axis=1))
    inside = (fine[:, 1:] > 0) & (fine[:, :-1] > 0)
    there, elsewhere = (steps[:, where][inside[:, where]].mean() for where in (across, ~across))
    return float(there / elsewhere)


def summary(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over brains of one method, with 95 % intervals."""
    return {"name": name} | {
        figure: _mean([row["methods"][name][figure] for row in rows]) for figure in ("psnr", "ssim", "power")
    }


def against(rival: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By how much the model is better than `rival`, over brains."""
    return {"name": rival} | {
        figure: _mean([row["methods"][SHARPENED][figure] - row["methods"][rival][figure] for row in rows])
        for figure in ("psnr", "ssim")
    }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "interval": list(metrics.bootstrap_interval(values))}


def _sharpened(setting: Setting, model: Model, name: str, coarse: np.ndarray, seed: int) -> np.ndarray:
    def make() -> dict[str, np.ndarray]:
        plan = setting.plan
        steps = sharpen(model, [coarse], [seed], device=plan.device, precision=plan.precision)
        return {"fine": finished(steps)[0].astype(np.float16)}

    key = key_of(model.card.sha256, coarse.tobytes(), f"{STEPS} {seed} {TILE}")
    return setting.cached(f"detail-{name}", key, make)["fine"].astype(np.float32)


def _generated(setting: Setting, model: Model, real_power: float) -> dict[str, Any]:
    """Power and consistency of brains that were generated and brought to 1 mm."""
    generator = load_model("t1-brain-2mm-generate")
    powers, off = [], []
    shown: dict[str, np.ndarray] = {}
    for seed in range(1 if setting.quick else GENERATED):
        setting.say(f"Detail: generated brain {seed + 1}")
        plan = setting.plan
        coarse = finished(generate(generator, {}, [seed], device=plan.device, precision=plan.precision))[0]
        fine = _sharpened(setting, model, f"generated-{seed}", coarse, seed)
        powers.append(power(fine) / real_power)
        off.append(consistency(fine, coarse))
        shown |= {f"generated {seed + 1}, 2 mm": coarse, f"generated {seed + 1}, 1 mm": fine}
    pictures.detail_sheet(setting.pictures / "detail_generated.png", shown)
    return {"brains": len(powers), "power": float(np.mean(powers)), "consistency": float(np.mean(off))}


def cost(plan: Plan, coarse: np.ndarray) -> dict[str, float]:
    """Seconds for one brain, the model loaded, and the most memory of a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        work = pool.submit(_timed, plan.threads, plan.device, plan.precision, coarse)
        seconds, peak = work.result()
    return {"seconds": seconds, "peak_gib": peak / 2**30}


def _timed(threads: int, device: str, precision: str, coarse: np.ndarray) -> tuple[float, int]:
    import resource

    torch.set_num_threads(threads)
    model, begun = load_model(NAME), time.monotonic()
    finished(sharpen(model, [coarse], [0], device=device, precision=precision))
    return time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
