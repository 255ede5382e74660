"""Intensities of tissue classes in one image, whatever its contrast: expectation maximisation under an atlas.

A Gaussian per class whose weights vary in space (Van Leemput et al. 1999; SAMSEG, Puonti et al. 2016). It
turns an image of any contrast into evidence for tissues, so that the network need not learn every contrast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..anatomy import STRUCTURES

_CLASSES = (
    ("outside",),
    ("lateral ventricle", "third ventricle", "fourth ventricle", "outer CSF"),
    ("cerebral cortex", "hippocampus", "amygdala", "accumbens", "caudate"),
    ("cerebral white matter",),
    ("cerebellum",),
    ("thalamus", "ventral diencephalon"),
    ("putamen",),
    ("pallidum",),
    ("brainstem",),
)
CLASSES = len(_CLASSES)
CLASS_OF = torch.tensor([next(k for k, names in enumerate(_CLASSES) if s.name in names) for s in STRUCTURES])
"""Tissue class of each structure, [structures]."""
_AIR = 0.02
_FLOOR, _MOST = 0.03, 0.08
"""Least and largest standard deviation of a class, of the image's range 0..1: without a limit white matter
would take in ventricles that are much larger than the atlas has them.
"""


def tissue_model(image: Tensor, prior: Tensor, iterations: int = 20) -> Tensor:
    """Mean and standard deviation [2, classes] of each tissue class in `image` [X, Y, Z], intensities 0..1.

    prior: logarithmic atlas [structures, X/2, Y/2, Z/2] as `nets.anatomy.located` gives it. The row of
    "outside" is not used.
    """
    values = torch.nn.functional.avg_pool3d(image[None, None], 2)[0, 0].flatten()
    probability = prior.exp().flatten(1)
    shares = torch.zeros(CLASSES, probability.shape[1]).index_add_(0, CLASS_OF, probability)
    some = torch.nonzero(shares[0] < 0.5).flatten()
    if len(some) < 1000:
        return torch.stack([torch.full((CLASSES,), 0.5), torch.ones(CLASSES)])
    some = some[:: max(1, len(some) // 20_000)]
    values, shares = values[some], shares[:, some] / shares[:, some].sum(0)
    sure = shares**4 + 1e-9
    means = (sure * values).sum(1) / sure.sum(1)
    deviations = torch.full((CLASSES,), min(float(values.std()) / 2 + _FLOOR, _MOST))
    for _ in range(iterations):
        posterior = (shares.log() + log_likelihood(values, means, deviations)).softmax(0) + 1e-9
        weight = posterior.sum(1)
        means = (posterior * values).sum(1) / weight
        deviations = (
            ((posterior * (values - means[:, None]) ** 2).sum(1) / weight).sqrt().clamp(_FLOOR, _MOST)
        )
    return torch.stack([means, deviations])


def log_likelihood(values: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """Logarithmic density [classes, ...] of intensities `values` [...] under each class; "outside" is air or
    anything.
    """
    shape = (-1,) + (1,) * values.ndim
    means, deviations = means.view(shape), deviations.view(shape)
    inside = -0.5 * ((values - means) / deviations) ** 2 - deviations.log() - 0.919
    air = 0.5 * torch.exp(-0.5 * (values / _AIR) ** 2) / (2.507 * _AIR)
    return torch.cat([(air + 0.5).log()[None], inside[1:]])
