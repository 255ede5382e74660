"""Make `resources/template/anatomy_4mm.npz` from the thirteen training label maps (see docs/data.md).

python tools/make_atlas.py
"""

from __future__ import annotations

import numpy as np

from braindiffusion.imaging.atlas import FILE
from braindiffusion.paths import data_root, resources
from braindiffusion.training.label_maps import occurrence, smoothed, subjects

if __name__ == "__main__":
    some = [occurrence(subject) for subject in subjects(data_root(), "train")]
    probability = smoothed(sum(some[1:], some[0]))
    target = resources() / "template" / FILE
    np.savez_compressed(target, probability=(255 * probability).round().byte().numpy())
    print(target)
