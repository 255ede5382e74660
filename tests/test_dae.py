"""The denoising autoencoder of the evaluation: its noise, its identity at the start, and that it trains."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from braindiffusion.errors import Cancelled
from braindiffusion.training import dae
from braindiffusion.training.brains import Brain
from braindiffusion.training.trainer import Plan


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_noise_is_coarse_of_the_right_size_and_only_in_the_foreground():
    foreground = torch.zeros(80, 96, 80, dtype=torch.bool)
    foreground[20:60, 20:70, 20:60] = True
    draws = torch.stack([dae.coarse_noise(_generator(seed), foreground) for seed in range(12)])
    inside = draws[:, foreground]
    assert not draws[:, ~foreground].any()
    # trilinear interpolation averages independent nodes: between the 0.54 of mid-cells and the 1 of nodes
    assert 0.5 * dae.NOISE_SD < float(inside.std()) < dae.NOISE_SD
    assert abs(float(inside.mean())) < 0.02
    step = draws[:, 21:59, 20:70, 20:60] - draws[:, 20:58, 20:70, 20:60]
    assert float(step.std()) < 0.3 * float(inside.std())


def test_noise_is_the_same_for_a_seed_and_rolled_for_another():
    foreground = torch.ones(80, 96, 80, dtype=torch.bool)
    draws = [dae.coarse_noise(_generator(seed), foreground) for seed in (3, 3, 4, 5, 6)]
    assert torch.equal(draws[0], draws[1])
    steps = [noise.diff(dim=0).abs().mean((1, 2)) for noise in draws[1:]]
    seams = [int(step.argmax()) for step in steps]
    assert all(float(step.max()) > 2.5 * float(step.median()) for step in steps), "a torus has a seam"
    assert len(set(seams)) > 2, "the seam of the torus should lie elsewhere for every seed"


def test_an_untrained_network_returns_its_input():
    x = torch.rand(1, 1, 32, 32, 32, generator=_generator())
    with torch.no_grad():
        assert torch.equal(dae.denoise(dae.build().eval(), x), x)


def test_two_steps_of_training_write_weights_that_load(tmp_path, monkeypatch):
    fine = (torch.rand(160, 192, 160, generator=_generator()) * 127).to(torch.uint8)
    monkeypatch.setattr(
        dae, "brains", lambda root, split, cache: [Brain("made-up", 30.0, 0.0, fine, torch.eye(4))]
    )
    small = slice(16, 48)

    class Small(dae.Draw):
        def __call__(self, generator):
            whole = super().__call__(generator)
            return {name: value[:, small, small, small] for name, value in whole.items()}

    steps = []

    def loss_of(net, batch):
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(dae.loss_of(net, batch))
        return steps[-1]

    plan = Plan(hours=1, batch=1, learning_rate=1e-3, folder=tmp_path, workers=0, save_every_s=0)
    with pytest.raises(Cancelled):
        dae.train(dae.build(), Small(tmp_path, tmp_path), loss_of, plan)
    assert all(0 < float(loss.detach()) < 2 for loss in steps)
    net = dae.build()
    weights = load_file(tmp_path / "ema.safetensors")
    net.load_state_dict({name: value.float() for name, value in weights.items()})
