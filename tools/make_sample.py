"""Make the sample patient: the MNI152 template bent at random, with a made-up lesion, as a 1 mm scan on an
oblique grid.

    python tools/make_sample.py

Nobody was scanned: the template is the average of 152 people. It is smoother than any scan, and its lesion is
easier than a real one, which flatters every method.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE, sample, upright
from braindiffusion.imaging.io import write_nifti
from braindiffusion.imaging.template import template
from braindiffusion.imaging.volume import Volume
from braindiffusion.paths import resources
from braindiffusion.training.fields import diffeomorphism, identity_grid, warp

SEED = 11
LESION_MM, RADIUS_MM, DARKER = (30.0, 22.0, 18.0), (13.0, 10.0, 9.0), 0.40
"""Middle of the lesion in template RAS mm (right frontal white matter), its half axes, and how much darker it
is.
"""
WHITE_MATTER = 620.0
"""Intensity of white matter in the file, as a scanner might have it."""


def brain() -> np.ndarray:
    """A brain that never was, [80, 96, 80], white matter 1."""
    generator = torch.Generator().manual_seed(SEED)
    bend = diffeomorphism(generator, GRID_SHAPE, 1.5, 24.0)
    average = torch.from_numpy(template().t1.copy())[None]
    bent = warp(average, identity_grid(GRID_SHAPE) + bend)[0].numpy()
    return np.where(bent > 0.12, bent / np.percentile(bent[bent > 0.12], 95), 0)


def with_lesion(image: np.ndarray) -> np.ndarray:
    """`image` with one dark ellipsoid with a soft, uneven border."""
    index = np.indices(GRID_SHAPE).reshape(3, -1)
    points = GRID_AFFINE[:3, :3] @ index + GRID_AFFINE[:3, 3:] - np.array(LESION_MM)[:, None]
    distance = np.linalg.norm(points / np.array(RADIUS_MM)[:, None], axis=0).reshape(GRID_SHAPE)
    rough = gaussian_filter(np.random.default_rng(SEED).standard_normal(GRID_SHAPE), 2.0)
    soft = gaussian_filter((distance + 2.0 * rough < 1).astype(np.float32), 0.6)
    return image * (1 - DARKER * soft)


def scan(image: np.ndarray) -> Volume:
    """The brain as a scanner with a tilted 1 mm field of view, stored right to left, would show it."""
    tilt, turn = np.radians(7.0), np.radians(-4.0)
    nod = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    yaw = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    shape = (164, 200, 168)
    to_world = np.eye(4)
    to_world[:3, :3] = nod @ yaw
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine = to_world @ mirror @ upright(1.0, shape, np.array([0.0, -8.0, 4.0]))
    affine[:3, 3] += to_world[:3, :3] @ np.array([0.0, -10.0, 2.0])
    data = np.clip(sample(image, np.linalg.inv(GRID_AFFINE) @ affine, shape, order=3), 0, None)
    noise = np.random.default_rng(SEED + 1).normal(0, 0.012, shape)
    inside = data > 0.08
    return Volume(
        np.where(inside, np.clip(data + noise, 0.01, None) * WHITE_MATTER, 0).astype(np.int16), affine
    )


if __name__ == "__main__":
    target = resources() / "samples" / "sample-patient.nii.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    text = "made by tools/make_sample.py: a bent average brain with a painted lesion"
    write_nifti(scan(with_lesion(brain())), target, synthetic=True, description=text)
    print(target)
