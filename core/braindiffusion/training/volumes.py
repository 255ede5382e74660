"""Ventricular and brain volume of the real brains, measured by the shipped anatomy network: conditions of the
prior.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..imaging.gate import admit
from ..plan import cpu_precision
from ..segment import Segmenter
from .brains import participants


def real_volumes(root: Path, split: str, file: Path) -> dict[str, dict[str, float]]:
    """Volumes in ml by participant, kept in `file` (JSON) once measured.

    The volumes are those of the release of `brain-anatomy-2mm` that measured them: delete the file after a
    new one.
    """
    if file.exists():
        return json.loads(file.read_text())
    segmenter = Segmenter.load(precision=cpu_precision())
    measured = {}
    for row in participants(root, split):
        name = row["participant_id"]
        volume, _ = admit(root / "t1_brains" / f"{name}_T1w_brain.nii.gz")
        found = segmenter.segment(segmenter.frame(volume), np.asarray(volume.data, np.float32))
        measured[name] = {key: round(value, 1) for key, value in found.volumes().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(measured, indent=1) + "\n")
    return measured
