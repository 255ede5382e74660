"""The picture of a result: right way up, right way round, true proportions, and marked as made up."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest

from braindiffusion import engine, report
from braindiffusion.imaging.volume import Volume
from braindiffusion.report import Box, content_box, cut, heal_figure, summary

BOX = Box(np.array([-40.0, -50.0, -30.0]), np.array([40.0, 50.0, 30.0]))
# Three balls of 6 mm at places that tell every direction from every other, in RAS mm, and their brightness.
BALLS = {(25.0, 0.0, 0.0): 100.0, (0.0, 30.0, 0.0): 200.0, (0.0, 0.0, 18.0): 300.0}


def balls(affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    data = np.zeros(shape, np.float32)
    for place, value in BALLS.items():
        data[np.linalg.norm(points - place, axis=-1) < 6] = value
    return Volume(data, affine)


def upright(spacing=(1.0, 1.0, 1.0)) -> Volume:
    shape = tuple(int(round(size / step)) + 1 for size, step in zip(BOX.size, spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = BOX.low
    return balls(affine, shape)


def centre(picture: np.ndarray, value: float) -> tuple[float, float]:
    """Row and column of the middle of the pixels of about that brightness."""
    rows, columns = np.nonzero(np.abs(picture - value) < 0.2 * value)
    assert len(rows)
    return rows.mean(), columns.mean()


def test_radiological_convention():
    volume = upright()
    axial = cut(volume, "axial", (0, 0, 0), BOX)
    coronal = cut(volume, "coronal", (0, 0, 0), BOX)
    sagittal = cut(volume, "sagittal", (0, 0, 0), BOX)
    assert axial.shape == (101, 81) and coronal.shape == (61, 81) and sagittal.shape == (61, 101)
    # The patient's right is on the left: x = +25 mm is 25 mm left of the middle column, 40.
    np.testing.assert_allclose(centre(axial, 100), (50, 15), atol=0.5)
    np.testing.assert_allclose(centre(axial, 200), (20, 40), atol=0.5)
    np.testing.assert_allclose(centre(coronal, 100), (30, 15), atol=0.5)
    np.testing.assert_allclose(centre(coronal, 300), (12, 40), atol=0.5)
    np.testing.assert_allclose(centre(sagittal, 200), (30, 20), atol=0.5)
    np.testing.assert_allclose(centre(sagittal, 300), (12, 50), atol=0.5)
    assert report._VIEWS["axial"][3] == ("R", "L", "A", "P") and report._VIEWS["coronal"][3][:2] == ("R", "L")
    assert report._VIEWS["sagittal"][3] == ("A", "P", "S", "I")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_orientation_of_the_grid_gives_the_same_picture(order):
    expected = upright()
    for flips in itertools.product((False, True), repeat=3):
        data, affine = expected.data.transpose(order), expected.affine[:, [*order, 3]].copy()
        for axis in (axis for axis in range(3) if flips[axis]):
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
        volume = Volume(np.ascontiguousarray(data), affine)
        for plane in ("axial", "coronal", "sagittal"):
            np.testing.assert_allclose(
                cut(volume, plane, (0, 0, 0), BOX), cut(expected, plane, (0, 0, 0), BOX), atol=1e-3
            )


def test_oblique_and_anisotropic_grids_show_true_proportions():
    turn = 0.4
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * [0.9, 1.1, 3.0]
    affine[:3, 3] = -affine[:3, :3] @ [60, 50, 18]
    picture = cut(balls(affine, (121, 101, 37)), "axial", (0, 0, 0), BOX)
    np.testing.assert_allclose(centre(picture, 100), (50, 15), atol=1.5)
    np.testing.assert_allclose(centre(picture, 200), (20, 40), atol=1.5)


def test_nothing_is_cut_off():
    box = content_box(upright((2.0, 2.5, 3.0)))
    assert (box.low <= [-6, -6, -6]).all() and (box.high >= [31, 36, 24]).all()
    assert (box.size < [70, 80, 60]).all()


def test_labels_keep_their_values():
    volume = Volume((upright().data / 100).astype(np.int16), upright().affine)
    picture = cut(volume, "axial", (0.4, 0.3, 0.3), BOX, labels=True)
    assert set(np.unique(picture)) == {0, 1, 2}


@pytest.fixture
def result(toy, scan):
    return engine.run("toy", {"scan": scan})


def test_the_figure_says_what_it_must(result):
    figure = heal_figure(result)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    panels = [ax for ax in figure.axes if ax.images]
    pictures = [ax for ax in panels if any(text.get_text() in "RLASPI" for text in ax.texts)]
    assert len(pictures) == 18
    assert texts.count(report.CORNER_TEXT) == 12, "in each healed and each heat map panel"
    assert texts.count("R") == texts.count("L") == 15 and texts.count("S") == texts.count("I") == 6
    whole = " ".join(text.get_text() for text in figure.texts)
    assert "patient's right (R) is on the left" in whole and "not a diagnosis" in whole
    assert "seed 0" in whole and "Model toy" in whole and "samples 4" in whole
    legend = next(ax for ax in figure.axes if "anomaly (z)" in ax.get_ylabel())
    assert legend.get_ylim() == (2, 8)
    for ax in pictures:
        assert ax.get_aspect() == 1.0, "a millimetre is as long across as upwards"


def test_every_text_lies_inside_the_picture(result):
    figure = heal_figure(result)
    figure.canvas.draw()
    size = figure.bbox
    texts = [*figure.texts, *(text for ax in figure.axes for text in [*ax.texts, ax.title, ax.yaxis.label])]
    for text in (text for text in texts if text.get_text()):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= size.x1 and box.y1 <= size.y1, text.get_text()


def test_findings_are_outlined_where_they_are(result):
    figure = heal_figure(result)
    outlined = [
        ax for ax in figure.axes if any("Contour" in type(child).__name__ for child in ax.get_children())
    ]
    assert len(outlined) >= 6 and not any(
        text.get_text() == "healed" for ax in outlined for text in [ax.title]
    )


def test_a_result_without_findings_is_drawn(result, tmp_path):
    result["findings"].rows = []
    volume = result["findings_labels"].volume
    result["findings_labels"].volume = volume.with_data(np.zeros_like(volume.data))
    report.heal_picture(result, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert "Nothing stands out" in summary(result)


def test_the_window_is_the_heat_maps_own(result):
    assert report.heat_window(result) == (2, 8)
    result["heatmap"].display = {}
    assert report.heat_window(result) == report.HEAT_WINDOW


def test_gray_levels_of_odd_scans(scan):
    assert report.gray_window(scan.with_data(np.zeros_like(scan.data))) == (0, 1)
    assert report.gray_window(scan.with_data(scan.data - 1000))[0] < -800


def test_summary_is_plain(result):
    said = summary(result).splitlines()
    assert said[0] == "The scan looks like a box."
    assert said[1] == "1 place differs from what the model knows of healthy brains (not a diagnosis):"
    assert said[2].startswith("  1. right white matter: ") and " ml, peak z 8" in said[2]
    assert "Note: A box is no brain." in said


def test_each_finding_says_whether_it_is_brighter_or_darker(result, tmp_path):
    result.findings[0].update(direction="darker than expected", agreement=0.75)
    assert " ml, darker than expected, peak z 8" in summary(result)
    with (result.save(tmp_path / "out") / "findings.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [
        "number", "volume (ml)", "peak (z)", "x, right (mm)", "y, anterior (mm)", "z, superior (mm)", "side",
        "structure", "direction", "agreement",
    ]  # fmt: skip
    assert row["direction"] == "darker than expected"
    assert row["agreement"] == "0.75"
