"""The legend of a map in the views: its colours, its window and its unit."""

from __future__ import annotations

import textwrap
from typing import Any

from . import marks

# The displayable manager makes a title as large as its lines fit into half of the legend: short lines stay
# small.
_LINE = 10
# What a legend shall measure in pixels; its size is given as shares of the views.
_WIDTH, _HEIGHT = 22.0, 150.0


def add(volume: Any, display: dict[str, Any]) -> None:
    """Show a legend in each view that shows the map. display: title and unit, as the engine gives them."""
    import slicer

    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume.GetDisplayNode())
    unit = display.get("unit")
    title = str(display.get("title", volume.GetName()))
    legend.SetTitleText("\n".join([*textwrap.wrap(title, _LINE), *([f"({unit})"] if unit else [])]))
    for text, size in ((legend.GetTitleTextProperty(), 13), (legend.GetLabelTextProperty(), 12)):
        text.SetFontFamilyToArial()
        text.SetFontSize(size)
        text.SetBold(False)
        text.SetShadow(True)
    legend.SetMaxNumberOfColors(256)
    legend.SetNumberOfLabels(7)
    legend.SetLabelFormat("%.3g")
    legend.SetSize(0.05, 0.3)  # until `fit` knows the views
    legend.SetPosition(0.96, 0.4)
    legend.SetVisibility(True)


def renew(volume: Any) -> None:
    """Make the legend anew where it was shown: a view that is younger than a legend does not know of it."""
    import slicer

    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(volume)
    if legend is None or not legend.GetVisibility():
        return
    slicer.mrmlScene.RemoveNode(legend)
    add(volume, marks.recordOf(volume).get("artifact", {}).get("display") or {})


def refresh(volume: Any) -> None:
    """Draw the legend anew after a change of the map's colours or window."""
    import slicer

    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(volume)
    if legend is not None:
        legend.Modified()


def fit(volume: Any, sizes: list[tuple[int, int]]) -> None:
    """Give the legend a readable size in views of these widths and heights in pixels."""
    import slicer

    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(volume)
    sizes = [size for size in sizes if min(size) > 1]
    if legend is None or not sizes:
        return
    width, height = min(size[0] for size in sizes), min(size[1] for size in sizes)
    legend.SetSize(min(0.2, _WIDTH / width), min(0.6, _HEIGHT / height))
