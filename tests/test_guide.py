"""Guidance and inpainting by resampling on data whose exact denoiser is known."""

import math

import pytest
import torch

from braindiffusion.diffusion.cond import Cond, Covariate
from braindiffusion.diffusion.guide import cfg, less_denoised, posterior
from braindiffusion.diffusion.noise import NoiseStream
from braindiffusion.diffusion.path import Node, edm, flow, vp
from braindiffusion.diffusion.resample import resample
from braindiffusion.diffusion.solve import dpmpp2m, run, start
from braindiffusion.errors import BrainDiffusionError
from oracles import Gaussian, normal, two_modes

AGE = Covariate("age", "Age", "years", 0, 10, (0.0, 1.0))
COVARIANCE = torch.tensor([[1, 0.9], [0.9, 1]], dtype=torch.float64)
"""Two voxels that go together: where the first is 0.6 the second is 0.54, with variance 0.19."""
HOLE = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)
KNOWN = torch.tensor([[[0.6, 0.0]]], dtype=torch.float64)
SEEN = 1 - HOLE


def aged(x, node, cond):
    """Gaussian data whose mean is the age's, and 0.3 where it is unknown."""
    means = torch.where(cond.known[:, :1], cond.covariates[:, :1], 0.3).to(x)
    gain = Gaussian(0.0)(torch.ones(1, dtype=x.dtype), node)
    return means + gain * (x - node.alpha * means)


def pair(x, node, cond=None):
    noise = node.sigma**2 * torch.eye(2, dtype=torch.float64)
    return x @ (node.alpha * COVARIANCE @ torch.linalg.inv(node.alpha**2 * COVARIANCE + noise)).T


def white(shape, seeds, draw=0):
    """Noise in float64."""
    seeded = [torch.Generator().manual_seed(1_000_003 * seed + draw) for seed in seeds]
    return torch.stack([torch.randn(*shape, generator=g, dtype=torch.float64) for g in seeded])


def of_age(age, n):
    return Cond.from_values([AGE], [{"age": age}] * n)


def test_weight_one_is_the_condition_and_weight_zero_none():
    x, node, cond = normal(3, 5), Node(1.0, 0.4, 0.4), of_age(7.0, 3)
    assert torch.equal(cfg(aged, 1.0)(x, node, cond), aged(x, node, cond))
    assert torch.equal(cfg(aged, 0.0)(x, node, cond), aged(x, node, cond.null()))
    assert not torch.allclose(aged(x, node, cond), aged(x, node, cond.null()))


def test_one_evaluation_of_both_is_two_evaluations():
    x, node, cond = normal(3, 5), Node(1.0, 0.4, 0.4), of_age(7.0, 3)
    assert torch.equal(cfg(aged, 2.5)(x, node, cond), cfg(aged, 2.5, batched=False)(x, node, cond))


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0, 4.0])
def test_the_mean_of_samples_moves_with_the_weight(weight):
    nodes = edm(0.002, 80.0).karras(60)
    x = start(white((4000,), (5,)).T, nodes[0])
    samples = run(dpmpp2m(cfg(aged, weight), x, nodes, of_age(8.0, 4000))).x
    assert float(samples.mean()) == pytest.approx(0.3 + weight * (0.8 - 0.3), abs=0.015)
    assert float(samples.std()) == pytest.approx(0.2, rel=0.05), "equal spreads stay as they are"


def test_guidance_acts_in_its_interval_alone():
    guided, x, cond = cfg(aged, 3.0, interval=(0.2, 2.0)), normal(2, 5), of_age(7.0, 2)
    for sigma, acts in ((0.1, False), (0.2, True), (2.0, True), (3.0, False)):
        node = Node(1.0, sigma, sigma)
        assert torch.equal(guided(x, node, cond), aged(x, node, cond)) is not acts
    assert torch.equal(guided(x, flow().start, cond), aged(x, flow().start, cond))


def test_the_null_of_guidance_keeps_the_guide_image():
    seen = []

    def looks(x, node, cond):
        seen.append((cond.guide is not None, bool(cond.known.any())))
        return x

    image = torch.ones(1, 1, 4, 4, 4)
    cfg(looks, 2.0, batched=False)(image, Node(1.0, 1.0, 1.0), of_age(7.0, 1).with_guide(image))
    assert seen == [(True, False), (True, True)]


@pytest.mark.parametrize("path", [edm(0.002, 80.0), flow()], ids=["edm", "flow"])
def test_noise_that_is_left_widens_samples_as_the_formula_says(path):
    share, first = 0.05, 20.0
    nodes = path.karras(400, start=path.at_ratio(first))
    exact = nodes[0].alpha * (first**2 + 0.2**2) ** 0.5  # the spread there; that of the data is 0.2
    x = exact * white((1,), range(4000)) + nodes[0].alpha * 0.3
    samples = run(dpmpp2m(less_denoised(Gaussian(0.3), share), x, nodes, None)).x
    assert float(samples.std()) == pytest.approx(0.2 * (1 + first**2 / 0.2**2) ** (share / 2), rel=0.03)
    assert float(samples.mean()) == pytest.approx(0.3, abs=0.02)


def test_no_noise_is_left_where_none_is_asked_for_and_a_wrong_share_is_refused():
    x, node = normal(3, 5), Node(1.0, 0.4, 0.4)
    assert torch.equal(less_denoised(Gaussian(0.3), 0.0)(x, node), Gaussian(0.3)(x, node, None))
    with pytest.raises(BrainDiffusionError, match="below 1"):
        less_denoised(Gaussian(0.3), 1.0)


@pytest.mark.parametrize("path", [edm(0.005, 80.0), vp(), flow()], ids=["edm", "vp", "flow"])
def test_a_measured_voxel_pulls_its_neighbour_to_the_exact_posterior(path):
    nodes = path.logsnr(60)
    x = start(white((20_000, 2), (3,))[0], nodes[0])
    told = posterior(pair, lambda image: image * SEEN[0], KNOWN[0], noise_std=1e-3)
    first, second = run(dpmpp2m(told, x, nodes)).x.unbind(1)
    assert float((first - 0.6).abs().max()) < 0.01
    assert float(second.mean()) == pytest.approx(0.54, abs=0.01)
    assert float(second.var()) == pytest.approx(0.19, abs=0.015)


def test_a_measurement_chooses_the_mode_that_it_fits():
    data, nodes = two_modes(), edm(0.005, 80.0).karras(40)
    x = start(normal(500, 1), nodes[0])
    told = posterior(data, lambda image: image, torch.tensor(-0.9, dtype=torch.float64), noise_std=0.3)
    samples = run(dpmpp2m(told, x, nodes)).x
    assert float((samples < 0).double().mean()) > 0.95, (
        "no more than an approximation where data is not Gaussian"
    )
    free = run(dpmpp2m(data, x, nodes)).x
    assert float((free < 0).double().mean()) == pytest.approx(0.3, abs=0.06)


def test_gradients_stay_inside_the_guidance():
    x = normal(4, 2)
    answer = posterior(pair, lambda image: image, KNOWN[0], 0.1)(x, Node(1.0, 0.5, 0.5))
    assert not answer.requires_grad and not x.requires_grad


def filled(repeats, nodes, **options):
    """20,000 fillings of the second voxel: Steps."""
    noise = NoiseStream((7,), white)
    x = start(white((20_000, 2), (3,)), nodes[0])
    return list(resample(pair, x, nodes, known=KNOWN, hole=HOLE, noise=noise, repeats=repeats, **options))


@pytest.mark.parametrize("path", [edm(0.01, 80.0), vp(), flow()], ids=["edm", "vp", "flow"])
def test_making_each_step_again_takes_the_bias_away(path):
    """methods.md B2.1: the truth is 0.540; a single pass gives about 0.37."""
    nodes = path.logsnr(20)
    once, often = filled(1, nodes)[-1].x[0], filled(40, nodes)[-1].x[0]
    assert float(once[:, 1].mean()) < 0.45
    assert float(often[:, 1].mean()) == pytest.approx(0.54, abs=0.01)
    assert torch.equal(often[:, 0], torch.full_like(often[:, 0], 0.6)), "what is known stays bit for bit"


def test_steps_are_counted_and_made_again_only_where_that_is_asked():
    nodes = vp().logsnr(6)
    steps = filled(5, nodes)
    assert [s.i for s in steps] == list(range(1, steps[-1].n + 1)) and steps[-1].n == 5 * 5 + 1
    within = filled(5, nodes, between=(nodes[2].ratio, nodes[1].ratio))
    assert len(within) == within[-1].n == 4 + 2 * 5


def test_without_a_hole_the_image_comes_back_and_all_hole_is_a_plain_sample():
    nodes, noise = vp().logsnr(10), NoiseStream((7,), white)
    x = start(white((5000, 2), (3,)), nodes[0])
    kept = run(resample(pair, x, nodes, known=KNOWN, hole=0 * HOLE, noise=noise)).x
    assert torch.equal(kept, KNOWN.expand_as(kept))
    drawn = run(resample(pair, x, nodes, known=KNOWN, hole=1 + 0 * HOLE, noise=noise, repeats=1)).x
    assert abs(float(drawn.mean())) < 0.05


def test_senseless_settings_are_refused_in_a_sentence():
    with pytest.raises(BrainDiffusionError, match="at least once"):
        filled(0, vp().logsnr(5))
    with pytest.raises(BrainDiffusionError, match="above 0"):
        posterior(pair, lambda image: image, KNOWN, 0.0)
    with pytest.raises(BrainDiffusionError, match="must be a number"):
        cfg(aged, math.nan)
