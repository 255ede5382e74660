"""Make `resources/template/head_4mm.npz`, a head with its skull in template space, from the thirteen training
label maps (see docs/data.md).

python tools/make_head.py
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from braindiffusion.imaging.align import HEAD_AFFINE, HEAD_FILE, HEAD_SHAPE
from braindiffusion.imaging.grid import GRID_AFFINE, sample
from braindiffusion.paths import data_root, resources
from braindiffusion.training.label_maps import subjects
from braindiffusion.training.population import Subject, t1_contrast


def painted(subject: Subject) -> np.ndarray:
    """The mean T1 intensity of each label, on the grid of the head template."""
    means, _ = t1_contrast(torch.Generator().manual_seed(0), subject.codes, data_root())
    fine = gaussian_filter(means.numpy()[subject.labels.numpy()], 1.6)
    to_labels = (subject.index @ torch.linalg.inv(subject.to_template)).double().numpy()
    return sample(fine, to_labels @ np.linalg.inv(GRID_AFFINE) @ HEAD_AFFINE, HEAD_SHAPE)


if __name__ == "__main__":
    mean = np.mean([painted(subject) for subject in subjects(data_root(), "train")], axis=0)
    mean = (mean + mean[::-1]) / 2
    target = resources() / "template" / HEAD_FILE
    np.savez_compressed(target, t1=np.rint(255 * mean / mean.max()).astype(np.uint8))
    print(target, f"{target.stat().st_size / 1e6:.2f} MB")
