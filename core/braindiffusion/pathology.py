"""Tissues of pathology that can be painted, and how a T1-weighted scan shows them (methods.md B2.2).

Intensities are those of the model grid: white matter 1, grey matter 0.7. The ranges are what the literature
says of T1 in words (oedema a little below white matter, necrosis near fluid, an enhancing rim above white
matter after contrast agent), put into numbers; no patient was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tissue:
    """label: its value in a label map. low, high: the intensities of its voxels, white matter is 1. usual:
    between which the brightness of a painted piece is drawn; its texture needs room beside that.

    words: a segment whose name holds one of them is this tissue.
    """

    name: str
    label: int
    low: float
    high: float
    usual: tuple[float, float]
    words: tuple[str, ...]


TISSUES = (
    Tissue("necrotic core", 1, 0.20, 0.50, (0.28, 0.42), ("necro", "core", "cavity")),
    # What lies beneath oedema shows through, so that it is brighter than what is asked for.
    Tissue("oedema", 2, 0.60, 0.90, (0.64, 0.76), ("edema", "infiltration")),
    Tissue("lesion", 3, 0.35, 0.80, (0.46, 0.69), ("lesion", "plaque", "gliosis")),
    Tissue("enhancing rim", 4, 1.10, 1.60, (1.22, 1.48), ("enhanc", "rim", "contrast")),
)
"""The labels 1, 2 and 4 are those of BraTS up to 2020."""
OEDEMA = 1
"""Its place in TISSUES: what lies beneath it shows through."""
RIM = 3
"""Its place in TISSUES: the one that contrast agent brightens."""
NATIVE_RIM = Tissue("enhancing rim", 4, 0.70, 1.10, (0.80, 1.00), TISSUES[RIM].words)
"""The rim without contrast agent."""


def tissues(contrast_agent: bool) -> tuple[Tissue, ...]:
    """The tissues as a scan with or without contrast agent shows them."""
    return TISSUES if contrast_agent else (*TISSUES[:RIM], NATIVE_RIM)


def named(names: Sequence[str]) -> str:
    """`names` as words: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
