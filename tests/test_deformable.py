"""The deformable template: fields are undone and mirrored, registration finds what was moved, drawn brains
have the shape, the volumes and the covariates that they should.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from braindiffusion.errors import Cancelled
from braindiffusion.imaging.demons import register
from braindiffusion.nets.deformable import FEATURES, DeformableTemplate, coarsened, enlarged, uphill
from braindiffusion.nets.warping import growth, inverse, mirrored, pull
from braindiffusion.plan import Plan
from braindiffusion.training.fields import diffeomorphism
from braindiffusion.training.template import fitted

SHAPE = (32, 40, 32)


def ball(radius: float = 10.0, shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A ball with a soft edge [X, Y, Z]."""
    middle = (np.array(SHAPE) - 1) / 2 + np.array(shift)
    away = np.sqrt(((np.indices(SHAPE) - middle[:, None, None, None]) ** 2).sum(0))
    return (1 / (1 + np.exp(2 * (away - radius)))).astype(np.float32)


def swelling(share: float) -> np.ndarray:
    """The field [3, X, Y, Z] that makes everything larger by `share` about the middle."""
    middle = (np.array(SHAPE) - 1) / 2
    return (share * (np.indices(SHAPE) - middle[:, None, None, None])).astype(np.float32)


@pytest.fixture(scope="module")
def template() -> DeformableTemplate:
    """Balls whose size follows the brain volume, whose hollow follows the ventricles, and that are shifted by
    chance.
    """
    generator = np.random.default_rng(1)
    fields, known = [], []
    for _ in range(24):
        z = generator.standard_normal(4)
        field = swelling(0.08 * z[3])
        field[1] += 1.5 * generator.standard_normal()
        fields.append(field)
        known.append([35 + 9 * z[0], float(z[1] > 0), np.log(16) + 0.3 * z[2], np.log(1000) + 0.24 * z[3]])
    parts = np.stack([ball(4), ball(10)]).round()
    made = fitted(ball(), parts, fields, np.array(known), modes=6)
    # A ball is no brain: each of its voxels counts for several.
    return replace(made, ml=np.array([16, 1000]) / parts.sum((1, 2, 3)))


def field_of(template: DeformableTemplate, z: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Displacements [3, X, Y, Z] to a brain with features `z` [F] in standard deviations and `scores` [M]."""
    coarse = template.shift + np.tensordot(z, template.slopes, 1) + np.tensordot(scores, template.modes, 1)
    return enlarged(coarse)


def test_a_field_is_undone_by_its_inverse():
    field = diffeomorphism(torch.Generator().manual_seed(2), SHAPE, 1.5, 12)
    back = inverse(field)
    assert (back + pull(field, back, "border")).abs().max() < 0.05
    assert (back + pull(field, back, "border")).abs().mean() < 0.002
    image = torch.from_numpy(ball())[None]
    assert (pull(pull(image, field), back) - image).abs().mean() < 0.01


def test_a_field_that_expands_more_than_twofold_is_undone_too():
    field = torch.from_numpy(swelling(1.6))
    back = inverse(field)
    assert (back + pull(field, back, "border")).abs().max() < 0.01


def test_growth_is_the_factor_of_volumes():
    assert growth(torch.from_numpy(swelling(0.1))).numpy() == pytest.approx(1.1**3, rel=1e-4)


def test_a_brain_that_a_field_enlarges_is_larger(template: DeformableTemplate):
    shown = template.show(swelling(0.1))
    assert shown.sum() / template.mean.sum() == pytest.approx(1.1**3, rel=0.02)
    still = np.zeros((3, *SHAPE), np.float32)
    volumes = template.volumes(swelling(0.1)) / template.volumes(still)
    assert volumes == pytest.approx([1.1**3] * 2, rel=1e-3)


def test_mirrored_fields_act_on_mirrored_images():
    field = diffeomorphism(torch.Generator().manual_seed(3), SHAPE, 1.0, 10)
    image = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(pull(image.flip(1), mirrored(field)), pull(image, field).flip(1), atol=1e-5)


def test_registration_finds_how_far_a_ball_was_moved():
    field = register(ball(), ball(shift=(2, -1, 0)))
    edge = (ball() > 0.2) & (ball() < 0.8)
    assert (
        np.abs(
            ball() - pull(torch.from_numpy(ball(shift=(2, -1, 0)))[None], torch.from_numpy(field))[0].numpy()
        ).mean()
        < 0.004
    )
    assert field[0][edge].mean() == pytest.approx(2, abs=0.3)
    assert field[1][edge].mean() == pytest.approx(-1, abs=0.3)
    for threads in (1, 3):
        with Plan(threads=threads).applied():
            assert np.array_equal(field, register(ball(), ball(shift=(2, -1, 0))))


def test_registration_tells_how_far_it_is_and_can_be_cancelled():
    told: list[float] = []
    register(ball(), ball(9), told.append)
    assert len(told) > 60 and told == sorted(told) and told[-1] <= 1

    def cancel(share: float) -> None:
        if share > 0.05:
            raise Cancelled

    with pytest.raises(Cancelled):
        register(ball(), ball(9), cancel)


def test_smooth_fields_survive_the_coarse_grid():
    field = swelling(0.2)
    assert np.abs(enlarged(coarsened(field)) - field)[:, 6:-6, 6:-6, 6:-6].max() < 0.02


def test_what_goes_with_a_covariate_is_found(template: DeformableTemplate):
    z = np.zeros(4)
    z[FEATURES.index("brain")] = 1
    larger = field_of(template, z, np.zeros(len(template.modes)))
    usual = field_of(template, 0 * z, np.zeros(len(template.modes)))
    grown = template.volumes(larger)[1] / template.volumes(usual)[1]
    assert np.log(grown) == pytest.approx(template.features[3, 1], rel=0.15)


def test_what_no_covariate_explains_becomes_a_mode(template: DeformableTemplate):
    # The shift along the second axis: 1.5 voxels, and as much of it as 24 brains happened to have.
    strongest = template.modes[0]
    assert np.abs(strongest[1]).mean() == pytest.approx(1.5, rel=0.35)
    assert np.abs(strongest[[0, 2]]).mean() < 0.1 * np.abs(strongest[1]).mean()


@pytest.mark.parametrize("ventricles, brain", [(12, 900), (20, 1100)])
def test_a_drawn_shape_has_the_volumes_that_were_asked_for(template, ventricles, brain):
    field = field_of(template, template.standardised({}), np.ones(len(template.modes)))
    sized = template.volumes(template.sized(field, {"brain": brain, "ventricles": None}))
    assert sized[1] == pytest.approx(brain, rel=0.02)
    # Here the two grow together, so the ventricles of the mean are those of its size.
    assert np.isfinite(sized[0]) and sized[0] > 0


def test_the_same_seed_draws_the_same_brain(template: DeformableTemplate):
    wanted = {"age": 30, "brain": 1000}
    assert np.array_equal(template.draw(wanted, 5), template.draw(wanted, 5))
    assert not np.array_equal(template.draw(wanted, 5), template.draw(wanted, 6))


def test_variants_lie_about_what_the_field_shows_by_their_strays(template: DeformableTemplate):
    field, nowhere = field_of(template, np.ones(4), np.zeros(len(template.modes))), np.zeros((3, *SHAPE))
    stray = 0.3 * template.stray(torch.Generator().manual_seed(1))
    assert stray.shape == nowhere.shape and np.isfinite(stray).all()
    same, first, other = template.variants(field, [nowhere, stray, -stray])
    shown = template.show(field)
    assert np.array_equal(same, shown)
    away = [float(np.abs(image - shown).mean()) for image in (first, other)]
    assert 0 < min(away) and max(away) < 0.2 * shown.mean()
    assert np.abs((first + other) / 2 - shown).mean() < 0.7 * min(away)


def test_unknown_covariates_are_drawn_as_they_go_with_the_known(template: DeformableTemplate):
    correlation = np.eye(4)
    correlation[0, 3] = correlation[3, 0] = 0.8
    tied = replace(template, features=np.column_stack([template.features[:, :2], correlation]))
    generator = np.random.default_rng(7)
    age = tied.features[0, 0] + 2 * tied.features[0, 1]
    drawn = np.array([tied.standardised({"age": age}, generator.standard_normal(4)) for _ in range(2000)])
    assert drawn[:, 0] == pytest.approx(2)
    assert drawn[:, 3].mean() == pytest.approx(1.6, abs=0.05)
    assert drawn[:, 3].std() == pytest.approx(0.6, abs=0.05)
    assert drawn[:, 1].std() == pytest.approx(1, abs=0.08)


def test_a_change_of_nothing_changes_nothing(template: DeformableTemplate):
    field = field_of(template, np.ones(4), np.ones(len(template.modes)))
    same = {"age": 40.0, "brain": 1000.0}
    assert np.array_equal(template.changed(field, same, same), field)
    grown = template.changed(field, same, same | {"brain": 1100.0})
    assert template.volumes(grown)[1] / template.volumes(field)[1] == pytest.approx(1.1, rel=0.02)


def test_a_saved_template_draws_the_same_brains(template: DeformableTemplate, tmp_path):
    template.save(tmp_path / "template.npz")
    loaded = DeformableTemplate.load(tmp_path / "template.npz")
    before, after = template.draw({"brain": 1000}, 3), loaded.draw({"brain": 1000}, 3)
    assert np.abs(before - after).mean() < 0.004
    again = tmp_path / "again.npz"
    loaded.save(again)
    assert np.array_equal(DeformableTemplate.load(again).draw({"brain": 1000}, 3), after)


def _seen(template: DeformableTemplate) -> np.ndarray:
    """The training brains' coarse fields about the average one."""
    return np.tensordot(template.seen, np.concatenate([template.slopes, template.modes]), 1)


def test_a_training_brain_is_like_itself_and_not_like_its_mirror_image(template: DeformableTemplate):
    alike = template.likeness(_seen(template))
    assert np.diag(alike) == pytest.approx(1)
    assert alike.max() < 1 + 1e-6 and np.allclose(alike, alike.T)
    assert len(template.seen) == 2 * 24, "mirror images count as brains"


def test_likeness_is_the_cosine_of_what_fields_change_in_the_image(template: DeformableTemplate):
    """To first order: a small displacement times the image's slope."""
    first, other = (enlarged(field) for field in _seen(template)[[0, 5]])
    slopes = np.stack(np.gradient(template.mean))
    changes = [(slopes * field).sum(0).ravel() for field in (first, other)]
    cosine = np.dot(*changes) / np.sqrt(np.dot(changes[0], changes[0]) * np.dot(changes[1], changes[1]))
    assert template.likeness(_seen(template)[:1])[0, 5] == pytest.approx(cosine, abs=0.06)


def test_a_shape_of_its_own_varies_as_the_modes_do_and_is_no_mixture_of_them(template: DeformableTemplate):
    drawn = np.stack([template.own(torch.Generator().manual_seed(n)) for n in range(600)])
    wanted = np.sqrt((template.modes**2).sum(0))
    much = wanted > np.median(wanted)
    assert np.median((drawn.std(0) / np.maximum(wanted, 1e-9))[much]) == pytest.approx(1, abs=0.06)
    basis = template.modes.reshape(len(template.modes), -1)
    flat = drawn[:50].reshape(50, -1).T
    held = basis.T @ np.linalg.lstsq(basis.T, flat, rcond=None)[0]
    shares = (held**2).sum(0) / (flat**2).sum(0)
    assert shares.mean() < 0.95, "training brains do not add up to it, even in so small an image"


def test_no_shape_is_drawn_that_is_a_training_brains(template: DeformableTemplate):
    """Unguarded, some of these shapes are nearer to a training brain than such brains are to each other."""
    z = np.zeros(len(FEATURES))
    guarded, free = template, replace(template, seen=template.seen[:0])
    limit = template.likeness_of_brains
    found: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(20):
        for guard, some in ((True, guarded), (False, free)):
            field = some._nobodys(z, torch.Generator().manual_seed(seed)) - template.shift
            found[guard].append(template.likeness(field[None]).max())
    assert sum(near > limit for near in found[True]) < sum(near > limit for near in found[False])
    assert np.mean(found[True]) < np.mean(found[False])
    again = guarded._nobodys(z, torch.Generator().manual_seed(3))
    assert np.array_equal(again, guarded._nobodys(z, torch.Generator().manual_seed(3)))


USUAL = 0.15 * np.cos((np.arange(SHAPE[0]) - 15.5) * np.pi / 3)[:, None, None] * np.ones((3, *SHAPE))
"""Folds of six voxels from crest to crest, alike on both sides: the coarse grid does not hold them."""


def folded(generator: np.random.Generator, share: float) -> np.ndarray:
    """Usual folds of the ball and some of its own, [3, X, Y, Z], of which `share` lies along its slope."""
    up = uphill(ball())
    noise = np.stack([gaussian_filter(one, 1.2) for one in generator.standard_normal((4, *SHAPE))]) / 0.11
    own = np.sqrt((1 - share) / 2) * (noise[:3] - (noise[:3] * up).sum(0) * up)
    return (0.2 * (own + np.sqrt(share) * up * noise[3]) + USUAL).astype(np.float32)


def of_folds(some: list[np.ndarray]) -> list[float]:
    """Their size where the ball has a slope, the share along it, and how alike neighbours are."""
    edge, all_of_it = (ball() > 0.2) & (ball() < 0.8), np.stack(some)
    along = (all_of_it * uphill(ball())).sum(1)[:, edge]
    at_edge = all_of_it[:, :, edge]
    alike = (all_of_it[:, :, 1:] * all_of_it[:, :, :-1]).sum() / (all_of_it**2).sum()
    return [float(at_edge.std()), float((along**2).sum() / (at_edge**2).sum()), float(alike)]


@pytest.mark.parametrize("share", [0.8, 1 / 3])
def test_folds_are_drawn_as_brains_have_them(share):
    """About the usual ones, as large as theirs, along the slope as much as theirs, and as smooth."""
    generator = np.random.default_rng(0)
    fields = [folded(generator, share) for _ in range(12)]
    some = fitted(ball(), np.ones((2, *SHAPE)), fields, generator.standard_normal((12, 4)), modes=2)
    drawn = [some.folds(torch.Generator().manual_seed(n)) for n in range(12)]
    usual, middle = enlarged(some.usual, 2), (slice(1, None), *[slice(8, -8)] * 3)
    assert np.corrcoef(usual[middle].ravel(), USUAL[middle].ravel())[0, 1] > 0.8
    nothing = np.zeros_like(some.shift)
    whole = some.with_folds(nothing, torch.Generator().manual_seed(0))
    assert np.allclose(whole, usual + drawn[0], atol=1e-5)
    rest = [field - enlarged(coarsened(field)) - usual for field in fields]
    for ours, theirs, off in zip(of_folds(drawn), of_folds(rest), (0.05, 0.1, 0.1)):
        assert ours == pytest.approx(theirs, abs=off)


def test_a_registration_goes_on_from_a_field_that_is_nearly_right():
    """It stays where nothing is left to do, and in the rounds of one resolution it gets nearer."""
    moved = ball(shift=(2, -1, 0))
    found = register(ball(), moved, finest=2)
    again = register(ball(), moved, finest=2, start=found)

    def off(field: np.ndarray) -> float:
        return float(
            np.abs(ball() - pull(torch.from_numpy(moved)[None], torch.from_numpy(field))[0].numpy()).mean()
        )

    assert off(again) < 1.1 * off(found) and np.abs(again - found).mean() < 0.3
    assert off(register(ball(), moved, finest=2, start=np.zeros_like(found))) < 0.5 * off(
        np.zeros_like(found)
    )


def test_what_is_known_of_training_brains_is_kept(template: DeformableTemplate, tmp_path):
    template.save(tmp_path / "template.npz")
    again = DeformableTemplate.load(tmp_path / "template.npz")
    assert np.allclose(again.seen, template.seen, atol=1e-5)
    assert again.likeness_of_brains == pytest.approx(template.likeness_of_brains, abs=0.02)
