"""Inpainting of healthy regions of val brains, whose truth is known, beside simpler ways; and a tumour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic

from .. import engine, filling_error, inpainting
from ..errors import BrainDiffusionError
from ..imaging import demons
from ..imaging.gate import admit
from ..imaging.membrane import box_around
from ..imaging.volume import Volume
from ..inpainting import RIM, Site, hole_in, inpaint, shapes_of
from ..models.loading import Model, load_model
from ..nets import deformable, warping
from ..result import Result
from ..telling import finished
from . import implants, metrics, pictures
from .cases import Case, lesion_shaped, normal_cases
from .setting import Setting, key_of, sources

SIZES_ML = (1.0, 8.0, 40.0)
SEED = 2_026_11
FILLINGS, STEPS, REPEATS = 5, 3, 2
"""As the task has them by default."""
LEVEL = (FILLINGS - 1) / (FILLINGS + 1)
"""How often the truth, were it one more filling, would lie between the lowest and the highest of them."""
MODEL = "t1-brain-2mm-generate"
HEAD, PLACE_MM, BALL_ML = "heads/colin27_ch2_head.nii.gz", (-28.0, -12.0, 28.0), 40.0
"""A head in MNI space, where its left white matter lies (RAS mm), and how much of it is filled."""
_AROUND = 6
"""Voxels of surroundings that biharmonic filling and SSIM are given."""
TUMOUR = "BraTS-GLI-00001"
_SCAN = f"tumour/{TUMOUR}/{TUMOUR}-000-t1n.nii.gz"
_MASK = f"tumour/{TUMOUR}/inpainting-mask.nii.gz"
Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Gap:
    """A healthy region of a brain that is to be filled. region: bool [X, Y, Z] on the scan's grid; hole: bool
    [80, 96, 80], what of the model grid is filled for it; touched: the part of that which it touches.
    """

    case: Case
    size_ml: float
    region: np.ndarray
    hole: np.ndarray
    touched: np.ndarray


def gap(case: Case, size_ml: float, library: Sequence[implants.Shape]) -> Gap:
    """A gap of about `size_ml` with the shape of a real lesion of a held-out patient, the same every time."""
    rng = np.random.default_rng([SEED, crc32(case.subject.encode()), round(1000 * size_ml)])
    places = np.argwhere(case.brain)
    while True:
        region = lesion_shaped(case, rng, library, size_ml, places)
        if abs(region.sum() * case.voxel_ml / size_ml - 1) < 0.25:
            return Gap(case, size_ml, region, *(hole_in(case.frame, region, rim) for rim in (RIM, 0)))


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `inpaint.json`."""
    cases = normal_cases(setting)[: 2 if setting.quick else None]
    library = implants.shapes(setting.root)
    model = load_model(MODEL)
    rows = []
    for n, case in enumerate(cases, 1):
        setting.say(f"Inpainting: brain {n} of {len(cases)}")
        scan = implants.scan(setting.root, case.subject)
        for size_ml in SIZES_ML:
            here = gap(case, size_ml, library)
            rows.append(measured(here, filled(setting, model, here), scan))
    weights, whole = with_errors(rows), summary(rows)
    learnt = {"weights": weights.tolist(), "brains": len(cases), "share": filling_error.SHARE}
    return {
        "brains": len(cases),
        "fillings": FILLINGS,
        "steps": STEPS,
        "level": LEVEL,
        "filling": learnt | {"range": {"fillings": FILLINGS, "share": whole["covered"]["mean"]}},
        "sizes": [
            {"ml": size_ml, **summary([row for row in rows if row["size_ml"] == size_ml])}
            for size_ml in SIZES_ML
        ],
        "whole": whole,
        "tumour": _tumour(setting),
        "timed": _timed(setting, cases[0], library),
    }


def filled(setting: Setting, model: Model, here: Gap) -> np.ndarray:
    """Fillings [N, 80, 96, 80] by the default method, kept on disk."""
    image, hole = here.case.image, here.hole

    def make() -> dict[str, np.ndarray]:
        first = crc32(here.case.name.encode()) // 2
        seeds = range(first, first + FILLINGS)
        how: dict[str, Any] = {"device": setting.plan.device, "precision": setting.plan.precision}
        steps = inpaint(
            model, image, hole, seeds, STEPS, around=here.case.frame.expected,
            shapes=shapes_of(model, image, hole, seeds), method="resample", repeats=REPEATS,
            batch=setting.plan.batch, **how,
        )  # fmt: skip
        return {"samples": finished(steps)[:, hole]}

    asked = repr((FILLINGS, STEPS, REPEATS))
    code = sources(inpainting, deformable, warping, demons)
    key = key_of(model.card.sha256, *code, asked, image.tobytes(), hole.tobytes())
    kept = setting.cached(f"inpaint-{here.case.name}-{here.size_ml:g}", key, make)
    samples = np.repeat(image[None], FILLINGS, 0)
    samples[:, hole] = kept["samples"]
    return samples


def biharmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """`image` [80, 96, 80] with `hole` filled as smoothly as its surroundings allow, without a bend."""
    box = box_around(hole, _AROUND)
    whole = image.copy()
    whole[box] = np.where(hole[box], inpaint_biharmonic(np.where(hole, 0, image)[box], hole[box]), image[box])
    return whole


def mirrored(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """`image` [80, 96, 80] with the other hemisphere in `hole`; biharmonic where that is missing too."""
    whole = biharmonic(image, hole) if (hole & hole[::-1]).any() else image.copy()
    there = hole & ~hole[::-1]
    whole[there] = image[::-1][there]
    return whole


RIVALS: dict[str, Fill] = {"biharmonic": biharmonic, "mirrored hemisphere": mirrored}


def measured(here: Gap, samples: np.ndarray, scan: Volume) -> dict[str, Any]:
    """What there is to say of the fillings [N, 80, 96, 80] of one gap, and of other fillings of it, all
    joined with the scan in the same way and judged on its own grid, where white matter is 1.
    """
    image, frame = here.case.image, here.case.frame
    site = Site.of(scan, frame, here.region, here.case.brain)
    rivals = np.stack([fill(image, here.touched) for fill in RIVALS.values()])
    joined, others = (np.stack(site.put_in(frame, some)) / frame.scale.white for some in (samples, rivals))
    truth, region = site.data / frame.scale.white, site.region
    images = {"filling": joined[0], "mean of the fillings": joined.mean(0), **dict(zip(RIVALS, others))}
    learnt = filling_error.Example.of(site, joined, truth)
    low, high = joined[:, region].min(0), joined[:, region].max(0)
    within = (low <= truth[region]) & (truth[region] <= high)
    return {
        "subject": here.case.subject,
        "size_ml": here.size_ml,
        "psnr": {name: psnr(each, truth, region) for name, each in images.items()},
        "ssim": {name: ssim(each, truth, region) for name, each in images.items()},
        "covered": float(within.mean()),
        "seam": site.seam(joined[0]),
        "natural": site.seam(truth),
        "learnt": learnt,
    }


def with_errors(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Enter in each row the share of voxels whose truth lies within the expected error of the first filling,
    as learnt from the other brains; returns the weights learnt from all.
    """
    for subject in sorted({row["subject"] for row in rows}):
        weights = filling_error.fit([row["learnt"] for row in rows if row["subject"] != subject])
        for row in rows:
            if row["subject"] == subject:
                error = filling_error.expected(weights, row["learnt"].terms)
                row["held"] = float((np.abs(row["learnt"].errors) <= error).mean())
                row["expected"] = float(error.mean())
    return filling_error.fit([row["learnt"] for row in rows])


def psnr(image: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> float:
    """Peak signal to noise ratio in dB inside `hole`; the peak is white matter, 1."""
    return float(-10 * np.log10(max(float(np.square(image - truth)[hole].mean()), 1e-12)))


def ssim(image: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> float:
    """Mean structural similarity (Wang 2004, Gaussian window of 1.5 voxels) inside `hole`, range 1."""
    box = box_around(hole, _AROUND)
    _, whole = structural_similarity(
        image[box], truth[box], data_range=1.0, gaussian_weights=True, sigma=1.5, full=True,
        use_sample_covariance=False,
    )  # fmt: skip
    return float(whole[hole[box]].mean())


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means with their intervals over brains, and the differences of the first filling to each rival."""
    methods = []
    for name in rows[0]["psnr"]:
        of: dict[str, Any] = {"name": name}
        for figure in ("psnr", "ssim"):
            of[figure] = _mean(rows, lambda row, f=figure, n=name: row[f][n])  # type: ignore[misc]
        methods.append(of)
    against = []
    for name in RIVALS:
        gain: dict[str, Any] = {"name": name}
        for figure in ("psnr", "ssim"):
            gain[figure] = _mean(rows, lambda row, f=figure, n=name: row[f]["filling"] - row[f][n])  # type: ignore[misc]
        against.append(gain)
    natural = [row["natural"] for row in rows]
    usual = np.percentile(natural, [2.5, 97.5])
    seams = np.array([row["seam"] for row in rows])
    return {
        "gaps": len(rows),
        "methods": methods,
        "against": against,
        "covered": _mean(rows, lambda row: row["covered"]),
        "held": _mean(rows, lambda row: row["held"]),
        "expected": _mean(rows, lambda row: row["expected"]),
        "seam": _mean(rows, lambda row: row["seam"]),
        "natural": {"mean": float(np.mean(natural)), "range": usual.tolist()},
        "seams_within": float(((usual[0] <= seams) & (seams <= usual[1])).mean()),
    }


def _mean(rows: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """The mean over brains of each one's mean, and its 95 % bootstrap interval."""
    brains: dict[str, list[float]] = {}
    for row in rows:
        brains.setdefault(row["subject"], []).append(value(row))
    means = [float(np.mean(each)) for each in brains.values()]
    return {"mean": float(np.mean(means)), "interval": list(metrics.bootstrap_interval(means))}


def _tumour(setting: Setting) -> dict[str, Any]:
    """A real tumour with the challenge's mask through the whole program with its defaults, and a picture."""
    if not (setting.root / _SCAN).is_file():
        return {"name": TUMOUR, "refused": "The scan is not there."}
    setting.say(f"Inpainting: {TUMOUR}")
    inputs = {"scan": setting.root / _SCAN, "mask": setting.root / _MASK}
    try:
        result = engine.run("inpaint", inputs, seed=0, threads=setting.plan.threads)
    except BrainDiffusionError as refusal:
        return {"name": TUMOUR, "refused": str(refusal)}
    pictures.filled_case(setting.pictures / "inpainted.png", TUMOUR, result)
    rows = result["fillings"].rows or []
    return {
        "name": TUMOUR,
        "verdict": result.verdict,
        "changed_outside": result.provenance["voxels_outside_changed"],
        "seam": rows[0]["seam"],
        **_cost(result),
    }


def _cost(result: Result) -> dict[str, Any]:
    """How much was filled, and the seconds that it took."""
    stages = result.provenance["seconds"]
    return {
        "mask_ml": result.provenance["mask_ml"],
        "seconds": round(stages["total"], 1),
        "stages": stages,
    }


def _timed(setting: Setting, case: Case, library: Sequence[implants.Shape]) -> list[dict[str, Any]]:
    """What `BALL_ML` of a stripped 1 mm brain and of a 1 mm head take, the models loaded."""
    brain = implants.scan(setting.root, case.subject)
    asked = [("brain without its skull", brain, gap(case, BALL_ML, library).region)]
    if (setting.root / HEAD).is_file():
        head, _ = admit(setting.root / HEAD)
        asked.append(("head", head, _ball(head)))
    return [_seconds(setting, *each) for each in asked]


def _ball(head: Volume) -> np.ndarray:
    places = np.indices(head.shape).reshape(3, -1)
    away = head.affine[:3, :3] @ places + head.affine[:3, 3:] - np.array(PLACE_MM)[:, None]
    radius = (3 * BALL_ML * 1000 / (4 * np.pi)) ** (1 / 3)
    return (np.linalg.norm(away, axis=0) <= radius).reshape(head.shape)


def _seconds(setting: Setting, what: str, scan: Volume, region: np.ndarray) -> dict[str, Any]:
    setting.say(f"Inpainting: {what}")
    inputs = {"scan": scan, "mask": scan.with_data(region.astype(np.uint8))}
    return {"what": what} | _cost(engine.run("inpaint", inputs, seed=0, threads=setting.plan.threads))
