"""What the painter learns from: healthy outside the labels, and inside them what the labels say."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import binary_dilation

from braindiffusion.diffusion.cond import Cond
from braindiffusion.diffusion.path import Node
from braindiffusion.imaging.expected import population
from braindiffusion.nets.paint import PaintDenoiser, context_of, flat
from braindiffusion.nets.prior import PriorNet
from braindiffusion.pathology import OEDEMA, TISSUES
from braindiffusion.training import paint
from braindiffusion.training.brains import Brain
from oracles import seeded

NECROSIS, RIM = 0, 3
SMALL = paint.NETWORK | {"widths": (8, 8), "blocks": (1, 1), "fine": 4}


@pytest.fixture(scope="module")
def draw() -> paint.Draw:
    """The typical brain is the only one, and a block the only shape."""
    mean = torch.from_numpy(population().typical.copy())[None, None]
    fine = torch.nn.functional.interpolate(mean, scale_factor=2, mode="trilinear")[0, 0]
    brain = Brain("typical", 30.0, 0.0, (127 * fine).round().byte(), torch.eye(4))
    return paint.Draw([brain], [torch.ones(6, 5, 4, dtype=torch.bool)])


@pytest.fixture(scope="module")
def examples(draw) -> list[dict[str, torch.Tensor]]:
    return [draw(seeded(n)) for n in range(24)]


def test_where_nothing_is_painted_the_brain_is_healthy(examples):
    for example in examples:
        bare = ~example["shares"].any(0, keepdim=True)
        assert torch.equal(example["x0"][bare], example["guide"][bare])
        beside = (example["guide"] == 0) & (torch.nn.functional.avg_pool3d(example["guide"], 5, 1, 2) == 0)
        assert not example["shares"][:, beside[0]].any(), "tissue lies in the brain"


def test_tissue_is_as_bright_as_its_level_says(examples):
    seen = set()
    for example in examples:
        for n, level in enumerate(example["levels"]):
            whole = example["shares"][n] > 0.99
            if n != OEDEMA and whole.sum() > 30:
                shown = example["x0"][0][whole].mean()
                healthy = example["guide"][0][whole].mean()
                vague = 0.45 if n == paint.LESION else 0.12  # a lesion's border is half healthy
                assert abs(shown - level) < 0.05 + vague * abs(healthy - level), TISSUES[n].name
                seen.add(n)
    assert seen == {0, 2, 3}


def test_the_brain_shows_through_oedema():
    """White matter darkens to the level, cortex a little, fluid not at all."""
    image = torch.full((24, 24, 24), 1.0)
    image[8:16], image[16:] = 0.7, 0.25
    shares = torch.zeros(4, 24, 24, 24)
    shares[OEDEMA] = 1
    shown = paint.show(seeded(1), image, shares, torch.tensor([0.3, 0.65, 0.5, 1.3]))
    white, cortex, fluid = shown[2:6].mean(), shown[10:14].mean(), shown[18:22].mean()
    assert 0.6 < white < 0.78 and 0.6 < cortex < 0.7 and fluid == pytest.approx(0.25, abs=0.02)


def test_a_tumour_has_its_core_in_its_rim_in_oedema():
    image = torch.ones(40, 40, 40)
    found = [torch.zeros(4, 40, 40, 40, dtype=torch.bool) for _ in range(12)]
    for n, labels in enumerate(found):
        paint._tumour(seeded(n), labels, image, [])
        assert (labels.sum(0) <= 1).all(), "a voxel is one tissue"
    whole = [labels for labels in found if labels[[NECROSIS, RIM, OEDEMA]].flatten(1).any(1).all()]
    assert len(whole) > 3
    for labels in whole:
        core, rim = labels[NECROSIS].numpy(), labels[RIM].numpy()
        assert not (binary_dilation(core) & ~core & ~rim).any(), "the rim is closed"


def test_the_same_draw_is_the_same_example(draw):
    first, again = draw(seeded(3)), draw(seeded(3))
    assert first.keys() == again.keys() and all(torch.equal(first[key], again[key]) for key in first)


def test_flat_tissue_fills_its_share_of_a_voxel():
    guide, shares = torch.full((1, 1, 4, 4, 4), 0.9), torch.zeros(1, 4, 4, 4, 4)
    shares[0, NECROSIS, 0], shares[0, RIM, 0] = 0.5, 0.25
    context = context_of(shares, torch.tensor([[0.4, 0.7, 0.5, 1.2]]))
    mixed = 0.25 * 0.9 + 0.5 * 0.4 + 0.25 * 1.2
    assert torch.allclose(flat(guide, context)[0, 0, 0], torch.tensor(mixed))
    assert torch.equal(flat(guide, context)[0, 0, 1:], guide[0, 0, 1:])


def test_the_denoiser_answers_with_the_scan_where_nothing_is_painted(draw):
    torch.manual_seed(0)
    net = PriorNet(**SMALL)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    example = {key: value[None] for key, value in draw(seeded(2)).items()}
    none = torch.zeros(1, 0)
    context = context_of(example["shares"], example["levels"])
    cond = Cond(none, none.bool(), torch.ones(1)).with_guide(example["guide"], context=context)
    x0 = PaintDenoiser(net)(example["noise"], Node(1.0, 1.0, 1.0), cond)
    bare = ~example["shares"].any(1, keepdim=True)
    assert torch.equal(x0[bare], example["guide"][bare]) and not torch.equal(x0, example["guide"])


def test_a_network_learns_from_an_example(draw):
    torch.manual_seed(0)
    net = PriorNet(**SMALL)
    batch = {key: value[None] for key, value in draw(seeded(1)).items()}
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = paint.loss_of(net, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
