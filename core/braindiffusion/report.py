"""What a result says in words, and its picture: original, healed and heat map, cut through what was found.

Slices are cut in patient space (RAS mm), so that any grid, oblique or anisotropic, is shown upright and in
its true proportions. Radiological convention: the patient's right is on the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .result import Result, Row

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from .imaging.volume import Volume

Plane = Literal["axial", "coronal", "sagittal"]

CORNER_TEXT = "SYNTHETIC – research use only"
# The heat map's fixed window in z where its artifact names none: transparent below the first, saturated at
# the second.
HEAT_WINDOW = (2.0, 8.0)

# Columns of the table of findings: key and heading. Positions are RAS mm of the voxel with the highest z.
FINDING_COLUMNS = {
    "number": "number",
    "volume_ml": "volume (ml)",
    "peak_z": "peak (z)",
    "x_mm": "x, right (mm)",
    "y_mm": "y, anterior (mm)",
    "z_mm": "z, superior (mm)",
    "side": "side",
    "structure": "structure",
    "direction": "direction",
    "agreement": "agreement",
}

# For each plane: RAS axis across the picture, its direction from left to right, RAS axis upwards, letters
# left, right, top, bottom. Axial and coronal slices are seen as a radiologist does, from the feet and from
# the front.
_VIEWS: dict[Plane, tuple[int, int, int, tuple[str, str, str, str]]] = {
    "axial": (0, -1, 1, ("R", "L", "A", "P")),
    "coronal": (0, -1, 2, ("R", "L", "S", "I")),
    "sagittal": (1, -1, 2, ("A", "P", "S", "I")),
}
_CUT = {"axial": 2, "coronal": 1, "sagittal": 0}
_STEP_MM = 1.0
# Room for the letters, so that none lies on the brain.
_MARGIN_MM = 12.0


def summary(result: Result) -> str:
    """What was found, in plain words: the verdict, the findings, the notes."""
    lines = [result.verdict] if result.verdict else []
    if "findings" in result:
        lines.append(_count(result))
        lines.extend(f"  {_finding(row)}" for row in result.findings)
    if "volumes" in result:
        lines.extend(f"  {_measured(row)}" for row in result["volumes"].rows or [])
    if "tissues" in result:
        lines.extend(f"  {_painted(row)}" for row in result["tissues"].rows or [])
    lines.extend(f"Note: {note}" for note in result.notes)
    return "\n".join(lines)


def _count(result: Result) -> str:
    found = result.findings
    if not found:
        return "Nothing stands out from what the model knows of healthy brains."
    places = "place differs" if len(found) == 1 else "places differ"
    return f"{len(found)} {places} from what the model knows of healthy brains (not a diagnosis):"


def _finding(row: Row) -> str:
    where = " ".join(
        f"{letters[0] if row[key] >= 0 else letters[1]}{abs(row[key]):.0f}"
        for key, letters in (("x_mm", "RL"), ("y_mm", "AP"), ("z_mm", "SI"))
    )
    name = " ".join(str(row[key]) for key in ("side", "structure") if row.get(key))
    direction = f", {row['direction']}" if row.get("direction") else ""
    return (
        f"{row['number']}. {name}: {row['volume_ml']:.2f} ml{direction}, peak z {row['peak_z']:.1f}, "
        f"at {where} mm"
    )


def _measured(row: Row) -> str:
    said = []
    for name in ("ventricles", "brain"):
        asked = row[f"{name}_asked_ml"]
        wanted = "" if asked is None else f" (asked for: {asked:.0f})"
        said.append(f"{name} {row[f'{name}_ml']:.0f} ml{wanted}")
    return f"{row['sample']}. {', '.join(said)}, seed {row['seed']}"


def _painted(row: Row) -> str:
    return (
        f"{row['painting']}. {row['tissue']}: {row['volume_ml']:.2f} ml, {row['after']:.2f} of white matter "
        f"(before: {row['before']:.2f})"
    )


@dataclass(frozen=True)
class Box:
    """A box in RAS mm: `low` and `high` corners, each (3,)."""

    low: np.ndarray
    high: np.ndarray

    @property
    def size(self) -> np.ndarray:
        return self.high - self.low

    def at(self, share: float) -> np.ndarray:
        """The point at that share of the way from the low to the high corner."""
        return self.low + share * self.size


def content_box(volume: Volume) -> Box:
    """The box in RAS mm around all that is brighter than a tenth of the brightest tissue, with a margin."""
    import numpy as np

    bright = np.abs(volume.data)
    inside = np.argwhere(bright > 0.1 * np.percentile(bright, 99.5)).astype(float)
    if not len(inside):
        inside = np.array([[0, 0, 0], volume.data.shape]) - 0.5
    # The hull's corners would do for an upright grid; an oblique one needs every voxel.
    points = inside @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return Box(points.min(0) - _MARGIN_MM, points.max(0) + _MARGIN_MM)


def cut(volume: Volume, plane: Plane, position: ArrayLike, box: Box, *, labels: bool = False) -> np.ndarray:
    """The slice of `volume` through `position` (RAS mm) as a picture [row from top, column from left].

    Pixels are 1 mm. Outside the volume it is 0. `labels` takes the nearest voxel instead of interpolating.
    """
    import numpy as np
    from scipy.ndimage import map_coordinates

    across, direction, up, _ = _VIEWS[plane]
    low, high = box.low, box.high
    columns = np.arange(low[across], high[across] + _STEP_MM / 2, _STEP_MM)[::direction]
    rows = np.arange(low[up], high[up] + _STEP_MM / 2, _STEP_MM)[::-1]
    points = np.empty((len(rows), len(columns), 3))
    points[:] = np.asarray(position, dtype=float)
    points[..., across], points[..., up] = columns[None, :], rows[:, None]
    to_voxel = np.linalg.inv(volume.affine)
    voxels = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    data = volume.data if labels else volume.data.astype(np.float32, copy=False)
    return map_coordinates(data, np.moveaxis(voxels, -1, 0), order=0 if labels else 1, cval=0)


def heal_picture(result: Result, path: Path) -> None:
    """Write the PNG of a heal result: original, healed, heat map, in slices through the strongest finding."""
    figure = heal_figure(result)
    figure.savefig(path, dpi=110, facecolor="black", metadata={"Description": CORNER_TEXT})


def heal_figure(result: Result) -> Figure:
    """The picture as a figure. Needs `result.inputs["scan"]` and the artifacts healed and heatmap."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    box = content_box(result.inputs["scan"])
    blocks = _blocks(result, box)
    width_mm, height_mm = max(box.size[:2]), max(box.size[1:])
    panel = 2.1
    figure = Figure(figsize=(6 * panel + 1.5, 3 * panel * height_mm / width_mm + 1.5), facecolor="black")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        3,
        7,
        width_ratios=[1, 1, 1, 0.06, 1, 1, 1],
        left=0.01,
        right=0.915,
        top=0.91,
        bottom=0.085,
        wspace=0.03,
        hspace=0.07,
    )
    picture = None
    for block, (title, slices) in enumerate(blocks):
        for row, (plane, position) in enumerate(slices):
            axes = [figure.add_subplot(grid[row, 4 * block + column]) for column in range(3)]
            picture = _row(axes, result, plane, position, box)
            if row == 0:
                for ax, heading in zip(axes, ("original", "healed", "heat map"), strict=True):
                    ax.set_title(heading, color="white", fontsize=10, pad=4)
                axes[1].annotate(
                    title,
                    (0.5, 1.0),
                    xytext=(0, 22),
                    xycoords="axes fraction",
                    textcoords="offset points",
                    ha="center",
                    color="white",
                    fontsize=11,
                )
    _legend(figure, picture, result)
    figure.text(0.01, 0.03, _caption(result), color="0.8", fontsize=8, va="center", linespacing=1.4)
    return figure


def _blocks(result: Result, box: Box) -> list[tuple[str, list[tuple[Plane, np.ndarray]]]]:
    """Two blocks of slices: three planes through what is strongest, and axial ones through the brain."""
    import numpy as np

    findings = result.findings
    if findings:
        strongest = max(findings, key=lambda row: row["peak_z"])
        where = np.array([strongest[key] for key in ("x_mm", "y_mm", "z_mm")], dtype=float)
        title = f"through finding {strongest['number']}, the strongest"
    else:
        where, title = box.at(0.5), "through the middle (no findings)"
    planes: list[Plane] = ["axial", "coronal", "sagittal"]
    standard: list[tuple[Plane, np.ndarray]] = [("axial", box.at(share)) for share in (0.66, 0.52, 0.38)]
    return [(title, [(plane, where) for plane in planes]), ("from top to bottom", standard)]


def _row(axes: list[Axes], result: Result, plane: Plane, position: np.ndarray, box: Box) -> Any:
    """Draw original, healed and heat map of one slice; the heat map's image, for the legend."""
    import numpy as np

    scan, healed, heat = result.inputs["scan"], result["healed"].volume, result["heatmap"].volume
    assert healed is not None and heat is not None
    black, white = gray_window(scan)
    gray: dict[str, Any] = {"cmap": "gray", "vmin": black, "vmax": white, "interpolation": "bilinear"}
    original = cut(scan, plane, position, box)
    axes[0].imshow(original, **gray)
    axes[1].imshow(cut(healed, plane, position, box), **gray)
    axes[2].imshow(original, **gray)
    low, high = heat_window(result)
    values = cut(heat, plane, position, box)
    shown = axes[2].imshow(
        np.ma.masked_less(values, low), cmap=_heat_colors(), vmin=low, vmax=high, alpha=0.75
    )
    if "findings_labels" in result and result["findings_labels"].volume is not None:
        found = cut(result["findings_labels"].volume, plane, position, box, labels=True) > 0
        for ax in (axes[0], axes[2]):
            if found.any():
                ax.contour(found, levels=[0.5], colors="cyan", linewidths=0.8)
    for ax, made_up in zip(axes, (False, True, True), strict=True):
        letters(ax, plane)
        ax.text(
            0.01,
            0.99,
            f"{'xyz'[_CUT[plane]]} {position[_CUT[plane]]:.0f} mm",
            transform=ax.transAxes,
            color="0.7",
            fontsize=6,
            va="top",
        )
        if made_up:
            ax.text(
                1, 0, CORNER_TEXT, transform=ax.transAxes, color="yellow", fontsize=6, ha="right", va="top"
            )
    return shown


def _heat_colors() -> Any:
    """Inferno without its dark third, which cannot be told from gray tissue."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["inferno"]([0.3 + 0.7 * step / 255 for step in range(256)]))


def gray_window(scan: Volume) -> tuple[float, float]:
    """Black and white for a scan and its healed copy: 0 or the minimum, and tissue's 99.5th percentile."""
    import numpy as np

    tissue = scan.data[scan.data != 0]
    if not tissue.size:
        return 0.0, 1.0
    black, white = min(0.0, float(tissue.min())), float(np.percentile(tissue, 99.5))
    return black, white if white > black else black + 1.0


def heat_window(result: Result) -> tuple[float, float]:
    """The heat map's fixed window in z: its artifact's display, or `HEAT_WINDOW`."""
    low, high = result["heatmap"].display.get("window", HEAT_WINDOW)
    return float(low), float(high)


def letters(ax: Axes, plane: Plane) -> None:
    left, right, top, bottom = _VIEWS[plane][3]
    ax.set_axis_off()
    style: dict[str, Any] = {"transform": ax.transAxes, "color": "white", "fontsize": 8}
    ax.text(0.015, 0.5, left, va="center", **style)
    ax.text(0.985, 0.5, right, va="center", ha="right", **style)
    ax.text(0.5, 0.985, top, va="top", ha="center", **style)
    ax.text(0.5, 0.015, bottom, va="bottom", ha="center", **style)


def _legend(figure: Figure, picture: Any, result: Result) -> None:
    low, high = heat_window(result)
    bar = figure.colorbar(picture, cax=figure.add_axes((0.935, 0.2, 0.012, 0.55)))
    bar.set_label(f"anomaly (z), fixed window {low:g} to {high:g}", color="white", fontsize=9)
    bar.ax.tick_params(colors="white", labelsize=8)
    threshold = result["heatmap"].display.get("threshold")
    if threshold is not None and low <= threshold <= high:
        bar.ax.axhline(threshold, color="cyan", linewidth=1.5)


def _caption(result: Result) -> str:
    known = result.provenance
    model = known.get("model") or {}
    parameters = known.get("parameters") or {}
    facts = {
        "model": model.get("name"),
        "seed": known.get("seed"),
        "samples": parameters.get("samples"),
        "steps": known.get("steps"),
        "threshold z": result["heatmap"].display.get("threshold"),
    }
    made = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
        if value is not None
    )
    return (
        "Radiological convention: the patient's right (R) is on the left of the picture. "
        f"Outlined in cyan: findings. {CORNER_TEXT}, not for diagnosis.\n"
        "The heat map shows a difference from a model of healthy brains, "
        f"which is not a diagnosis; transparent below z = {heat_window(result)[0]:g}. "
        f"{made[:1].upper()}{made[1:]}"
    )
