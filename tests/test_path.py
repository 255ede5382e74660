"""Noise paths: tables, nodes, grids and the composition of their kernels (methods.md A01, A09)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from braindiffusion.diffusion import path
from braindiffusion.diffusion.path import Node
from braindiffusion.errors import BrainDiffusionError

PATHS = {
    "linear": path.vp("linear"),
    "scaled_linear": path.vp("scaled_linear"),
    "cosine": path.vp("cosine"),
    "edm": path.edm(),
    "flow": path.flow(),
    "shifted flow": path.flow(shift=3.0),
}
GRIDS = ("logsnr", "karras", "uniform_t")


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_grids_are_strict_and_end_clean(name: str, grid: str, n: int) -> None:
    nodes = getattr(PATHS[name], grid)(n)
    assert len(nodes) == n + 1
    assert all(a.lam < b.lam and a.t > b.t for a, b in pairwise(nodes))
    assert (nodes[-1].alpha, nodes[-1].sigma) == (1.0, 0.0) and nodes[-1].lam == math.inf
    assert nodes[0] == PATHS[name].start
    assert all(type(v) is float for node in nodes for v in (node.alpha, node.sigma, node.t))


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 50, 333, 1000])
def test_legacy_spacings_are_strict_whole_steps(spacing: str, n: int) -> None:
    nodes = getattr(PATHS["linear"], spacing)(n)
    assert len(nodes) == n + 1
    assert all(a.t > b.t for a, b in pairwise(nodes))
    assert all(node.t.is_integer() for node in nodes)


@pytest.mark.parametrize("name", PATHS)
def test_nodes_lie_on_the_path_and_ratio_finds_them(name: str) -> None:
    p = PATHS[name]
    for node in p.logsnr(23)[1:-1]:
        again = p.node(node.t)
        assert again.alpha == pytest.approx(node.alpha, rel=1e-9)
        assert again.sigma == pytest.approx(node.sigma, rel=1e-9)
        assert p.at_ratio(node.ratio).t == pytest.approx(node.t, rel=1e-9)
        if name in ("linear", "scaled_linear", "cosine"):
            assert node.alpha**2 + node.sigma**2 == pytest.approx(1, abs=1e-14)
        elif name == "edm":
            assert node.alpha == 1 and node.sigma == node.t
        else:
            assert node.alpha + node.sigma == pytest.approx(1, abs=1e-14)


def test_log_ratio_is_interpolated_between_steps() -> None:
    p = PATHS["linear"]
    between = p.node(400.25)
    expected = 0.75 * p.node(400).lam + 0.25 * p.node(401).lam
    assert between.lam == pytest.approx(expected, abs=1e-12)


def test_alphas_bar_falls_and_ends_in_noise() -> None:
    for name in ("linear", "scaled_linear", "cosine"):
        bar = PATHS[name].alphas_bar
        assert bar.dtype == np.float64 and (np.diff(bar) < 0).all()
        assert math.sqrt(bar[-1]) < 0.021
    demo = path.vp("scaled_linear", first=5e-4, last=0.0195)
    halves = [round(float(p.alphas_bar[499]), 3) for p in (PATHS["linear"], demo, PATHS["scaled_linear"])]
    assert halves == [0.079, 0.228, 0.109]  # "L = 500" is different noise on different schedules


def test_uk_biobank_schedule() -> None:
    p = PATHS["scaled_linear"]
    assert p.alphas_bar[999] == pytest.approx(1.0e-4, rel=0.05)
    assert p.ratio_range == pytest.approx((0.0388, 101.58), rel=2e-3)


@pytest.mark.parametrize("name", PATHS)
def test_one_step_kernels_compose_to_the_jump(name: str) -> None:
    """q(x_t | x_0) is the chain of its forward steps, in mean and in variance."""
    mean, var = 1.0, 0.0
    nodes = PATHS[name].logsnr(40)[::-1]
    for node, after in pairwise(nodes):
        keep = after.alpha / node.alpha
        mean *= keep
        var = keep**2 * var + (after.sigma**2 - (keep * node.sigma) ** 2)
    assert mean == pytest.approx(nodes[-1].alpha, abs=1e-12)
    assert var == pytest.approx(nodes[-1].sigma ** 2, rel=1e-12)


def test_betas_are_the_kernels_of_their_table() -> None:
    p = PATHS["linear"]
    for t in (1, 400, 999):
        keep = p.node(t).alpha / p.node(t - 1).alpha
        assert 1 - keep**2 == pytest.approx(p.betas[t], rel=1e-9)
        assert p.node(t).sigma ** 2 - (keep * p.node(t - 1).sigma) ** 2 == pytest.approx(p.betas[t], rel=1e-9)


def test_karras_follows_the_paper() -> None:
    n, rho, low, high = 18, 7.0, 0.002, 80.0
    i = np.arange(n)
    paper = (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    assert [node.sigma for node in path.edm().karras(n)[:-1]] == pytest.approx(paper.tolist(), rel=1e-12)


def test_logsnr_is_uniform_in_lam() -> None:
    steps = np.diff([node.lam for node in path.edm().logsnr(30)[:-1]])
    assert steps == pytest.approx(np.full(29, steps[0]), rel=1e-9)


def test_flow_starts_at_alpha_zero() -> None:
    nodes = path.flow().logsnr(10)
    assert (nodes[0].alpha, nodes[0].sigma) == (0.0, 1.0)
    assert nodes[0].lam == -math.inf and nodes[0].ratio == math.inf
    assert all(math.isfinite(node.lam) for node in nodes[1:-1])


def test_flow_steps_sum_to_one_and_shift_bends_them() -> None:
    plain, shifted = path.flow().uniform_t(30), path.flow(3.0).uniform_t(30)
    assert -sum(b.t - a.t for a, b in pairwise(plain)) == pytest.approx(1, abs=1e-15)
    assert np.diff([n.t for n in plain]) == pytest.approx(np.full(30, -1 / 30))
    u = np.array([n.t for n in plain])
    assert [n.t for n in shifted] == pytest.approx((3 * u / (1 + 2 * u)).tolist())
    assert path.flow(3.0).node(0.4) == path.flow().node(0.4)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_grid_starts_where_it_is_told(name: str, grid: str) -> None:
    p = PATHS[name]
    first = p.at_ratio(0.7)
    nodes = getattr(p, grid)(8, start=first)
    assert nodes[0] == first and len(nodes) == 9
    assert nodes[1].ratio < 0.7


def test_truncate_keeps_the_tail() -> None:
    nodes = path.vp().leading(20)
    assert path.truncate(nodes, 1.0) == nodes
    assert path.truncate(nodes, 0.5) == nodes[10:]
    assert path.truncate(nodes, 0.001) == nodes[-2:]
    for strength in (0.0, -0.5, 1.1, math.nan):
        with pytest.raises(BrainDiffusionError, match="Strength"):
            path.truncate(nodes, strength)


def test_zero_terminal_snr_keeps_finite_grids() -> None:
    betas = path.linear_betas()
    betas[-1] = 1.0
    p = path.VariancePreserving(betas)
    assert p.start.alpha == 0 and math.isfinite(p.ratio_range[1])
    assert [n.alpha for n in p.logsnr(5)][0] == 0
    assert all(math.isfinite(n.lam) for n in p.trailing(10)[1:-1])


def test_paths_by_name() -> None:
    assert path.from_spec({"kind": "edm", "sigma_max": 40}).start.sigma == 40
    assert path.from_spec({"kind": "flow", "shift": 2}) == path.flow(2)
    vp = path.from_spec({"kind": "vp", "schedule": "linear", "steps": 100})
    assert isinstance(vp, path.VariancePreserving) and vp.steps == 100
    with pytest.raises(BrainDiffusionError, match="choose from vp, edm, flow"):
        path.from_spec({"kind": "cold"})
    with pytest.raises(BrainDiffusionError, match="noise schedule 'sigmoid'"):
        path.vp("sigmoid")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: path.edm().logsnr(0),
        lambda: path.vp().leading(1001),
        lambda: path.vp().node(1000),
        lambda: path.vp().node(-0.5),
        lambda: path.vp().at_ratio(1e4),
        lambda: path.edm().at_ratio(81),
        lambda: path.flow().node(1.5),
        lambda: path.edm().logsnr(3, start=Node(1.0, 0.001, 0.001)),
        lambda: path.edm(2.0, 1.0),
        lambda: path.flow(shift=0),
        lambda: path.VariancePreserving([0.1, 1.5]),
        lambda: path.checked(path.edm().logsnr(4)[::-1]),
        lambda: path.checked(path.edm().logsnr(4)[:-1]),
        lambda: path.vp().leading(10, offset=150),
    ],
)
def test_what_lies_off_the_path_is_refused(wrong) -> None:
    with pytest.raises(BrainDiffusionError) as refused:
        wrong()
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("linear", "linear"), ("scaled_linear", "scaled_linear"), ("cosine", "squaredcos_cap_v2")],
)
def test_tables_equal_diffusers(ours: str, theirs: str) -> None:
    library = pytest.importorskip("diffusers", reason="diffusers comes with the test extra only")
    first, last = (0.0015, 0.0205) if ours == "scaled_linear" else (1e-4, 0.02)
    scheduler = library.DDPMScheduler(beta_schedule=theirs, beta_start=first, beta_end=last)
    assert PATHS[ours].alphas_bar == pytest.approx(scheduler.alphas_cumprod.numpy(), rel=2e-4, abs=1e-7)


def test_karras_sigmas_equal_diffusers() -> None:
    library = pytest.importorskip("diffusers", reason="diffusers comes with the test extra only")
    scheduler = library.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0)
    scheduler.set_timesteps(18)
    assert [n.sigma for n in path.edm().karras(18)] == pytest.approx(scheduler.sigmas.tolist(), rel=1e-5)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("n", [7, 10, 50])
def test_legacy_spacings_equal_diffusers(spacing: str, n: int) -> None:
    library = pytest.importorskip("diffusers", reason="diffusers comes with the test extra only")
    scheduler = library.DDIMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(n)
    assert [node.t for node in getattr(path.vp(), spacing)(n)[:-1]] == scheduler.timesteps.tolist()


def test_leading_offset_equals_diffusers() -> None:
    library = pytest.importorskip("diffusers", reason="diffusers comes with the test extra only")
    scheduler = library.DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    scheduler.set_timesteps(50)
    assert [node.t for node in path.vp().leading(50, offset=1)[:-1]] == scheduler.timesteps.tolist()
