"""Stripped brains as preprocessing leaves them, on any background, and images that hold no brain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from brain_scans import SHAPE, brain, frame_of, sphere
from braindiffusion.errors import Refused
from braindiffusion.healing import composites
from braindiffusion.imaging import align
from braindiffusion.imaging.grid import sample
from braindiffusion.imaging.intensity import Ground
from braindiffusion.imaging.volume import Volume
from braindiffusion.segment import Segmenter, is_stripped, stripped_mask

SCAN = brain()
UNUSED = nn.Identity()
"""Neither a stripped brain nor an image without one reaches the network."""


def normalised(kind: str) -> Volume:
    """The brain as programs for preprocessing leave it."""
    inside = SCAN.data > 0
    mean, spread = SCAN.data[inside].mean(), SCAN.data[inside].std()
    data = {
        "centred on 0": np.where(inside, (SCAN.data - mean) / spread, 0),
        "background below": np.where(inside, (SCAN.data - mean) / spread, -9),
        "background 0.5": SCAN.data + 0.5,
        "background above": np.where(inside, SCAN.data, 2000),
    }[kind]
    return SCAN.with_data(data.astype(np.float32))


@pytest.mark.parametrize("kind", ["centred on 0", "background below", "background 0.5", "background above"])
def test_a_stripped_brain_keeps_all_of_it_whatever_its_background(kind):
    volume = normalised(kind)
    assert is_stripped(volume)
    assert np.count_nonzero(stripped_mask(volume) != stripped_mask(SCAN)) <= 5


def test_noise_in_the_air_is_no_background():
    air = np.random.default_rng(0).uniform(0.5, 1.5, SHAPE).astype(np.float32)
    assert not is_stripped(SCAN.with_data(np.where(SCAN.data > 0, SCAN.data, air)))


def test_a_healed_region_has_the_units_of_a_brain_centred_on_0():
    lifted = frame_of(SCAN)
    ground = Ground(0.0, -3.5)
    region = sphere((0.0, -20.0, 10.0), 15.0)
    (before,), there = composites(SCAN.data, lifted, [0.5 * lifted.image], region)
    centred = np.where(SCAN.data > 0, SCAN.data - np.float32(3.5), 0).astype(np.float32)
    (after,), changed = composites(centred, replace(lifted, ground=ground), [0.5 * lifted.image], region)
    deep = changed & (SCAN.data > 0)
    assert np.array_equal(changed, there) and deep.sum() > 500
    assert np.abs(after - (before - 3.5))[deep].max() < 0.01
    assert np.array_equal(after[~changed], centred[~changed])


def test_a_brain_centred_on_0_has_the_same_frame_and_comes_back_in_its_own_units():
    volume = normalised("centred on 0")
    frame, before = (Segmenter(UNUSED).frame(scan) for scan in (volume, SCAN))
    assert (
        np.abs(frame.rigid - before.rigid).max() < 0.5
        and (frame.mask != before.mask).sum() < 0.01 * before.mask.sum()
    )
    assert np.abs(frame.image - before.image)[before.mask].mean() < 0.02
    deep = sample(frame.mask.astype(np.float32), np.linalg.inv(frame.index), frame.shape) > 0.999
    back = frame.native_intensity(frame.image)
    assert np.median(np.abs(back[deep] - volume.data[deep])) < 0.1


def test_a_brain_on_0_is_taken_as_it_is():
    ringing = SCAN.with_data(SCAN.data - np.float32(3) * (np.random.default_rng(0).random(SHAPE) < 0.1))
    for scan in (SCAN, ringing):
        assert Ground.of(scan.data) == Ground() and Ground().lifted(scan.data) is scan.data


@pytest.mark.parametrize("shape", [(2, 2, 2), (100, 100, 4), (40, 40, 40)])
def test_an_image_too_small_for_a_brain_is_a_sentence(shape):
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    with pytest.raises(Refused, match="too little for a brain"):
        Segmenter(UNUSED).frame(Volume(data, np.eye(4)))


def test_a_head_that_vanishes_when_coarse_is_a_sentence():
    data = np.zeros((64, 64, 64), np.float32)
    data[63, 63, 63] = -1.0
    data[:2, :2, :2] = 0
    with pytest.raises(Refused, match="No brain was found"):
        align.head_to_template(data, np.eye(4))
