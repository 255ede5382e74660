"""Which place of a brain is which of a mean brain, through a deformation: an affine leaves folds and
ventricle walls, where residuals gather, millimetres apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..imaging.demons import register
from ..telling import Tell, silent
from .warping import inverse, pull

_FINEST = 2
"""Registration ends at half the resolution: it takes 2 s and follows no lesion into every corner."""


@dataclass(frozen=True, eq=False)
class Correspondence:
    """field: [3, X, Y, Z] in voxels; what lies at voxel p of the brain is at p + field(p) in the mean
    brain.
    """

    field: np.ndarray

    @classmethod
    def find(cls, image: np.ndarray, mean_brain: np.ndarray, tell: Tell = silent) -> Correspondence:
        """That of `image` [X, Y, Z] with `mean_brain` of that shape and contrast. `tell` takes the share that
        is done.
        """
        return cls(register(image, mean_brain, tell, _FINEST))

    def to_brain(self, array: np.ndarray) -> np.ndarray:
        """A map [X, Y, Z] of the mean brain, on the brain; 0 where it does not reach."""
        return _pulled(array, torch.from_numpy(self.field))

    def to_mean(self, array: np.ndarray) -> np.ndarray:
        """A map [X, Y, Z] of the brain, on the mean brain; 0 where it does not reach."""
        return _pulled(array, self._back)

    @cached_property
    def _back(self) -> Tensor:
        return inverse(torch.from_numpy(self.field))


def _pulled(array: np.ndarray, field: Tensor) -> np.ndarray:
    image = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return pull(image[None], field)[0].numpy()
