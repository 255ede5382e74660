"""Real cases through the whole program, whatever comes: gliomas, multiple sclerosis, older heads, heads of
other scanners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from .. import engine
from ..errors import BrainDiffusionError
from ..heatmap import raised
from ..imaging.gate import admit
from ..imaging.volume import Volume
from ..result import Result
from . import metrics, pictures
from .anatomy_eval import DLMUSE_LEFT, DLMUSE_MIDDLE, DLMUSE_RIGHT
from .setting import Setting

VENTRICLES = DLMUSE_LEFT + DLMUSE_RIGHT + DLMUSE_MIDDLE


@dataclass(frozen=True)
class Real:
    """A scan under the data folder. truth: its lesion mask (above 0), and what that is. further: other scans
    for the picture.
    """

    name: str
    scan: str
    truth: str | None = None
    truth_is: str = ""
    further: Mapping[str, str] | None = None


LESIONS = (
    Real(
        "TCGA-FG-6692 (glioma)",
        "tumour/TCGA-FG-6692/TCGA-FG-6692_t1_bet.nii.gz",
        "tumour/TCGA-FG-6692/TCGA-FG-6692_segfusion_simple.nii.gz",
        "fusion of five algorithms, drawn on four contrasts",
        {"FLAIR": "tumour/TCGA-FG-6692/TCGA-FG-6692_fla_bet.nii.gz"},
    ),
    Real(
        "BraTS-GLI-00001 (glioma)",
        "tumour/BraTS-GLI-00001/BraTS-GLI-00001-000-t1n.nii.gz",
        "tumour/BraTS-GLI-00001/inpainting-mask.nii.gz",
        "the inpainting challenge's mask, which takes in far more than the tumour",
        {"FLAIR": "tumour/BraTS-GLI-00001/BraTS-GLI-00001-000-t2f.nii.gz"},
    ),
    Real(
        "patient19 (multiple sclerosis)",
        "ms/patient19/patient19_T1.nii.gz",
        "ms/lesion_masks/patient19_gold_lesions_MNI.nii.gz",
        "consensus of three raters, drawn on FLAIR",
        {"FLAIR": "ms/patient19/patient19_FLAIR.nii.gz"},
    ),
)
OLDER = tuple(
    Real(f"nichart {n:02d}", f"nichart/Subj{n:02d}_T1.nii.gz", f"nichart/Subj{n:02d}_T1_DLMUSE.nii.gz")
    for n in (6, 12, 7, 13)
)
UNSHOWN = ("chris",)
"""Cases whose licence does not let a picture ship with the project."""
HEADS = (Real("chris", "heads/chris_T1w_head.nii.gz"), Real("colin27", "heads/colin27_ch2_head.nii.gz"))


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `real.json`."""
    few = 1 if setting.quick else None
    return {
        "lesions": [_lesion(setting, case) for case in LESIONS[:few]],
        "older": [_older(setting, case) for case in OLDER[:few]],
        "heads": [_head(setting, case) for case in HEADS[:few]],
    }


def _healed(setting: Setting, case: Real) -> Result | str:
    """The task's result, or the sentence with which the program refused."""
    setting.say(f"Real case: {case.name}")
    try:
        return engine.run("heal", {"scan": setting.root / case.scan}, seed=0, threads=setting.plan.threads)
    except BrainDiffusionError as refusal:
        return str(refusal)


def _facts(result: Result) -> dict[str, Any]:
    strongest, heat = result.findings[:3], _volume(result, "heatmap")
    typical, threshold = result.provenance["typical_z"], result.provenance["threshold"]
    higher = raised(threshold, typical["scan"], typical["normal_brains"])
    return {
        "typical_z": typical["scan"],
        "usual_z": typical["normal_brains"],
        "higher_threshold": higher,
        "findings_above_it": int(metrics.findings(heat.data >= higher, heat.voxel_ml).max()),
        "verdict": result.verdict,
        "plausible": result.plausible,
        "findings": len(result.findings),
        "findings_ml": float(sum(row["volume_ml"] for row in result.findings)),
        "strongest": [
            {key: row[key] for key in ("side", "structure", "volume_ml", "peak_z", "direction")}
            for row in strongest
        ],
        "threshold": threshold,
        "seconds": round(result.provenance.get("seconds", {}).get("total", float("nan")), 1),
    }


def _volume(result: Result, role: str) -> Volume:
    volume = result[role].volume
    if volume is None:
        raise ValueError(f"the result has no voxels for '{role}'")
    return volume


def _numbers(setting: Setting, path: str) -> np.ndarray:
    return np.nan_to_num(np.asarray(nib.load(setting.root / path).dataobj))  # type: ignore[attr-defined]


def _lesion(setting: Setting, case: Real) -> dict[str, Any]:
    result = _healed(setting, case)
    row: dict[str, Any] = {"name": case.name, "truth_is": case.truth_is}
    if isinstance(result, str):
        return row | {"refused": result}
    truth = _numbers(setting, str(case.truth)) > 0.5
    heat, found = _volume(result, "heatmap").data, _volume(result, "findings_labels").data > 0
    brain = _volume(result, "anatomy").data > 0
    brain |= truth
    edges = metrics.edges_of(heat[truth])
    histogram = metrics.Histogram.of(heat[brain], truth[brain], edges)
    row |= _facts(result) | {
        "truth_ml": float(truth.sum() * _volume(result, "heatmap").voxel_ml),
        "share_of_brain": float(truth.sum() / brain.sum()),
        "auprc": metrics.average_precision(heat[brain], truth[brain]),
        "dice": metrics.dice(found, truth),
        "covered": float(found[truth].mean()),
        "best_threshold_dice": metrics.best_threshold_dice([histogram], edges)[0],
    }
    _picture(setting, case, result, truth)
    return row


def _older(setting: Setting, case: Real) -> dict[str, Any]:
    """Large ventricles: a warning is wanted, and no heat in them."""
    result = _healed(setting, case)
    labels = _numbers(setting, str(case.truth))
    row: dict[str, Any] = {"name": case.name}
    if isinstance(result, str):
        return row | {"refused": result}
    heat = _volume(result, "heatmap")
    ventricles = np.isin(labels, VENTRICLES)
    above = heat.data >= result.provenance["threshold"]
    row |= _facts(result) | {
        "ventricles_ml": float(ventricles.sum() * heat.voxel_ml),
        "warned": "ventricles measure" in result.verdict,
        "above_ml": float(above.sum() * heat.voxel_ml),
        "share_in_ventricles": float(above[ventricles].sum() / max(int(above.sum()), 1)),
        "ventricles_filled": float(above[ventricles].mean()),
    }
    _picture(setting, case, result, None)
    return row


def _head(setting: Setting, case: Real) -> dict[str, Any]:
    """Normal heads of other scanners: every finding is one too many."""
    result = _healed(setting, case)
    if isinstance(result, str):
        return {"name": case.name, "refused": result}
    _picture(setting, case, result, None)
    return {"name": case.name, **_facts(result)}


def _picture(setting: Setting, case: Real, result: Result, truth: np.ndarray | None) -> None:
    if case.name in UNSHOWN:
        return
    volumes = {
        "scan": result.inputs["scan"],
        "healed": _volume(result, "healed"),
        "heatmap": _volume(result, "heatmap"),
    }
    volumes["findings"] = _volume(result, "findings_labels")
    for name, path in (case.further or {}).items():
        volumes[name] = admit(setting.root / path)[0]
    pictures.real_case(setting.pictures / f"{slug(case.name)}.png", case.name, volumes, truth)


def slug(name: str) -> str:
    """A case's name as its picture's file name."""
    return name.split(" (")[0].lower().replace(" ", "-")
