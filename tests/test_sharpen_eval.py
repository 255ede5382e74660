"""The evaluation of brains at 1 mm: its figures, and that its page says them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from braindiffusion.evaluation import pictures, write
from braindiffusion.evaluation.sharpen_eval import (
    RIVALS,
    SHARPENED,
    against,
    compared,
    power,
    seam,
    summary,
)
from braindiffusion.imaging.grid import FINE_SHAPE
from braindiffusion.nets import detail
from braindiffusion.sharpening import OVERLAP, TILE, around, spans


@pytest.fixture(scope="module")
def fine() -> np.ndarray:
    """A brain at 1 mm with detail of every size."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in FINE_SHAPE), indexing="ij")
    grain = np.random.default_rng(0).normal(0, 0.05, FINE_SHAPE)
    texture = grain + 12 * gaussian_filter(grain, 2)
    return ((0.85 + texture) * (sum(axis**2 for axis in axes) < 0.8)).clip(0).astype(np.float32)


def coarsened(fine: np.ndarray) -> np.ndarray:
    return detail.coarsened(torch.from_numpy(fine)[None, None])[0, 0].numpy()


def rows_of(fine: np.ndarray, drawn: np.ndarray) -> list[dict]:
    coarse = coarsened(fine) * (coarsened(fine) > 0.1)
    images = {how: upscale(coarse) for how, upscale in RIVALS.items()} | {SHARPENED: drawn}
    return [compared("sub-01", fine, coarse, images), compared("sub-02", fine, coarse, images)]


@pytest.fixture(scope="module")
def perfect(fine) -> list[dict]:
    return rows_of(fine, fine)


def test_the_truth_itself_is_better_than_interpolation_as_sharp_and_consistent(perfect):
    rows = perfect
    found = rows[0]["methods"]
    assert found[SHARPENED] == {"psnr": pytest.approx(120), "ssim": pytest.approx(1), "power": 1.0}
    assert found["linear interpolation"]["psnr"] < found["cubic interpolation"]["psnr"]
    assert found["cubic interpolation"]["psnr"] < found["back-projection"]["psnr"] < 60
    assert found["linear interpolation"]["power"] < 0.2 and found["cubic interpolation"]["power"] < 0.3
    assert rows[0]["consistency"] < 0.05 and rows[0]["seam"] == rows[0]["natural"] == pytest.approx(
        1, abs=0.1
    )
    assert all(gain["psnr"]["interval"][0] > 0 for gain in (against(name, rows) for name in RIVALS))


def test_noise_is_power_but_neither_near_the_truth_nor_consistent(fine):
    noisy = fine + (fine > 0) * np.random.default_rng(1).normal(0, 0.2, FINE_SHAPE)
    rows = rows_of(fine, noisy.astype(np.float32))
    assert power(noisy) > 3 * power(fine)
    assert against("cubic interpolation", rows)["psnr"]["mean"] < 0
    assert rows[0]["consistency"] > 0.03


def test_a_seam_between_tiles_is_seen(fine):
    """A step in brightness where one tile gives way to the next."""
    coarse = coarsened(fine) * (coarsened(fine) > 0.1)
    second, _ = spans(around(coarse)[1], TILE[1])[1]
    torn = fine.copy()
    torn[:, 2 * second.start + OVERLAP :: 2] *= 1.2
    torn[:, 2 * (second.start + OVERLAP) :] = fine[:, 2 * (second.start + OVERLAP) :]
    assert seam(torn, coarse) > 1.1 * seam(fine, coarse)


def test_the_page_says_what_was_measured(fine, perfect, tmp_path):
    rows = perfect
    content = {
        "brains": 2,
        "steps": 8,
        "methods": [summary(name, rows) for name in rows[0]["methods"]],
        "against": [against(name, rows) for name in RIVALS],
        "consistency": 0.012,
        "seam": {"seam": [0.99, 1.01], "natural": [0.97, 1.02]},
        "generated": {"brains": 4, "power": 0.83, "consistency": 0.02},
        "cost": {"seconds": 12.3, "peak_gib": 1.7},
    }
    said = "\n".join(write.SECTIONS["sharpen"][1](content))
    for words in (
        "| sharpened | 120.0",
        "1.2 % of white matter",
        "0.83",
        "times the fine power",
        "12 s and",
        "1.7",
    ):
        assert words in " ".join(said.split()) or words in said
    met = {what: met for what, _, _, met in write.goals({"sharpen": {"content": content}})}
    assert len(met) == 4 and all(met.values())
    content["cost"]["peak_gib"], content["seam"]["seam"] = 9.0, [1.2, 1.3]
    met = {what: met for what, _, _, met in write.goals({"sharpen": {"content": content}})}
    assert sum(met.values()) == 2
    pictures.detail_sheet(tmp_path / "detail.png", {"2 mm": coarsened(fine), "real": fine})
    assert (tmp_path / "detail.png").read_bytes()[:4] == b"\x89PNG"
