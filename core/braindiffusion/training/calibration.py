"""Normal maps of a prior from normal brains that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from ..healing import Healed, guided, partial
from ..heatmap import calibrate, example, heat, level, regions
from ..imaging.frame import Frame
from ..models.loading import Model, load_model
from ..nets.correspondence import Correspondence
from ..nets.deformable import FILE, DeformableTemplate
from ..normal import NormalMaps
from .brains import participants

FOLDS = 6
SEED = 40_000
"""First seed of the calibration's samples: far from what users choose, and fixed."""


def framed(root: Path, split: str) -> dict[str, Frame]:
    """The frame of every brain of `split`, by name."""
    frames = {}
    for row in participants(root, split):
        image = nib.load(root / "t1_brains" / f"{row['participant_id']}_T1w_brain.nii.gz")
        data = image.get_fdata(dtype=np.float32)  # type: ignore[attr-defined]
        frames[row["participant_id"]] = Frame.fit(data, image.affine, data > 0)  # type: ignore[attr-defined]
    return frames


def healed(model: Model, frame: Frame, method: str, steps: int, samples: int) -> Healed:
    """One brain healed as the task would."""
    seeds = [SEED + n for n in range(samples)]
    if method == "guided":
        return guided(model, frame.image, seeds, steps, around=frame.expected, precision=_precision())
    return partial(model, frame.image, seeds, steps, precision=_precision())


class Case(NamedTuple):
    """A normal brain `image` [80, 96, 80] on the model grid, healed, and where it lies in the mean brain."""

    image: np.ndarray
    healed: Healed
    place: Correspondence


def cross_fitted(cases: Sequence[Case], brain: np.ndarray, folds: int = FOLDS) -> list[np.ndarray]:
    """|z| map [80, 96, 80] of each case from normal maps that do not know it."""
    examples, maps = [example(*case) for case in cases], []
    for fold in range(folds):
        others = [one for m, one in enumerate(examples) if m % folds != fold]
        normal = NormalMaps.fit(others, brain)
        maps += [heat(*case, normal).z for m, case in enumerate(cases) if m % folds == fold]
    return maps


def normal_maps(
    model: Model, root: Path, method: str, steps: int, samples: int
) -> tuple[NormalMaps, list[int]]:
    """Maps of all `val` brains with a cross-fitted threshold, and the regions of each brain above it."""
    brain = mean_brain()
    cases = [
        Case(
            frame.image,
            healed(model, frame, method, steps, samples),
            Correspondence.find(frame.image, brain),
        )
        for frame in framed(root, "val").values()
    ]
    z_maps = cross_fitted(cases, brain)
    threshold = calibrate(z_maps)
    usual = max(level(z, case.image > 0) for z, case in zip(z_maps, cases, strict=True))
    normal = NormalMaps.fit([example(*case) for case in cases], brain, threshold, usual)
    return normal, [regions(z, threshold)[1] for z in z_maps]


def mean_brain() -> np.ndarray:
    """The mean of the training brains [80, 96, 80], sharp because it was made by deformation."""
    return DeformableTemplate.load(load_model("t1-brain-2mm-generate").file(FILE)).mean


def _precision() -> str:
    from ..plan import cpu_precision

    return cpu_precision()
