"""The structures that `brain-anatomy-2mm` knows: one table for training, naming findings and measuring
volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Structure:
    """index: value in our label maps. name: as shown to a person. freesurfer: label numbers that are merged
    into it.
    """

    index: int
    name: str
    side: str
    freesurfer: tuple[int, ...]

    @property
    def code(self) -> tuple[str, str, str] | None:
        """Scheme, value and meaning in DICOM's context group 7140; None for what is no structure."""
        return _CODES.get(self.name)


_PAIRED = {
    "cerebral cortex": ((3,), (42,)),
    "cerebral white matter": ((2, 25, 77, 78), (41, 57, 79)),
    "lateral ventricle": ((4, 5, 31), (43, 44, 63)),
    "cerebellum": ((7, 8), (46, 47)),
    "thalamus": ((10,), (49,)),
    "caudate": ((11,), (50,)),
    "putamen": ((12,), (51,)),
    "pallidum": ((13,), (52,)),
    "hippocampus": ((17,), (53,)),
    "amygdala": ((18,), (54,)),
    "accumbens": ((26,), (58,)),
    "ventral diencephalon": ((28,), (60,)),
}
_CALLOSUM = (251, 252, 253, 254, 255)
_MIDLINE = {
    "third ventricle": (14, 72),
    "fourth ventricle": (15,),
    "brainstem": (16,),
    "outer CSF": (24, 30, 62, 85, 136, 137, 163, 164),
}
# DICOM PS3.16, context group 7140, brain structures for volumetric measurement.
_CODES = {
    "cerebral cortex": ("SCT", "40146001", "Cerebral Gray Matter"),
    "cerebral white matter": ("SCT", "68523003", "Cerebral White Matter"),
    "lateral ventricle": ("SCT", "66720007", "Lateral Ventricle"),
    "cerebellum": ("SCT", "113305005", "Cerebellum"),
    "thalamus": ("SCT", "119406000", "Thalamus"),
    "caudate": ("SCT", "11000004", "Caudate Nucleus"),
    "putamen": ("SCT", "89278009", "Putamen"),
    "pallidum": ("SCT", "14738005", "Globus Pallidus"),
    "hippocampus": ("SCT", "5366008", "Hippocampus"),
    "amygdala": ("SCT", "4958002", "Amygdala"),
    "accumbens": ("SCT", "427667007", "Nucleus Accumbens"),
    "ventral diencephalon": ("DCM", "110700", "Ventral Diencephalon"),
    "third ventricle": ("SCT", "49841001", "Third ventricle"),
    "fourth ventricle": ("SCT", "35918002", "Fourth Ventricle"),
    "brainstem": ("SCT", "119238007", "Brain Stem"),
    "outer CSF": ("SCT", "33930006", "Cranial Subarachnoid Space"),
}


def _table() -> tuple[Structure, ...]:
    rows = [Structure(0, "outside", "", (0,))]
    for name, (left, right) in _PAIRED.items():
        rows.append(Structure(len(rows), name, "left", left))
        rows.append(Structure(len(rows), name, "right", right))
    for name, labels in _MIDLINE.items():
        rows.append(Structure(len(rows), name, "", labels))
    return tuple(rows)


STRUCTURES = _table()
VENTRICLES = tuple(s.index for s in STRUCTURES if "ventricle" in s.name)
CSF = tuple(s.index for s in STRUCTURES if s.name == "outer CSF")
PARENCHYMA = tuple(s.index for s in STRUCTURES if s.index and s.index not in VENTRICLES + CSF)

MIRROR = np.arange(len(STRUCTURES))
"""MIRROR[index] is the same structure on the other side: what a left-right flip of the image does to the
labels.
"""
for _name in _PAIRED:
    _left, _right = (s.index for s in STRUCTURES if s.name == _name)
    MIRROR[[_left, _right]] = _right, _left


def from_freesurfer(labels: np.ndarray) -> np.ndarray:
    """FreeSurfer numbers, any shape -> our indices, uint8. Cortical parcels 1000-2999 and 11100-12999 count
    as cortex.

    The corpus callosum, which FreeSurfer numbers apart, joins the white matter of the nearer side.
    Everything unknown, extra-cerebral tissue (500 and up) included, is outside.
    """
    lookup = np.zeros(max(int(labels.max()) + 1, 20000), np.uint8)
    for structure in STRUCTURES:
        lookup[list(structure.freesurfer)] = structure.index
    white = [s.index for s in STRUCTURES if s.name == "cerebral white matter"]
    lookup[list(_CALLOSUM)] = white[0]
    cortex_left, cortex_right = 1, 2
    for low, high, index in (
        (1000, 2000, cortex_left),
        (2000, 3000, cortex_right),
        (11100, 12000, cortex_left),
        (12100, 13000, cortex_right),
    ):
        lookup[low:high] = index
    found = lookup[labels.astype(np.int64)]
    callosum = np.isin(labels, _CALLOSUM)
    sided = np.isin(found, white) & ~callosum
    if callosum.any() and sided.any():
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(~sided, return_distances=False, return_indices=True)
        found[callosum] = found[tuple(axis[callosum] for axis in nearest)]
    return found


def volumes_ml(labels: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Intracranial, brain (parenchyma alone) and ventricular volume in millilitre of a label map of our
    indices.
    """
    counts = np.bincount(np.asarray(labels, np.int64).ravel(), minlength=len(STRUCTURES)) * voxel_ml
    return {
        "intracranial": float(counts[1:].sum()),
        "brain": float(counts[list(PARENCHYMA)].sum()),
        "ventricles": float(counts[list(VENTRICLES)].sum()),
    }
