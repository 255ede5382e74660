"""Anomaly maps and thresholds of every brain, from normal brains of other folds only.

A brain is scored with normal maps and a threshold that were fitted without it and without its fold. The
threshold's own brains are likewise scored with maps fitted without them, or it would be too low for a new
brain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from ..healing import Healed
from ..heatmap import calibrate, deviation, example, heat
from ..imaging import demons
from ..nets.correspondence import Correspondence
from ..normal import NormalMaps
from .cases import Case, folds
from .setting import Arrays, Setting, key_of, sources

ALLOWED_PER_BRAIN = 1.0


class Scored:
    """maps: of every case by name, float16 [80, 96, 80]. thresholds: of every brain, by subject, fitted when
    first asked.
    """

    def __init__(self, maps: dict[str, np.ndarray], fit: Callable[[], dict[str, float]]) -> None:
        self.maps, self._fit = maps, fit

    @cached_property
    def thresholds(self) -> dict[str, float]:
        return self._fit()


def direct(cases: Sequence[Case], score: Callable[[Case], np.ndarray]) -> Scored:
    """Maps that need no normal brains; only the threshold is cross-fitted."""
    maps = {case.name: score(case).astype(np.float16) for case in cases}
    return Scored(maps, lambda: _thresholds(cases, lambda case, fold: maps[case.name].astype(np.float32)))


@dataclass(frozen=True, eq=False)
class Places:
    """`places(case)`: where the brain of a case lies in the mean `brain` [80, 96, 80], kept on disk."""

    setting: Setting
    brain: np.ndarray

    def __call__(self, case: Case) -> Correspondence:
        key = key_of(*sources(demons), self.brain.tobytes(), case.image.tobytes())
        kept = self.setting.cached(f"place-{case.name}", key, lambda: self._make(case))
        return Correspondence(kept["field"].astype(np.float32))

    def _make(self, case: Case) -> Arrays:
        return {"field": Correspondence.find(case.image, self.brain).field.astype(np.float16)}


Score = Callable[[np.ndarray, Healed, Correspondence, NormalMaps], np.ndarray]
"""(image, healed, place, normal) -> a map [80, 96, 80], higher where stranger."""


def shown(*case: Any) -> np.ndarray:
    """What the heat map of healing shows."""
    return heat(*case).z


def plain(*case: Any, **how: Any) -> np.ndarray:
    """The size of the deviation alone, voxel by voxel."""
    return np.abs(deviation(*case, **how))


def against_normal(
    cases: Sequence[Case], healed: Callable[[Case], Healed], places: Places, score: Score = shown
) -> Scored:
    """Maps of `healed(case)` against cross-fitted normal brains."""
    fold_of = folds([case.subject for case in cases])
    examples = {case.name: example(case.image, healed(case), places(case)) for case in cases if case.normal}

    @cache
    def without(*excluded: int) -> NormalMaps:
        kept = [c for c in cases if c.normal and fold_of[c.subject] not in excluded]
        return NormalMaps.fit([examples[c.name] for c in kept], places.brain)

    def z_of(case: Case, normal: NormalMaps) -> np.ndarray:
        return score(case.image, healed(case), places(case), normal)

    def calibration_map(case: Case, fold: int) -> np.ndarray:
        return z_of(case, without(*sorted({fold, fold_of[case.subject]})))

    maps = {case.name: z_of(case, without(fold_of[case.subject])).astype(np.float16) for case in cases}
    return Scored(maps, lambda: _thresholds(cases, calibration_map))


def _thresholds(
    cases: Sequence[Case], calibration_map: Callable[[Case, int], np.ndarray]
) -> dict[str, float]:
    """For each brain the threshold at which normal brains of other folds show one finding on average."""
    fold_of = folds([case.subject for case in cases])
    by_fold = {}
    for fold in sorted(set(fold_of.values())):
        others = [case for case in cases if case.normal and fold_of[case.subject] != fold]
        by_fold[fold] = calibrate([calibration_map(case, fold) for case in others], ALLOWED_PER_BRAIN)
    return {subject: by_fold[fold] for subject, fold in fold_of.items()}
