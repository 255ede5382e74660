"""The networks: an orthonormal folding, conditions that count, nulls that do not leak, sizes that ship."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from braindiffusion.anatomy import STRUCTURES
from braindiffusion.diffusion.cond import Cond
from braindiffusion.diffusion.path import Node
from braindiffusion.imaging.expected import population
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE
from braindiffusion.nets.anatomy import AnatomyNet, located
from braindiffusion.nets.haar import fold, unfold
from braindiffusion.nets.prior import PriorDenoiser, PriorNet, context_of
from braindiffusion.nets.tissue import CLASSES
from oracles import seeded

SIDE = 32


def images(batch: int, seed: int = 0) -> Tensor:
    return torch.rand((batch, 1, SIDE, SIDE, SIDE), generator=seeded(seed))


def told(batch: int = 1, guide: Tensor | None = None, real: float = 1.0) -> Cond:
    covariates = torch.tensor([[0.3, -1.0, 0.5, -0.2]]).repeat(batch, 1)
    return Cond(covariates, torch.ones(batch, 4).bool(), torch.full((batch,), real), guide)


def stir(net: PriorNet) -> PriorNet:
    """Give the layers that start at zero some weights, so that what the network is told can show."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.3 / module.weight[0].numel() ** 0.5, generator=seeded())
    return net


@pytest.fixture(scope="module")
def untrained() -> PriorNet:
    torch.manual_seed(0)
    return PriorNet().eval()


@pytest.fixture(scope="module")
def stirred() -> PriorNet:
    torch.manual_seed(0)
    return stir(PriorNet().eval())


def test_folding_has_an_inverse_and_keeps_the_norm():
    x = torch.randn((2, 3, 8, 12, 10), generator=seeded())
    bands = fold(x)
    assert bands.shape == (2, 24, 4, 6, 5)
    assert torch.allclose(unfold(bands), x, atol=1e-6)
    assert torch.allclose(fold(unfold(bands)), bands, atol=1e-6)
    assert float(bands.square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-5)


def test_folding_is_orthonormal():
    """Eight voxels to eight bands, as a matrix."""
    matrix = fold(torch.eye(8).view(8, 1, 2, 2, 2)).flatten(1)
    assert torch.allclose(matrix @ matrix.T, torch.eye(8), atol=1e-6)
    assert torch.allclose(matrix[:, 0], torch.full((8,), 8**-0.5)), "the block mean comes first"
    assert not fold(torch.ones(1, 1, 4, 4, 4))[:, 1:].abs().max() > 1e-6


def test_white_noise_stays_white():
    bands = fold(torch.randn((1, 1, 48, 48, 48), generator=seeded()))[0].flatten(1)
    covariance = bands @ bands.T / bands.shape[1]
    assert (covariance - torch.eye(8)).abs().max() < 0.04


def test_folding_can_be_trained_through_after_it_was_used_for_inference():
    with torch.inference_mode():
        fold(torch.zeros(1, 1, 2, 2, 2, dtype=torch.float64))
    x = torch.ones((1, 1, 2, 2, 2), dtype=torch.float64, requires_grad=True)
    unfold(2 * fold(x)).square().sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, torch.full_like(x, 8))


@torch.no_grad()
@pytest.mark.parametrize("node", [Node(1.0, 0.02, 0.02), Node(1.0, 80.0, 80.0), Node(0.6, 0.8, 0.5)])
def test_an_untrained_network_is_exact_for_white_images_around_what_it_expects(untrained, node):
    """The oracle: Gaussian voxels of deviation 0.2 around the guide, and around the mean where none shows."""
    guide, noise = images(1).clamp(min=0.1), torch.randn((1, 1, SIDE, SIDE, SIDE), generator=seeded(1))
    x, denoiser = node.alpha * guide + node.sigma * noise, PriorDenoiser(untrained)
    context = torch.cat([torch.full_like(guide, 0.4), torch.zeros(1, 2, SIDE, SIDE, SIDE)], 1)

    def posterior(mean):
        gain = node.alpha * 0.2**2 / ((node.alpha * 0.2) ** 2 + node.sigma**2)
        return mean + gain * (x - node.alpha * mean)

    def said(cond):
        return denoiser(x, node, replace(cond, context=context))

    assert torch.allclose(said(told()), posterior(0.4), rtol=1e-4, atol=1e-5)
    assert torch.allclose(said(told(guide=guide)), posterior(guide), rtol=1e-4, atol=1e-5)
    hole = torch.zeros_like(guide)
    hole[..., 8:16, 8:16, 8:16] = 1
    filled = said(replace(told(guide=guide * (1 - hole)), hole=hole))
    expected = torch.where(hole > 0, posterior(0.4), guide)
    assert torch.allclose(filled, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(filled[hole == 0], guide[hole == 0]), "a guide with a hole is right everywhere else"


@torch.no_grad()
def test_without_a_guide_the_average_brain_is_expected(untrained):
    """Where noise leaves nothing visible, that is all there is; a smaller grid shows it smaller."""
    typical = torch.from_numpy(population().typical.copy())
    x = torch.zeros(1, 1, *GRID_SHAPE)
    assert torch.allclose(PriorDenoiser(untrained)(x, Node(1.0, 80.0, 80.0), told()), typical, atol=1e-4)
    half = PriorDenoiser(untrained)(torch.zeros(1, 1, 48, 48, 48), Node(1.0, 80.0, 80.0), told())
    assert torch.allclose(half.mean(), typical.mean(), rtol=0.05) and 0.5 < half.max() < 1.5


@torch.no_grad()
@pytest.mark.parametrize("node", [Node(1.0, 3.0, 3.0), Node(0.6, 0.8, 0.5)])
def test_the_training_target_is_what_the_denoiser_undoes(stirred, node):
    denoiser, guide = PriorDenoiser(stirred), images(1).clamp(min=0.1)
    x = node.alpha * guide + node.sigma * torch.randn(guide.shape, generator=seeded(1))
    for cond in (told(), told(guide=guide)):
        said, shown = denoiser(x, node, cond), denoiser.shown(x, cond)
        raw = denoiser.raw(x, node, cond, shown)
        assert torch.allclose(denoiser.target(said, x, node, shown), raw, atol=1e-4)
        assert (said - guide).std() > 0.01


@torch.no_grad()
def test_outside_the_brain_of_a_guide_nothing_is_drawn(stirred):
    guide = images(1).clamp(min=0.1)
    guide[..., :8] = 0
    denoiser, cond = PriorDenoiser(stirred), told(guide=guide)
    healed = denoiser(guide + 1, Node(1.0, 1.0, 1.0), cond)
    assert torch.equal(denoiser.shown(guide, cond).doubted, guide > 0)
    assert not healed[..., :8].any() and healed[..., 8:].all()


@torch.no_grad()
def test_everything_that_the_network_is_told_counts(stirred):
    denoiser, x, node = PriorDenoiser(stirred), images(1), Node(1.0, 0.5, 0.5)
    guide = images(1, 3)
    base = told(guide=guide)
    hole = torch.zeros_like(guide)
    hole[..., 8:16, 8:16, 8:16] = 1
    variants = {
        "no guide": base.without_guide(),
        "another guide": replace(base, guide=images(1, 4)),
        "a hole": replace(base, hole=hole),
        "synthetic": replace(base, real=torch.tensor([0.0])),
        "not said": replace(base, real=torch.tensor([0.5])),
        "a null": replace(base, known=torch.tensor([[True, True, False, True]])),
        "another value": replace(base, covariates=base.covariates + 0.5),
    }

    def raw(cond, node=node):
        return denoiser.raw(x, node, cond, denoiser.shown(x, cond))

    for name, cond in variants.items():
        assert (raw(cond) - raw(base)).abs().max() > 1e-4, name
    assert (raw(base, Node(1.0, 0.7, 0.7)) - raw(base)).abs().max() > 1e-4


@torch.no_grad()
def test_unknown_values_do_not_leak(stirred):
    x, flags = images(1), torch.tensor([1.0])
    empty, level, doubled = torch.zeros_like(x), torch.tensor([-0.2]), torch.cat([x, x], 1)
    maps = torch.cat([x, x, x], 1)
    known = torch.tensor([[True, False, False, True]])
    outputs = [
        stirred(doubled, level, empty, empty, maps, 0 * flags, torch.tensor([values]), known, flags)
        for values in ([0.3, 0.9, -5.0, 0.1], [0.3, 0.0, 0.0, 0.1])
    ]
    assert torch.equal(*outputs)
    values = torch.tensor([[0.3, 0.0, 0.0, 0.1]])
    zero = stirred(doubled, level, empty, empty, maps, 0 * flags, values, ~known, flags)
    assert not torch.equal(zero, outputs[0]), "a known zero is not the same as unknown"


@torch.no_grad()
def test_a_guide_that_is_switched_off_does_not_leak(stirred):
    denoiser, x, node = PriorDenoiser(stirred), images(1), Node(1.0, 0.5, 0.5)
    context = torch.rand((1, 3, SIDE, SIDE, SIDE), generator=seeded(6))
    mean_alone = torch.cat([context[:, :1], 0 * context[:, 1:]], 1)
    off = replace(told(guide=images(1, 5)), context=context, has_guide=torch.zeros(1))
    assert torch.equal(denoiser(x, node, off), denoiser(x, node, replace(told(), context=mean_alone)))


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_batch(stirred):
    denoiser, x = PriorDenoiser(stirred), images(3)
    cond = told(3, guide=images(3, 2))
    sigma = torch.tensor([0.1, 1.0, 20.0]).view(-1, 1, 1, 1, 1)
    together = denoiser(x, Node(1.0, sigma, sigma), cond)  # type: ignore[arg-type]
    for i in range(3):
        node = Node(1.0, float(sigma[i]), float(sigma[i]))
        assert (denoiser(x[i : i + 1], node, cond.index(i)) - together[i]).abs().max() < 1e-3


@torch.no_grad()
def test_bfloat16_runs_and_stays_close(stirred):
    denoiser, x, node = PriorDenoiser(stirred), images(1), Node(1.0, 0.5, 0.5)
    cond = told(guide=images(1, 2))
    exact = denoiser(x, node, cond)
    with torch.autocast("cpu", torch.bfloat16):
        rough = denoiser(x, node, cond)
    assert rough.dtype == torch.float32 and rough.isfinite().all()
    assert (rough - exact).square().mean().sqrt() < 0.05 * exact.std()


def test_gradients_reach_every_weight():
    net = stir(PriorNet(widths=(8, 16, 16, 16), blocks=(1, 1, 1, 1)))
    denoiser, node = PriorDenoiser(net), Node(1.0, 0.5, 0.5)
    for cond in (told(), told(guide=images(1, 2))):
        denoiser(images(1), node, cond).square().mean().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.fixture(scope="module")
def anatomy() -> AnatomyNet:
    torch.manual_seed(0)
    net = AnatomyNet(len(STRUCTURES)).eval()
    nn.init.normal_(net.body.conv_final[-1].conv.weight, std=0.2, generator=seeded())
    return net


@torch.no_grad()
def test_an_untrained_anatomy_network_says_what_the_prior_says():
    net = AnatomyNet(len(STRUCTURES)).eval()
    flat = net(images(1))
    assert flat.shape == (1, len(STRUCTURES), SIDE, SIDE, SIDE)
    assert (flat.argmax(1) == 0).all(), "where nothing is known, most voxels are outside"
    prior = torch.randn((1, len(STRUCTURES), *(SIDE // 2,) * 3), generator=seeded())
    logits = net(images(1), prior)
    middle = functional.avg_pool3d(logits, 2)[..., 1:-1, 1:-1, 1:-1]
    assert torch.corrcoef(torch.stack([middle.flatten(), prior[..., 1:-1, 1:-1, 1:-1].flatten()]))[0, 1] > 0.9


@torch.no_grad()
def test_the_anatomy_network_looks_at_all_it_is_given(anatomy):
    image, prior = images(2), torch.randn((2, len(STRUCTURES), *(SIDE // 2,) * 3), generator=seeded())
    coordinates = torch.randn((2, 3, SIDE, SIDE, SIDE), generator=seeded(1))
    tissue = torch.stack([torch.linspace(0.2, 0.8, CLASSES), torch.full((CLASSES,), 0.1)]).expand(2, -1, -1)
    given = (image, prior, coordinates, tissue)
    logits = anatomy(*given)
    assert logits.isfinite().all() and logits.dtype == torch.float32
    for n, other in enumerate((images(2, 5), -prior, -coordinates, tissue.flip(-1))):
        changed = [other if m == n else part for m, part in enumerate(given)]
        assert (anatomy(*changed) - logits).abs().max() > 1e-3
    alone = anatomy(*(part[1:] for part in given))
    assert (alone - logits[1]).abs().max() < 1e-3 * float(logits.abs().max())
    slabs = anatomy(*given, (3, 9))
    assert slabs.shape[2] == 12
    assert torch.allclose(slabs[:, :, 2:-2], logits[:, :, 8:16], atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = anatomy(*given)
    assert (rough - logits).square().mean().sqrt() < 0.05 * logits.std()


def test_the_atlas_is_put_where_the_image_lies():
    """An image shifted by 3 voxels: priors and coordinates are those of the template there."""
    atlas = torch.zeros(len(STRUCTURES), 40, 48, 40)
    atlas[5, 20, 24, 18] = 1.0
    shift = torch.eye(4)
    shift[0, 3] = 6.0
    prior, coordinates = located(atlas, shift, GRID_SHAPE)
    assert prior.shape == (len(STRUCTURES), 40, 48, 40) and coordinates.shape == (3, *GRID_SHAPE)
    assert np.unravel_index(int(prior[5].argmax()), (40, 48, 40)) == (17, 24, 18)
    assert prior[0, 0, 0, 0] == 0 and float(prior.max()) <= 0, "what is no structure is outside"
    expected = (GRID_AFFINE @ [10 + 6, 20, 30, 1])[:3] / 100
    assert np.allclose(coordinates[:, 10, 20, 30], expected, atol=1e-6)
    still, _ = located(atlas, torch.eye(4), GRID_SHAPE)
    assert torch.allclose(still[5], atlas[5].clamp(min=1e-3).log(), atol=1e-3)


@pytest.mark.parametrize(
    ("net", "megabytes"),
    [(PriorNet, 20.0), (lambda: AnatomyNet(len(STRUCTURES)), 6.0)],
    ids=["prior", "anatomy"],
)
def test_weights_in_half_precision_stay_within_their_budget(net, megabytes):
    assert sum(value.numel() for value in net().state_dict().values()) * 2 <= megabytes * 1e6


def test_context_says_how_far_the_guide_is_from_the_population_and_shows_its_mirror_image():
    guide, hole = torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8)
    mean, deviation = torch.full_like(guide, 0.7), torch.full_like(guide, 0.1)
    guide[..., 1:7] = 0.7
    guide[0, 0, 2, 3, 4] = 0.5
    hole[0, 0, 5, 5, 5] = 1
    mean[0, 0, 6, 6, 5] = 0
    shown, z, mirrored = context_of(guide * (1 - hole), hole, mean, deviation)[0]
    assert torch.equal(shown, mean[0, 0])
    assert z[2, 3, 4] == pytest.approx(-2.0 / 4.0)
    assert z[5, 5, 5] == 0, "what is missing is not strange"
    assert z[6, 6, 5] == 0 and z[4, 4, 0] == 0, (
        "where no brain is known, and in the background, there is no z"
    )
    assert mirrored[5, 3, 4] == 0.5 and mirrored[2, 3, 4] == pytest.approx(0.7)


def test_far_outliers_are_limited():
    guide, flat = torch.full((1, 1, 2, 2, 2), 2.0), torch.ones(1, 1, 2, 2, 2)
    z = context_of(guide, 0 * flat, 0.5 * flat, 0.05 * flat)[0, 1]
    assert float(z.max()) == 2.0


def test_a_context_counts_and_its_absence_is_that_of_no_guide(stirred):
    x, cond = images(2), told(2, images(2, 1))
    context = torch.rand((2, 3, SIDE, SIDE, SIDE), generator=seeded(5))
    node = Node(1.0, 0.5, 0.5)
    with torch.no_grad():
        denoise = PriorDenoiser(stirred)
        without = denoise(x, node, cond)
        with_it = denoise(x, node, replace(cond, context=context))
        first_only = torch.cat([context[:1], torch.zeros_like(context[:1])])
        mixed = denoise(x, node, replace(cond, context=first_only))
    assert not torch.allclose(with_it[0], without[0], atol=1e-4)
    assert torch.allclose(mixed[0], with_it[0], atol=1e-5)
    assert torch.allclose(mixed[1], without[1], atol=1e-5)
