"""Generated brains: do they measure what was asked for, and are they like real ones, varied, and nobody's?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import generating
from ..diffusion.covariate import Covariate
from ..generating import cleaned, generate, measured
from ..imaging.expected import population
from ..imaging.grid import GRID_SPACING
from ..models.loading import Model, load_model
from ..models.storage import load_weights
from ..nets import deformable, warping
from ..segment import Segmenter
from ..telling import finished
from . import metrics, pictures
from .cases import normal_cases, training_maps
from .resemblance import Scale, features, fid, kid, kid_by_chance, main_directions, nearest, variety
from .setting import Setting, key_of, sources

BRAINS, STEPS, SEED = 50, 20, 2026
EACH = 5
"""Brains of each age and sex, whose volumes are left open."""
DIRECTIONS = 8
"""Of the features that FID compares: with so few brains it can compare no more."""


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `generate.json`."""
    model = load_model("t1-brain-2mm-generate")
    asked = requests(model.covariates, 4 if setting.quick else BRAINS)
    made = _made(setting, model, asked)
    real = [case.image for case in normal_cases(setting)]
    training = [image.astype(np.float32) for image in training_maps(setting)["model"]]
    # Val brains are as brains occur, and so must those be that are compared with them: nothing is asked for.
    usual = _made(setting, model, [{}] * len(real), "usual")
    rival = _rival(setting, len(made))
    setting.say("Generate: comparing with real brains")
    return {
        "brains": len(made),
        "steps": STEPS,
        "followed": followed(setting, made, asked),
        "effects": _effects(setting, model),
        "realism": realism({"made": usual, **rival}, real, training),
        "variety": {
            name: _summary(variety(some)) for name, some in {"made": made, **rival, "real": training}.items()
        },
        "privacy": privacy(setting, made, training),
        "spectrum": {
            name: spectrum(some, [*real, *training]) for name, some in {"made": made, **rival}.items()
        },
    }


def requests(covariates: Sequence[Covariate], count: int) -> list[dict[str, Any]]:
    """Covariates drawn evenly from the middle nine tenths of their training ranges, always the same."""
    generator = np.random.default_rng(SEED)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        row: dict[str, Any] = {}
        for c in covariates:
            margin = 0.05 * (c.high - c.low)
            drawn = float(generator.uniform(c.low + margin, c.high - margin))
            row[c.name] = generator.choice(sorted(c.choices)).item() if c.choices else round(drawn, 1)
        rows.append(row)
    return rows


def _made(
    setting: Setting, model: Model, asked: Sequence[dict[str, Any]], kind: str = "asked"
) -> list[np.ndarray]:
    """A brain [80, 96, 80] for each request; its seed is its number. They are kept on disk as of `kind`."""

    def make(number: int, values: dict[str, Any]) -> dict[str, np.ndarray]:
        setting.say(f"Generate: brain {number + 1} of {len(asked)} ({kind})")
        steps = generate(
            model, values, [number], STEPS, device=setting.plan.device, precision=setting.plan.precision
        )
        return {"brain": finished(steps)[0]}

    made, code = [], sources(generating, deformable, warping)
    for number, values in enumerate(asked):
        files = repr(sorted(model.card.files.items()))
        key = key_of(model.card.sha256, *code, files, f"{STEPS} {number} {values}")
        kept = setting.cached(f"made-{kind}-{number}", key, partial(make, number, values))
        made.append(kept["brain"])
    return made


def _rival(setting: Setting, count: int) -> dict[str, list[np.ndarray]]:
    """As many brains of the variational autoencoder, where it was trained; of no covariates, which it does
    not know.
    """
    if not setting.vae.is_file():
        return {}
    from ..training import vae

    setting.say("Generate: brains of the variational autoencoder")
    net = vae.build()
    net.load_state_dict(load_weights(setting.vae))
    return {"vae": [cleaned(vae.sample(net, [number])[0]) for number in range(count)]}


def followed(setting: Setting, made: Sequence[np.ndarray], asked: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Measured against requested volumes: r, slope and mean error in ml. The ventricles by threshold too,
    which knows no network.
    """
    segmenter = Segmenter.load(setting.plan.device, setting.plan.precision)
    found = []
    for number, brain in enumerate(made):
        setting.say(f"Generate: measuring brain {number + 1} of {len(made)}")
        found.append(measured(brain, segmenter))
    rows = {}
    for name, key in (("ventricles", "ventricles"), ("ventricles, by threshold", "dark_ventricles"),
                      ("brain", "brain")):  # fmt: skip
        wanted = np.array([request[name.partition(",")[0]] for request in asked])
        got = np.array([row[key] for row in found])
        rows[name] = {
            "r": metrics.pearson(wanted.tolist(), got.tolist()),
            "slope": float(np.polyfit(wanted, got, 1)[0]),
            "mean_error_ml": float(np.abs(wanted - got).mean()),
            "pairs": np.stack([wanted, got], 1).round(1).tolist(),
        }
    return rows


def _effects(setting: Setting, model: Model) -> list[dict[str, Any]]:
    """Mean volumes in ml of brains of whom age and sex alone are told, at both ends of the range; the same
    seeds for each.
    """
    ages = next((c.low, c.high) for c in model.covariates if c.name == "age")
    segmenter = Segmenter.load(setting.plan.device, setting.plan.precision)
    rows = []
    for age in ages:
        for sex in ("female", "male"):
            asked = [{"age": age, "sex": sex}] * (1 if setting.quick else EACH)
            found = [measured(brain, segmenter) for brain in _made(setting, model, asked, f"{sex}-{age:g}")]
            means = {name: float(np.mean([row[name] for row in found])) for name in ("ventricles", "brain")}
            rows.append({"age": age, "sex": sex, "brains": len(found), **means})
    return rows


def realism(
    made: Mapping[str, Sequence[np.ndarray]], real: Sequence[np.ndarray], training: Sequence[np.ndarray]
) -> dict[str, Any]:
    """KID and FID of each kind of made brains against val brains, and of train against val brains, at the
    same number of each.

    KID beside what chance gives for two sets of that size that are one kind (`kid_by_chance`).
    """
    scale = Scale.of(np.stack([features(image) for image in training]))
    kinds = {**made, "train": training, "val": real}
    n = min(map(len, kinds.values()))
    sets = {
        name: scale(np.stack([features(image) for image in images[:n]])) for name, images in kinds.items()
    }
    directions = main_directions(scale(np.stack([features(image) for image in training])), DIRECTIONS)
    rows: dict[str, Any] = {"n": n, "directions": directions.shape[1]}
    for name in (*made, "train"):
        rows[name] = {
            "kid": kid(sets[name], sets["val"]),
            "by_chance": list(kid_by_chance(sets["train"], sets["val"])),
            "fid": fid(sets[name] @ directions, sets["val"] @ directions),
        }
    return rows


def privacy(setting: Setting, made: Sequence[np.ndarray], training: Sequence[np.ndarray]) -> dict[str, Any]:
    """Correlation of made brains with their nearest training brain, and of training brains with each other;
    the most similar pair as a picture.
    """
    typical = population().typical
    own = [nearest(image, training, typical, but=n).similarity for n, image in enumerate(training)]
    found = [nearest(image, training, typical) for image in made]
    closest = int(np.argmax([near.similarity for near in found]))
    near = found[closest]
    other = training[near.number][::-1] if near.flipped else training[near.number]
    captions = [f"made, number {closest + 1}", f"its nearest training brain, r = {near.similarity:.2f}"]
    pictures.sample_sheet(setting.pictures / "nearest.png", [made[closest], other], captions)
    return {
        "made": _summary([near.similarity for near in found]),
        "real": _summary(own) | {"p95": float(np.percentile(own, 95))},
    }


def spectrum(made: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> dict[str, float]:
    """Share of rings in which the median made brain's power lies within that of real ones, and their ratio in
    the finer half.
    """
    powers = [
        np.stack([metrics.radial_power(image, GRID_SPACING)[1] for image in some]) for some in (made, real)
    ]
    median, fine = np.median(powers[0], 0), powers[0].shape[1] // 2
    within = (median >= powers[1].min(0)) & (median <= powers[1].max(0))
    ratio = np.log(median / np.median(powers[1], 0))[fine:].mean()
    return {"median_within": float(within.mean()), "fine_ratio": float(np.exp(ratio))}


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {
        "n": len(values),
        "mean": float(np.mean(values)),
        "lowest": float(np.min(values)),
        "highest": float(np.max(values)),
    }
