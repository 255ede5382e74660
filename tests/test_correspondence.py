"""Where a brain lies in the mean brain: through a deformation, there and back, the same each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from braindiffusion.errors import Cancelled
from braindiffusion.imaging.template import template
from braindiffusion.nets.correspondence import Correspondence
from braindiffusion.nets.warping import pull

MEAN = template().t1.astype(np.float32)


def bend(seed: int = 0) -> np.ndarray:
    """A smooth field of up to 3 voxels."""
    random = np.random.default_rng(seed)
    field = np.stack([gaussian_filter(random.standard_normal(MEAN.shape), 10) for _ in range(3)])
    return (3 * field / np.abs(field).max()).astype(np.float32)


BENT = pull(torch.from_numpy(MEAN)[None], torch.from_numpy(bend()))[0].numpy()


def test_a_bent_brain_finds_its_places_in_the_mean_brain():
    found = Correspondence.find(BENT, MEAN)
    inside = BENT > 0.3
    off = np.linalg.norm(found.field - bend(), axis=0)[inside]
    assert np.median(off) < 0.35 and np.median(off) < 0.3 * np.median(np.linalg.norm(bend(), axis=0)[inside])
    assert np.abs(found.to_brain(MEAN) - BENT)[inside].mean() < 0.5 * np.abs(MEAN - BENT)[inside].mean()


def test_a_map_comes_back_from_the_mean_brain():
    place = Correspondence(bend())
    smooth = gaussian_filter(np.random.default_rng(3).standard_normal(MEAN.shape), 4).astype(np.float32)
    back = place.to_brain(place.to_mean(smooth))
    inner = (slice(8, -8),) * 3
    assert np.abs(back - smooth)[inner].max() < 0.1 * np.abs(smooth).max()


def test_sides_stay():
    """What lies in the left of a brain, low on the first axis, lies in the left of the mean brain."""
    mark = np.zeros_like(MEAN)
    mark[18:24, 40:46, 40:46] = 1
    for moved in (Correspondence(bend()).to_mean(mark), Correspondence(bend()).to_brain(mark)):
        middle = np.average(np.arange(len(MEAN)), weights=moved.sum((1, 2)))
        assert abs(middle - 20.5) < 3.5


def test_the_same_images_give_the_same_places():
    fields = [Correspondence.find(BENT, MEAN).field for _ in range(2)]
    assert np.array_equal(*fields)


def test_it_can_be_stopped():
    def stop(share: float) -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        Correspondence.find(BENT, MEAN, stop)
