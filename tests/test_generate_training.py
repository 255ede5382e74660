"""Examples that the generator learns from: the template lies where the brain lies, and nothing tells more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from braindiffusion.imaging.expected import population
from braindiffusion.imaging.grid import GRID_SHAPE
from braindiffusion.nets.deformable import DeformableTemplate
from braindiffusion.nets.prior import PriorNet
from braindiffusion.nets.warping import identity_grid
from braindiffusion.training import generate
from braindiffusion.training.brains import Brain
from oracles import seeded

COARSE = tuple(n // 4 for n in GRID_SHAPE)


@pytest.fixture(scope="module")
def draw() -> generate.Draw:
    """The typical brain is the only one, and the template is the same brain 6 mm further to the right."""
    mean = population().typical.copy()
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(mean)[None, None], scale_factor=2, mode="trilinear"
    )
    brain = Brain("typical", 30.0, 0.0, (127 * fine[0, 0]).round().byte(), torch.eye(4))
    template = DeformableTemplate(
        mean=np.roll(mean, 3, 0),
        shift=np.zeros((3, *COARSE)),
        slopes=np.zeros((4, 3, *COARSE)),
        modes=np.zeros((1, 3, *COARSE)),
        usual=np.zeros((3, *(n // 2 for n in GRID_SHAPE))),
        fine=np.zeros((1, *COARSE)),
        width=np.ones(1),
        along=np.ones(1),
        features=np.column_stack([np.zeros(4), np.ones(4), np.eye(4)]),
        parts=np.zeros((2, *GRID_SHAPE)),
        ml=np.ones(2),
        seen=np.zeros((0, 5)),
    )
    back = np.zeros((3, *GRID_SHAPE), np.float32)
    back[0] = -3
    return generate.Draw([brain], {"typical": {"ventricles": 20.0, "brain": 1000.0}}, template, [back])


@pytest.mark.parametrize("seed", range(6))
def test_the_template_lies_where_the_brain_lies(draw, seed):
    made = draw._example(seeded(seed))
    inside = made["x0"] > 0.1
    far = (made["x0"] - draw.mean)[inside].abs().mean()
    assert (made["x0"] - made["expected"])[inside].abs().mean() < 0.35 * far


@pytest.mark.parametrize("redrawn", [0.0, 1.0])
def test_the_template_has_the_brains_folds_or_drawn_ones(draw, monkeypatch, redrawn):
    """Drawn folds lie about the brain's coarse shape, and are others each time."""
    monkeypatch.setattr(generate, "REDRAWN", redrawn)
    folds = replace(draw.template, fine=np.full((1, *COARSE), 0.3))
    monkeypatch.setattr(draw, "template", folds)
    points = identity_grid(GRID_SHAPE)
    first, other = (draw._expected(seeded(n), 0, points) for n in (1, 2))
    brain, inside = draw.brains[0].image, draw.mean[0] > 0.3
    inside[:8] = inside[-8:] = False
    assert (torch.abs(first - brain)[inside].mean() < 0.01) == (redrawn == 0)
    assert torch.abs(first - brain)[inside].mean() < 0.08
    assert torch.equal(first, other) == (redrawn == 0)


def test_the_same_draw_is_the_same_example(draw):
    first, again = draw(seeded(3)), draw(seeded(3))
    assert first.keys() == again.keys() and all(torch.equal(first[key], again[key]) for key in first)


def test_volumes_grow_with_the_brain(draw, monkeypatch):
    """The sizes that are told are those of the moved copy."""
    told = []
    monkeypatch.setattr(
        generate.prior, "conditions_of", lambda generator, values, mode: told.append(values) or (None, None)
    )
    grown = [(told.clear(), draw._example(seeded(n)), told[0][3])[1:] for n in range(8)]
    sizes = [float((example["x0"] > 0.3).sum()) for example, _ in grown]
    assert np.corrcoef(sizes, [brain for _, brain in grown])[0, 1] > 0.9


def test_a_network_learns_from_an_example(draw):
    torch.manual_seed(0)
    net = PriorNet(**(generate.NETWORK | {"widths": (8, 8), "blocks": (1, 1), "fine": 4}))
    batch = {key: value[None] for key, value in draw(seeded(1)).items()}
    batch = {k: v[..., 24:56, 24:56, 24:56] if v.ndim == 5 else v for k, v in batch.items()}
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = generate.loss_of(net, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_the_range_that_is_told_is_that_of_the_training_brains():
    by_name = {covariate.name: covariate for covariate in generate.COVARIATES}
    wide = {covariate.name: covariate for covariate in generate.prior.COVARIATES}
    assert by_name["ventricles"].is_outside(45) and not wide["ventricles"].is_outside(45)
    # A narrower range is scaled as the prior scales it.
    assert by_name["ventricles"].scale(20) == pytest.approx(wide["ventricles"].scale(20))
    assert by_name["brain"].scale(1000) == pytest.approx(wide["brain"].scale(1000))
