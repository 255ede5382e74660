"""Healing on implanted and normal val brains, beside its baselines on the same cases in the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from .. import healing, heatmap
from ..healing import Healed
from ..models.loading import Model, load_model
from ..normal import NormalMaps
from . import baselines, metrics
from .cases import Case, training_maps, val_cases
from .crossfit import Places, Score, Scored, against_normal, direct, plain, shown
from .judged import Judged, classes, judge, precision_of, table
from .pictures import implant_sheet
from .setting import Arrays, Setting, key_of, shared_out, sources

SAMPLES, STEPS = 4, 8
PARTIAL_COPIES = 1
"""Partial diffusion costs as much as guided healing and is shown beside it: one implanted copy of each brain
is enough.
"""


@dataclass(frozen=True)
class Healer:
    """`healed(case)` by one method, kept on disk. The method under test is called here only."""

    setting: Setting
    model: Model
    method: str

    def __call__(self, case: Case) -> Healed:
        inside = case.image > 0
        key = key_of(
            self.model.card.sha256, *sources(healing), repr((SAMPLES, STEPS, healing.PARTIAL_LEVELS)),
            case.image.tobytes(),
        )  # fmt: skip
        kept = self.setting.cached(f"{self.method}-{case.name}", key, lambda: self._make(case, inside))
        samples = np.zeros((len(kept["samples"]), *inside.shape), np.float32)
        samples[:, inside] = kept["samples"]
        mean = np.zeros(inside.shape, np.float32)
        mean[inside] = kept["mean"]
        return Healed(samples, mean)

    def _make(self, case: Case, inside: np.ndarray) -> Arrays:
        how: dict[str, Any] = {"device": self.setting.plan.device, "precision": self.setting.plan.precision}
        # Noise of its own for every scan: normal maps must not know the noise of the scan that they judge.
        first = crc32(case.name.encode()) // 2
        if self.method == "guided":
            seeds = range(first, first + SAMPLES)
            healed = healing.guided(self.model, case.image, seeds, STEPS, around=case.frame.expected, **how)
        else:
            healed = healing.partial(self.model, case.image, [first], **how)
        return {"samples": healed.samples[:, inside].astype(np.float16), "mean": healed.mean[inside]}


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `heal.json`."""
    cases = val_cases(setting)
    model = load_model("t1-brain-2mm")
    places = Places(setting, NormalMaps.load(model.file("normal-guided.npz")).brain)
    shared_out(setting, "Registering the mean brain", places, cases)
    healer = Healer(setting, model, "guided")
    guided = _method(setting, cases, healer, places, f"{SAMPLES} samples, {STEPS} steps")
    few = [case for case in cases if case.index <= PARTIAL_COPIES]
    levels = ", ".join(f"{level:g}" for level in healing.PARTIAL_LEVELS)
    partway = _method(setting, few, Healer(setting, model, "partial"), places, f"sigma {levels}")
    rivals, tried = _rivals(setting, cases, places)
    tried += _parts(setting, cases, healer, places)
    setting.say("Comparing")
    content = {
        "cases": len([case for case in cases if not case.normal]),
        "lesions": sum(len(case.lesions) for case in cases),
        "brains": len({case.subject for case in cases}),
        "methods": [table(one) for one in (guided, *rivals, partway)],
        "differences": [_difference(guided, other) for other in (*rivals, partway)],
        "classes": [row for kind, wanted in classes() if (row := _class_row(kind, wanted, guided, rivals))],
        "variants": tried,
        "residual": _residual(cases, healer),
        "autoencoder": setting.dae.is_file(),
    }
    implant_sheet(setting.pictures / "implants.png", cases, guided.scored, healer)
    return content


def _method(setting: Setting, cases: Sequence[Case], healed: Healer, places: Places, label: str) -> Judged:
    for n, case in enumerate(cases):
        if n % 10 == 0:
            setting.say(f"Healing, {healed.method}: scan {n + 1} of {len(cases)}")
        healed(case)
    setting.say(f"Fitting normal brains and thresholds, {healed.method}")
    return judge(healed.method, label, cases, against_normal(cases, healed, places))


def _parts(setting: Setting, cases: Sequence[Case], healer: Healer, places: Places) -> list[dict[str, Any]]:
    """What each part of the heat map does for healing, and the whole of it for the autoencoder's answers, on
    the first implanted copies as the baselines' variants.
    """
    first = [case for case in cases if case.index <= 1]
    asked: list[tuple[str, Callable[[Case], Healed], Score]] = [
        (f"deviation alone, doubt of the samples times {weight:g}", healer, partial(plain, weight=weight))
        for weight in (0.0, 0.5, 1.0)
    ]
    asked += [
        ("less what both sides share", healer, _one_sided),
        ("and weighed by its surroundings: the heat map", healer, shown),
    ]
    if setting.dae.is_file():
        answers = baselines.Autoencoder(setting)
        asked.append(("the heat map of the autoencoder's answers", answers, shown))
    rows = []
    for label, healed, score in asked:
        value = precision_of(first, against_normal(first, healed, places, score).maps)
        setting.say(f"Guided, {label}: {value:.3f} on the first copies")
        rows.append({"family": "guided", "label": label, "auprc": value})
    return rows


def _one_sided(*case: Any) -> np.ndarray:
    return np.abs(heatmap.one_sided(heatmap.deviation(*case)))


def _rivals(
    setting: Setting, cases: Sequence[Case], places: Places
) -> tuple[list[Judged], list[dict[str, Any]]]:
    """The best variant of each baseline, chosen on the first implanted copies.

    They are among the cases it is judged on, which flatters the baseline and never healing.
    """
    variants = baselines.population_scores(training_maps(setting)) + baselines.smoothed_copies()
    variants += baselines.autoencoder(setting)
    first = [case for case in cases if case.index <= 1]
    best: dict[str, tuple[float, baselines.Variant]] = {}
    tried = []
    for variant in variants:
        value = precision_of(first, _scored(first, variant, places).maps)
        setting.say(f"Baseline: {variant.family}, {variant.label}: {value:.3f} on the first copies")
        tried.append({"family": variant.family, "label": variant.label, "auprc": value})
        if variant.family not in best or value > best[variant.family][0]:
            best[variant.family] = (value, variant)
    judged = []
    for _, variant in best.values():
        setting.say(f"Judging the baseline: {variant.family}, {variant.label}")
        judged.append(judge(variant.family, variant.label, cases, _scored(cases, variant, places)))
    return judged, tried


def _scored(cases: Sequence[Case], variant: baselines.Variant, places: Places) -> Scored:
    if variant.healed is not None:
        return against_normal(cases, variant.healed, places, plain)
    if variant.score is None:
        raise ValueError(f"the variant '{variant.label}' scores nothing")
    return direct(cases, variant.score)


def _difference(first: Judged, second: Judged, wanted: Callable = lambda lesion: True) -> dict[str, Any]:
    found = first.difference(second, wanted)
    return {
        "name": second.name,
        "first": found.first,
        "second": found.second,
        "difference": found.value,
        "interval": [found.low, found.high],
        "cases": min(len(first.counted), len(second.counted)),
    }


def _class_row(
    kind: str, wanted: Callable, guided: Judged, rivals: Sequence[Judged]
) -> dict[str, Any] | None:
    """Lesions of one kind; None where the set has none."""
    lesions = sum(wanted(lesion) for c in guided.counted for lesion in c.case.lesions)
    if not lesions:
        return None
    values = {one.name: one.average_precision(wanted) for one in (guided, *rivals)}
    strongest = max(rivals, key=lambda one: values[one.name])
    against = _difference(guided, strongest, wanted)
    return {"kind": kind, "lesions": lesions, "auprc": values, "against": against}


def _residual(cases: Sequence[Case], healed: Healer) -> dict[str, Any]:
    """What healing changes in normal brains, in shares of white matter: mean and 95th percentile of |scan -
    healed|.
    """
    means, tails = [], []
    for case in cases:
        if case.normal:
            change = np.abs(case.image - healed(case).mean)[case.image > 0]
            means.append(float(change.mean()))
            tails.append(float(np.percentile(change, 95)))
    interval = metrics.bootstrap_interval(means)
    return {
        "mean": float(np.mean(means)),
        "interval": interval,
        "p95": float(np.mean(tails)),
        "blur_mm": 2 * heatmap.RESIDUAL_SIGMA,
    }
