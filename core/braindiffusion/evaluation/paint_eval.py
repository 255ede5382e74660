"""Pathology painted on val brains: whether labels and intensities agree, on the scan's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any
from zlib import crc32

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.stats import mannwhitneyu

from ..diffusion.noise import sample_seeds
from ..imaging.membrane import box_around
from ..imaging.volume import Volume
from ..inpainting import Site
from ..models.loading import Model, load_model
from ..painting import draw_levels, in_white_matter, laid_on, paint, shares_in
from ..pathology import OEDEMA, RIM, TISSUES, Tissue, tissues
from ..telling import finished
from . import implants, metrics, pictures
from .cases import Case, lesion_shaped, normal_cases
from .setting import Setting, key_of

MODEL = "t1-brain-2mm-paint"
SEED = 2_026_12
STEPS = 8
"""As the task has them by default."""
CORE_ML, LESIONS_ML, LESIONS = (2.0, 12.0), (0.3, 4.0), 4
RIM_MM, OEDEMA_MM = 3.5, 15.0
"""The rim's thickness, and how far oedema reaches in white matter; half as far in cortex, and unevenly."""
CHANGED = 0.05
"""Change of a voxel, where white matter is 1, that counts as seen."""
_FLUID, _WHITE = 0.5, 0.85
_UNEVEN_MM = 3.0
_COMPACT = 0.3
"""The core of a tumour fills more of its box than this."""


def scene(case: Case, intensity: np.ndarray, library: Sequence[implants.Shape]) -> np.ndarray:
    """What is painted on a brain, uint8 [X, Y, Z] as `painting.tissues_on`: a tumour (a core in a rim in
    oedema of white matter) and lesions elsewhere, of shapes of held-out patients, the same every time.

    intensity: the scan where white matter is 1.
    """
    rng = np.random.default_rng([SEED, crc32(case.subject.encode())])
    spacing = np.linalg.norm(case.frame.affine[:3, :3], axis=0)
    painted = np.zeros(case.brain.shape, np.uint8)
    white = case.brain & (intensity > _WHITE)
    compact = [shape for shape in library if shape.mask.mean() > _COMPACT]
    core = gaussian_filter(np.float32(_piece(rng, case, white, compact, CORE_ML)), 1.5) > 0.5
    core &= case.brain
    box = box_around(core, int(np.ceil((OEDEMA_MM + 10) / spacing.min())))
    away = distance_transform_edt(~core[box], sampling=spacing)
    uneven = gaussian_filter(rng.standard_normal(away.shape), _UNEVEN_MM / spacing)
    uneven *= _UNEVEN_MM / uneven.std()
    reached = away + uneven + (intensity[box] < _WHITE) * OEDEMA_MM / 2
    inside = case.brain[box]
    painted[box][inside & (intensity[box] > _FLUID) & (reached <= OEDEMA_MM)] = 1 + OEDEMA
    painted[box][inside & (away <= RIM_MM + uneven / 3)] = 1 + RIM
    painted[core] = 1
    for _ in range(LESIONS):
        lesion = _piece(rng, case, white & (painted == 0), library, LESIONS_ML)
        painted[lesion & (painted == 0)] = 3
    return painted


def _piece(
    rng: np.random.Generator,
    case: Case,
    where: np.ndarray,
    library: Sequence[implants.Shape],
    between_ml: tuple[float, float],
) -> np.ndarray:
    """A lesion's shape about a voxel of `where`, bool [X, Y, Z], of a volume between those."""
    places = np.argwhere(where)
    while True:
        wanted = float(np.exp(rng.uniform(*np.log(between_ml))))
        piece = lesion_shaped(case, rng, library, wanted, places)
        if between_ml[0] / 2 <= piece.sum() * case.voxel_ml <= between_ml[1] * 2:
            return piece


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `paint.json`."""
    cases = normal_cases(setting)[: 2 if setting.quick else None]
    library, model = implants.shapes(setting.root), load_model(MODEL)
    rows: list[dict[str, Any]] = []
    changed = painted_ml = 0.0
    for n, case in enumerate(cases, 1):
        setting.say(f"Painting: brain {n} of {len(cases)}")
        scan = implants.scan(setting.root, case.subject)
        whole = Site.of(scan, case.frame, case.brain, case.brain)
        intensity = np.zeros(scan.shape, np.float32)
        intensity[whole.box] = in_white_matter(whole, case.frame, whole.data)
        painted = scene(case, intensity, library)
        laid = {agent: _laid(setting, model, case, scan, painted, agent) for agent in (True, False)}
        for agent, (site, image, levels) in laid.items():
            rows.append(measured(case, site, painted, image, levels, tissues(agent)))
            changed += float((site.on_scan(scan.data, image) != scan.data)[painted == 0].sum())
        painted_ml += float((painted > 0).sum()) * case.voxel_ml
        if n == 1:
            images = {
                "with contrast agent": scan.with_data(laid[True][0].on_scan(scan.data, laid[True][1])),
                "without": scan.with_data(laid[False][0].on_scan(scan.data, laid[False][1])),
            }
            pictures.painted_case(
                setting.pictures / "paint.png", case.subject, scan, scan.with_data(painted), images
            )
    return {
        "brains": len(cases),
        "steps": STEPS,
        "changed_outside": int(changed),
        "painted_ml": painted_ml / len(cases),
        "threshold": CHANGED,
        "tissues": _tissue_rows(rows),
        "pairs": _pair_rows(rows),
        "dice": _mean([row["dice"] for row in rows]),
    }


def _laid(
    setting: Setting, model: Model, case: Case, scan: Volume, painted: np.ndarray, agent: bool
) -> tuple[Site, np.ndarray, np.ndarray]:
    """The site of one painting, the scan with it there, and the brightness of each tissue that was asked."""
    shares = shares_in(case.frame, painted)
    seeds = sample_seeds(SEED + int(agent), 1)
    levels = draw_levels(tissues(agent), [None] * len(TISSUES), [crc32(case.subject.encode()) + int(agent)])

    def make() -> dict[str, np.ndarray]:
        how = {"device": setting.plan.device, "precision": setting.plan.precision}
        steps = paint(model, case.image, shares, levels, seeds, STEPS, **how)  # type: ignore[arg-type]
        return {"images": finished(steps)}

    key = key_of(model.card.sha256, repr((STEPS, seeds)), shares.tobytes(), levels.tobytes())
    images = setting.cached(f"paint-{case.name}-{int(agent)}", key, make)["images"]
    site = Site.of(scan, case.frame, painted > 0, case.brain)
    return site, laid_on(site, case.frame, painted, shares, levels, images)[0], levels[0]


def measured(
    case: Case,
    site: Site,
    painted: np.ndarray,
    image: np.ndarray,
    levels: np.ndarray,
    shown: Sequence[Tissue],
) -> dict[str, Any]:
    """What there is to say of one painting `image` [x, y, z] of the site."""
    before, after = (in_white_matter(site, case.frame, each) for each in (site.data, image))
    where = {tissue.name: site.region & (painted[site.box] == n + 1) for n, tissue in enumerate(shown)}
    there = [(tissue, where[tissue.name], float(level)) for tissue, level in zip(shown, levels)]
    values = {name: after[place] for name, place in where.items() if place.any()}
    seen = np.abs(after - before) > CHANGED
    return {
        "subject": case.subject,
        "agent": shown[RIM].low == TISSUES[RIM].low,
        "tissues": {
            tissue.name: {
                "within": _within(after[place], tissue),
                "before": _within(before[place], tissue),
                "asked": asked,
                "mean": float(after[place].mean()),
                "dice": metrics.dice(seen & place, place),
            }
            for tissue, place, asked in there
            if place.any()
        },
        "pairs": {
            f"{first} and {second}": _separable(values[first], values[second])
            for first, second in combinations(values, 2)
        },
        "dice": metrics.dice(seen & site.brain, site.region),
    }


def _within(values: np.ndarray, tissue: Tissue) -> float:
    return float(((values >= tissue.low) & (values <= tissue.high)).mean())


def _separable(first: np.ndarray, second: np.ndarray) -> float:
    """How often a voxel of the darker tissue is darker than one of the brighter: the area under the curve."""
    area = float(mannwhitneyu(first, second).statistic) / (first.size * second.size)
    return max(area, 1 - area)


def _tissue_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each tissue, the rim with contrast agent and without: means over brains with their intervals."""
    content = []
    for n, tissue in enumerate((*TISSUES, tissues(False)[RIM])):
        agents = [n == RIM] if n >= RIM else [True, False]
        some = [row["tissues"][tissue.name] for row in rows if row["agent"] in agents]
        asked, found = ([each[key] for each in some] for key in ("asked", "mean"))
        content.append(
            {
                "name": tissue.name + (", no contrast agent" if n > RIM else ""),
                "range": [tissue.low, tissue.high],
                "paintings": len(some),
                "within": _mean([each["within"] for each in some]),
                "before": _mean([each["before"] for each in some]),
                "error": _mean([abs(a - b) for a, b in zip(asked, found)]),
                "r": metrics.pearson(asked, found) if len(some) > 2 else float("nan"),
                "dice": _mean([each["dice"] for each in some]),
            }
        )
    return content


def _pair_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    with_agent = [row["pairs"] for row in rows if row["agent"]]
    return [{"name": name, "area": _mean([row[name] for row in with_agent])} for name in with_agent[0]]


def _mean(values: Sequence[float]) -> dict[str, Any]:
    """The mean over paintings and its 95 % bootstrap interval."""
    return {"mean": float(np.mean(values)), "interval": list(metrics.bootstrap_interval(values))}
