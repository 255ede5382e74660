"""What the tasks on a person's scan share: the models they need, its brain is found, aligned, recognised
and judged, previews lie in its space, and what of a mask is no brain is told.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..telling import between
from .base import Progress

if TYPE_CHECKING:
    import numpy as np

    from ..healing import Partway
    from ..imaging.frame import Frame
    from ..imaging.volume import Volume
    from ..models.loading import Model
    from ..plan import Plan
    from ..plausibility import Verdict
    from ..result import Artifact
    from ..segment import Segmentation, Segmenter


@dataclass(frozen=True)
class Models:
    """What is loaded for a run on a scan: the task's own model, and the network that knows anatomy."""

    prior: Model
    anatomist: Model
    segmenter: Segmenter

    @classmethod
    def load(cls, name: str, plan: Plan) -> Models:
        from ..models.loading import load_model
        from ..segment import ANATOMY_MODEL, Segmenter

        prior, anatomist = load_model(name), load_model(ANATOMY_MODEL)
        return cls(prior, anatomist, Segmenter.load(plan.device, plan.precision, anatomist))

    def cautions(self) -> list[str]:
        """What every result of these models must say."""
        return [model.card.caution for model in (self.prior, self.anatomist) if model.card.caution]

    def judgement(self, brain: Brain, *doubts: str) -> dict[str, Any]:
        """Whether a result on `brain` is plausible, and the verdict in words, as `Result` takes them.

        `doubts` came up later than the verdict on the scan: they are said first, because they are about this
        scan, and with them it is not said to be as it should.
        """
        cautions, verdict = self.cautions(), brain.verdict
        said = [] if doubts and verdict.plausible else [verdict.summary]
        return {
            "plausible": verdict.plausible and not cautions and not doubts,
            "verdict": " ".join([*doubts, *cautions, *said]),
        }

    def provenance(self, brain: Brain, solver: str, steps: int) -> dict[str, Any]:
        """By what a result on `brain` was made."""
        sure = {"confidence": round(brain.anatomy.confidence, 3)}
        return {
            "model": self.prior.card.identity,
            "anatomy_model": self.anatomist.card.identity | sure,
            "solver": solver,
            "steps": steps,
            "figures": brain.verdict.figures,
            "to_model_grid": brain.frame.rigid.tolist(),
        }


@dataclass(frozen=True)
class Brain:
    """The scan's voxels [X, Y, Z] in float32, the brain in them, its structures, and what to think of it."""

    data: np.ndarray
    frame: Frame
    anatomy: Segmentation
    verdict: Verdict


def recognised(
    scan: Volume,
    models: Models,
    told: Mapping[str, Any],
    plan: Plan,
    low: float,
    high: float,
) -> Generator[Progress, None, Brain]:
    """The brain of a scan; progress goes from `low` to `high`. told: what is known of the person.

    Raises Refused for what the prior may not judge.
    """
    import numpy as np

    from ..diffusion.covariate import outside
    from ..imaging.grid import VOXEL_ML
    from ..plausibility import faces_cut, judge

    middle = low + (high - low) * 2 / 3
    yield Progress(low, "Finding and aligning the brain")
    data = np.asarray(scan.data, np.float32)
    frame = models.segmenter.frame(scan, between(plan.tell, low, middle))
    yield Progress(middle, "Recognising its anatomy")
    anatomy = models.segmenter.segment(frame, data, between(plan.tell, middle, high))
    sizes = anatomy.volumes() | {"intracranial": float(frame.mask.sum() * VOXEL_ML)}
    strange = outside(models.prior.covariates, told)
    verdict = judge(frame, sizes, next(iter(strange), None), faces_cut(frame))
    return Brain(data, frame, anatomy, verdict)


def preview(step: Partway, frame: Frame, title: str) -> Volume:
    """The samples' mean so far on the model grid, placed in the scan's space and in the scan's units."""
    import numpy as np

    from ..imaging.volume import Volume

    native = frame.scanner_intensity(step.mean()) * frame.mask
    meta = {"title": title, "synthetic": True}
    return Volume(native.astype(np.float32), frame.affine @ frame.index, meta)


def variants_of(scan: Volume, images: Sequence[np.ndarray], title: str, index: str) -> list[Artifact]:
    """The browser of `images` [X, Y, Z] on the scan's grid, each an `index`; nothing where there are none."""
    from ..result import Artifact

    if not len(images):
        return []
    display = {"unit": "as the scan", "title": title, "index": index}
    volumes = [scan.with_data(image) for image in images]
    return [Artifact("variants", "sequence", volumes=volumes, display=display, of="scan")]


def outside_brain(mask_ml: float, used_ml: float) -> list[str]:
    """A note on how much of a mask was left as it is, where that is more than a twentieth of it."""
    if mask_ml - used_ml <= 0.05 * mask_ml:
        return []
    return [
        f"{mask_ml - used_ml:.1f} of the mask's {mask_ml:.1f} ml lie outside the brain and stay as they are."
    ]
