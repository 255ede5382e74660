"""Examples that the prior learns from: what belongs together lies together, nothing tells the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braindiffusion.imaging.expected import population
from braindiffusion.nets.prior import PriorNet
from braindiffusion.training import prior
from braindiffusion.training.brains import Brain

SMALL = {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1), "fine": 2}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
def test_the_context_lies_where_the_guide_lies(draw, seed):
    """A copy of the population's mean is hardly strange anywhere, mirrored, moved or not."""
    made = example(draw, "keep", seed)
    assert torch.equal(made["guide"], made["x0"])
    if torch.equal(made["context"], draw.typical):
        pytest.skip("this draw withholds the context")
    mean, z, mirrored = made["context"]
    inside = made["guide"][0] > 0.3
    assert np.corrcoef(mean[inside], made["guide"][0][inside])[0, 1] > 0.7
    assert float(z[inside].abs().mean()) * 4 < 1.5
    assert torch.equal(mirrored, made["guide"][0].flip(0))


def test_healing_shows_lesions_that_are_not_in_the_answer(draw):
    made = example(draw, "heal", 1)
    changed = (made["guide"] - made["x0"]).abs() > 0.02
    assert changed.any() and float(changed.float().mean()) < 0.2
    assert torch.equal(made["guide"][made["x0"] == 0], made["x0"][made["x0"] == 0])


def test_a_hole_is_empty_and_its_z_score_says_nothing(draw):
    made = example(draw, "inpaint", 2)
    hole = made["hole"] > 0
    assert hole.any() and not made["guide"][hole].any()
    assert made["x0"][hole].mean() > 0.1, "the answer is whole"
    assert not made["context"][1][hole[0]].any()


def test_crops_are_cut_from_all_images_alike(draw):
    whole = example(draw, "heal", 3)
    voxel = torch.arange(whole["x0"].numel(), dtype=torch.float32).view(whole["x0"].shape)
    whole |= {"x0": voxel, "guide": voxel + 1, "hole": voxel + 2, "context": voxel.repeat(3, 1, 1, 1) + 3}
    part = prior._crop(seeded(1), whole)
    assert part["x0"].shape == (1, *prior.CROP) and part["context"].shape == (3, *prior.CROP)
    for name, offset in (("guide", 1), ("hole", 2), ("context", 3)):
        assert torch.equal(part[name][0], part["x0"][0] + offset)


def test_most_crops_show_a_lesion(draw):
    shows = []
    for seed in range(8):
        whole = example(draw, "heal", seed)
        part = prior._crop(seeded(seed), whole)
        shows.append(bool(((part["x0"] - part["guide"]).abs() > 0.02).any()))
    assert sum(shows) >= 5


def test_noise_levels_reach_from_the_end_to_the_start_of_sampling():
    generator = seeded()
    free = torch.tensor([prior.noise_level(generator) for _ in range(3000)])
    guided = torch.tensor([prior.guided_level(generator) for _ in range(3000)])
    assert free.min() >= prior.SIGMA_MIN and free.max() <= prior.SIGMA_MAX
    assert (free > 20).float().mean() > 0.05, "samples start from noise: it must be trained"
    assert 0.02 <= guided.min() and guided.max() <= 8 and (guided > 0.6).float().mean() > 0.6


def test_what_is_dropped_and_how_often():
    flags = torch.stack(
        [prior._conditions(seeded(n), [30.0, 1.0, 20.0, 1200.0], "generate")[1] for n in range(2000)]
    )
    assert (flags.float().mean(0) - 0.85 * 0.85).abs().max() < 0.03
    assert abs(float((~flags).all(1).float().mean()) - 0.15) < 0.03
    guided = torch.stack(
        [prior._conditions(seeded(n), [30.0, 1.0, 20.0, 1200.0], "heal")[1] for n in range(2000)]
    )
    assert abs(float(guided[:, 2].float().mean()) - 0.85 * 0.4) < 0.04, "volumes are dropped oftener"
    values, known = prior._conditions(seeded(1), [None, 1.0, None, 1200.0], "generate")
    assert not known[0] and not known[2] and values[0] == values[2] == 0


def test_the_loss_asks_for_what_is_drawn_and_for_trust(draw, monkeypatch):
    """A network whose output is zero: EDM's loss where a brain is drawn, the prior of trust elsewhere."""
    monkeypatch.setattr(prior, "STEPS", {"crops": 1.0})
    monkeypatch.setattr(prior, "guided_level", lambda generator: 5.0)
    net = PriorNet(len(prior.COVARIATES), **SMALL)
    losses = {}
    for mode in ("keep", "inpaint", "heal"):
        monkeypatch.setattr(prior, "GUIDES", {mode: 1.0})
        batch = {key: value[None] for key, value in draw(seeded(4)).items()}
        losses[mode] = float(prior.loss_of(net, batch).detach())
    # Nothing to draw and nothing wrong: -log(0.99), and Dice that expects one voxel in a hundred.
    assert losses["keep"] == pytest.approx(prior.TRUST_WEIGHT * (4 * 0.01 + 0.5), rel=0.05)
    # At this noise F is x0 / sigma_data: the mean square of a brain's inside over 0.35 squared.
    assert 2 < losses["inpaint"] - losses["keep"] < 12
    assert losses["heal"] > losses["keep"] + 2, "lesions are drawn, and nothing expected them"


def test_trust_is_judged_at_the_voxels_of_the_guide_only():
    logit, truth = torch.full((1000,), -6.0), torch.zeros(1000)
    truth[:20] = 1
    blind = float(prior._trust(logit, truth))
    logit[:20] = 6.0
    assert float(prior._trust(logit, truth)) < 0.05 * prior.TRUST_WEIGHT < blind
