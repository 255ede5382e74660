"""Pairs of one brain at 2 mm and at 1 mm, and the patches that training draws from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from brain_scans import brain, frame_of, oblique_affine
from braindiffusion.imaging.grid import FINE_SHAPE, GRID_SHAPE, GRID_SPACING, smooth_for, spacing_of
from braindiffusion.models.loading import build, fingerprint
from braindiffusion.nets.detail import DetailNet, coarsened, interpolated, places
from braindiffusion.training import sharpen
from braindiffusion.training.sharpen import PATCH, SIGMA_DATA, Draw, Pair, loss_of, sharp

SMALL = {"widths": [8, 8], "blocks": [1, 1, 1], "embedding": 16}


@pytest.fixture(scope="module")
def known() -> Pair:
    """A brain that says at every voxel where it lies, from 0.5 to 1.5; its fine copy says the same."""
    middle = (slice(10, 70), slice(10, 86), slice(10, 70))
    coarse = torch.zeros(GRID_SHAPE)
    coarse[middle] = (1 + places(GRID_SHAPE).sum(0) / 6)[middle]
    fine = (interpolated(coarse[None, None])[0, 0] * 127).round().to(torch.uint8)
    return Pair(fine, coarse.half())


def draws(known: Pair, count: int, monkeypatch, worn: float = 0.0) -> list[dict]:
    monkeypatch.setattr(sharpen, "WORN", worn)
    draw = Draw([known])
    return [draw(torch.Generator().manual_seed(seed)) for seed in range(count)]


def deep_of(drawn: dict) -> torch.Tensor:
    """1 where a fine voxel [1, X, Y, Z] lies far inside the brain."""
    return (functional.avg_pool3d((drawn["x0"] > 0).float(), 13, 1, 6) > 0.999).float()


def test_patches_of_both_brains_and_their_coordinates_lie_in_one_place(known, monkeypatch):
    mirrored = 0
    for drawn in draws(known, 12, monkeypatch):
        assert drawn["x0"].shape == (1, 2 * PATCH, 2 * PATCH, 2 * PATCH)
        inner = (slice(None), *(slice(4, -4),) * 3)
        deep = deep_of(drawn)[inner] > 0
        x0, expected = drawn["x0"][inner][deep], drawn["expected"][inner][deep]
        torch.testing.assert_close(x0, expected, atol=0.03, rtol=0)
        at, here = drawn["places"], functional.max_pool3d(-deep_of(drawn), 2) == -1
        told, said = 6 * (functional.avg_pool3d(drawn["x0"], 2) - 1), at.sum(0, keepdim=True)
        if torch.allclose(told[here], said[here], atol=0.05):
            continue
        mirrored += 1
        turned = at[1:].sum(0, keepdim=True) - at[:1]
        torch.testing.assert_close(told[here], turned[here], atol=0.05, rtol=0)
    assert 2 <= mirrored <= 10, "half of them are mirrored, and lie on the other side then"


def test_the_same_generator_gives_the_same_patch(known, monkeypatch):
    first, again = draws(known, 2, monkeypatch, 1.0), draws(known, 2, monkeypatch, 1.0)
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(first[0]["expected"], first[1]["expected"])


def test_a_worn_brain_stays_in_its_place_and_its_target_stays_sharp(known, monkeypatch):
    for plain, worn in zip(draws(known, 4, monkeypatch), draws(known, 4, monkeypatch, 1.0), strict=True):
        torch.testing.assert_close(plain["x0"], worn["x0"], rtol=0, atol=0)
        change = (plain["expected"] - worn["expected"])[plain["expected"] > 0]
        assert 0 < change.abs().mean() < 0.15
        assert not worn["expected"][plain["expected"] == 0].any()


def test_the_loss_of_interpolation_is_one():
    """That is what `SIGMA_DATA` is for, at every level of noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (4, 1, 32, 32, 32)
    batch = {
        "x0": 1 + SIGMA_DATA * torch.randn(shape, generator=generator),
        "expected": torch.ones(shape),
        "places": torch.zeros(4, 3, 16, 16, 16),
        "sigma": torch.tensor([0.005, 0.05, 0.2, 0.5]),
        "noise": torch.randn(shape, generator=generator),
    }
    torch.manual_seed(0)
    with torch.no_grad():
        assert float(loss_of(DetailNet(**SMALL), batch)) == pytest.approx(1, abs=0.03)


def test_a_fine_brain_lies_where_its_frame_puts_the_coarse_one():
    scan = brain(shape=(170, 200, 175), affine=oblique_affine((170, 200, 175), (1.0, 1.0, 1.0)))
    frame = frame_of(scan)
    fine = sharp(scan.data, frame)
    assert fine.shape == FINE_SHAPE and fine.dtype == np.float32
    blurred = frame_of(scan)
    seen = blurred.to_model(smooth_for(scan.data, spacing_of(scan.affine), GRID_SPACING)) / frame.scale.white
    there = seen > 0.1
    again = coarsened(torch.from_numpy(fine)[None, None])[0, 0].numpy()
    assert np.abs(again - seen)[there].mean() < 0.02
    shifted = np.roll(again, 1, 0)
    assert np.abs(shifted - seen)[there].mean() > 0.04


def test_its_network_is_built_from_a_card_and_has_a_fingerprint():
    torch.manual_seed(0)
    net = build({"class": "DetailNet", "arguments": SMALL}).eval()
    for parameter in net.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    first = fingerprint(net)
    assert fingerprint(net) == first and len(set(first)) == 8
    next(net.parameters()).data.add_(0.1)
    assert fingerprint(net) != first


def test_the_shipped_shape_of_the_network_is_small_enough():
    assert sum(p.numel() for p in DetailNet(**sharpen.NETWORK).parameters()) <= 2.5e6
