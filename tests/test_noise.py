"""The same seed gives the same noise, bit for bit, whatever else is in the batch (design.md 2)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braindiffusion.diffusion.noise import LARGEST_SEED, NoiseStream, gaussian
from braindiffusion.errors import BrainDiffusionError

SHAPE = (1, 12, 10, 8)


def test_a_sample_depends_on_its_seed_alone() -> None:
    batch = gaussian(SHAPE, [7, 3, 11])
    assert batch.shape == (3, *SHAPE) and batch.dtype == torch.float32 and batch.device.type == "cpu"
    for i, seed in enumerate([7, 3, 11]):
        assert torch.equal(batch[i : i + 1], gaussian(SHAPE, [seed]))
    assert torch.equal(batch[[2, 0]], gaussian(SHAPE, [11, 7]))
    assert not torch.equal(batch[0], batch[1])


def test_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = gaussian(SHAPE, [5])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(gaussian(SHAPE, [5]), first)


def test_it_is_torchs_own_noise_of_that_seed() -> None:
    expected = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(42))
    assert torch.equal(gaussian(SHAPE, [42])[0], expected)


def test_threads_do_not_matter() -> None:
    threads = torch.get_num_threads()
    alone = gaussian((1, 40, 40, 40), [9])
    torch.set_num_threads(1 if threads > 1 else 2)
    again = gaussian((1, 40, 40, 40), [9])
    torch.set_num_threads(threads)
    assert torch.equal(alone, again)


def test_noise_is_white_and_standard() -> None:
    field = gaussian((1, 40, 48, 40), [1])[0, 0].numpy().astype(np.float64)
    assert field.mean() == pytest.approx(0, abs=0.015) and field.std() == pytest.approx(1, abs=0.01)
    for axis in range(3):
        neighbours = (field * np.roll(field, 1, axis)).mean()
        assert neighbours == pytest.approx(0, abs=0.015)


def test_draws_of_one_seed_are_independent() -> None:
    draws = torch.stack([gaussian((4000,), [3], draw=i)[0] for i in range(5)]).numpy()
    off = np.corrcoef(draws) - np.eye(5)
    assert abs(off).max() < 0.06


def test_a_stream_has_no_state_and_follows_its_batch() -> None:
    x = torch.zeros(2, *SHAPE, dtype=torch.float64)
    stream = NoiseStream([4, 8])  # type: ignore[arg-type]
    third = stream.at(3, x)
    assert third.dtype == torch.float64 and third.shape == x.shape
    assert torch.equal(stream.at(3, x), third) and not torch.equal(stream.at(2, x), third)
    assert torch.equal(NoiseStream((8,)).at(3, x[:1]), third[1:])
    assert torch.equal(stream.start(SHAPE), gaussian(SHAPE, [4, 8]))
    assert not torch.equal(stream.at(1, x).float(), stream.start(SHAPE))
    with pytest.raises(BrainDiffusionError, match="2 seeds were given for 3 samples"):
        stream.at(1, torch.zeros(3, *SHAPE))


def test_another_kind_of_noise_is_another_function() -> None:
    def flat(shape, seeds, draw=0):
        return torch.stack([torch.full(tuple(shape), float(seed + draw)) for seed in seeds])

    assert NoiseStream((1, 5), flat).at(2, torch.zeros(2, 3)).tolist() == [[3, 3, 3], [7, 7, 7]]


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1])
def test_seeds_that_torch_would_alias_are_refused(seed: int) -> None:
    with pytest.raises(BrainDiffusionError, match="from 0 to 4294967295"):
        gaussian((2,), [seed])
    assert gaussian((2,), [LARGEST_SEED]).isfinite().all()
