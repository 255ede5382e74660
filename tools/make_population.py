"""Make `resources/template/population_2mm.npz` from the training brains and their mirror images (see
docs/data.md).

python tools/make_population.py [FOLDER]    FOLDER keeps framed brains (default: runs/t1-brain-2mm/brains)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from braindiffusion.imaging.expected import FILE
from braindiffusion.imaging.grid import GRID_SHAPE, sample
from braindiffusion.paths import data_root, resources
from braindiffusion.training.brains import brains


def deviation_of(images: np.ndarray) -> np.ndarray:
    """SD [80, 96, 80] of images [N, 80, 96, 80] among those that are brain at a voxel."""
    inside = images > 0
    count = np.maximum(inside.sum(0), 2)
    mean = images.sum(0) / count
    return np.sqrt((np.where(inside, images - mean, 0) ** 2).sum(0) / (count - 1))


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/t1-brain-2mm/brains")
    some = brains(data_root(), "train", folder)
    seen = np.stack([brain.image.numpy() for brain in some])
    warped = np.stack(
        [
            sample(image, np.linalg.inv(brain.to_template.double().numpy()), GRID_SHAPE)
            for image, brain in zip(seen, some)
        ]
    )
    seen, warped = (np.concatenate([images, images[:, ::-1]]) for images in (seen, warped))
    inside = (warped > 0).mean(0)
    mean = np.where(inside > 0.5, warped.sum(0) / np.maximum((warped > 0).sum(0), 1), 0)
    maps = {"mean": mean, "deviation": deviation_of(warped), "typical": seen.mean(0)}
    target = resources() / "template" / FILE
    np.savez_compressed(
        target, **{name: np.rint(127 * array).clip(0, 255).astype(np.uint8) for name, array in maps.items()}
    )
    print(target, f"{target.stat().st_size / 1e6:.2f} MB, {len(some)} brains")
