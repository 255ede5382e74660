"""The anatomy network against labels: intracranial mask, ventricles, and every structure with its side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..anatomy import CSF, STRUCTURES, VENTRICLES, from_freesurfer
from ..errors import Refused
from ..imaging.gate import admit
from ..imaging.grid import GRID_AFFINE, GRID_SHAPE
from ..imaging.volume import Volume
from ..segment import Segmentation, Segmenter
from ..training.label_maps import SPLITS, load
from ..training.population import EXTRACEREBRAL, Subject, random_contrast, t1_contrast, t1_priors
from . import implants, metrics
from .setting import Setting, shared_out

DLMUSE_LEFT, DLMUSE_RIGHT, DLMUSE_MIDDLE = (50, 52), (49, 51), (4, 11)
"""DLMUSE's numbers of the lateral ventricles with their horns, and of the third and fourth ventricle."""
SAME_PERSON = {9: 8, 10: 8, 16: 15}
"""Heads of nichart that are later scans of another one."""
KINDS = {"like T1, head": 1, "like T1, stripped": 1, "any contrast, head": 3}
"""Kinds of painted images, and how many of each label map."""
_VOXELMORPH = np.array([[-1.0, 0, 0, 80], [0, 0, 1, -112], [0, -1, 0, 96], [0, 0, 0, 1]])
"""Voxel to RAS of the voxelmorph scan, which comes without geometry: its axes run left, down and forward, 1
mm.
"""


def run(setting: Setting) -> dict[str, Any]:
    """Measure; returns the content of `anatomy.json`."""
    return {
        "stripped": _stripped(setting),
        "heads": _heads(setting),
        "label_maps": _label_maps(setting),
        "labelled": _labelled(setting),
    }


def segmented(setting: Setting, volume: Volume) -> Segmentation:
    """The anatomy of a scan as the tasks find it (`_seen`); one that is refused counts as one in which
    nothing was found.
    """
    try:
        return _seen(setting, volume)
    except Refused as refusal:
        setting.say(f"Refused, and counted as nothing found: {refusal}")
        return Segmentation.certain(np.zeros(GRID_SHAPE, np.uint8), volume.affine, 0.0)


def _seen(setting: Setting, volume: Volume) -> Segmentation:
    """The anatomy of a scan: its frame first, then its structures."""
    segmenter = Segmenter.load(setting.plan.device, setting.plan.precision)
    return segmenter.segment(segmenter.frame(volume), np.asarray(volume.data, np.float32))


def _stripped(setting: Setting) -> dict[str, Any]:
    """Intracranial mask of skull-stripped val brains; what is not zero is the truth."""
    names = implants.val_brains(setting.root)[: 1 if setting.quick else None]
    return _summary(shared_out(setting, "Anatomy of stripped brains", partial(_stripped_one, setting), names))


def _stripped_one(setting: Setting, name: str) -> float:
    volume = implants.scan(setting.root, name)
    return metrics.dice(segmented(setting, volume).mask_on(volume.shape, volume.affine), volume.data > 0)


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "lowest": float(np.min(values)),
        "interval": metrics.bootstrap_interval(values),
        "scans": len(values),
    }


def _heads(setting: Setting) -> dict[str, Any]:
    """Whole heads of older adults: intracranial mask, and ventricles as volumes and with their side."""
    numbers = list(range(1, 19))[: 2 if setting.quick else None]
    rows = shared_out(setting, "Anatomy of heads", partial(_head_one, setting), numbers)
    persons = [row for row in rows if row["head"] not in SAME_PERSON]
    return {
        "mask": _summary([row["mask"] for row in rows]),
        "ventricles_r": _correlation(rows, "ml"),
        "ventricles_r_persons": _correlation(persons, "ml"),
        "persons": len(persons),
        "left_r": _correlation(rows, "left"),
        "right_r": _correlation(rows, "right"),
        "left_dice": _summary([row["left_dice"] for row in rows]),
        "right_dice": _summary([row["right_dice"] for row in rows]),
        "bias_ml": float(np.mean([row["ml"][0] - row["ml"][1] for row in rows])),
        "rows": rows,
    }


def _head_one(setting: Setting, n: int) -> dict[str, Any]:
    volume, _ = admit(setting.root / "nichart" / f"Subj{n:02d}_T1.nii.gz")
    image = nib.load(setting.root / "nichart" / f"Subj{n:02d}_T1_DLMUSE.nii.gz")
    truth = np.asarray(image.dataobj).astype(np.int16)  # type: ignore[attr-defined]
    return {"head": n, **_head(segmented(setting, volume), truth, image.affine)}  # type: ignore[attr-defined]


def _head(found: Segmentation, truth: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
    labels = found.labels_on(truth.shape, affine)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    row: dict[str, Any] = {"mask": metrics.dice(found.mask_on(truth.shape, affine), truth > 0)}
    middle = np.isin(labels, VENTRICLES)
    row["ml"] = [
        float(middle.sum() * voxel_ml),
        _ml(truth, DLMUSE_LEFT + DLMUSE_RIGHT + DLMUSE_MIDDLE, voxel_ml),
    ]
    for side, numbers in (("left", DLMUSE_LEFT), ("right", DLMUSE_RIGHT)):
        own = labels == _index("lateral ventricle", side)
        row[side] = [float(own.sum() * voxel_ml), _ml(truth, numbers, voxel_ml)]
        row[f"{side}_dice"] = metrics.dice(own, np.isin(truth, numbers))
    return row


def _ml(truth: np.ndarray, numbers: Sequence[int], voxel_ml: float) -> float:
    return float(np.isin(truth, numbers).sum() * voxel_ml)


def _index(name: str, side: str) -> int:
    return next(s.index for s in STRUCTURES if s.name == name and s.side == side)


def _correlation(rows: Sequence[dict], key: str) -> float:
    return metrics.pearson([row[key][0] for row in rows], [row[key][1] for row in rows])


def _label_maps(setting: Setting) -> dict[str, Any]:
    """Images painted from the val label maps: heads and stripped brains, like T1 and of random contrast."""
    numbers = list(SPLITS["val"])
    each = shared_out(setting, "Anatomy of painted label maps", partial(_label_map, setting), numbers)
    return {kind: _table([row for rows in each for row in rows[kind]]) for kind in KINDS}


def _label_map(setting: Setting, number: int) -> dict[str, list[dict[str, float]]]:
    subject = load(setting.root, setting.root / "label_maps" / f"seg_{number:02d}.nii.gz")
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for kind, draws in KINDS.items():
        for draw in range(1 if setting.quick else draws):
            generator = torch.Generator().manual_seed(1000 * number + draw)
            image, truth = _painted(setting.root, generator, subject, kind)
            found = segmented(setting, image).labels_on(image.shape, image.affine)
            rows[kind].append(_structures(found, truth))
    return rows


def _painted(
    root: Path, generator: torch.Generator, subject: Subject, kind: str
) -> tuple[Volume, np.ndarray]:
    """A 1 mm image of one label map and its structures, on the map's own grid."""
    t1 = kind.startswith("like T1")
    classes, _, _ = t1_priors(root)
    codes = subject.codes
    means, spread = t1_contrast(generator, codes, root) if t1 else random_contrast(generator, codes, classes)
    labels = subject.labels.long()
    stripped = kind.endswith("stripped")
    if stripped:
        labels = torch.where(
            torch.from_numpy(codes >= EXTRACEREBRAL)[labels], int(np.flatnonzero(codes == 0)[0]), labels
        )
        means = torch.where(torch.from_numpy(codes == 0), 0.0, means)
    image = (means[labels] + spread[labels] * torch.randn(labels.shape, generator=generator)).numpy()
    image = np.clip(gaussian_filter(image, 0.6), 0, None)
    if stripped:
        image *= (codes != 0)[labels.numpy()]
    truth = from_freesurfer(codes)[labels.numpy()]
    affine = GRID_AFFINE @ np.linalg.inv(subject.index.numpy().astype(np.float64))
    return Volume(image.astype(np.float32), affine, {"source": "painted labels", "synthetic": True}), truth


def _structures(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice of each structure that the truth has, by name with side."""
    present = [s for s in STRUCTURES[1:] if (truth == s.index).any()]
    return {f"{s.side} {s.name}".strip(): metrics.dice(found == s.index, truth == s.index) for s in present}


def _table(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    each = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    scans = [float(np.mean(list(row.values()))) for row in rows]
    return {
        "mean": float(np.mean(scans)),
        "lowest": float(min(scans)),
        "images": len(rows),
        "structures": each,
    }


def _labelled(setting: Setting) -> dict[str, Any]:
    """Two real T1 scans with FreeSurfer's labels, whose fluid (24) is not the outer CSF: left out. One that
    is refused has the reason instead of figures.
    """
    folder = setting.root / "labelled_t1"
    with np.load(folder / "voxelmorph_test_scan_vol+seg.npz") as arrays:
        scan = Volume(arrays["vol"].astype(np.float32), _VOXELMORPH, {"source": "voxelmorph"})
        pairs = {"voxelmorph test scan": (scan, arrays["seg"].astype(np.int32), _VOXELMORPH)}
    image = nib.load(folder / "niivue_fs_aparc.a2009s+aseg.mgz")
    numbers = np.asarray(image.dataobj).astype(np.int32)  # type: ignore[attr-defined]
    pairs["niivue norm.mgz"] = (admit(folder / "niivue_fs_norm.mgz")[0], numbers, image.affine)  # type: ignore[attr-defined]
    rows = {}
    for name, (volume, numbers, affine) in pairs.items():
        setting.say(f"Anatomy: {name}")
        truth = from_freesurfer(numbers)
        truth[np.isin(truth, CSF)] = 0
        try:
            found = _seen(setting, volume).labels_on(truth.shape, affine)
        except Refused as refusal:
            rows[name] = {"images": 1, "refused": str(refusal), "structures": {}}
            continue
        # Numbers that our table does not have, such as the corpus callosum, are neither right nor wrong.
        found[((numbers > 0) & (truth == 0)) | np.isin(found, CSF)] = 0
        rows[name] = _table([_structures(found, truth)])
    return rows
