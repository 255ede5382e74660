"""Tissue intensities of one image: a known mixture under a known atlas is recovered, whatever its
contrast.
"""

from __future__ import annotations

import pytest
import torch

from braindiffusion.anatomy import STRUCTURES
from braindiffusion.nets.tissue import CLASS_OF, CLASSES, log_likelihood, tissue_model

SIDE, DEPTH = 4 * len(STRUCTURES), 24


def striped_atlas(sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Structures in slabs along x: truth [X, Y, Z] at 2 mm, and a blurred logarithmic atlas at half
    resolution.
    """
    index = torch.arange(SIDE) // 4
    truth = index.view(-1, 1, 1).expand(SIDE, DEPTH, DEPTH)
    half = torch.nn.functional.one_hot(index[::2], len(STRUCTURES)).T.float() * sharpness + 0.01
    half = (half / half.sum(0)).log()
    return truth, half[:, :, None, None].expand(-1, -1, DEPTH // 2, DEPTH // 2)


@pytest.mark.parametrize("inverted", [False, True])
def test_the_intensities_of_each_class_are_found_in_any_contrast(inverted):
    truth, prior = striped_atlas(1.0)
    means = torch.linspace(0.15, 0.85, CLASSES)
    means = 1 - means if inverted else means
    noise = 0.02 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    found = tissue_model(means[CLASS_OF[truth]] + noise, prior)
    assert found.shape == (2, CLASSES)
    assert (found[0, 1:] - means[1:]).abs().max() < 0.06
    assert (found[1, 1:] < 0.15).all()


def test_an_image_without_a_brain_gives_broad_classes():
    prior = torch.full((len(STRUCTURES), 24, 24, 24), -7.0)
    prior[0] = 0.0
    found = tissue_model(torch.zeros(48, 48, 48), prior)
    assert torch.isfinite(found).all() and (found[1] == 1).all()


def test_the_likelihood_is_a_density_and_air_is_outside():
    means, deviations = torch.linspace(0.2, 0.8, CLASSES), torch.full((CLASSES,), 0.05)
    values = torch.linspace(-1, 2, 30001)
    density = log_likelihood(values, means, deviations).exp()
    assert torch.allclose(density[1:].sum(1) * 1e-4, torch.ones(CLASSES - 1), atol=1e-3)
    assert int(density[:, 10000].argmax()) == 0, "an intensity of 0 is air"
