"""Filling a region: against denoisers whose answer is known, and on grids that are anything but upright."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from brain_scans import (
    GRID_SHAPE,
    SHAPE,
    SPACING,
    WHITE,
    brain,
    frame_of,
    oblique_affine,
    sphere,
    stored,
    to_template,
)
from braindiffusion import inpainting
from braindiffusion.diffusion.cond import Cond
from braindiffusion.diffusion.path import edm
from braindiffusion.errors import Refused
from braindiffusion.healing import GUIDED_START
from braindiffusion.imaging.expected import Expected, population
from braindiffusion.imaging.grid import sample
from braindiffusion.imaging.membrane import Membrane
from braindiffusion.imaging.volume import Volume
from braindiffusion.inpainting import (
    PART,
    Site,
    hole_in,
    inpaint,
    part_around,
    shapes_of,
    unseen,
)
from braindiffusion.masks import region_on, widened
from braindiffusion.nets.deformable import FILE, DeformableTemplate
from braindiffusion.nets.prior import context_of
from braindiffusion.training import prior as training
from braindiffusion.training.prior import COVARIATES

TYPICAL = population().typical
HOLE_MM, RADIUS_MM = (-28.0, -20.0, 28.0), 12.0
HOLE = sphere(HOLE_MM, RADIUS_MM) & (TYPICAL > 0.3)
"""On the model grid, in the left white matter."""
AROUND = Expected(TYPICAL, np.full(GRID_SHAPE, 0.1, np.float32))
PATH = edm(0.01, 80.0)
HEALTHY = brain()


@dataclass
class Brains:
    """The exact denoiser of brains mean * (1 + b) + s n, b one Gaussian number for the whole brain with SD
    `common`, n white; `mean` is what the context tells.
    """

    common: float = 0.0
    own: float = 0.05
    asked: list[tuple[torch.Tensor, float, Cond]] = field(default_factory=list)

    def __call__(self, x, node, cond):
        self.asked.append((x.detach(), node.sigma, cond))
        mean = cond.context[:, :1]
        noise, own = (node.sigma / node.alpha) ** 2, self.own**2
        away = x / node.alpha - mean
        size = mean.square().sum((1, 2, 3, 4), keepdim=True)
        share = (mean * away).sum((1, 2, 3, 4), keepdim=True) / size
        shared = share * mean * self.common**2 * size / (self.common**2 * size + own + noise)
        return mean + shared + (away - shared) * own / (own + noise)


def model(denoiser) -> SimpleNamespace:
    """What inpainting uses of a model."""
    return SimpleNamespace(
        denoiser=lambda device="cpu", precision="fp32": denoiser, path=PATH, covariates=COVARIATES
    )


def fill(denoiser, image, seeds=(1, 2), steps=6, **how) -> np.ndarray:
    generator = inpaint(model(denoiser), image, HOLE, list(seeds), steps, around=AROUND, **how)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


METHODS = ["guided", "resample", "posterior"]


@pytest.mark.parametrize("method", METHODS)
def test_outside_the_hole_every_voxel_is_the_brains_and_inside_none_is_looked_at(method):
    image = (1.02 * TYPICAL).astype(np.float32)
    spoilt = np.where(HOLE, 1.9, image).astype(np.float32)
    filled, other = (fill(Brains(), each, method=method) for each in (image, spoilt))
    assert filled.shape == (2, *GRID_SHAPE) and filled.dtype == np.float32
    assert np.array_equal(filled, other), "what the hole hid would show through"
    assert (filled[:, ~HOLE] == image[~HOLE]).all()
    assert np.isfinite(filled).all() and filled.min() >= 0
    assert not np.array_equal(filled[0], filled[1])


def test_guided_fillings_have_the_posteriors_mean_and_spread():
    """White Gaussian brains: the tissue around says nothing, and the hole is as the population has it."""
    filled = fill(Brains(own=0.05), TYPICAL, seeds=range(8), steps=24)[:, HOLE]
    assert np.abs(filled.mean() - TYPICAL[HOLE].mean()) < 0.003
    assert filled.std(0, ddof=1).mean() == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize(("method", "steps"), [("resample", 12), ("posterior", 12)])
def test_the_other_methods_hear_what_lies_around_the_hole(method, steps):
    """A brain 10 % brighter than most, of which a network without a guide sees the known voxels alone."""
    denoiser = Brains(common=0.2, own=0.02)
    filled = fill(denoiser, (1.1 * TYPICAL).astype(np.float32), steps=steps, method=method)[:, HOLE]
    assert (filled / TYPICAL[HOLE]).mean() == pytest.approx(1.1, abs=0.015)
    assert all(not cond.has_guide.any() and cond.guide is None for _, _, cond in denoiser.asked)


def test_the_network_is_shown_a_hole_as_in_training():
    """The guide is 0 in the hole, the context the whole brain's, and both are cut to the part of training."""
    denoiser = Brains()
    image = (1.1 * TYPICAL).astype(np.float32)
    fill(denoiser, image, steps=3)
    x, sigma, cond = denoiser.asked[0]
    part = part_around(HOLE)
    assert x.shape == (2, 1, *PART) and sigma == GUIDED_START
    guide, hole, mean, deviation = (
        torch.from_numpy(np.array(a, np.float32))[None, None]
        for a in (np.where(HOLE, 0, image), HOLE, *AROUND)
    )
    expected = context_of(guide, hole, mean, deviation)
    for told, whole in ((cond.guide, guide), (cond.hole, hole), (cond.context, expected)):
        assert torch.equal(told[1], whole[(0, slice(None), *part)])
    assert cond.has_guide.tolist() == [1, 1] and cond.real.tolist() == [1, 1] and not cond.known.any()


def test_age_and_sex_are_told_and_sizes_never():
    denoiser = Brains()
    fill(denoiser, TYPICAL, steps=2, values={"age": 40, "sex": "male", "ventricles": 30})
    assert denoiser.asked[0][2].known.tolist() == [[True, True, False, False]] * 2


@pytest.mark.parametrize("method", METHODS)
def test_a_seeds_filling_is_the_same_in_any_batch(method):
    together, apart, alone = (
        fill(Brains(common=0.1), TYPICAL, seeds=seeds, steps=3, method=method, batch=batch)
        for seeds, batch in (((3, 4, 5), 0), ((3, 4, 5), 2), ((5,), 0))
    )
    assert np.array_equal(together, apart) and np.array_equal(together[2:], alone)


def test_progress_rises_and_shows_brains_with_their_holes_filled():
    steps = list(inpaint(model(Brains()), TYPICAL, HOLE, [1, 2, 3], 4, around=AROUND, batch=2))
    assert [step.share for step in steps] == pytest.approx([n / 8 for n in range(1, 9)])
    shown = steps[-1].mean()
    assert shown.shape == GRID_SHAPE and np.abs(shown - TYPICAL)[~HOLE].max() < 1e-6
    assert np.abs(shown - TYPICAL)[HOLE].mean() < 0.1


def test_a_part_of_the_grid_is_computed_where_the_hole_fits_into_it():
    assert PART == training.PART
    corner, wide = np.zeros(GRID_SHAPE, bool), np.zeros(GRID_SHAPE, bool)
    corner[2:5, 90:95, 70:79] = True
    wide[10:70, 20:30, 20:30] = True
    assert part_around(corner) == (slice(0, 64), slice(16, 96), slice(16, 80))
    assert part_around(wide) == (slice(0, 80), slice(0, 80), slice(0, 64)), "whole along one axis alone"
    assert part_around(np.ones(GRID_SHAPE, bool)) == tuple(slice(0, n) for n in GRID_SHAPE)
    assert HOLE[part_around(HOLE)].sum() == HOLE.sum()


def marked(scan: Volume, centre_mm=HOLE_MM, radius_mm=RADIUS_MM) -> np.ndarray:
    """A ball in template millimetre, on the grid of the scan."""
    there = sample(sphere(centre_mm, radius_mm).astype(np.float32), to_template(scan.affine), scan.shape)
    return there > 0.5


def labels(data: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(data.astype(np.int16), affine)


def test_a_mask_on_the_scans_grid_is_taken_as_it_is():
    region, notes = region_on(HEALTHY, labels(7 * marked(HEALTHY), HEALTHY.affine))
    assert np.array_equal(region, marked(HEALTHY)) and notes == []


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.9, 5.0)])
def test_a_mask_on_another_grid_lands_on_the_same_tissue(spacing):
    shape = tuple(round(n * s / t) for n, s, t in zip(SHAPE, SPACING, spacing))
    affine = oblique_affine(shape, spacing) @ np.diag([-1, 1, 1, 1])
    affine[:3, 3] += affine[:3, :3] @ [-(shape[0] - 1), 0, 0]
    blank = Volume(np.zeros(shape, np.float32), affine)
    region, (note,) = region_on(HEALTHY, labels(marked(blank), affine))
    there = marked(HEALTHY)
    assert 2 * (region & there).sum() / (region.sum() + there.sum()) > 0.8
    assert "another grid" in note and note.endswith(".")


def test_one_finding_of_several_can_be_filled():
    found = marked(HEALTHY) + 2 * marked(HEALTHY, (30.0, -20.0, 28.0), 8.0)
    mask = labels(found, HEALTHY.affine)
    assert np.array_equal(region_on(HEALTHY, mask, 2)[0], found == 2)
    assert np.array_equal(region_on(HEALTHY, mask)[0], found > 0)
    with pytest.raises(Refused, match="nothing with the label 3; the labels in it are 1, 2\\.$"):
        region_on(HEALTHY, mask, 3)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_a_widened_mask_reaches_as_far_in_millimetres_on_every_axis(axes):
    """A voxel in a corner of an oblique grid of 0.5, 1 and 3 mm."""
    spacing = tuple(np.array([0.5, 1.0, 3.0])[list(axes)])
    scan = Volume(np.zeros((30, 30, 30), np.float32), oblique_affine((30, 30, 30), spacing))
    region = np.zeros(scan.shape, bool)
    region[20, 2, 15] = True
    wider, (note,) = widened(scan, region, 4.0)
    away = (np.argwhere(np.ones(scan.shape)) - [20, 2, 15]) @ scan.affine[:3, :3].T
    near = np.linalg.norm(away, axis=1).reshape(scan.shape) <= 4.0 + 1e-6
    assert np.array_equal(wider, near) and near.sum() > 30
    assert note.startswith("The mask was widened by 4 mm: 0.00 ml became 0.")
    same, notes = widened(scan, region, 0.0)
    assert np.array_equal(same, region) and notes == []


def test_a_mask_that_marks_nothing_is_refused():
    with pytest.raises(Refused, match="The mask is empty; mark the region that is to be filled\\.$"):
        region_on(HEALTHY, labels(np.zeros(SHAPE), HEALTHY.affine))


def test_a_mask_beside_the_scan_is_refused():
    far = HEALTHY.affine.copy()
    far[:3, 3] += 500
    with pytest.raises(Refused, match="The mask lies outside the scan; .*aligned with it\\.$"):
        region_on(HEALTHY, labels(np.ones((9, 9, 9)), far))


@pytest.mark.parametrize("stripped", [True, False])
def test_what_lies_in_the_region_is_never_looked_at(stripped):
    """Neither tumour nor void moves a landmark, because neither is there any more."""
    air = 0 if stripped else np.random.default_rng(0).uniform(1, 30, SHAPE).astype(np.float32)
    scan = HEALTHY.with_data(HEALTHY.data + air)
    region = marked(scan)
    tumour = scan.with_data(np.where(region, 3 * WHITE, scan.data).astype(np.float32))
    hidden, brain_of_it = unseen(tumour, region)
    same, _ = unseen(scan, region)
    assert np.array_equal(hidden.data, same.data) and (brain_of_it is not None) == stripped
    assert (hidden.data == scan.data)[~region].all()
    inside = hidden.data[region]
    assert 0.5 * WHITE < inside.min() and inside.max() < 1.2 * WHITE
    assert np.array_equal(frame_of(hidden).mask, frame_of(scan).mask)


def test_a_tumour_cut_out_as_zeros_is_brain_again_even_at_its_surface():
    """So the images of the inpainting challenges come."""
    region = marked(HEALTHY, (-55.0, -20.0, 28.0), 14.0)
    void = HEALTHY.with_data(np.where(region, 0, HEALTHY.data))
    hidden, brain_of_it = unseen(void, region)
    truth = HEALTHY.data > 0
    lost = truth & region
    assert lost.sum() * HEALTHY.voxel_ml > 3
    assert (brain_of_it & lost).sum() > 0.75 * lost.sum() and (brain_of_it & ~truth).sum() < 0.3 * lost.sum()
    assert (hidden.data[region & brain_of_it] > 0.1 * WHITE).mean() > 0.95
    assert not hidden.data[region & ~brain_of_it].any()


def test_a_mask_over_most_of_the_brain_is_refused():
    everything = HEALTHY.data > 0
    with pytest.raises(
        Refused, match="covers 1[0-9]{3} ml, which leaves too little of the brain .*region\\.$"
    ):
        unseen(HEALTHY, everything)
    frame = frame_of(HEALTHY)
    half = everything.copy()
    half[np.argwhere(everything)[:, 0].mean().astype(int) + 8 :] = False
    with pytest.raises(Refused, match="covers [5-7][0-9]% of the brain, which leaves too little"):
        hole_in(frame, half)


def test_a_mask_beside_the_brain_is_refused():
    corner = np.zeros(SHAPE, bool)
    corner[:4, :4, :4] = True
    with pytest.raises(Refused, match="The mask lies outside the brain; mark a region in the brain\\.$"):
        hole_in(frame_of(HEALTHY), corner)


def test_the_smallest_mask_makes_a_hole():
    region = np.zeros(SHAPE, bool)
    region[tuple(np.argwhere(marked(HEALTHY)).mean(0).astype(int))] = True
    hole = hole_in(frame_of(HEALTHY), region)
    assert 1 <= hole_in(frame_of(HEALTHY), region, 0).sum() < 40 and hole.sum() < 120
    whole = hole_in(frame_of(HEALTHY), marked(HEALTHY))
    assert marked(HEALTHY).sum() * HEALTHY.voxel_ml < whole.sum() * 0.008 < 22, "a rim of touched voxels more"


GRIDS = {
    "oblique": HEALTHY,
    "flipped and turned": stored(HEALTHY, (2, 0, 1), (-1, 1, -1)),
    "thick slices": brain(shape=(150, 180, 38), affine=oblique_affine((150, 180, 38), (1.2, 1.1, 5.0))),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("centre", [HOLE_MM, (-55.0, -20.0, 28.0)], ids=["inside", "at the surface"])
def test_a_filling_takes_the_marked_voxels_and_no_other(name, centre):
    """The right filling gives the healthy brain back, and one 20 % too bright leaves no edge either."""
    scan = GRIDS[name]
    region = marked(scan, centre)
    sick = scan.with_data(np.where(region & (scan.data > 0), 0.4 * scan.data, scan.data))
    hidden, outline = unseen(sick, region)
    frame, truth = frame_of(hidden), frame_of(scan).image
    site = Site.of(sick, frame, region, outline)
    (right, bright) = site.put_in(frame, np.stack([truth, 1.2 * truth]))
    filled = site.on_scan(sick.data, right)
    differs = filled != sick.data
    assert (differs <= region).all() and differs.sum() > 0.98 * (region & (scan.data > 0)).sum()
    assert np.abs(filled - scan.data)[differs].mean() < 0.05 * WHITE
    natural = site.seam(scan.data[site.box])
    assert natural is not None and site.seam(sick.data[site.box]) > 2 * natural
    for image in (right, bright):
        assert 0.5 * natural < site.seam(image) < 1.15 * natural
    assert np.abs(site.on_scan(sick.data, bright) - scan.data)[differs].mean() < 0.12 * WHITE


def test_a_filling_that_is_off_all_over_the_hole_meets_its_border():
    """A network's filling is darker than the tissue around: its rim says so, and the join makes up for it."""
    region = marked(HEALTHY)
    frame = frame_of(HEALTHY)
    dark = np.where(hole_in(frame, region), frame.image - 0.15, frame.image).astype(np.float32)
    site = Site.of(HEALTHY, frame, region, HEALTHY.data > 0)
    (joined,) = site.put_in(frame, dark[None])
    assert np.abs(joined - site.data)[site.region].mean() < 0.04 * WHITE
    assert site.seam(joined) < 1.15 * site.seam(site.data)


def test_where_the_background_is_not_zero_the_filling_is_in_the_scans_units():
    """Intensities that are centred on 0, as some programs store them."""
    region = marked(HEALTHY)
    frame = frame_of(HEALTHY)
    ground = replace(frame.ground, background=-400.0, lowest=-400.0)
    centred = HEALTHY.with_data(HEALTHY.data - 400)
    lifted = replace(frame, ground=ground)
    (filled,) = Site.of(centred, lifted, region, None).put_in(lifted, frame.image[None])
    site = Site.of(centred, lifted, region, None)
    assert np.abs(filled - centred.data[site.box]).max() < 0.2 * WHITE


def test_the_fitted_template_knows_what_belongs_into_the_hole(tmp_path):
    """A ball with a dark core, of which the hole hides a half; the template is a smaller one."""
    places = np.indices(GRID_SHAPE).astype(np.float32)
    away = np.sqrt(((places - np.array([40, 48, 40])[:, None, None, None]) ** 2).sum(0))

    def ball(radius: float) -> np.ndarray:
        shell = 1 / (1 + np.exp(away - radius)) - 0.6 / (1 + np.exp(away - radius / 3))
        return np.where(shell > 0.02, shell, 0).astype(np.float32)

    coarse = tuple(n // 4 for n in GRID_SHAPE)
    nothing = np.zeros((3, *coarse))
    template = DeformableTemplate(
        mean=ball(24), shift=nothing, slopes=nothing[None].repeat(4, 0), modes=nothing[None],
        usual=np.zeros((3, *(n // 2 for n in GRID_SHAPE))), fine=0.1 * np.ones((1, *coarse)),
        width=np.ones(1), along=np.full(1, 0.6), features=np.eye(4, 6) + 1e-3,
        parts=np.zeros((2, *GRID_SHAPE)), ml=np.ones(2), seen=np.zeros((0, 5)),
    )  # fmt: skip
    template.save(tmp_path / FILE)
    files = SimpleNamespace(card=SimpleNamespace(files={FILE: ""}), file=lambda name: tmp_path / name)
    image = ball(30)
    hole = (away < 15) & (places[0] > 40)
    shapes = shapes_of(files, np.where(hole, 0, image), hole, [1, 2, 3])
    closed = np.where(hole, 0, image)
    closed[hole] = Membrane(hole, (image > 0) & ~hole, np.ones(3))(closed)
    plain = np.abs(closed - image)[hole].mean()
    assert all(np.abs(shape - image)[hole].mean() < 0.6 * plain for shape in shapes)
    ways = [shape - shapes[0] for shape in shapes[1:]]
    assert not np.array_equal(*ways)
    assert not any(way[distance_transform_edt(~hole) > 2].any() for way in ways)
    assert np.corrcoef(*(way[hole] for way in ways))[0, 1] < -0.3, "they lie about the likeliest"
    again = shapes_of(files, image, hole, [1])
    assert np.array_equal(again[0], shapes[0]), "what the hole hides is never looked at"
    assert shapes_of(SimpleNamespace(card=SimpleNamespace(files={})), image, hole, [1]) is None


def test_deep_in_a_hole_the_shape_is_the_other_hemispheres():
    field = np.zeros((3, *GRID_SHAPE), np.float32)
    field[:, 45:75] = np.array([-2.0, 3.0, 0.0], np.float32).reshape(3, 1, 1, 1)
    hole = np.zeros(GRID_SHAPE, bool)
    hole[10:30, 30:60, 30:50] = True
    informed = inpainting._as_the_other_half(field, hole)
    assert informed[:, 20, 45, 40] == pytest.approx([2.0, 3.0, 0.0], abs=0.02), "left and right change places"
    far = distance_transform_edt(~hole) > 8
    assert np.array_equal(informed[:, far], field[:, far])
    both = inpainting._as_the_other_half(field, hole | hole[::-1])
    assert np.abs(both - field)[:, 20, 45, 40].max() < 0.01, "what is missing too says nothing"
