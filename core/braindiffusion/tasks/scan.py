"""What the tasks on a person's scan begin with: its brain is found, aligned, recognised and judged."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..telling import between
from .base import Progress

if TYPE_CHECKING:
    import numpy as np

    from ..imaging.frame import Frame
    from ..imaging.volume import Volume
    from ..models.loading import Model
    from ..plan import Plan
    from ..plausibility import Verdict
    from ..segment import Segmentation, Segmenter


@dataclass(frozen=True)
class Brain:
    """The scan's voxels [X, Y, Z] in float32, the brain in them, its structures, and what to think of it."""

    data: np.ndarray
    frame: Frame
    anatomy: Segmentation
    verdict: Verdict


def recognised(
    scan: Volume,
    segmenter: Segmenter,
    prior: Model,
    told: Mapping[str, Any],
    plan: Plan,
    low: float,
    high: float,
) -> Generator[Progress, None, Brain]:
    """The brain of a scan; progress goes from `low` to `high`. told: what is known of the person.

    Raises Refused for what `prior` may not judge.
    """
    import numpy as np

    from ..diffusion.covariate import outside
    from ..imaging.grid import VOXEL_ML
    from ..plausibility import faces_cut, judge

    middle = low + (high - low) * 2 / 3
    yield Progress(low, "Finding and aligning the brain")
    data = np.asarray(scan.data, np.float32)
    frame = segmenter.frame(scan, between(plan.tell, low, middle))
    yield Progress(middle, "Recognising its anatomy")
    anatomy = segmenter.segment(frame, data, between(plan.tell, middle, high))
    sizes = anatomy.volumes() | {"intracranial": float(frame.mask.sum() * VOXEL_ML)}
    strange = outside(prior.covariates, told)
    verdict = judge(frame, sizes, next(iter(strange), None), faces_cut(frame))
    return Brain(data, frame, anatomy, verdict)
