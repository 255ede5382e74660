"""Solvers equal diffusers where diffusers is right, and deviate where it is not (engine.md 4)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from braindiffusion.diffusion import path
from braindiffusion.diffusion.solve import ddim, dpmpp2m, run
from oracles import Gaussian, normal, spread_along, two_modes

DATA = Gaussian()
MODES = two_modes()


def theirs(scheduler, x: Tensor, denoiser, alpha_sigma) -> Tensor:
    """Walks a diffusers scheduler with the noise that `denoiser` means at each of its timesteps."""
    for t in scheduler.timesteps:
        node = alpha_sigma(t)
        eps = (x - node.alpha * denoiser(x, node)) / node.sigma
        x = scheduler.step(eps, t, x).prev_sample
    return x


def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers comes with the test extra only")


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_equals_diffusers(spacing: str) -> None:
    p = path.vp("scaled_linear")
    scheduler = diffusers().DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0205,
        beta_schedule="scaled_linear",
        clip_sample=False,
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(20)
    x = normal(200, 1)
    expected = theirs(scheduler, x, MODES, lambda t: p.node(float(t)))
    assert torch.allclose(run(ddim(MODES, x, getattr(p, spacing)(20))).x, expected, atol=2e-4)


def test_ddim_deviates_from_diffusers_where_its_stride_is_wrong() -> None:
    """Their linspace steps back by T // n instead of to the next step of the grid; ours does not."""
    p = path.vp()
    scheduler = diffusers().DDIMScheduler(
        beta_start=1e-4, beta_end=0.02, clip_sample=False, timestep_spacing="linspace"
    )
    scheduler.set_timesteps(10)
    stock = theirs(scheduler, normal(20000), DATA, lambda t: p.node(float(t)))
    ours = run(ddim(DATA, normal(20000), p.linspace(10))).x
    assert float(ours.std()) == pytest.approx(spread_along(DATA, p.linspace(10), 0), abs=0.002)
    assert abs(float(stock.std()) - float(ours.std())) > 0.01


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_dpmpp2m_equals_diffusers(spacing: str) -> None:
    p = path.vp()
    scheduler = diffusers().DPMSolverMultistepScheduler(
        beta_start=1e-4, beta_end=0.02, timestep_spacing=spacing, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(20)
    nodes = (*(p.node(float(t)) for t in scheduler.timesteps), p.clean)
    x = normal(200, 1)
    expected = theirs(scheduler, x, MODES, lambda t: p.node(float(t)))
    assert torch.allclose(run(dpmpp2m(MODES, x, nodes)).x, expected, atol=2e-4)


def test_dpmpp2m_equals_the_edm_scheduler_of_diffusers() -> None:
    scheduler = diffusers().EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    scheduler.set_timesteps(18)
    nodes = path.edm().karras(18)
    x = expected = 80.0 * normal(200, 1)
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        node = path.Node(1.0, float(sigma), float(sigma))
        raw = (MODES(expected, node) - scheduler.precondition_outputs(expected, 0 * expected, sigma)) / (
            sigma * 0.5 / (sigma**2 + 0.25) ** 0.5
        )
        expected = scheduler.step(raw, t, expected).prev_sample
    assert torch.allclose(run(dpmpp2m(MODES, x, nodes)).x, expected, atol=1e-3)


def test_euler_on_a_flow_is_ddim() -> None:
    """diffusers' flow matching; MONAI's truncates its time to whole numbers instead (engine.md 4, row 5)."""
    scheduler = diffusers().FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20))
    nodes = path.flow(3.0).uniform_t(20)
    assert [n.t for n in nodes] == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)
    x = expected = normal(200, 1)
    for t, node in zip(scheduler.timesteps, nodes, strict=False):
        velocity = (
            expected - MODES(expected, node)
        ) / node.sigma  # noise - x0 = (x - x0) / sigma on this path
        expected = scheduler.step(velocity, t, expected).prev_sample
    assert torch.allclose(run(ddim(MODES, x, nodes)).x, expected.double(), atol=1e-4)
