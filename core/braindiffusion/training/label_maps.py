"""The label maps of the population, each with its place on the model grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..anatomy import MIRROR, STRUCTURES, from_freesurfer
from ..imaging.frame import Frame
from ..imaging.grid import GRID_SHAPE
from .fields import gaussian_blur, moved_grid
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
    to_template = np.linalg.inv(frame.template_index)
    return Subject(
        torch.from_numpy(labels), codes, *(torch.from_numpy(m).float() for m in (frame.index, to_template))
    )


def with_atlases(some: list[Subject]) -> list[Subject]:
    """The subjects, each with the atlas of all the others, so that none is told its own anatomy."""
    own = [occurrence(subject) for subject in some]
    total = sum(own, torch.zeros_like(own[0]))
    return [replace(s, atlas=smoothed(total - o)) for s, o in zip(some, own)]


def occurrence(subject: Subject) -> Tensor:
    """Share of each structure in the 4 mm voxels of template space, the mean of both sides: [structures, 40,
    48, 40].
    """
    to_labels = subject.index @ torch.linalg.inv(subject.to_template)
    voxel = moved_grid(to_labels, GRID_SHAPE)
    inside = [v.round().long().clamp(0, n - 1) for v, n in zip(voxel, subject.labels.shape)]
    structures = torch.from_numpy(from_freesurfer(subject.codes))[subject.labels[tuple(inside)].long()].long()
    shares = functional.one_hot(structures, len(STRUCTURES)).movedim(-1, 0).float()
    shares = functional.avg_pool3d(shares[None], 2)[0]
    return (shares + shares[torch.from_numpy(MIRROR)].flip(1)) / 2


def smoothed(total: Tensor) -> Tensor:
    """Probabilities from summed `occurrence`, blurred by 3 mm because few brains do not show where a
    structure can be.
    """
    blurred = gaussian_blur(total, 0.75)
    return blurred / blurred.sum(0).clamp(min=1e-6)
