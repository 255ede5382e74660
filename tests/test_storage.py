"""Weights in eight bits, and the members of an ensemble in one file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from braindiffusion.models.storage import load_weights, member_of, save_weights
from braindiffusion.nets.prior import PriorEnsemble, PriorNet
from braindiffusion.training.release import _whole

SMALL = {"covariates": 2, "widths": [8, 16], "blocks": [1, 1], "fine": 1}
WIDE = {"covariates": 2, "widths": [16, 16], "blocks": [1, 1], "fine": 1}


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(32, 16, 3, 3, 3, generator=generator) * torch.logspace(-3, 1, 32).view(
        -1, 1, 1, 1, 1
    )
    return {"kernel": kernel, "bias": torch.randn(32, generator=generator), "zero": torch.zeros(64, 64)}


def test_a_stored_weight_errs_by_half_a_step_of_its_channel(weights, tmp_path):
    save_weights(weights, tmp_path / "w.safetensors")
    read = load_weights(tmp_path / "w.safetensors")
    assert read.keys() == weights.keys()
    assert all(
        value.dtype == torch.float32 and value.shape == weights[name].shape for name, value in read.items()
    )
    error = (read["kernel"] - weights["kernel"]).flatten(1).abs().amax(1)
    most = weights["kernel"].flatten(1).abs().amax(1)
    assert (error <= most / 254 * 1.001).all() and (error > 0).all()
    assert torch.equal(read["bias"], weights["bias"].half().float()) and not read["zero"].any()


def test_a_weight_takes_a_byte(weights, tmp_path):
    save_weights(weights, tmp_path / "w.safetensors")
    count = sum(value.numel() for value in weights.values())
    assert (tmp_path / "w.safetensors").stat().st_size < 1.1 * count


def test_stored_weights_are_stored_again_without_loss(weights, tmp_path):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_weights(weights, first)
    save_weights(load_weights(first), second)
    again = load_weights(second)
    assert all(
        torch.allclose(value, again[name], rtol=1e-5, atol=0) for name, value in load_weights(first).items()
    )


def test_files_of_other_precision_are_read_as_they_are(weights, tmp_path):
    save_file({name: value.half() for name, value in weights.items()}, tmp_path / "half.safetensors")
    read = load_weights(tmp_path / "half.safetensors")
    assert all(torch.equal(value, weights[name].half().float()) for name, value in read.items())


def test_a_scale_without_its_weight_is_left_to_be_noticed(tmp_path):
    save_file({"kernel.scale": torch.ones(3)}, tmp_path / "odd.safetensors")
    assert set(load_weights(tmp_path / "odd.safetensors")) == {"kernel.scale"}


def test_an_ensemble_answers_with_the_mean_of_its_members():
    torch.manual_seed(0)
    both = PriorEnsemble([SMALL, WIDE]).eval()
    for member in both.members:
        torch.nn.init.normal_(member.fine_out.weight, std=0.1)
    x = torch.randn(1, 2, 16, 16, 16)
    image, one, known = x[:, :1], torch.ones(1), torch.ones(1, 2)
    told = (x, 0.1 * one, image, 0 * image, image.expand(-1, 3, -1, -1, -1), one, known, known, one)
    with torch.no_grad():
        said = [member(*told) for member in both.members]
        assert torch.allclose(both(*told), (said[0] + said[1]) / 2)
        both.shares = (1.0, 3.0)
        assert torch.allclose(both(*told), (said[0] + 3 * said[1]) / 4, atol=1e-6)
        both.shares = (0.0, 1.0)
        assert torch.equal(both(*told), said[1]), "who has no share is not asked"
    assert not torch.allclose(said[0], said[1], atol=1e-3)


def test_a_member_is_found_by_its_shapes(tmp_path):
    both = PriorEnsemble([SMALL, WIDE])
    for n, arguments in enumerate((SMALL, WIDE)):
        found = member_of(both.state_dict(), PriorNet(**arguments).state_dict())
        PriorNet(**arguments).load_state_dict(found)
        assert torch.equal(found["stem.weight"], both.members[n].stem.weight)


def test_a_released_member_leaves_the_others_as_they_are_shipped(tmp_path):
    shipped, fresh = tmp_path / "shipped.safetensors", tmp_path / "fresh.safetensors"
    before, new = PriorEnsemble([SMALL, WIDE]), PriorNet(**WIDE)
    save_file(before.state_dict(), shipped)
    save_file(new.state_dict(), fresh)
    after = PriorEnsemble([SMALL, WIDE])
    after.load_state_dict(_whole(after, fresh, shipped))
    assert torch.equal(after.members[0].stem.weight, before.members[0].stem.weight)
    assert torch.equal(after.members[1].stem.weight, new.stem.weight)


def test_one_networks_file_becomes_a_member(tmp_path):
    """A model that shipped one network grows a second."""
    shipped, fresh = tmp_path / "shipped.safetensors", tmp_path / "fresh.safetensors"
    first, second = PriorNet(**SMALL), PriorNet(**WIDE)
    save_file(first.state_dict(), shipped)
    save_file(second.state_dict(), fresh)
    both = PriorEnsemble([SMALL, WIDE])
    both.load_state_dict(_whole(both, fresh, shipped))
    assert torch.equal(both.members[0].stem.weight, first.stem.weight)
    assert torch.equal(both.members[1].stem.weight, second.stem.weight)
