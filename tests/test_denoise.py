"""Parametrisations are mutually inverse and EDM's preconditioning is the paper's (methods.md A02, A09)."""

from __future__ import annotations

import math

import pytest
import torch

from braindiffusion.diffusion import denoise, path, solve
from braindiffusion.diffusion.cond import Cond
from braindiffusion.diffusion.denoise import X0, Edm, Eps, Flow, NetDenoiser, V
from braindiffusion.diffusion.path import Node
from braindiffusion.errors import BrainDiffusionError
from oracles import Gaussian, normal

KINDS = [Eps(), X0(), V(), Flow(), Flow(to_data=True, time_scale=1000), Edm(0.5), Edm(1.3)]
NODES = [
    *path.vp().logsnr(5)[:-1],
    *path.edm().logsnr(5)[:-1],
    *path.flow().logsnr(5)[1:-1],
]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("node", NODES, ids=lambda n: f"{n.alpha:.3f},{n.sigma:.3f}")
def test_raw_and_x0_are_inverse(kind: denoise.Parametrisation, node: Node) -> None:
    x0, noise = normal(2, 1, 4, 4, 4), normal(2, 1, 4, 4, 4, seed=1)
    x = node.alpha * x0 + node.sigma * noise
    scale = max(1.0, node.ratio)  # eps at high noise carries x0 in its last digits
    assert torch.allclose(kind.to_x0(kind.from_x0(x0, x, node), x, node), x0, atol=1e-12 * scale)
    raw = normal(2, 1, 4, 4, 4, seed=2)
    back = kind.from_x0(kind.to_x0(raw, x, node), x, node)
    assert torch.allclose(back, raw, atol=1e-12 * max(scale, 1 / node.ratio))


@pytest.mark.parametrize("node", NODES, ids=lambda n: f"{n.alpha:.3f},{n.sigma:.3f}")
def test_targets_are_what_their_names_say(node: Node) -> None:
    x0, noise = normal(3, 5), normal(3, 5, seed=1)
    x = node.alpha * x0 + node.sigma * noise
    tight = {"atol": 1e-10 / min(node.sigma, 1)}
    assert torch.allclose(Eps().from_x0(x0, x, node), noise, **tight)
    assert torch.allclose(V().from_x0(x0, x, node), node.alpha * noise - node.sigma * x0, **tight)
    assert torch.allclose(Flow().from_x0(x0, x, node), noise - x0, **tight)
    assert torch.allclose(Flow(to_data=True).from_x0(x0, x, node), x0 - noise, **tight)


def test_optimal_noise_of_gaussian_data() -> None:
    """methods.md A02 (g): eps* = sqrt(1 - abar) (x - sqrt(abar) mu) / (abar lambda + 1 - abar)."""
    data, x = Gaussian(), normal(50)
    for node in path.vp().logsnr(6)[:-1]:
        bar = node.alpha**2
        expected = math.sqrt(1 - bar) * (x - math.sqrt(bar) * data.mean) / (bar * data.std**2 + 1 - bar)
        assert torch.allclose(Eps().from_x0(data(x, node), x, node), expected, atol=1e-10)


def test_edm_scalings_are_the_papers() -> None:
    data = 0.5
    for sigma in (0.002, 0.3, 80.0):
        node = Node(1.0, sigma, sigma)
        c_skip, c_out, c_in = Edm(data).scalings(node)
        assert c_skip == pytest.approx(data**2 / (sigma**2 + data**2), rel=1e-14)
        assert c_out == pytest.approx(sigma * data / math.sqrt(sigma**2 + data**2), rel=1e-14)
        assert c_in == pytest.approx(1 / math.sqrt(sigma**2 + data**2), rel=1e-14)
        assert Edm(data).time(node) == pytest.approx(math.log(sigma) / 4, rel=1e-12)


@pytest.mark.parametrize("node", NODES, ids=lambda n: f"{n.alpha:.3f},{n.sigma:.3f}")
def test_edm_input_and_target_have_unit_variance(node: Node) -> None:
    edm, x0, noise = Edm(0.5), 0.5 * normal(40000), normal(40000, seed=1)
    x = node.alpha * x0 + node.sigma * noise
    assert float((edm.scale_in(node) * x).std()) == pytest.approx(1, abs=0.02)
    assert float(edm.from_x0(x0, x, node).std()) == pytest.approx(1, abs=0.02)


def test_edm_is_finite_at_pure_noise() -> None:
    c_skip, c_out, c_in = Edm(0.5).scalings(path.flow().start)
    assert (c_skip, c_out, c_in) == (0.0, 0.5, 1.0)
    with pytest.raises(BrainDiffusionError, match="pure noise"):
        Edm(0.5).time(path.flow().start)
    with pytest.raises(BrainDiffusionError, match="predicts noise"):
        Eps().to_x0(normal(2), normal(2), path.flow().start)
    raw = normal(2)
    for kind in (X0(), V(), Flow()):
        assert torch.isfinite(kind.to_x0(raw, normal(2, seed=1), path.flow().start)).all()


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_one_noise_level_for_each_sample(kind: denoise.Parametrisation) -> None:
    """Training noises each sample of a batch differently: the same formulas with tensors for scalars."""
    nodes = path.vp().logsnr(4)[:-1]
    x, raw = normal(4, 1, 3, 3, 3), normal(4, 1, 3, 3, 3, seed=1)
    shape = (4, 1, 1, 1, 1)
    columns = ([getattr(n, name) for n in nodes] for name in ("alpha", "sigma", "t"))
    batch = Node(*(torch.tensor(c, dtype=torch.float64).reshape(shape) for c in columns))  # type: ignore[arg-type]
    together = kind.to_x0(raw, x, batch)
    for i, node in enumerate(nodes):
        assert torch.allclose(together[i], kind.to_x0(raw[i], x[i], node), atol=1e-12)
        times = torch.as_tensor(kind.time(batch)).reshape(-1)
        assert float(times[i]) == pytest.approx(kind.time(node), rel=1e-12)


@pytest.mark.parametrize("kind", [k for k in KINDS if not isinstance(k, Eps | Edm)], ids=repr)
def test_a_wrapped_network_samples_as_the_denoiser_itself(kind: denoise.Parametrisation) -> None:
    """The wrapper undoes the parametrisation exactly, also from alpha = 0."""
    data, nodes = Gaussian(), path.flow().uniform_t(8)
    by_time = {float(torch.tensor(kind.time(n), dtype=torch.float32)): n for n in nodes}

    def net(x_in: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        node = by_time[float(time[0])]
        x = x_in / kind.scale_in(node)
        return kind.from_x0(data(x, node), x, node)

    x = normal(5, 1, 2, 2, 2)
    wrapped = NetDenoiser(net, kind, call=denoise.call_with_time)
    straight = solve.run(solve.dpmpp2m(data, x, nodes)).x
    assert torch.allclose(solve.run(solve.dpmpp2m(wrapped, x, nodes)).x, straight, atol=1e-10)


def test_the_network_is_asked_as_the_contract_says() -> None:
    seen = {}

    def net(x_in, time, guide, hole, has_guide, covariates, known, real):
        seen.update(locals())
        return torch.zeros_like(x_in, dtype=torch.bfloat16)

    node = Node(1.0, 2.0, 2.0)
    cond = Cond(torch.tensor([[0.3], [0.4]]), torch.tensor([[True], [False]]), torch.tensor([1.0, 0.0]))
    x = normal(2, 1, 4, 4, 4).float()
    x0 = NetDenoiser(net, Edm(0.5))(x, node, cond)
    assert x0.dtype == torch.float32  # whatever the network computes in
    assert torch.allclose(x0, x * 0.25 / 4.25)
    assert torch.allclose(seen["x_in"], x / math.sqrt(4.25))
    assert seen["time"].shape == (2,) and seen["time"].dtype == torch.float32
    assert seen["time"].tolist() == pytest.approx([math.log(2) / 4] * 2)
    assert seen["guide"].shape == seen["hole"].shape == x.shape and not seen["guide"].any()
    assert seen["has_guide"].tolist() == [0, 0] and seen["real"].tolist() == [1, 0]
    assert seen["covariates"].tolist() == [[pytest.approx(0.3)], [0.0]]
    assert seen["known"].tolist() == [[True], [False]]


def test_combine_predicts_the_change_to_a_guide() -> None:
    guide = normal(1, 1, 4, 4, 4)
    cond = Cond(torch.zeros(1, 0), torch.zeros(1, 0, dtype=torch.bool), torch.ones(1)).with_guide(guide)
    denoiser = NetDenoiser(
        lambda x_in, *rest: torch.zeros_like(x_in),
        Edm(0.5),
        combine=lambda raw, x, node, cond: cond.guide + raw,
    )
    assert torch.equal(denoiser(normal(1, 1, 4, 4, 4), Node(1.0, 1.0, 1.0), cond), guide)


def test_parametrisations_by_name() -> None:
    assert denoise.parametrisation("edm", sigma_data=0.4) == Edm(0.4)
    assert denoise.parametrisation("flow", to_data=True, time_scale=1000) == Flow(True, 1000)
    with pytest.raises(BrainDiffusionError, match="choose from eps, x0, v, flow, edm"):
        denoise.parametrisation("score")
