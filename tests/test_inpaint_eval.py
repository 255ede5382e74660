"""The measure of inpainting is honest: its gaps are the same each time, its figures what they say."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.evaluation import implants, inpaint_eval, sections_made, write
from braindiffusion.evaluation.cases import Case
from braindiffusion.evaluation.inpaint_eval import (
    FILLINGS,
    LEVEL,
    Gap,
    biharmonic,
    gap,
    measured,
    mirrored,
    psnr,
)
from braindiffusion.evaluation.inpaint_eval import ssim as similarity
from braindiffusion.imaging.frame import Frame
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE
from braindiffusion.imaging.intensity import TissueScale
from braindiffusion.imaging.volume import Volume

MM = np.stack(np.meshgrid(*(np.arange(n) for n in GRID_SHAPE), indexing="ij")).astype(np.float32)


def smooth_brain() -> np.ndarray:
    """The same on both sides but for a slope from left to right."""
    inside = np.zeros(GRID_SHAPE, bool)
    inside[10:70, 14:82, 10:70] = True
    side = np.abs(MM[0] - 39.5)
    return np.where(inside, 0.8 + 0.1 * np.sin(side / 6) + 0.1 * np.cos(MM[1] / 7) + MM[0] / 800, 0).astype(
        np.float32
    )


def case_of(image: np.ndarray, subject: str = "sub-1") -> tuple[Case, Volume]:
    """A brain whose scan lies on the model grid already, in units of 100."""
    eye, flat = np.eye(4), np.zeros(GRID_SHAPE, np.float32)
    scale = TissueScale(70.0, 100.0)
    frame = Frame(GRID_SHAPE, GRID_AFFINE, eye, eye, image > 0, flat, scale, image, np.ones((2, 3)))
    none = np.zeros(GRID_SHAPE, np.uint8)
    return Case(subject, 0, frame, none, image > 0, ()), Volume(scale.to_native(image), GRID_AFFINE)


def shapes() -> list[implants.Shape]:
    ball = np.linalg.norm(np.indices((27, 27, 27)) - 13, axis=0) < 12
    return [implants.Shape("someone", 0, ball), implants.Shape("another", 0, ball[:20])]


@pytest.fixture(scope="module")
def here() -> Gap:
    return gap(case_of(smooth_brain())[0], 8.0, shapes())


@pytest.mark.parametrize("size_ml", [1.0, 8.0, 40.0])
def test_a_gap_has_its_size_and_lies_in_the_brain_the_same_every_time(size_ml):
    case, _ = case_of(smooth_brain())
    first, again = gap(case, size_ml, shapes()), gap(case, size_ml, shapes())
    assert np.array_equal(first.region, again.region) and (first.region <= case.brain).all()
    assert 0.75 * size_ml < first.region.sum() * case.voxel_ml < 1.25 * size_ml
    assert (first.region <= first.touched).all() and (first.touched <= first.hole).all()
    other, _ = case_of(smooth_brain(), "sub-2")
    assert not np.array_equal(first.region, gap(other, size_ml, shapes()).region)


@pytest.mark.parametrize("fill", [biharmonic, mirrored])
def test_a_rival_sees_nothing_of_the_hole_and_changes_nothing_else(here, fill):
    image = here.case.image
    spoilt = np.where(here.hole, 5.0, image).astype(np.float32)
    assert np.array_equal(fill(image, here.hole), fill(spoilt, here.hole))
    assert (fill(image, here.hole) == image)[~here.hole].all()


def test_the_mirrored_hemisphere_is_the_other_sides_and_crosses_the_middle():
    image = smooth_brain()
    hole = np.zeros(GRID_SHAPE, bool)
    hole[30:44, 40:46, 40:46] = True
    filled = mirrored(image, hole)
    assert np.array_equal(filled[30:36, 40:46, 40:46], image[::-1][30:36, 40:46, 40:46])
    assert np.abs(filled - image)[hole].max() < 0.1 and (filled[36:44, 40:46, 40:46] > 0.5).all()


def test_psnr_and_ssim_are_those_of_the_hole_alone():
    truth = np.random.default_rng(0).uniform(0.5, 1, GRID_SHAPE).astype(np.float32)
    hole = np.zeros(GRID_SHAPE, bool)
    hole[20:30, 20:30, 20:30] = True
    off = np.where(hole, truth + 0.1, truth + 7)
    assert psnr(off, truth, hole) == pytest.approx(20, abs=0.01)
    assert similarity(truth, truth, hole) == pytest.approx(1)
    noise = np.where(hole, np.random.default_rng(1).uniform(0.5, 1, GRID_SHAPE), truth).astype(np.float32)
    assert similarity(noise, truth, hole) < 0.5


def fillings(here: Gap, spread: float, bias: float, seed: int) -> np.ndarray:
    """Truth + bias + white noise in the hole."""
    noise = np.random.default_rng(seed).normal(bias, spread, (FILLINGS, *GRID_SHAPE))
    return np.where(here.hole, here.case.image + noise, here.case.image).astype(np.float32)


def test_fillings_as_likely_as_the_truth_cover_it_at_the_stated_level(here):
    """The truth as one more draw: two of three voxels lie within the range of five."""
    _, scan = case_of(smooth_brain())
    noise = np.random.default_rng(9).normal(0, 0.05, GRID_SHAPE)
    drawn, _ = case_of(np.where(here.case.brain, here.case.image + noise, 0).astype(np.float32))
    truth = Gap(drawn, here.size_ml, here.region, here.hole, here.touched)
    scan = scan.with_data(drawn.frame.scale.to_native(drawn.image))
    honest = measured(truth, fillings(here, 0.05, 0.0, 1), scan)
    sure = measured(truth, fillings(here, 0.01, 0.0, 2), scan)
    assert LEVEL == pytest.approx(2 / 3) and honest["covered"] == pytest.approx(LEVEL, abs=0.08)
    assert sure["covered"] < 0.35
    assert honest["psnr"]["mean of the fillings"] > honest["psnr"]["filling"] + 1
    assert honest["seam"] > 0 and honest["natural"] > 0


def test_the_expected_error_holds_the_truth_however_alike_the_fillings_are(here):
    """Fillings that are too sure of themselves miss the truth, which the error learnt from others holds."""
    noise = np.random.default_rng(9).normal(0, 0.05, GRID_SHAPE)
    drawn, scan = case_of(np.where(here.case.brain, here.case.image + noise, 0).astype(np.float32))
    truth = Gap(drawn, here.size_ml, here.region, here.hole, here.touched)
    sure = measured(
        truth, fillings(here, 0.01, 0.0, 2), scan.with_data(drawn.frame.scale.to_native(drawn.image))
    )
    every = [sure | {"subject": name} for name in ("a", "b")]
    weights = inpaint_eval.with_errors(every)
    assert max(row["covered"] for row in every) < 0.35
    assert all(row["held"] == pytest.approx(0.683, abs=0.02) for row in every)
    assert len(weights) == len(every[0]["learnt"].terms)


def rows(here: Gap, spread: float) -> list[dict]:
    noise = np.random.default_rng(9).normal(0, 0.05, GRID_SHAPE)
    drawn, scan = case_of(np.where(here.case.brain, here.case.image + noise, 0).astype(np.float32))
    truth = Gap(drawn, here.size_ml, here.region, here.hole, here.touched)
    row = measured(truth, fillings(truth, spread, 0.0, 3), scan)
    return [row | {"subject": name, "size_ml": size} for name in ("a", "b") for size in inpaint_eval.SIZES_ML]


def content(here: Gap, spread: float) -> dict:
    every = rows(here, spread)
    weights = inpaint_eval.with_errors(every)
    sizes = [
        {"ml": ml, **inpaint_eval.summary([row for row in every if row["size_ml"] == ml])}
        for ml in inpaint_eval.SIZES_ML
    ]
    tumour = {
        "name": "BraTS",
        "verdict": "Fine.",
        "mask_ml": 90.0,
        "changed_outside": 0,
        "seam": 0.8,
        "seconds": 31.0,
    }
    return {
        "brains": 2, "fillings": FILLINGS, "steps": 6, "level": LEVEL, "sizes": sizes,
        "whole": inpaint_eval.summary(every), "tumour": tumour,
        "timed": [{"what": "head", "mask_ml": 40.0, "seconds": 12.0}],
        "filling": {"weights": weights.tolist(), "brains": 2, "share": 0.683},
    }  # fmt: skip


def test_the_page_shows_what_is_better_and_hides_no_failure(here):
    """A filling that is nearly right beats the others, one that is far off does not, and 31 s is too slow."""
    good, bad = (write.goals({"inpaint": {"content": content(here, spread)}}) for spread in (0.001, 0.5))
    met = {row[0]: row[3] for row in good}
    assert (
        met["Inpainting against biharmonic, PSNR, dB"]
        and met["Inpainting against mirrored hemisphere, PSNR, dB"]
    )
    assert met["Inpainting 40 ml of a 1 mm head, seconds all told"]
    assert not met["Inpainting 90 ml of BraTS, seconds all told"]
    assert not {row[0]: row[3] for row in bad}["Inpainting against biharmonic, PSNR, dB"]
    page = "\n".join(sections_made.inpaint(content(here, 0.001)))
    assert "| 40 ml | 2 |" in page and "67%" in page and "0 voxels changed outside the mask" in page
    assert "pictures/inpainted.png" in page
