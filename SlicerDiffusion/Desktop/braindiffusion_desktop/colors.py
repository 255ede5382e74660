"""The colour node that Slicer's libraries name for label maps, and that only Slicer's data files hold."""

from __future__ import annotations

import colorsys
from typing import Any

import slicer

_GOLDEN = 0.618033988749895  # of a turn from hue to hue: no two labels near each other look alike
_LABELS = 256


def add_label_colors(scene: Any, identity: str) -> Any:
    """Add a table of 256 colours under the given node ID: 0 is transparent, labels are of unlike hues.

    It is not saved with the scene: 3D Slicer shows the same labels in its own colours. Returns the node.
    """
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("GenericColors")
    node.SetTypeToUser()
    node.SetSingletonTag(identity.removeprefix(node.GetClassName()))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetNumberOfColors(_LABELS)
    node.SetColor(0, "background", 0.0, 0.0, 0.0, 0.0)
    for label in range(1, _LABELS):
        bright = 1.0 - 0.3 * (label % 3 == 2)
        rgb = colorsys.hsv_to_rgb((label * _GOLDEN) % 1.0, 0.55 + 0.4 * (label % 2), bright)
        node.SetColor(label, str(label), *rgb, 1.0)
    return scene.AddNode(node)
