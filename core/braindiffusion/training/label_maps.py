"""The label maps of the population, each with its place on the model grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from ..imaging.frame import Frame
from .population import EXTRACEREBRAL, SPINAL_CSF, Subject, t1_priors

SPLITS = {"train": range(1, 14), "val": range(14, 17)}


def subjects(root: Path, split: str) -> list[Subject]:
    """The label maps of `split` ("train" or "val") under the data folder `root`."""
    return [load(root, root / "label_maps" / f"seg_{n:02d}.nii.gz") for n in SPLITS[split]]


def load(root: Path, path: Path) -> Subject:
    """One label map, cropped to the surroundings of its brain and registered to the template as a scan would
    be.
    """
    image = nib.as_closest_canonical(nib.load(path))
    numbers = np.asarray(image.dataobj).astype(np.int16)
    lowest = int(np.argwhere((numbers > 0) & (numbers < EXTRACEREBRAL) & (numbers != 24))[:, 2].min())
    below = numbers[:, :, : max(lowest - 2, 0)]
    below[below == 24] = SPINAL_CSF
    brain = (numbers > 0) & (numbers < EXTRACEREBRAL)
    inside = np.argwhere(brain)
    low, high = np.maximum(inside.min(0) - 45, 0), inside.max(0) + 46
    crop = tuple(slice(a, b) for a, b in zip(low, high))
    shift = np.eye(4)
    shift[:3, 3] = low
    affine = image.affine @ shift
    codes, labels = np.unique(numbers[crop], return_inverse=True)
    labels = labels.reshape(numbers[crop].shape).astype(np.uint8)
    background = int(np.flatnonzero(codes == 0)[0])
    for axis in range(3):
        for end in (0, -1):
            np.moveaxis(labels, axis, 0)[end] = background
    classes, means, _ = t1_priors(root)
    painted = means[[classes.get(int(code), 0) for code in codes]][labels] * brain[crop]
    frame = Frame.fit(painted, affine, brain[crop])
    return Subject(torch.from_numpy(labels), codes, torch.from_numpy(frame.index).float())
