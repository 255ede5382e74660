"""The atlas that ships in `resources/template/`: how often each structure lies where, in template space at 4
mm.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..paths import resources

FILE = "anatomy_4mm.npz"


@lru_cache(maxsize=1)
def atlas() -> np.ndarray:
    """Probabilities [structures, 40, 48, 40] float32 on the template grid at half resolution; they sum to
    1.
    """
    with np.load(resources() / "template" / FILE) as file:
        probability = file["probability"].astype(np.float32)
    probability /= probability.sum(0)
    probability.setflags(write=False)
    return probability
