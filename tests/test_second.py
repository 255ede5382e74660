"""The second network of healing begins as the autoencoder that it goes on from, and sees brains to heal."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from braindiffusion.diffusion.cond import Cond
from braindiffusion.diffusion.path import Node
from braindiffusion.nets.prior import PriorDenoiser, PriorNet
from braindiffusion.training import dae, second
from braindiffusion.training.trainer import Plan

GRID = (32, 32, 32)


@pytest.fixture(scope="module")
def autoencoder() -> dae.PriorNet:
    torch.manual_seed(0)
    net = dae.build().eval()
    torch.nn.init.normal_(net.fine_out.weight, std=0.02)
    return net


def test_it_begins_by_answering_as_the_autoencoder_does(autoencoder, monkeypatch):
    """Told the scan as its guide, at a noise where the guide is all that it knows."""
    guide, template = (torch.rand(1, 1, *GRID) * 0.5 + 0.3 for _ in range(2))
    monkeypatch.setattr(dae, "_template_on", lambda x: template)
    net = PriorNet(**second.NETWORK).eval()
    net.load_state_dict(second.from_autoencoder(autoencoder.state_dict()))
    context = torch.cat([template, torch.zeros(1, 2, *GRID)], 1)
    cond = Cond(torch.zeros(1, 4), torch.zeros(1, 4).bool(), torch.ones(1)).with_guide(guide, context=context)
    with torch.no_grad():
        expected = dae.denoise(autoencoder, guide)
        x = guide + 5 * torch.randn(guide.shape, generator=torch.Generator().manual_seed(1))
        found = PriorDenoiser(net)(x, Node(1.0, 5.0, 5.0), cond)
    change = (expected - guide).abs().mean()
    assert change > 0.01 and (found - expected).abs().mean() < 0.25 * change


def test_an_autoencoders_weights_are_a_beginning(autoencoder, tmp_path):
    file = tmp_path / "ema.safetensors"
    save_file({name: value.half() for name, value in autoencoder.state_dict().items()}, file)
    plan = second._started(Plan(1, 1, 0.001, tmp_path, resume=file))
    assert plan.resume == tmp_path / "start.safetensors" and plan.resume.is_file()
    again = second._started(plan)
    assert again is plan, "its own weights are gone on from as they are"
    fresh = Plan(1, 1, 0.001, tmp_path)
    assert second._started(fresh) is fresh


def test_every_example_is_a_brain_to_heal():
    modes = second.Draw.modes(None, torch.Generator())
    assert set(modes) == {"heal"} and len(modes) == second.EXAMPLES


def test_a_guide_carries_coarse_noise_and_no_lesion():
    """All over the brain, of the strength that is said, and nowhere else."""
    image = torch.zeros(48, 48, 48)
    image[6:-6, 6:-6, 6:-6] = 0.8
    drawn = [second.Draw._guide(None, torch.Generator().manual_seed(n), image, "heal") for n in range(30)]
    noise = torch.stack([guide - image for guide, _ in drawn])
    assert not any(hole.any() for _, hole in drawn) and not noise[:, image == 0].any()
    inside = noise[:, image > 0]
    assert float(inside.std()) == pytest.approx(0.11, rel=0.1) and abs(float(inside.mean())) < 0.02
    deep = noise[:, 8:-8, 8:-8, 8:-8]
    alike = float((deep[:, 1:] * deep[:, :-1]).mean() / deep.square().mean())
    assert alike > 0.85, "neighbours change together"
