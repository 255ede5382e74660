"""The MNI152 (2009a) template at 2 mm on the model grid, as shipped in `resources/template/` with its
notice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..paths import resources


class Template(NamedTuple):
    """T1 and tissue maps, each [80, 96, 80] float32 in 0..1 on the model grid (template RAS millimetre)."""

    t1: np.ndarray
    grey: np.ndarray
    white: np.ndarray


@lru_cache(maxsize=1)
def template() -> Template:
    """Load the template once; the arrays are read-only because every caller shares them."""
    with np.load(resources() / "template" / "mni152_2mm.npz") as maps:
        arrays = [maps[name].astype(np.float32) / 255 for name in ("t1", "gm", "wm")]
    for array in arrays:
        array.setflags(write=False)
    return Template(*arrays)
