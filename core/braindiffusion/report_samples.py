"""The pictures of generated brains: a sheet of slices, and what was measured against what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .report import CORNER_TEXT, Box, cut
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VOLUME_COLUMNS = {
    "sample": "sample",
    "seed": "seed",
    "age": "age (years)",
    "sex": "sex",
    "ventricles_asked_ml": "ventricles asked for (ml)",
    "ventricles_ml": "ventricles measured (ml)",
    "ventricles_dark_ml": "ventricles by threshold (ml)",
    "brain_asked_ml": "brain asked for (ml)",
    "brain_ml": "brain measured (ml)",
    "intracranial_ml": "intracranial (ml)",
}
"""Columns of the table of generated brains: key and heading. What was left open is None."""
_MOST = 16
"""Brains on a sheet."""
_COLUMNS = 4


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="black")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.text(0.99, 0.01, CORNER_TEXT, color="yellow", fontsize=7, ha="right")
    figure.savefig(path, dpi=110, facecolor="black", metadata={"Description": CORNER_TEXT})


def brains_picture(result: Result, path: Path) -> None:
    """Write the PNG of generated brains: an axial and a coronal slice of each, with its volumes."""
    import numpy as np

    from .imaging.grid import GRID_AFFINE, GRID_SHAPE

    volumes = (result["brains"].volumes or [])[:_MOST]
    rows = result["volumes"].rows or []
    columns = min(len(volumes), _COLUMNS)
    lines = -(-len(volumes) // columns)
    figure = _figure(3.4 * columns, 2.2 * lines + 0.3)
    corner = GRID_AFFINE[:3, 3]
    box = Box(corner, corner + 2.0 * (np.array(GRID_SHAPE) - 1))
    grid = figure.add_gridspec(
        lines, 2 * columns, left=0, right=1, bottom=0.3 / (2.2 * lines + 0.3), top=0.97, wspace=0.02
    )
    for n, (volume, row) in enumerate(zip(volumes, rows)):
        for side, (plane, share) in enumerate((("axial", 0.56), ("coronal", 0.52))):
            ax = figure.add_subplot(grid[n // columns, 2 * (n % columns) + side])
            ax.imshow(cut(volume, plane, box.at(share), box), cmap="gray", vmin=0, vmax=1.2)  # type: ignore[arg-type]
            ax.set_axis_off()
            if not side:
                ax.set_title(_caption(row), color="white", fontsize=7, loc="left", pad=2)
    _save(figure, path)


def _caption(row: Row) -> str:
    return f"{row['sample']}: ventricles {row['ventricles_ml']:.0f} ml, brain {row['brain_ml']:.0f} ml"


def scatter(rows: list[Row], path: Path) -> None:
    """Write the PNG of measured against requested volumes. What was left open has no place across, and is
    drawn sample by sample.
    """
    figure = _figure(8, 4)
    both = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.16, top=0.9, wspace=0.28)
    seconds = ("ventricles_dark_ml", "by threshold"), None
    for ax, name, second in zip(both, ("ventricles", "brain"), seconds, strict=True):
        _panel(ax, rows, name, second)
    _save(figure, path)


def _panel(ax: Axes, rows: list[Row], name: str, second: tuple[str, str] | None) -> None:
    asked = [row[f"{name}_asked_ml"] for row in rows]
    known = None not in asked
    across = asked if known else [row["sample"] for row in rows]
    style: dict[str, Any] = {"s": 22, "alpha": 0.9}
    ax.scatter(across, [row[f"{name}_ml"] for row in rows], color="cyan", label="anatomy network", **style)
    if second is not None:
        key, label = second
        ax.scatter(across, [row[key] for row in rows], marker="x", color="orange", label=label, **style)
        ax.legend(fontsize=7, facecolor="black", labelcolor="white", edgecolor="0.4")
    if known:
        ends = min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])
        ax.plot(ends, ends, color="0.5", linewidth=1)
    else:
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_facecolor("black")
    ax.set_title(f"{name} (ml)", color="white", fontsize=10)
    ax.set_xlabel("asked for" if known else "sample (nothing was asked for)", color="white", fontsize=8)
    ax.set_ylabel("measured", color="white", fontsize=8)
    ax.tick_params(colors="white", labelsize=7)
    for edge in ax.spines.values():
        edge.set_color("0.4")
