"""The variational autoencoder beside generation: its loss, its samples, and a short training."""

from __future__ import annotations

import math

import pytest
import torch

from braindiffusion.imaging.grid import GRID_SHAPE
from braindiffusion.training import vae
from braindiffusion.training.brains import Brain
from braindiffusion.training.trainer import Plan, train


class Known(torch.nn.Module):
    """Answers with a reconstruction that is off by `off`, from codes of one Gaussian."""

    def __init__(self, off: float, mean: float, deviation: float) -> None:
        super().__init__()
        self.off, self.mean, self.deviation = off, mean, deviation

    def forward(self, x):
        code = torch.full((len(x), vae.LATENT), self.mean)
        return x + self.off, code, torch.full_like(code, 2 * math.log(self.deviation)), code


@pytest.mark.parametrize(("off", "mean", "deviation"), [(0.0, 0.0, 1.0), (0.1, 0.0, 1.0), (0.0, 2.0, 0.5)])
def test_the_loss_is_the_bound_of_gaussians(off, mean, deviation):
    """-log p(x | z) without its constant and KL(N(m, s^2) || N(0, 1)), in closed form."""
    voxels = math.prod(GRID_SHAPE)
    divergence = vae.LATENT * ((mean**2 + deviation**2 - 1) / 2 - math.log(deviation))
    expected = off**2 / (2 * vae.NOISE_SD**2) + divergence / voxels
    batch = {"x0": torch.rand(1, 2, 1, *GRID_SHAPE)}
    assert float(vae.loss_of(Known(off, mean, deviation), batch)) == pytest.approx(
        expected, rel=1e-3, abs=1e-7
    )


def test_a_seed_is_a_brain_in_any_company():
    torch.manual_seed(0)
    net = vae.build()
    both, alone = vae.sample(net, [3, 4]), vae.sample(net, [4])
    assert both.shape == (2, *GRID_SHAPE) and abs(both[1] - alone[0]).max() < 1e-4
    assert abs(both[0] - both[1]).max() > 1e-3


def test_a_short_training_learns(tmp_path, monkeypatch):
    fine = (torch.rand(160, 192, 160) * 20 + 100).to(torch.uint8)
    made_up = [Brain("made-up", 30.0, 0.0, fine, torch.eye(4))]
    monkeypatch.setattr(vae, "brains", lambda root, split, cache: made_up)
    losses = []

    def loss_of(net, batch):
        loss = vae.loss_of(net, batch)
        losses.append(float(loss.detach()))
        if len(losses) == 12:
            raise KeyboardInterrupt
        return loss

    plan = Plan(hours=1, batch=1, learning_rate=0.002, folder=tmp_path, workers=0, threads=1)
    with pytest.raises(Exception, match="Stopped"):
        train(vae.build(), vae.Draw(tmp_path, tmp_path), loss_of, plan)
    assert losses[-1] < 0.9 * losses[0]
    assert (tmp_path / "ema.safetensors").is_file()
