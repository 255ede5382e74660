"""Pictures of the evaluation. Radiological convention: the patient's right is on the left; made-up voxels say
so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import label

from ..healing import Healed
from ..imaging.volume import Volume
from ..pathology import TISSUES
from ..report import CORNER_TEXT, Plane, content_box, cut, gray_window, letters
from ..result import Result
from .cases import Case
from .crossfit import Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SLICES = {"axial": 42, "coronal": 48, "sagittal": 42}
_HEAT = {"cmap": "autumn", "vmin": 2, "vmax": 8, "alpha": 0.8}


def _plane(array: np.ndarray, plane: str, index: int) -> np.ndarray:
    """A slice of a model-grid array as a picture [row from top, column from left]."""
    if plane == "axial":
        return array[::-1, ::-1, index].T
    if plane == "coronal":
        return array[::-1, index, ::-1].T
    return array[index, ::-1, ::-1].T


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
        ax.set_facecolor("black")
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, facecolor="black", metadata={"Description": CORNER_TEXT})


def _mark(figure: Figure) -> None:
    figure.text(0.995, 0.005, CORNER_TEXT, color="yellow", fontsize=9, ha="right", va="bottom")


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, color="white", fontsize=8, pad=3)


def sample_sheet(path: Path, samples: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    """Three planes of each sample [80, 96, 80] with what was asked for."""
    across = 4
    down = -(-len(samples) // across)
    figure, axes = _figure(down, 3 * across, (3 * across * 1.25, down * 1.9 + 0.3))
    figure.subplots_adjust(0.003, 0.04, 0.997, 0.96, 0.02, 0.2)
    for n, (sample, caption) in enumerate(zip(samples, captions, strict=True)):
        row, first = n // across, 3 * (n % across)
        for column, (plane, index) in enumerate(_SLICES.items()):
            axes[row, first + column].imshow(_plane(sample, plane, index), cmap="gray", vmin=0, vmax=1.2)
        _title(axes[row, first + 1], caption)
    _mark(figure)
    _save(figure, path)


def detail_sheet(path: Path, images: Mapping[str, np.ndarray]) -> None:
    """One axial cut of each of `images`, by name, and a part of it larger: [80, 96, 80] at 2 mm or [160, 192,
    160] at 1 mm.
    """
    figure, axes = _figure(2, len(images), (2.6 * len(images), 5.6))
    figure.subplots_adjust(0.003, 0.03, 0.997, 0.95, 0.02, 0.02)
    for column, (name, image) in enumerate(images.items()):
        times = 160 // image.shape[0]
        whole = _plane(image, "axial", 2 * _SLICES["axial"] // times).repeat(times, 0).repeat(times, 1)
        for ax, part in zip(axes[:, column], (whole, whole[64:128, 16:80]), strict=True):
            ax.imshow(part, cmap="gray", vmin=0, vmax=1.2, interpolation="nearest")
        _title(axes[0, column], name)
    _mark(figure)
    _save(figure, path)


def spectrum(path: Path, frequency: np.ndarray, real: np.ndarray, made: np.ndarray) -> None:
    """Power against frequency: the range of `real` brains [n, rings] as a band, `made` samples [n, rings] as
    lines.
    """
    figure, axes = _figure(1, 1, (6, 4))
    figure.set_facecolor("white")
    ax = axes[0, 0]
    ax.set_axis_on()
    ax.set_facecolor("white")
    ax.fill_between(frequency, real.min(0), real.max(0), color="0.8", label="real brains, lowest to highest")
    for n, line in enumerate(made):
        ax.plot(
            frequency, line, color="tab:red", linewidth=0.7, label="samples (synthetic)" if n == 0 else None
        )
    ax.set_yscale("log")
    ax.set_xlabel("spatial frequency (cycles per mm)")
    ax.set_ylabel("power")
    ax.legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def implant_sheet(
    path: Path, cases: Sequence[Case], scored: Scored, healed: Callable[[Case], Healed]
) -> None:
    """One implanted copy of up to six brains: scan with the truth outlined, healed, heat map."""
    chosen = [case for case in cases if case.index == 1][:6]
    figure, axes = _figure(
        len(chosen) // 3 + (len(chosen) % 3 > 0), 9, (13, 1.75 * -(-len(chosen) // 3) + 0.3)
    )
    figure.subplots_adjust(0.003, 0.04, 0.997, 0.93, 0.02, 0.16)
    for n, case in enumerate(chosen):
        largest = 1 + int(np.argmax([lesion.volume_ml for lesion in case.lesions]))
        truth = case.frame.to_model((case.truth == largest).astype(np.float32))
        every = case.frame.to_model((case.truth > 0).astype(np.float32)) > 0.4
        index = int(truth.sum((0, 1)).argmax())
        row, first = axes[n // 3], 3 * (n % 3)
        z = scored.maps[case.name].astype(np.float32)
        _trio(row[first : first + 3], case.image, healed(case).mean, z, every, index)
        lesion = case.lesions[largest - 1]
        _title(row[first + 1], f"{case.subject}: {lesion.volume_ml:.1f} ml, {lesion.contrast:+.0%}")
    _mark(figure)
    _save(figure, path)


def _trio(
    axes: np.ndarray, image: np.ndarray, healed: np.ndarray, z: np.ndarray, truth: np.ndarray, index: int
) -> None:
    scan = _plane(image, "axial", index)
    gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1.3}
    axes[0].imshow(scan, **gray)
    outline = _plane(truth, "axial", index)
    if outline.any():
        axes[0].contour(outline, [0.5], colors="lime", linewidths=0.7)
    axes[1].imshow(_plane(healed, "axial", index), **gray)
    axes[2].imshow(scan, **gray)
    axes[2].imshow(np.ma.masked_less(_plane(z, "axial", index), 2), **_HEAT)


def real_case(path: Path, title: str, volumes: Mapping[str, Volume], truth: np.ndarray | None) -> None:
    """Three slices of a real case. volumes: "scan", "healed", "heatmap", "findings", and further scans by
    name.

    truth: bool [X, Y, Z] on the scan's grid, outlined in green; findings are outlined in cyan.
    """
    scan = volumes["scan"]
    further = [name for name in volumes if name not in ("scan", "healed", "heatmap", "findings")]
    figure, axes = _figure(3, 3 + len(further), (2.4 * (3 + len(further)), 7.0))
    figure.subplots_adjust(0.003, 0.04, 0.997, 0.92, 0.02, 0.05)
    box = content_box(scan)
    where = _places(scan, volumes["heatmap"], truth)
    for row, (plane, position) in enumerate(where):
        for column, name in enumerate(["scan", "healed", *further]):
            _gray(
                axes[row, column if name in ("scan", "healed") else column + 1],
                volumes[name],
                plane,
                position,
                box,
            )
        _gray(axes[row, 2], scan, plane, position, box)
        heat = cut(volumes["heatmap"], plane, position, box)
        axes[row, 2].imshow(np.ma.masked_less(heat, 2), **_HEAT)
        found = cut(volumes["findings"], plane, position, box, labels=True) > 0
        if found.any():
            axes[row, 2].contour(found, [0.5], colors="cyan", linewidths=0.7)
        shown = (
            None
            if truth is None
            else cut(scan.with_data(truth.astype(np.uint8)), plane, position, box, labels=True)
        )
        if shown is not None and shown.any():
            for ax in (axes[row, 0], *axes[row, 3:]):
                ax.contour(shown, [0.5], colors="lime", linewidths=0.7)
    for column, name in enumerate(["scan", "healed", "heat map, z 2 to 8", *further]):
        _title(axes[0, column], name)
    figure.suptitle(title, color="white", fontsize=11)
    _mark(figure)
    _save(figure, path)


def filled_case(path: Path, title: str, result: Result) -> None:
    """Three slices of a filled scan: with the mask's outline, two fillings, their mean and their spread."""
    scan, spread = result.inputs["scan"], result["spread"].volume
    mask, filled = result.inputs["mask"], result["variants"].volumes
    assert spread is not None and filled is not None
    box = content_box(scan)
    columns = {"scan": scan, "first filling": filled[0], "last filling": filled[-1]}
    columns |= {"mean": result["mean"].volume, "spread, white matter 0 to 0.2": spread}  # type: ignore[dict-item]
    figure, axes = _figure(3, len(columns), (2.4 * len(columns), 7.0))
    figure.subplots_adjust(0.003, 0.04, 0.997, 0.92, 0.02, 0.05)
    for row, (plane, position) in enumerate(_places(mask, mask, mask.data > 0)):
        for ax, volume in zip(axes[row], columns.values()):
            if volume is spread:
                ax.imshow(cut(volume, plane, position, box), cmap="inferno", vmin=0, vmax=0.2)
            else:
                _gray(ax, volume, plane, position, box)
        outline = cut(mask, plane, position, box, labels=True) > 0
        if outline.any():
            axes[row, 0].contour(outline, [0.5], colors="lime", linewidths=0.7)
    for ax, name in zip(axes[0], columns):
        _title(ax, name)
    figure.suptitle(title, color="white", fontsize=11)
    _mark(figure)
    _save(figure, path)


def painted_case(path: Path, title: str, scan: Volume, painted: Volume, images: Mapping[str, Volume]) -> None:
    """Slices of a scan, of what is painted on it (`painting.tissues_on`) and of the paintings: three through
    the core, one through the largest lesion.
    """
    from matplotlib import colormaps

    box, columns = content_box(scan), {"scan": scan, "painted labels": scan, **images}
    figure, axes = _figure(4, len(columns), (2.6 * len(columns), 10.4))
    figure.subplots_adjust(0.003, 0.04, 0.997, 0.94, 0.02, 0.03)
    white = 1.3 * gray_window(scan)[1]
    lesions, _ = label(painted.data == 3)
    largest = lesions == 1 + np.bincount(lesions.ravel())[1:].argmax()
    places = [*_places(scan, scan, painted.data == 1), _places(scan, scan, largest)[0]]
    for row, (plane, position) in enumerate(places):
        for ax, volume in zip(axes[row], columns.values()):
            ax.imshow(cut(volume, plane, position, box), cmap="gray", vmin=0, vmax=white)
            letters(ax, plane)
        labels = cut(painted, plane, position, box, labels=True)
        colours: dict[str, Any] = {"cmap": "tab10", "vmin": 0.5, "vmax": 10.5, "interpolation": "nearest"}
        axes[row, 1].imshow(np.ma.masked_equal(labels, 0), alpha=0.75, **colours)
    for ax, name in zip(axes[0], columns):
        _title(ax, name)
    for n, tissue in enumerate(TISSUES):
        figure.text(0.01 + 0.12 * n, 0.012, tissue.name, color=colormaps["tab10"](n), fontsize=10)
    figure.suptitle(title, color="white", fontsize=11)
    _mark(figure)
    _save(figure, path)


def _gray(ax: Axes, volume: Volume, plane: Plane, position: np.ndarray, box: Any) -> None:
    _, white = gray_window(volume)
    ax.imshow(cut(volume, plane, position, box), cmap="gray", vmin=0, vmax=white)


def _places(scan: Volume, heat: Volume, truth: np.ndarray | None) -> list[tuple[Plane, np.ndarray]]:
    """Three planes through the middle of the truth, or through the hottest place."""
    if truth is not None and truth.any():
        middle = np.argwhere(truth).mean(0)
    else:
        middle = np.array(np.unravel_index(int(heat.data.argmax()), heat.data.shape), float)
    position = scan.affine[:3, :3] @ middle + scan.affine[:3, 3]
    planes: tuple[Plane, Plane, Plane] = ("axial", "coronal", "sagittal")
    return [(plane, position) for plane in planes]
