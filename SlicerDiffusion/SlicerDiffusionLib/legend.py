"""The legend of a map in the views: its colours, its window and its unit.

It stands in the lower right corner: the letter for the direction is in the middle of the right edge, and a
head leaves the corners free.
"""

from __future__ import annotations

import textwrap
from typing import Any

from . import marks

# The displayable manager makes a title as large as its lines fit into half of the legend: short lines stay
# small.
_LINE = 10
# What a legend shall measure in pixels, and what lies around it; its size is given as shares of the views.
_WIDTH, _HEIGHT = 22.0, 150.0
_MARGIN, _HALF_A_LETTER, _TITLE_LINE = 8.0, 14.0, 18.0
# Numbers are drawn as large as fits: padded to this width they stay small enough to stand apart.
_NUMBER = "%5.3g"


def add(volume: Any, display: dict[str, Any]) -> None:
    """Show a legend in each view that shows the map. display: title and unit, as the engine gives them."""
    import slicer

    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume.GetDisplayNode())
    unit = display.get("unit")
    # What the map is stands above the view and in its corner; a long title would leave no room for the bar.
    title = f"({unit})" if unit else str(display.get("title", volume.GetName()))
    legend.SetTitleText("\n".join(textwrap.wrap(title, _LINE)))
    for text, size in ((legend.GetTitleTextProperty(), 13), (legend.GetLabelTextProperty(), 12)):
        text.SetFontFamilyToArial()
        text.SetFontSize(size)
        text.SetBold(False)
        text.SetShadow(True)
    legend.SetMaxNumberOfColors(256)
    legend.SetLabelFormat(_NUMBER)
    legend.SetSize(0.05, 0.3)  # until `fit` knows the views
    legend.SetPosition(0.96, 0.05)
    refresh(volume)
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
        legend.SetNumberOfLabels(_labels(*_window(volume)))
        legend.Modified()


def _window(volume: Any) -> tuple[float, float]:
    shown = volume.GetDisplayNode()
    return shown.GetWindowLevelMin(), shown.GetWindowLevelMax()


def _labels(low: float, high: float) -> int:
    """How many numbers beside the bar, evenly spread from `low` to `high`, are the shortest ones."""

    def length(count: int) -> float:
        values = (low + (high - low) * step / (count - 1) for step in range(count))
        return sum(len(f"{value:.3g}") for value in values) / count

    return min((4, 5, 3), key=length)


def fit(volume: Any, sizes: list[tuple[int, int]]) -> None:
    """Give the legend a readable size in views of these widths and heights in pixels."""
    import slicer

    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(volume)
    sizes = [size for size in sizes if min(size) > 1]
    if legend is None or not sizes:
        return
    width, height = min(size[0] for size in sizes), min(size[1] for size in sizes)
    across = min(0.2, _WIDTH / width)
    title = _TITLE_LINE * (1 + legend.GetTitleText().count("\n"))  # it stands on top of what it belongs to
    room = 0.5 - (_HALF_A_LETTER + _MARGIN + title) / height
    up = min(_HEIGHT / height, max(0.2, room))
    legend.SetSize(across, up)
    legend.SetPosition(1 - _MARGIN / width / (1 - across), _MARGIN / height / (1 - up))
