"""Normal maps of a prior from normal brains that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from ..healing import Healed, guided, partial
from ..heatmap import NormalMaps, calibrate, heat, regions, residual, to_template
from ..imaging.frame import Frame
from ..models.loading import Model
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


def fit(cases: list[tuple[Frame, Healed]], threshold: float = np.inf) -> NormalMaps:
    """Normal maps from (frame, healed) of several brains."""
    residuals = [to_template(residual(frame.image, healed), frame) for frame, healed in cases]
    weights = [to_template((frame.image > 0).astype(np.float32), frame) for frame, _ in cases]
    return NormalMaps.fit(residuals, weights, threshold)


def cross_fitted(cases: list[tuple[Frame, Healed]], folds: int = FOLDS) -> list[np.ndarray]:
    """|z| map [80, 96, 80] of each brain from normal maps that do not know it."""
    maps = []
    for n, (frame, brain) in enumerate(cases):
        others = [case for m, case in enumerate(cases) if m % folds != n % folds]
        maps.append(heat(frame.image, brain, frame, fit(others)).z)
    return maps


def normal_maps(
    model: Model, root: Path, method: str, steps: int, samples: int
) -> tuple[NormalMaps, list[int]]:
    """Maps of all `val` brains with a cross-fitted threshold, and the regions of each brain above it."""
    frames = framed(root, "val")
    cases = [(frame, healed(model, frame, method, steps, samples)) for frame in frames.values()]
    z_maps = cross_fitted(cases)
    threshold = calibrate(z_maps)
    return fit(cases, threshold), [regions(z, threshold)[1] for z in z_maps]


def _precision() -> str:
    from ..plan import cpu_precision

    return cpu_precision()
