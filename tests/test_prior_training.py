"""Examples that the prior learns from: what belongs together lies together, nothing tells the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braindiffusion.diffusion.cond import Cond
from braindiffusion.imaging.expected import population
from braindiffusion.nets.prior import PriorDenoiser, PriorNet
from braindiffusion.training import prior
from braindiffusion.training.brains import Brain
from braindiffusion.training.lesions import DISTURBANCE
from oracles import seeded

SMALL = {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1), "fine": 2}


@pytest.fixture(scope="module")
def draw() -> prior.Draw:
    """The trainer's examples with the population's mean as the only brain, and no label maps."""
    mean = torch.from_numpy(population().aligned.mean.copy())
    fine = torch.nn.functional.interpolate(mean[None, None], scale_factor=2, mode="trilinear")[0, 0]
    brain = Brain("mean", 30.0, 0.0, (127 * fine).round().byte(), torch.eye(4))
    patch = pytest.MonkeyPatch()
    patch.setattr(prior, "brains", lambda root, split, cache: [brain])
    patch.setattr(prior, "subjects", lambda root, split: [])
    patch.setattr(prior, "training_shapes", lambda root: [])
    made = prior.Draw(None, None, {"mean": {"ventricles": 20.0, "brain": 1200.0}})
    real = made._real
    made._synthetic = lambda generator, subject: real(generator, brain, False)
    made.subjects = [None]
    yield made
    patch.undo()


def example(draw: prior.Draw, mode: str, seed: int = 0) -> dict[str, torch.Tensor]:
    return draw._example(seeded(seed), mode)


def test_without_a_guide_nothing_is_shown_but_the_typical_brain(draw):
    made = example(draw, "generate")
    assert not made["guide"].any() and not made["hole"].any() and made["has_guide"] == 0
    assert torch.equal(made["context"], draw.typical) and not made["context"][1:].any()


@pytest.mark.parametrize("seed", range(4))
def test_the_context_lies_where_the_guide_lies(draw, monkeypatch, seed):
    """A copy of the population's mean is hardly strange anywhere, mirrored, moved or not."""
    monkeypatch.setattr(prior, "disturb", lambda generator, image: image)
    monkeypatch.setattr(prior, "SICK", 0.0)
    made = example(draw, "heal", seed)
    assert torch.equal(made["guide"], made["x0"])
    if torch.equal(made["context"], draw.typical):
        pytest.skip("this draw withholds the context")
    mean, z, mirrored = made["context"]
    inside = made["guide"][0] > 0.3
    assert np.corrcoef(mean[inside], made["guide"][0][inside])[0, 1] > 0.7
    assert float(z[inside].abs().mean()) * 4 < 1.5
    assert torch.equal(mirrored, made["guide"][0].flip(0))


def test_a_guide_to_heal_is_wrong_all_over_and_shows_lesions(draw, monkeypatch):
    monkeypatch.setattr(prior, "disturb", lambda generator, image: image)
    monkeypatch.setattr(prior, "SICK", 1.0)
    made = example(draw, "heal", 1)
    changed = (made["guide"] - made["x0"]).abs() > 0.02
    assert changed.any() and float(changed.float().mean()) < 0.2
    monkeypatch.undo()
    monkeypatch.setattr(prior, "SICK", 0.0)
    for seed in range(3):
        made = example(draw, "heal", seed)
        error = (made["guide"] - made["x0"])[made["x0"] > 0.3]
        assert (error != 0).float().mean() > 0.98
        assert float(error.abs().median()) == pytest.approx(0.67 * DISTURBANCE, rel=0.5)
        assert torch.equal(made["guide"][made["x0"] == 0], made["x0"][made["x0"] == 0])


def test_a_hole_is_empty_and_its_z_score_says_nothing(draw):
    made = example(draw, "inpaint", 2)
    hole = made["hole"] > 0
    assert hole.any() and not made["guide"][hole].any()
    assert made["x0"][hole].mean() > 0.1, "the answer is whole"
    assert not made["context"][1][hole[0]].any()


def test_parts_are_cut_from_all_images_alike(draw):
    whole = example(draw, "heal", 3)
    voxel = torch.arange(whole["x0"].numel(), dtype=torch.float32).view(whole["x0"].shape)
    whole |= {"x0": voxel, "guide": voxel + 1, "hole": voxel + 2, "context": voxel.repeat(3, 1, 1, 1) + 3}
    part = prior.part_of(seeded(1), whole, prior._IMAGES)
    assert part["x0"].shape == (1, *prior.PART) and part["context"].shape == (3, *prior.PART)
    for name, offset in (("guide", 1), ("hole", 2), ("context", 3)):
        assert torch.equal(part[name][0], part["x0"][0] + offset)


def test_every_step_draws_a_brain_from_nothing_one_from_a_guide_and_one_of_either_kind(draw, monkeypatch):
    monkeypatch.setattr(prior, "WHOLE", 0.5)
    batches = [draw(seeded(n)) for n in range(8)]
    flags = {tuple(batch["has_guide"].tolist()) for batch in batches}
    assert flags == {(0.0, 1.0, 0.0), (0.0, 1.0, 1.0)}
    assert {tuple(batch["x0"].shape[2:]) for batch in batches} == {prior.PART, prior.GRID_SHAPE}


def test_noise_levels_reach_from_the_end_to_the_start_of_sampling():
    generator = seeded()
    free = torch.tensor([prior.noise_level(generator) for _ in range(3000)])
    guided = torch.tensor([prior.guided_level(generator) for _ in range(3000)])
    assert free.min() >= prior.SIGMA_MIN and free.max() <= prior.SIGMA_MAX
    assert (free > 20).float().mean() > 0.05, "samples start from noise: it must be trained"
    assert 0.02 <= guided.min() and guided.max() <= 8 and (guided > 1).float().mean() > 0.7


def test_what_is_dropped_and_how_often():
    flags = torch.stack(
        [prior.conditions_of(seeded(n), [30.0, 1.0, 20.0, 1200.0], "generate")[1] for n in range(2000)]
    )
    assert (flags.float().mean(0) - 0.85 * 0.85).abs().max() < 0.03
    assert abs(float((~flags).all(1).float().mean()) - 0.15) < 0.03
    guided = torch.stack(
        [prior.conditions_of(seeded(n), [30.0, 1.0, 20.0, 1200.0], "heal")[1] for n in range(2000)]
    )
    assert abs(float(guided[:, 2].float().mean()) - 0.85 * 0.4) < 0.04, "volumes are dropped oftener"
    values, known = prior.conditions_of(seeded(1), [None, 1.0, None, 1200.0], "generate")
    assert not known[0] and not known[2] and values[0] == values[2] == 0


def test_the_loss_is_edms_of_the_brain_without_a_guide_and_of_the_change_with_one(draw, monkeypatch):
    """A network whose output is zero, at a noise where F is what diffuses over its deviation."""
    monkeypatch.setattr(prior, "WHOLE", 1.0)
    for level in ("noise_level", "guided_level"):
        monkeypatch.setattr(prior, level, lambda generator: 50.0)
    net = PriorNet(len(prior.COVARIATES), **SMALL)
    for mode in ("heal", "inpaint"):
        monkeypatch.setattr(prior, "GUIDES", {mode: 1.0})
        batch = draw(seeded(4))
        loss = float(prior.loss_of(net, {key: value[None] for key, value in batch.items()}).detach())
        expected = torch.where(
            batch["has_guide"].view(-1, 1, 1, 1, 1) * (1 - batch["hole"]) > 0,
            batch["guide"],
            batch["context"][:, :1],
        )
        error = ((batch["x0"] - expected) / 0.2).square()
        followed = (batch["has_guide"].view(-1, 1, 1, 1, 1) > 0) & (batch["hole"] == 0)
        total = error[~followed].mean()
        if mode == "heal":
            total = total + error[followed & (batch["guide"] > 0)].mean()
        assert loss == pytest.approx(float(total), rel=0.02)


def test_a_part_without_a_guide_is_drawn_around_its_own_part_of_the_average_brain(draw, monkeypatch):
    monkeypatch.setattr(prior, "WHOLE", 0.0)
    batch = draw(seeded(1))
    cond = Cond(
        *(batch[key] for key in ("covariates", "known", "real", "guide", "hole", "context", "has_guide"))
    )
    shown = PriorDenoiser(PriorNet(len(prior.COVARIATES), **SMALL)).shown(batch["x0"], cond)
    assert torch.equal(shown.expected[0], batch["context"][0, :1]) and not shown.followed[0].any()
    assert np.corrcoef(shown.expected[0].flatten(), batch["x0"][0].flatten())[0, 1] > 0.7, "the same part"
