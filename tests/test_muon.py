"""The optimiser: orthogonal steps, equal to torch's where torch has them."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from braindiffusion.training.muon import Muon, Optimiser, orthogonal
from oracles import seeded


@pytest.mark.parametrize("shape", [(24, 60), (60, 24)])
def test_every_direction_of_a_step_counts_alike(shape):
    matrix = torch.randn(shape, generator=seeded(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = orthogonal(matrix)
    assert torch.linalg.svdvals(turned).sub(1).abs().max() < 0.4
    along = (left.T @ turned @ right.T).diagonal()
    assert torch.allclose(along.norm(), turned.norm(), rtol=1e-3), "the directions of the matrix itself"


def test_a_matrix_moves_as_with_the_muon_of_torch():
    start, moves = torch.randn(24, 60, generator=seeded(0)), []
    for make in (
        lambda w: Muon([w], lr=0.01),
        lambda w: torch.optim.Muon([w], lr=0.01, weight_decay=1e-3, adjust_lr_fn="match_rms_adamw"),
    ):
        weight = nn.Parameter(start.clone())
        optimiser = make(weight)
        for step in range(3):
            weight.grad = torch.randn(24, 60, generator=seeded(step + 1))
            optimiser.step()
        moves.append(weight.detach() - start)
    assert (moves[0] - moves[1]).norm() < 0.02 * moves[1].norm(), "torch works in bfloat16"


def test_a_convolution_learns_and_goes_on_where_it_stopped():
    """Blurring three times: the state that was saved steps on as if nothing had happened."""
    x = torch.randn(4, 16, 8, 8, 8, generator=seeded(0))
    y = nn.functional.avg_pool3d(x, 3, 1, 1)

    def losses(net, optimiser, steps):
        for _ in range(steps):
            loss = (net(x) - y).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step(0.01)
            yield loss.item()

    torch.manual_seed(0)
    net = nn.Conv3d(16, 16, 3, padding=1)
    optimiser = Optimiser(net, 0.01)
    first = list(losses(net, optimiser, 40))
    assert first[-1] < 0.3 * first[0]
    copy = nn.Conv3d(16, 16, 3, padding=1)
    copy.load_state_dict(net.state_dict())
    resumed = Optimiser(copy, 0.5)
    resumed.load_state_dict(deepcopy(optimiser.state_dict()))
    assert list(losses(copy, resumed, 3)) == pytest.approx(list(losses(net, optimiser, 3)))
