"""Anomaly maps and thresholds of every brain, from normal brains of other folds only.

A brain is scored with normal maps and a threshold that were fitted without it and without its fold. The
threshold's own brains are likewise scored with maps fitted without them, or it would be too low for a new
brain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property

import numpy as np

from ..healing import Healed
from ..heatmap import NormalMaps, calibrate, heat, residual, to_template
from .cases import Case, folds

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


def against_normal(cases: Sequence[Case], healed: Callable[[Case], Healed]) -> Scored:
    """Heat maps of `healed(case)` against cross-fitted normal brains."""
    fold_of = folds([case.subject for case in cases])
    normal = _Normals(cases, healed)
    references = {fold: normal.without(fold) for fold in set(fold_of.values())}
    scored = {}
    for case in cases:
        warm = heat(case.image, healed(case), case.frame, references[fold_of[case.subject]])
        scored[case.name] = warm.z.astype(np.float16)

    @cache
    def pair(first: int, second: int) -> NormalMaps:
        return normal.without(first, second)

    def calibration_map(case: Case, fold: int) -> np.ndarray:
        first, second = sorted((fold, fold_of[case.subject]))
        return heat(case.image, healed(case), case.frame, pair(first, second)).z

    return Scored(scored, lambda: _thresholds(cases, calibration_map))


class _Normals:
    """Residuals of the normal brains in template space, made once."""

    def __init__(self, cases: Sequence[Case], healed: Callable[[Case], Healed]) -> None:
        fold_of = folds([case.subject for case in cases])
        self.folds = [fold_of[case.subject] for case in cases if case.normal]
        self.residuals, self.weights = [], []
        for case in cases:
            if case.normal:
                self.residuals.append(to_template(residual(case.image, healed(case)), case.frame))
                self.weights.append(to_template((case.image > 0).astype(np.float32), case.frame))

    def without(self, *excluded: int) -> NormalMaps:
        kept = [n for n, fold in enumerate(self.folds) if fold not in excluded]
        return NormalMaps.fit([self.residuals[n] for n in kept], [self.weights[n] for n in kept])


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
