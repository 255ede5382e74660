"""Solvers against exact scores: order, moments, inversion, invariance (methods.md A03-A06, A29)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from braindiffusion.diffusion import path
from braindiffusion.diffusion.noise import NoiseStream
from braindiffusion.diffusion.path import Grid, NoisePath, truncate
from braindiffusion.diffusion.solve import Step, ancestral, ddim, dpmpp2m, invert, q_sample, run, start
from braindiffusion.errors import BrainDiffusionError, Cancelled
from oracles import Gaussian, Mixture, many_modes, normal, order_of, rms, spread_along, two_modes

PATHS: dict[str, NoisePath] = {
    "vp": path.vp(),
    "edm": path.edm(),
    "flow": path.flow(),
    "cosine": path.vp("cosine"),
}
DATA = Gaussian()
MODES = two_modes()
SEEDS = (7, 3, 11)


def modes_along_last_axis(x: Tensor, node: path.Node, cond: object = None) -> Tensor:
    """The two-mode denoiser for any shape, each number on its own."""
    return MODES(x.reshape(-1, 1), node).reshape(x.shape)


# --- accuracy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [DATA, MODES], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
@pytest.mark.parametrize(("solver", "order"), [(ddim, 1), (dpmpp2m, 2)])
def test_order_of_convergence(data: Gaussian | Mixture, name: str, solver, order: int) -> None:
    """Error to the exact probability-flow map at the last noisy node, where all grids of a path meet."""
    p = path.edm(0.05, 80) if name == "edm" else PATHS[name]
    first = p.at_ratio(19.0) if name == "flow" else p.start
    x = q_sample(torch.tensor(DATA.mean, dtype=torch.float64), normal(200, 1), first)
    last = p.logsnr(2, start=first)[-2]
    exact = data.flow_map(x, first, last)
    steps = [40, 80, 160] if order == 2 else [100, 200, 400]
    errors = []
    for n in steps:
        walked = list(solver(data, x, p.logsnr(n, start=first)))
        errors.append(rms(walked[-2].x - exact))
    assert order_of(steps, errors) == pytest.approx(order, abs=0.3)
    assert errors[-1] < {1: 0.02, 2: 1e-3}[order]


def test_second_order_on_uneven_steps() -> None:
    """On Karras's grid neighbouring steps differ in length, so the extrapolation has to weigh them."""
    p, x, steps = path.edm(0.05, 80), 80 * normal(200, 1), [40, 80, 160]
    grids = [p.karras(n) for n in steps]
    errors = [rms(list(dpmpp2m(DATA, x, g))[-2].x - DATA.flow_map(x, g[0], g[-2])) for g in grids]
    assert order_of(steps, errors) == pytest.approx(2, abs=0.3)


def test_few_steps_reach_what_stock_ddim_needs_fifty_for() -> None:
    """engine.md 3.1: 0.0298 is MONAI 1.6.1's DDIM-50 on such a mixture."""
    data, p = many_modes(), path.vp("scaled_linear")
    x = p.start.sigma * normal(8, 256)
    exact = data.flow_map(x, p.start, p.node(0))
    error = {n: rms(run(dpmpp2m(data, x, p.logsnr(n))).x - exact) for n in (6, 10)}
    assert error[6] < 0.0298 and error[10] < 0.005
    assert rms(run(ddim(data, x, p.leading(50))).x - exact) > error[6]


@pytest.mark.parametrize("name", PATHS)
def test_moments_of_deterministic_samples(name: str) -> None:
    p = PATHS[name]
    nodes = p.logsnr(40)
    x = run(dpmpp2m(MODES, start(normal(20000, 1), nodes[0]), nodes)).x
    assert float(x.mean()) == pytest.approx(0.75, abs=0.03)
    assert float(x.std()) == pytest.approx(math.sqrt(0.3**2 + 0.21 * 2.5**2), abs=0.02)
    assert float((x < 0.1).double().mean()) == pytest.approx(0.3, abs=0.012)


@pytest.mark.parametrize("name", PATHS)
def test_moments_of_ancestral_samples(name: str) -> None:
    nodes, stream = PATHS[name].logsnr(150), NoiseStream(tuple(range(80)))
    x = start(stream.start((100,)).double(), nodes[0])
    x = run(ancestral(modes_along_last_axis, x, nodes, noise=stream)).x
    assert float(x.mean()) == pytest.approx(0.75, abs=0.05)
    assert float(x.std()) == pytest.approx(math.sqrt(0.3**2 + 0.21 * 2.5**2), abs=0.04)
    assert float((x < 0.1).double().mean()) == pytest.approx(0.3, abs=0.025)


@pytest.mark.parametrize("grid", ["logsnr", "karras", "uniform_t"])
@pytest.mark.parametrize("solver", [dpmpp2m, ddim])
def test_rectified_flow_from_pure_noise(grid: str, solver) -> None:
    nodes = getattr(path.flow(), grid)(40)
    assert nodes[0].alpha == 0
    steps = list(solver(DATA, normal(20000), nodes))
    assert all(torch.isfinite(s.x).all() and torch.isfinite(s.x0).all() for s in steps)
    assert float(steps[-1].x.mean()) == pytest.approx(0.3, abs=0.005)
    tolerance = 0.005 if solver is dpmpp2m else 0.03
    assert float(steps[-1].x.std()) == pytest.approx(0.2, abs=tolerance)
    assert float(steps[0].x0.std()) < 1e-15  # at alpha = 0 the expected image is the mean


def test_stochastic_solvers_start_from_pure_noise_too() -> None:
    nodes, stream = path.flow().logsnr(100), NoiseStream((1, 2))
    for steps in (
        ancestral(DATA, stream.start((20000,)).double(), nodes, noise=stream),
        ddim(DATA, stream.start((20000,)).double(), nodes, eta=1.0, noise=stream),
    ):
        assert float(run(steps).x.std()) == pytest.approx(0.19, abs=0.01)


# --- respacing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "std"), [(100, 0.188), (50, 0.176), (20, 0.145), (10, 0.105)])
def test_ddim_spread_is_the_predicted_one(n: int, std: float) -> None:
    """methods.md A05 (g): the shrinkage of DDIM, where the truth is 0.200."""
    nodes = PATHS["vp"].leading(n)  # type: ignore[attr-defined]
    assert spread_along(DATA, nodes, 0) == pytest.approx(std, abs=5e-4)
    sampled = float(run(ddim(DATA, normal(20000), nodes)).x.std())
    assert sampled == pytest.approx(std, abs=0.003)


def test_ancestral_respaces_with_the_step_that_was_kept() -> None:
    """methods.md A03 (g): 0.175 at 100 of 1000 steps; t - 1 as predecessor, as MONAI does, gives 0.74."""
    nodes, stream = PATHS["vp"].leading(100), NoiseStream(tuple(range(50)))  # type: ignore[attr-defined]
    x = run(ancestral(DATA, stream.start((400,)).double(), nodes, noise=stream)).x
    assert spread_along(DATA, nodes, 1) == pytest.approx(0.175, abs=5e-4)
    assert float(x.std()) == pytest.approx(0.175, abs=0.005)
    assert float(x.mean()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("name", PATHS)
def test_ddim_with_eta_one_is_the_ancestral_chain(name: str) -> None:
    nodes, stream = PATHS[name].logsnr(20), NoiseStream(SEEDS)
    x = start(stream.start((64,)).double(), nodes[0])
    chain = zip(
        ancestral(DATA, x, nodes, noise=stream), ddim(DATA, x, nodes, eta=1.0, noise=stream), strict=True
    )
    for one, other in chain:
        assert torch.allclose(one.x, other.x, rtol=1e-9, atol=1e-9)


def test_large_variance_is_that_of_the_forward_step() -> None:
    """With all 1000 steps beta and beta tilde agree in the end; with few, large leaves too much noise."""
    vp, stream = path.vp(), NoiseStream((1,))
    nodes = vp.leading(1000)
    x0 = DATA(x := normal(1, 8), nodes[500])
    node, after = nodes[500], nodes[501]
    step = next(iter(ancestral(DATA, x, nodes[500:], noise=stream, variance="large")))
    beta = float(vp.betas[int(node.t)])
    mean = (x - beta / node.sigma * ((x - node.alpha * x0) / node.sigma)) / math.sqrt(
        1 - beta
    )  # Ho 2020, alg. 2
    assert torch.allclose(step.x, mean + math.sqrt(beta) * stream.at(1, x), atol=1e-10)
    small = next(iter(ancestral(DATA, x, nodes[500:], noise=stream)))
    tilde = beta * after.sigma**2 / node.sigma**2
    assert torch.allclose(small.x, mean + math.sqrt(tilde) * stream.at(1, x), atol=1e-10)


# --- inversion ------------------------------------------------------------------------------------


def round_trip(data: Gaussian | Mixture, x0: Tensor, nodes: Grid, order: int) -> float:
    solver = ddim if order == 1 else dpmpp2m
    code = run(invert(data, x0, nodes, order=order)).x  # type: ignore[arg-type]
    return rms(run(solver(data, code, nodes)).x - x0)


def test_ddim_inversion_is_no_worse_than_the_reference() -> None:
    """methods.md A06 (d): data of std 0.2, L = 500 of 1000, and the error falls as 1 / N."""
    x0 = DATA.mean + DATA.std * normal(500)
    reference = {10: 1.0e-1, 50: 2.6e-2, 100: 1.4e-2, 250: 5.8e-3}
    errors = {n: round_trip(DATA, x0, truncate(path.vp().leading(2 * n), 0.5), 1) for n in reference}
    assert all(errors[n] <= reference[n] for n in reference)
    assert order_of([50, 100, 250], [errors[n] for n in (50, 100, 250)]) == pytest.approx(1, abs=0.1)


def test_inversion_finds_the_exact_code() -> None:
    """The code itself, not only the way back, converges to the closed form as 1 / N."""
    p, x0 = path.vp(), DATA.mean + DATA.std * normal(500)
    errors, steps = [], [10, 25, 50, 125]
    for n in steps:
        nodes = truncate(p.leading(2 * n), 0.5)
        code = run(invert(DATA, x0, nodes, order=1)).x
        errors.append(rms(code - DATA.flow_map(x0, p.clean, nodes[0])))
    assert order_of(steps, errors) == pytest.approx(1, abs=0.15)
    second = path.edm().logsnr(60)
    code = run(invert(DATA, x0, second)).x
    assert rms(code / DATA.flow_map(x0, path.edm().clean, second[0]) - 1) < 0.02


def test_second_order_inversion_is_fifty_times_more_faithful() -> None:
    """engine.md 3.1 (d): MONAI's reversed_step and step leave 0.068 / 0.041 at 50 / 100 evaluations."""
    data, p = many_modes(), path.vp("scaled_linear")
    x0, half = data.sample(8, 1), p.node(499)
    assert round_trip(data, x0, p.logsnr(20, start=half), 2) < 0.109 / 50
    assert round_trip(data, x0, p.logsnr(50, start=half), 2) < 0.068 / 50
    assert round_trip(data, x0, p.logsnr(50, start=half), 1) < 0.041


def test_inversion_never_clips() -> None:
    data, nodes = Gaussian(1.2, 0.1), path.edm().logsnr(50, start=path.edm().at_ratio(1.0))
    x0 = torch.tensor([1.1, 1.3, -4.0], dtype=torch.float64)
    code = run(invert(data, x0, nodes)).x
    assert torch.allclose(run(dpmpp2m(data, code, nodes)).x, x0, atol=2e-3)


def test_inversion_reaches_alpha_zero() -> None:
    nodes = path.flow().logsnr(60)
    steps = list(invert(DATA, DATA.mean + DATA.std * normal(2000), nodes))
    assert len(steps) == 60 and all(torch.isfinite(s.x).all() for s in steps)
    assert float(steps[-1].x.std()) == pytest.approx(1, abs=0.06)


# --- partial diffusion ----------------------------------------------------------------------------


def test_partial_diffusion_changes_more_the_more_noise_there_is() -> None:
    """methods.md A29 (g): next to nothing at L -> 0, independent of the input at L = T."""
    p, x0 = path.edm(), MODES.sample(2000, 2)
    distance, likeness = [], []
    for ratio in (0.01, 0.1, 0.3, 1.0, 3.0, 80.0):
        first = p.at_ratio(ratio)
        nodes = p.logsnr(20, start=first)
        x = run(dpmpp2m(MODES, q_sample(x0, normal(2000, 1, seed=3), first), nodes)).x
        distance.append(rms(x - x0))
        likeness.append(float(torch.corrcoef(torch.cat([x, x0], 1).T)[0, 1]))
    assert distance == sorted(distance) and distance[0] < 0.011
    assert abs(likeness[-1]) < 0.06 < 0.99 < likeness[0]


# --- behaviour ------------------------------------------------------------------------------------


def solved(name: str, seeds: tuple[int, ...], nodes: Grid) -> Tensor:
    stream = NoiseStream(seeds)
    x = start(stream.start((1, 4, 4, 8)), nodes[0])
    solvers = {
        "dpmpp2m": lambda: dpmpp2m(DATA, x, nodes),
        "ddim": lambda: ddim(DATA, x, nodes),
        "ddim eta": lambda: ddim(DATA, x, nodes, eta=0.7, noise=stream),
        "ancestral": lambda: ancestral(DATA, x, nodes, noise=stream),
        "invert": lambda: invert(DATA, x, nodes),
    }
    return run(solvers[name]()).x


@pytest.mark.parametrize("name", ["dpmpp2m", "ddim", "ddim eta", "ancestral", "invert"])
def test_same_seed_same_voxels_in_any_batch(name: str) -> None:
    nodes = path.edm().logsnr(12)
    batch = solved(name, SEEDS, nodes)
    assert batch.dtype == torch.float32
    assert torch.equal(batch, solved(name, SEEDS, nodes))
    assert torch.equal(batch.flip(0), solved(name, SEEDS[::-1], nodes))
    for i, seed in enumerate(SEEDS):
        assert torch.equal(batch[i], solved(name, (seed,), nodes)[0])
    assert not torch.equal(batch[0], batch[1])


@pytest.mark.parametrize("solver", [dpmpp2m, ddim, invert])
def test_no_state_outlives_a_run(solver) -> None:
    nodes, x = path.edm().karras(10), normal(3, 8)
    fresh = run(solver(DATA, x, nodes)).x
    one, other = solver(DATA, x, nodes), solver(DATA, 2 * x, nodes)
    for _ in range(10):  # two runs in step do not see each other
        (a, _b) = next(one), next(other)
    assert torch.equal(a.x, fresh)
    abandoned = solver(DATA, x, nodes)
    next(abandoned)
    abandoned.close()
    assert torch.equal(run(solver(DATA, x, nodes)).x, fresh)


def test_each_step_is_one_evaluation_with_its_node_and_conditions() -> None:
    asked = []

    def denoiser(x: Tensor, node: path.Node, cond: object) -> Tensor:
        asked.append((node, cond))
        return DATA(x, node)

    nodes, stream = path.edm().logsnr(6), NoiseStream((1,))
    for steps in (
        dpmpp2m(denoiser, normal(1, 4), nodes, "told"),
        ddim(denoiser, normal(1, 4), nodes, "told"),
        ancestral(denoiser, normal(1, 4), nodes, "told", noise=stream),
    ):
        asked.clear()
        seen = [(s.i, s.n) for s in steps]
        assert seen == [(i, 6) for i in range(1, 7)]
        assert asked == [(node, "told") for node in nodes[:-1]]
    asked.clear()
    assert run(invert(denoiser, normal(1, 4), nodes, "told")).n == 6
    assert [node for node, _ in asked] == [nodes[-2], *nodes[-2:0:-1]]


def test_the_last_state_is_the_last_expected_image() -> None:
    for steps in (
        dpmpp2m(DATA, normal(9), path.edm().logsnr(5)),
        ddim(DATA, normal(9), path.flow().uniform_t(5)),
    ):
        last = run(steps)
        assert torch.equal(last.x, last.x0)


def test_a_callback_can_cancel_and_the_solver_stops() -> None:
    calls = []

    def on_step(step: Step) -> None:
        calls.append(step.i)
        if step.i == 3:
            raise Cancelled("Stopped by the user.")

    with pytest.raises(Cancelled):
        run(dpmpp2m(DATA, normal(4), path.edm().logsnr(50)), on_step)
    assert calls == [1, 2, 3]


def test_gradients_are_off_inside_and_as_before_outside() -> None:
    def denoiser(x: Tensor, node: path.Node, cond: object) -> Tensor:
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad((leaf**2).sum(), leaf)
        return DATA(x, node) + 0 * slope

    for step in dpmpp2m(denoiser, normal(4), path.edm().logsnr(4)):
        assert torch.is_grad_enabled() and not step.x.requires_grad


def test_the_input_is_left_as_it_was() -> None:
    x = normal(3, 4)
    before, nodes, stream = x.clone(), path.edm().logsnr(5), NoiseStream(SEEDS)
    for steps in (dpmpp2m(DATA, x, nodes), invert(DATA, x, nodes), ancestral(DATA, x, nodes, noise=stream)):
        run(steps)
    assert torch.equal(x, before)


def test_what_cannot_be_solved_is_refused() -> None:
    with pytest.raises(BrainDiffusionError, match="needs a noise stream"):
        run(ddim(DATA, normal(2), path.edm().logsnr(3), eta=0.5))
    with pytest.raises(BrainDiffusionError, match="from more noise to less"):
        run(dpmpp2m(DATA, normal(2), path.edm().logsnr(3)[::-1]))
    with pytest.raises(BrainDiffusionError, match="no step"):
        run(iter(()))
