"""One method's figures on the implant set: average precision, Dice, false findings and sensitivity, with
intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import metrics
from .cases import Case
from .crossfit import Scored
from .implants import Lesion

SIZES_ML = ((0.1, 1.0), (1.0, 5.0), (5.0, 20.0))
CONTRASTS = ((0.10, 0.20), (0.20, 0.35), (0.35, 0.60))
DETECTED = 0.1
"""A lesion is found when findings cover at least this share of it."""

Wanted = Callable[[Lesion], bool]


@dataclass(frozen=True, eq=False)
class Counted:
    """Histograms of one implanted case on the scan's own grid: normal voxels [bins], and those of each lesion
    [n, bins].
    """

    case: Case
    normal: np.ndarray
    lesions: np.ndarray

    def histogram(self, wanted: Wanted) -> metrics.Histogram:
        """Only lesions that are `wanted`; the voxels of others do not count at all."""
        chosen = [wanted(lesion) for lesion in self.case.lesions]
        return metrics.Histogram(self.lesions[chosen].sum(0), self.normal)


@dataclass(frozen=True, eq=False)
class Judged:
    """What a method does on the implant set. edges: of the histograms' bins. rows: per case, for Dice and
    findings.
    """

    name: str
    label: str
    edges: np.ndarray
    counted: list[Counted]
    scored: Scored
    rows: list[dict[str, Any]]

    def average_precision(self, wanted: Wanted = lambda lesion: True) -> float:
        return metrics.pooled([c.histogram(wanted) for c in self.counted])

    def difference(self, other: Judged, wanted: Wanted = lambda lesion: True) -> metrics.Difference:
        """This minus `other` on the cases that both have, with the interval over brains."""
        theirs = {c.case.name: c for c in other.counted}
        pairs = [(c, theirs[c.case.name]) for c in self.counted if c.case.name in theirs]
        subjects = [ours.case.subject for ours, _ in pairs]
        first = [ours.histogram(wanted) for ours, _ in pairs]
        return metrics.bootstrap_difference(first, [their.histogram(wanted) for _, their in pairs], subjects)


def count(cases: Sequence[Case], maps: dict[str, np.ndarray]) -> tuple[np.ndarray, list[Counted]]:
    """Bin edges, and the histograms of every implanted case among `cases`."""
    chosen = [case for case in cases if not case.normal]
    truths = [case.truth[case.brain] for case in chosen]
    scores = [case.at_voxels(maps[case.name]) for case in chosen]
    edges = metrics.edges_of(np.concatenate([s[t > 0] for s, t in zip(scores, truths, strict=True)]))
    counted = []
    for case, score, truth in zip(chosen, scores, truths, strict=True):
        bins = np.searchsorted(edges, score, side="right") - 1
        size = len(edges) - 1
        each = [np.bincount(bins[truth == n], minlength=size) for n in range(len(case.lesions) + 1)]
        counted.append(Counted(case, each[0], np.stack(each[1:])))
    return edges, counted


def precision_of(cases: Sequence[Case], maps: dict[str, np.ndarray]) -> float:
    """Average precision over all implanted `cases`."""
    _, counted = count(cases, maps)
    return metrics.pooled([c.histogram(lambda lesion: True) for c in counted])


def judge(name: str, label: str, cases: Sequence[Case], scored: Scored) -> Judged:
    """Everything that is counted once; tables come from it."""
    edges, counted = count(cases, scored.maps)
    return Judged(name, label, edges, counted, scored, [_row(case, scored) for case in cases])


def _row(case: Case, scored: Scored) -> dict[str, Any]:
    """Findings of one case at its calibrated threshold, counted on the scan's own grid."""
    heat = np.zeros(case.truth.shape, np.float32)
    heat[case.brain] = case.at_voxels(scored.maps[case.name])
    found = metrics.findings(heat >= scored.thresholds[case.subject], case.voxel_ml)
    shares = [float((found[case.truth == n] > 0).mean()) for n in range(1, len(case.lesions) + 1)]
    true = np.unique(found[case.truth > 0])
    return {
        "subject": case.subject,
        "normal": case.normal,
        "dice": None if case.normal else metrics.dice(found > 0, case.truth > 0),
        "findings": int(found.max()),
        "false": int(found.max()) - int((true > 0).sum()),
        "covered": shares,
        "volumes_ml": [lesion.volume_ml for lesion in case.lesions],
    }


def table(judged: Judged) -> dict[str, Any]:
    """The method's row: figures with their intervals, JSON-ready."""
    implanted = [row for row in judged.rows if not row["normal"]]
    normal = [row for row in judged.rows if row["normal"]]
    subjects = sorted({row["subject"] for row in implanted})
    dice = [float(np.mean([r["dice"] for r in implanted if r["subject"] == s])) for s in subjects]
    best, _ = metrics.best_threshold_dice(
        [c.histogram(lambda lesion: True) for c in judged.counted], judged.edges
    )
    false = sum(row["findings"] for row in normal)
    return {
        "name": judged.name,
        "label": judged.label,
        "cases": len(implanted),
        "auprc": judged.average_precision(),
        "dice": float(np.mean(dice)),
        "dice_interval": metrics.bootstrap_interval(dice),
        "best_threshold_dice": best,
        "normal_brains": len(normal),
        "false_findings": false,
        "false_rate": false / max(len(normal), 1),
        "false_interval": metrics.poisson_interval(false, max(len(normal), 1)),
        "threshold": float(np.mean(list(judged.scored.thresholds.values()))),
        "sensitivity": [_sensitivity(implanted, *limits) for limits in SIZES_ML],
        "false_in_implanted": float(np.mean([row["false"] for row in implanted])),
    }


def _sensitivity(rows: list[dict[str, Any]], low: float, high: float) -> dict[str, Any]:
    covered = [
        share
        for row in rows
        for share, ml in zip(row["covered"], row["volumes_ml"], strict=True)
        if low <= ml <= high
    ]
    found = sum(share >= DETECTED for share in covered)
    return {
        "found": found,
        "lesions": len(covered),
        "interval": metrics.proportion_interval(found, len(covered)),
    }


def classes() -> list[tuple[str, Wanted]]:
    """Kinds of lesions that are looked at apart: size, contrast and its sign."""

    def sized(low: float, high: float) -> Wanted:
        return lambda lesion: low <= lesion.volume_ml <= high

    def contrasted(low: float, high: float) -> Wanted:
        return lambda lesion: low <= abs(lesion.contrast) <= high

    kinds: list[tuple[str, Wanted]] = [
        (f"{low:g} to {high:g} ml", sized(low, high)) for low, high in SIZES_ML
    ]
    kinds += [(f"contrast {low:.0%} to {high:.0%}", contrasted(low, high)) for low, high in CONTRASTS]
    kinds += [
        ("darker", lambda lesion: lesion.contrast < 0),
        ("brighter", lambda lesion: lesion.contrast > 0),
    ]
    return kinds
