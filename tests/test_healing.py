"""Healing against denoisers whose posterior is known: its mean, its spread, its seeds and its conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from braindiffusion.diffusion.cond import Cond
from braindiffusion.diffusion.covariate import Covariate
from braindiffusion.diffusion.path import Node, NoisePath, edm, flow, vp
from braindiffusion.errors import BrainDiffusionError
from braindiffusion.healing import GUIDED_START, conditions, expected_given, guided, heal, partial
from braindiffusion.imaging.expected import Expected
from braindiffusion.nets.prior import PriorDenoiser, PriorNet

COVARIATES = (
    Covariate("age", "Age", "years", 19, 52, (-1, 1)),
    Covariate("sex", "Sex", "", 0, 1, (-1, 1), {"female": 0.0, "male": 1.0}),
    Covariate("ventricles", "Ventricular volume", "ml", 8, 60, (-1, 1)),
    Covariate("brain", "Brain volume", "ml", 850, 1400, (-1, 1)),
)
SHAPE = (16, 16, 16)
PATH = edm(0.01, 80.0)


def brain(seed: int = 0) -> np.ndarray:
    """A textured ball on 0, [16, 16, 16], well above 0 inside."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    texture = np.random.default_rng(seed).uniform(0.8, 1.2, SHAPE)
    return np.where((grid**2).sum(0) < 0.8, texture, 0).astype(np.float32)


@dataclass
class Around:
    """The exact denoiser of white Gaussian images around guide + shift, or around `mean` without a guide."""

    std: float = 0.05
    shift: float = 0.0
    mean: float = 0.6
    asked: list[Cond] = field(default_factory=list)

    def __call__(self, x: Tensor, node: Node, cond: Cond) -> Tensor:
        self.asked.append(cond)
        centre = self.mean if cond.guide is None else cond.guide + self.shift
        gain = node.alpha * self.std**2 / (node.alpha**2 * self.std**2 + node.sigma**2)
        return centre + gain * (x - node.alpha * centre)


def model(denoiser, path: NoisePath = PATH, covariates=COVARIATES) -> SimpleNamespace:
    """What healing uses of a model."""
    return SimpleNamespace(
        denoiser=lambda device="cpu", precision="fp32": denoiser,
        guided_denoiser=lambda device="cpu", precision="fp32": denoiser,
        path=path,
        covariates=covariates,
    )


def follow(generator) -> tuple[list[float], np.ndarray]:
    """The shares done that a generator yields, and what it returns."""
    shares = []
    while True:
        try:
            shares.append(next(generator).share)
        except StopIteration as end:
            return shares, end.value.samples


@pytest.mark.parametrize("path", [PATH, vp(), flow()], ids=["edm", "vp", "flow"])
def test_guided_samples_have_the_posteriors_mean_and_spread(path):
    """On every noise path; 24 samples in 1700 voxels say the mean to 0.001 and the spread to 1 %."""
    image, inside = brain(), brain() > 0
    samples = guided(model(Around(std=0.1, shift=0.07), path), image, range(24), steps=40).samples
    assert samples.shape == (24, *SHAPE) and samples.dtype == np.float32
    apart = (samples - image)[:, inside]
    assert apart.mean() == pytest.approx(0.07, abs=0.003)
    assert apart.std(0, ddof=1).mean() == pytest.approx(0.1, rel=0.05)
    assert np.abs(apart.mean(0) - 0.07).max() < 6 * 0.1 / 24**0.5, "the same everywhere in the brain"


def test_few_steps_change_little():
    """The default of 8 steps: the mean is exact, and the spread is within a quarter."""
    image, inside = brain(), brain() > 0
    samples = guided(model(Around(std=0.1)), image, range(24), steps=8).samples
    assert (samples - image)[:, inside].mean() == pytest.approx(0, abs=0.005)
    assert samples.std(0, ddof=1)[inside].mean() == pytest.approx(0.1, rel=0.25)


def test_a_denoiser_that_returns_the_guide_returns_the_scan():
    samples = guided(model(lambda x, node, cond: cond.guide), brain(), [3, 4], steps=4).samples
    assert np.array_equal(samples, np.stack([brain()] * 2))


def test_a_network_that_knows_nothing_draws_white_noise_around_the_scan():
    net = PriorNet(covariates=4, widths=(8, 8), blocks=(1, 1), fine=1).eval()
    denoiser = PriorDenoiser(net)
    healed = guided(model(denoiser), brain(), range(16), steps=12)
    apart = (healed.samples - brain())[:, brain() > 0]
    assert apart.std() == pytest.approx(denoiser.sigma_data, rel=0.1) and abs(apart.mean()) < 0.01
    assert np.abs(healed.mean - brain()).max() < 0.03, "what it expects is the scan"


def test_what_is_expected_does_not_wait_for_the_samples():
    """The mean is the posterior's own, whatever the steps make of it; partial diffusion has samples only."""
    one = guided(model(Around(std=0.1, shift=0.07)), brain(), [3], steps=2)
    inside = brain() > 0
    assert (
        np.abs(one.mean - brain() - 0.07)[inside].max()
        < 0.01
        < np.abs(one.samples[0] - one.mean)[inside].max()
    )
    several = partial(model(Around()), brain(), [1, 2], 3)
    assert np.array_equal(several.mean, several.samples.mean(0))


def test_the_network_is_told_what_the_population_shows():
    asked = []

    def denoise(x, node, cond):
        asked.append(cond.context)
        return cond.guide

    around = Expected(np.full(SHAPE, 0.9, np.float32), np.full(SHAPE, 0.1, np.float32))
    guided(model(denoise), brain(), [1, 2], steps=2, around=around)
    mean, z, mirrored = asked[0][0].numpy()
    inside = brain() > 0
    assert asked[0].shape == (1, 3, *SHAPE) and (mean == np.float32(0.9)).all()
    assert np.allclose(4 * z[inside], (brain()[inside] - 0.9) / 0.1, atol=1e-4) and not z[~inside].any()
    assert np.array_equal(mirrored, brain()[::-1])


@pytest.mark.parametrize("method", ["guided", "partial"])
def test_outside_the_brain_nothing_is_made_up(method):
    image = brain()
    _, samples = follow(heal(model(Around(std=0.3, shift=-2.0)), image, [1, 2], 3, method=method))
    assert not samples[:, image == 0].any() and samples.min() >= 0


@pytest.mark.parametrize("method", ["guided", "partial"])
def test_the_same_seed_gives_the_same_voxels(method):
    first, again, other = (
        follow(heal(model(Around()), brain(), seeds, 4, method=method))[1] for seeds in ([7], [7], [8])
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("method", ["guided", "partial"])
def test_a_sample_belongs_to_its_seed_whatever_the_batch(method):
    runs = [
        follow(heal(model(Around()), brain(), seeds, 4, method=method, batch=batch))[1]
        for seeds, batch in (([5, 6, 7], 0), ([5, 6, 7], 1), ([5, 6, 7], 2), ([7, 6, 5], 0))
    ]
    assert all(np.array_equal(runs[0], run) for run in runs[1:3])
    by_level = runs[0].reshape(-1, 3, *SHAPE), runs[3].reshape(-1, 3, *SHAPE)
    assert np.array_equal(by_level[0], by_level[1][:, ::-1])


def test_batches_of_a_network_differ_by_rounding_only():
    torch.manual_seed(1)
    net = PriorNet(covariates=4, widths=(8, 16), blocks=(1, 1), fine=2).eval()
    torch.nn.init.normal_(net.fine_out.weight, std=0.1)
    together, alone = (
        guided(model(PriorDenoiser(net)), brain(), [1, 2, 3], 4, batch=batch).samples for batch in (0, 1)
    )
    assert np.abs(together - brain()).max() > 0.01, "the network says something"
    assert np.abs(together - alone).max() < 1e-3


def test_the_guide_is_the_scan_and_the_brain_is_real():
    denoiser = Around()
    guided(model(denoiser), brain(), [0, 1], 3)
    assert len(denoiser.asked) == 2 + 3
    for cond in denoiser.asked[:1] + denoiser.asked[2:]:
        assert cond.guide.shape[1:] == (1, *SHAPE) and np.array_equal(cond.guide[-1, 0].numpy(), brain())
        assert cond.hole is None and cond.has_guide.all() and cond.real.all()


def test_what_is_expected_is_asked_for_the_mirror_image_too():
    """An error on one side of the grid falls on both halves of the brain, half as large."""
    error = torch.zeros(SHAPE)
    error[:8] = 0.1
    around = Expected(brain(3), np.full(SHAPE, 0.1, np.float32))
    asked = []

    def denoise(x, node, cond):
        asked.append(cond)
        return cond.guide + error

    cond = conditions(model(None), {}, 2)
    means = expected_given(denoise, Node(1.0, 5.0, 5.0), cond, brain(), [1, 2], around)
    assert means.shape == (2, *SHAPE) and np.abs(means - brain() - 0.05).max() < 1e-6
    for told, side in zip(asked, (1, -1)):
        assert np.array_equal(told.guide[1, 0].numpy(), brain()[::side])
        assert np.array_equal(told.context[1, 0].numpy(), brain(3)[::side])


def test_partial_diffusion_has_no_guide():
    denoiser = Around()
    partial(model(denoiser), brain(), [0], 3)
    assert all(cond.guide is None and cond.has_guide.tolist() == [0] for cond in denoiser.asked)


@pytest.mark.parametrize("method", ["guided", "partial"])
def test_sizes_are_never_told_whatever_the_caller_gives(method):
    """A prior that is told of the large ventricles cannot find them."""
    denoiser = Around()
    told = {"age": 40, "sex": "male", "ventricles": 55.0, "brain": 900.0}
    follow(heal(model(denoiser), brain(), [0, 1], 2, told, method=method))
    for cond in denoiser.asked:
        assert cond.names == ("age", "sex", "ventricles", "brain")
        assert cond.known.tolist() == [[True, True, False, False]] * len(cond.known)
        assert cond.covariates[0].tolist() == pytest.approx([(40 - 19) / 33 * 2 - 1, 1.0, 0.0, 0.0])


def test_what_is_not_known_is_null():
    cond = conditions(model(None), {"age": None, "sex": None}, 3)
    assert cond.batch == 3 and not cond.known.any() and not cond.covariates.any()


def test_an_age_outside_the_range_is_flagged_and_not_refused():
    cond = conditions(model(None), {"age": 80, "sex": "female"}, 2)
    assert cond.outside.tolist() == [[True, False, False, False]] * 2 and cond.known[:, :2].all()
    assert cond.covariates[0, 0] > 1, "it extrapolates"
    samples = guided(model(Around()), brain(), [0], 2, {"age": 80}).samples
    assert np.isfinite(samples).all()


@pytest.mark.parametrize("values", [{"weight": 70}, {"sex": "blue"}, {"age": "old"}])
def test_what_the_model_cannot_be_told_is_one_sentence(values):
    with pytest.raises(BrainDiffusionError) as caught:
        guided(model(Around()), brain(), [0], 2, values)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_partial_diffusion_from_hardly_any_noise_returns_the_scan():
    samples = partial(model(Around(std=0.3)), brain(), [0, 1], 2, levels=(0.011,)).samples
    assert np.abs(samples - brain()).max() < 0.05


def test_partial_diffusion_goes_further_from_the_scan_the_more_noise_it_adds():
    image, inside = brain(), brain() > 0
    samples = partial(model(Around(std=0.2)), image, [0, 1, 2], 12, levels=(0.05, 0.2, 0.8)).samples
    assert samples.shape == (9, *SHAPE), "levels first, then seeds"
    by_level = samples.reshape(3, 3, *SHAPE)[:, :, inside]
    away = np.abs(by_level - image[inside]).mean((1, 2))
    assert away[0] < away[1] < away[2]
    towards_prior = np.abs(by_level.mean(1) - 0.6).mean(1)
    assert towards_prior[0] > towards_prior[1] > towards_prior[2]


def test_partial_diffusion_below_the_end_of_the_path_is_one_sentence():
    with pytest.raises(BrainDiffusionError, match="cannot start at noise level 0.005"):
        partial(model(Around()), brain(), [0], 3, levels=(0.005,))


@pytest.mark.parametrize(
    ("method", "batch", "parts"), [("guided", 0, 1), ("guided", 2, 2), ("partial", 2, 6)]
)
def test_progress_rises_to_the_whole(method, batch, parts):
    shares, samples = follow(heal(model(Around()), brain(), [1, 2, 3], 5, method=method, batch=batch))
    assert shares == sorted(set(shares)) and len(shares) == 5 * parts
    assert shares[0] == pytest.approx(1 / (5 * parts)) and shares[-1] == 1
    assert len(samples) == (3 if method == "guided" else 9)


@pytest.mark.parametrize(
    ("method", "batch", "counts"), [("guided", 0, [3] * 4), ("guided", 2, [2] * 4 + [3] * 4)]
)
def test_what_is_shown_on_the_way_is_the_mean_of_the_samples_so_far(method, batch, counts):
    """Finished samples stay in it; at the last step it is nearly the samples' own mean."""
    image = brain()
    steps = list(heal(model(Around(std=0.1, shift=0.07)), image, [1, 2, 3], 4, method=method, batch=batch))
    assert [sum(map(len, step.done)) + len(step.x0) for step in steps] == counts
    _, samples = follow(heal(model(Around(std=0.1, shift=0.07)), image, [1, 2, 3], 4, method=method))
    inside = image > 0
    assert np.abs(steps[-1].mean() - samples.mean(0))[inside].max() < 0.02
    assert np.abs(steps[0].mean() - image - 0.07)[inside].max() < 0.02, "the first step says what is expected"


def test_guided_sampling_starts_where_the_scan_is_drowned():
    denoiser = Around()
    nodes = []
    guided(model(lambda x, node, cond: nodes.append(node) or denoiser(x, node, cond)), brain(), [0], 6)
    expected, nodes = nodes[:2], nodes[2:]
    assert [node.sigma for node in expected] == [GUIDED_START] * 2
    assert nodes[0].sigma == GUIDED_START and len(nodes) == 6
    assert [node.sigma for node in nodes] == sorted((node.sigma for node in nodes), reverse=True)


def test_no_gradient_is_kept():
    seen = []

    def denoiser(x, node, cond):
        seen.append(torch.is_grad_enabled() or x.requires_grad)
        return cond.guide

    guided(model(denoiser), brain(), [0], 2)
    assert seen == [False] * 4
