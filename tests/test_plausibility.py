"""The verdict on a whole scan: refusals and warnings are sentences, and a normal brain gets none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, gaussian_filter

from braindiffusion.errors import Refused
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_CENTRE, GRID_SHAPE, sample
from braindiffusion.imaging.template import template
from braindiffusion.plausibility import Verdict, faces_cut, judge, white_matter_noise, wholeness
from scan_files import all_orientations, oblique

SIZES = {"intracranial": 1450.0, "brain": 1150.0, "ventricles": 20.0}
T1 = (0.35, 0.7, 1.0)
"""CSF, grey and white matter of a T1-weighted scan."""
WHOLE = binary_fill_holes(template().t1 > 0.2)


def brain() -> np.ndarray:
    """A brain on the model scale, white matter 1: the template, smooth enough to hold no noise of its own."""
    return (gaussian_filter(template().t1 / 0.88, 0.7) * WHOLE).astype(np.float32)


IMAGE = brain()


def framed(tissue=T1, mask=WHOLE, noise: float = 0.0) -> SimpleNamespace:
    """What `judge` looks at of a frame."""
    random = np.random.default_rng(0).normal(0, noise, GRID_SHAPE) if noise else 0
    image = (np.clip(IMAGE + random, 0, 2) * mask).astype(np.float32)
    return SimpleNamespace(tissue=np.array([tissue, (0.1,) * 3, (1 / 3,) * 3]), mask=mask, image=image)


def scaled(mask: np.ndarray, factor: float) -> np.ndarray:
    """A brain of the same shape, `factor` times as wide, in the middle of the grid."""
    middle = (np.array(GRID_SHAPE) - 1) / 2
    matrix = np.diag([1 / factor] * 3 + [1.0])
    matrix[:3, 3] = middle - middle / factor
    return sample(mask.astype(np.float32), matrix, GRID_SHAPE) > 0.5


def centred(mask: np.ndarray) -> np.ndarray:
    """The middle of the mask's box moved to the middle of the grid, as the frame does."""
    places = np.argwhere(mask)
    matrix = np.eye(4)
    matrix[:3, 3] = (places.min(0) + places.max(0)) / 2 - (np.array(GRID_SHAPE) - 1) / 2
    return sample(mask.astype(np.float32), matrix, GRID_SHAPE) > 0.5


def without(axis: int, low: float, high: float) -> np.ndarray:
    """A brain that lacks the share from `low` to `high` of its box along an axis."""
    places = np.argwhere(WHOLE)[:, axis]
    first, extent = places.min(), np.ptp(places) + 1
    cut = [slice(None)] * 3
    cut[axis] = slice(int(first + low * extent), int(np.ceil(first + high * extent)))
    mask = WHOLE.copy()
    mask[tuple(cut)] = False
    return mask


def refusal(**changes) -> str:
    sizes = SIZES | changes.pop("sizes", {})
    with pytest.raises(Refused) as caught:
        judge(framed(**changes), sizes, None, [])
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and "; " in said, "what is wrong, and what to do"
    return said


def warnings(sizes=None, outside_age=None, cut=(), **changes) -> Verdict:
    verdict = judge(framed(**changes), SIZES | (sizes or {}), outside_age, list(cut))
    assert verdict.plausible == (not verdict.sentences) and verdict.summary.endswith(".")
    assert all(said.endswith(".") and "\n" not in said for said in verdict.sentences)
    return verdict


def test_a_normal_brain_gets_no_warning():
    verdict = warnings()
    assert verdict.plausible and not verdict.large_ventricles
    assert verdict.summary == "The scan looks like the T1-weighted brains that the model knows."
    assert verdict.figures["intracranial_ml"] == 1450.0 and verdict.figures["ventricles_ml"] == 20.0
    assert verdict.figures["noise"] < 0.03 and verdict.figures["grey_to_white"] == 0.7


@pytest.mark.parametrize("ml", [0.0, 15.0, 690.0, 2310.0, 9000.0])
def test_no_human_brain_has_that_size(ml):
    assert "No whole human brain was found" in refusal(sizes={"intracranial": ml})


@pytest.mark.parametrize(
    "tissue",
    [(1.0, 0.7, 0.5), (0.35, 1.0, 0.7), (0.9, 0.7, 1.0), (0.35, 0.98, 1.0), (np.nan,) * 3, (0.0, 0.0, 0.0)],
    ids=["T2", "FLAIR", "bright fluid", "no contrast", "nothing", "zeros"],
)
def test_another_contrast_is_refused(tissue):
    assert "does not look like a T1-weighted scan" in refusal(tissue=tissue)


@pytest.mark.parametrize("factor", [0.85, 0.92, 1.0])
def test_a_small_brain_is_a_whole_brain(factor):
    """The template measures 1.9 litres; healthy adults of 1.15 litres must pass."""
    mask = scaled(WHOLE, factor)
    assert 1100 < mask.sum() * 0.008 < 2000 and wholeness(mask) > 0.97
    assert warnings(mask=mask).plausible


@pytest.mark.parametrize(
    ("axis", "low", "high"),
    [(0, 0, 0.5), (0, 0.5, 1), (0, 0, 0.35), (1, 0, 0.4), (1, 0.6, 1), (2, 0, 0.4), (2, 0.6, 1), (2, 0.7, 1)],
)
def test_a_part_of_a_brain_is_refused_wherever_it_lies(axis, low, high):
    part = without(axis, low, high)
    assert "Part of the brain is missing" in refusal(mask=centred(part))
    assert "Part of the brain is missing" in refusal(mask=part)


def test_nothing_is_no_whole_brain():
    assert wholeness(np.zeros(GRID_SHAPE, bool)) == 0


@pytest.mark.parametrize("level", [0.03, 0.1, 0.2, 0.3])
def test_noise_is_measured_as_it_is(level):
    """Also where it hides which voxels are white matter."""
    assert white_matter_noise(framed(noise=level).image) == pytest.approx(level, rel=0.12, abs=0.004)


def test_noise_of_images_without_white_matter():
    assert white_matter_noise(np.zeros(GRID_SHAPE, np.float32)) == 0
    dark = np.full(GRID_SHAPE, 0.5, np.float32) + np.random.default_rng(0).normal(0, 0.05, GRID_SHAPE)
    assert white_matter_noise(dark.astype(np.float32)) == pytest.approx(0.05, rel=0.05)


def test_a_noisy_scan_is_warned_of_and_a_hopeless_one_refused():
    assert warnings(noise=0.03).plausible
    assert "The scan is noisy (10% of white matter)" in warnings(noise=0.1).summary
    assert "too noisy to judge (noise is 30% of white matter)" in refusal(noise=0.3)


def test_little_contrast_is_warned_of():
    assert "differ little" in warnings(tissue=(0.35, 0.93, 1.0)).summary


def test_cut_faces_are_named():
    assert "cut off by the edge of the image (bottom, left)" in warnings(cut=("bottom", "left")).summary


def test_large_ventricles_are_outside_the_range_and_not_judged():
    verdict = warnings({"ventricles": 80.0})
    assert (
        verdict.large_ventricles and "The ventricles measure 80 ml, outside the 5 to 45 ml" in verdict.summary
    )
    assert "not judged" in verdict.summary


def test_small_ventricles_are_outside_the_range_and_are_judged():
    verdict = warnings({"ventricles": 2.0})
    assert not verdict.large_ventricles and "The ventricles measure 2 ml" in verdict.summary
    assert "not judged" not in verdict.summary, "the map is not masked there"


@pytest.mark.parametrize("ml", [700.0, 1700.0])
def test_a_brain_volume_outside_the_range(ml):
    assert f"The brain measures {ml:.0f} ml" in warnings({"brain": ml}).summary


def test_an_age_outside_the_range():
    assert warnings(outside_age="Age 80 years lies outside.").summary == "Age 80 years lies outside."


def test_all_warnings_are_said():
    verdict = warnings(
        {"ventricles": 80.0, "brain": 700.0}, "Too old.", ("top",), noise=0.1, tissue=(0.35, 0.93, 1.0)
    )
    assert len(verdict.sentences) == 6 and all(said in verdict.summary for said in verdict.sentences)


@pytest.mark.parametrize(("axes", "signs"), all_orientations()[::5])
def test_cut_faces_are_the_patients_whatever_the_voxels_order(axes, signs):
    """A block of brain at one face of an oblique grid, as the patient would name that face."""
    names = (("left", "right"), ("back", "front"), ("bottom", "top"))
    shape, affine = np.array([64, 52, 44]), oblique((2.0, 2.5, 3.0), axes, signs)
    model = GRID_AFFINE.copy()
    model[:3, 3] += (affine @ [*(shape - 1) / 2, 1.0])[:3] - GRID_CENTRE
    index = np.linalg.inv(affine) @ model
    voxel = index[:3, :3] @ np.indices(GRID_SHAPE).reshape(3, -1) + index[:3, 3:]
    low, high = (side.T * (2.0, 2.5, 3.0) for side in (voxel, (shape - 1)[:, None] - voxel))
    for axis in range(3):
        for towards, depth in ((-1, low), (1, high)):
            central = np.delete(np.minimum(low, high), axis, axis=1).min(1) > 30
            block = central & (depth[:, axis] >= 0) & (depth[:, axis] < 15)
            frame = SimpleNamespace(
                mask=block.reshape(GRID_SHAPE), affine=affine, shape=tuple(shape), index=index
            )
            assert faces_cut(frame) == [names[axes[axis]][int(towards * signs[axis] > 0)]]
            frame.mask = (block & (depth[:, axis] > 3)).reshape(GRID_SHAPE)
            assert faces_cut(frame) == []


def test_a_brain_that_touches_the_edge_is_not_cut():
    """A tight crop shows 4 square centimetres of a brain at its edges, and a brainstem ends anywhere."""
    places = np.argwhere(WHOLE)
    low, high = places.min(0), places.max(0)
    index = np.eye(4)
    index[:3, 3] = -low
    frame = SimpleNamespace(mask=WHOLE, affine=GRID_AFFINE, shape=tuple(high - low + 1), index=index)
    assert faces_cut(frame) == []
