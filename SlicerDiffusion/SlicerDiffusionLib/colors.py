"""Colour maps made in code, and colours for the labels of a segmentation."""

from __future__ import annotations

import colorsys
from typing import Any

_STEPS = 256
_ATTRIBUTE = "BrainDiffusion.Colors"

# Name: label for the user, and colours (red, green, blue) at equal distances. The low end is never black: a
# map lies
# over a grey scan.
MAPS: dict[str, tuple[str, tuple[tuple[float, float, float], ...]]] = {
    "heat": (
        "Heat",
        ((0.45, 0.0, 0.0), (0.9, 0.1, 0.0), (1.0, 0.55, 0.0), (1.0, 0.9, 0.2), (1.0, 1.0, 0.85)),
    ),
    "viridis": (
        "Viridis",
        ((0.27, 0.0, 0.33), (0.23, 0.32, 0.55), (0.13, 0.57, 0.55), (0.37, 0.79, 0.38), (0.99, 0.91, 0.14)),
    ),
    "magma": (
        "Magma",
        ((0.2, 0.07, 0.38), (0.45, 0.12, 0.51), (0.72, 0.22, 0.47), (0.95, 0.38, 0.36), (0.99, 0.99, 0.75)),
    ),
    "ice": (
        "Ice",
        ((0.0, 0.15, 0.45), (0.0, 0.4, 0.8), (0.2, 0.7, 0.95), (0.6, 0.92, 1.0), (0.95, 1.0, 1.0)),
    ),
    "grey": ("Grey", ((0.15, 0.15, 0.15), (1.0, 1.0, 1.0))),
}
DEFAULT = "heat"


def mapNode(name: str) -> Any:
    """The colour node of a map, made once in a scene; an unknown name gives the default map."""
    import slicer

    name = name if name in MAPS else DEFAULT
    scene = slicer.mrmlScene
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLColorTableNode")
        if node.GetAttribute(_ATTRIBUTE) == name:
            return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(f"BrainDiffusion {MAPS[name][0]}")
    node.SetTypeToUser()
    node.SetAttribute(_ATTRIBUTE, name)
    node.SetNumberOfColors(_STEPS)
    for step in range(_STEPS):
        node.SetColor(step, str(step), *between(MAPS[name][1], step / (_STEPS - 1)), 1.0)
    node.GetLookupTable().SetTableRange(0, _STEPS - 1)
    return scene.AddNode(node)


def nameOf(node: Any) -> str:
    """The name of the map whose colour node this is; empty for other colour nodes."""
    return (node.GetAttribute(_ATTRIBUTE) or "") if node is not None else ""


def between(points: tuple[tuple[float, float, float], ...], share: float) -> tuple[float, float, float]:
    """The colour at `share` (0 to 1) of the way along `points`."""
    place = share * (len(points) - 1)
    before = min(int(place), len(points) - 2)
    rest = place - before
    red, green, blue = (a + (b - a) * rest for a, b in zip(points[before], points[before + 1]))
    return red, green, blue


def ofLabels(names: dict[int, str]) -> dict[int, tuple[float, float, float]]:
    """A colour for each label; the left and the right of one structure have the same hue, the right one
    darker.
    """
    structures = sorted({_bare(name) for name in names.values()})
    found = {}
    for value, name in names.items():
        hue = (structures.index(_bare(name)) * 0.618034) % 1.0  # golden ratio: neighbours differ most
        bright = 0.78 if "right" in name.lower().split() else 1.0
        found[value] = colorsys.hsv_to_rgb(hue, 0.65, bright)
    return found


def _bare(name: str) -> str:
    return " ".join(word for word in name.lower().split() if word not in ("left", "right"))
