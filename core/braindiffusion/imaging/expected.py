"""What the training brains look like: mean and deviation at each place, as shipped in `resources/template/`.

A network that is told them starts where a population z-score ends (methods.md B3.9).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..paths import resources
from .grid import GRID_SHAPE, sample

FILE = "population_2mm.npz"
LEAST_DEVIATION = 0.05
"""Deviation (white matter 1) below which a z-score would say more than so few brains can know."""


class Expected(NamedTuple):
    """mean and deviation [80, 96, 80] float32, white matter 1; mean is 0 outside the brain."""

    mean: np.ndarray
    deviation: np.ndarray


class Population(NamedTuple):
    """aligned: in template space, where affine registration brings a brain. typical: mean on the model grid,
    where brains keep their size.
    """

    aligned: Expected
    typical: np.ndarray


@lru_cache(maxsize=1)
def population() -> Population:
    """Load the maps once; the arrays are read-only because every caller shares them."""
    with np.load(resources() / "template" / FILE) as file:
        mean, deviation, typical = (
            file[name].astype(np.float32) / 127 for name in ("mean", "deviation", "typical")
        )
    for array in (mean, deviation, typical):
        array.setflags(write=False)
    return Population(Expected(mean, np.maximum(deviation, LEAST_DEVIATION)), typical)


def expected(to_template: np.ndarray) -> Expected:
    """The aligned maps on a model grid ; `to_template` (4, 4) takes its voxel index to the template's."""
    mean, deviation = (sample(array, to_template, GRID_SHAPE) for array in population().aligned)
    return Expected(mean, np.maximum(deviation, LEAST_DEVIATION))
