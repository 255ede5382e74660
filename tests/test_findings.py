"""Findings: where they lie in the patient, on which side, in which structure, and how large they are."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.anatomy import CSF, STRUCTURES
from braindiffusion.findings import measure, name
from braindiffusion.imaging.frame import Frame
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_CENTRE, GRID_SHAPE
from braindiffusion.imaging.intensity import TissueScale
from scan_files import all_orientations, oblique

INDEX = {(s.side, s.name): s.index for s in STRUCTURES}
LEFT_WHITE, RIGHT_WHITE = (INDEX[side, "cerebral white matter"] for side in ("left", "right"))


def frame_on(shape: tuple[int, int, int], affine: np.ndarray, rigid: np.ndarray | None = None) -> Frame:
    """A frame whose place is known; without `rigid` the user's grid and the model grid have one middle."""
    if rigid is None:
        rigid = np.eye(4)
        rigid[:3, 3] = GRID_CENTRE - (affine @ [*(np.array(shape) - 1) / 2, 1.0])[:3]
    nothing = np.zeros(GRID_SHAPE, np.float32)
    return Frame(
        shape,
        affine,
        rigid,
        np.eye(4),
        nothing > 0,
        nothing,
        TissueScale(0.7, 1.0),
        nothing,
        np.zeros((3, 3)),
    )


FRAME = frame_on((80, 96, 80), GRID_AFFINE)


def box(*ranges: tuple[int, int]) -> np.ndarray:
    """The voxels (N, 3) of a box."""
    return np.stack(np.meshgrid(*(np.arange(a, b) for a, b in ranges), indexing="ij"), -1).reshape(-1, 3)


def painted(*parts: tuple[np.ndarray, int]) -> np.ndarray:
    """A label map [80, 96, 80] with regions (N, 3) of given values."""
    labels = np.zeros(GRID_SHAPE, np.int32)
    for region, value in parts:
        labels[tuple(region.T)] = value
    return labels


def rows_of(
    numbered, count, signed=None, agreeing=None, anatomy=None, frame=FRAME, native=None, voxel_ml=0.008
):
    signed = np.where(numbered > 0, 5.0, 0.0) if signed is None else signed
    agreeing = np.ones(GRID_SHAPE) if agreeing is None else agreeing
    anatomy = np.zeros(GRID_SHAPE, np.uint8) if anatomy is None else anatomy
    return measure(
        numbered, count, signed, agreeing, anatomy, frame, numbered if native is None else native, voxel_ml
    )


BLOB = box((20, 24), (40, 45), (40, 43))


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (LEFT_WHITE, ("left", "cerebral white matter")),
        (INDEX["left", "putamen"], ("left", "putamen")),
        (INDEX["right", "lateral ventricle"], ("left", "lateral ventricle")),
        (0, ("left", "edge of the brain")),
        (CSF[0], ("left", "outer CSF")),
        (INDEX["", "brainstem"], ("left", "brainstem")),
    ],
)
def test_a_region_is_named_after_its_structure(structure, expected):
    """The side is the one on which it lies (low x is left), whatever the anatomy network took it for."""
    assert name(BLOB, painted((BLOB, structure)), BLOB[0]) == expected


@pytest.mark.parametrize(
    ("x", "side"), [(30, "left"), (36, "left"), (38, "midline"), (39, "midline"), (44, "right")]
)
def test_midline_structures_take_the_side_of_the_regions_middle(x, side):
    region = box((x, x + 2), (40, 44), (20, 24))
    assert name(region, painted((region, INDEX["", "brainstem"])), region[0]) == (side, "brainstem")


def test_a_region_across_the_midline_lies_on_both_sides():
    """A reader who is told "left" and sees the views jump to the right is misled."""
    region = box((30, 50), (40, 44), (20, 24))
    assert name(region, painted((region, LEFT_WHITE)), region[0])[0] == "both sides"
    nearly_left = box((20, 43), (40, 44), (20, 24))
    assert name(nearly_left, painted((nearly_left, LEFT_WHITE)), nearly_left[0])[0] == "left"
    assert name(nearly_left, painted((nearly_left, LEFT_WHITE)), nearly_left[-1])[0] == "both sides"


def test_the_commonest_tissue_names_a_region_and_fluid_around_it_does_not():
    mostly_fluid = painted(
        (BLOB, CSF[0]), (BLOB[:10], LEFT_WHITE), (BLOB[10:16], INDEX["left", "cerebral cortex"])
    )
    assert name(BLOB, mostly_fluid, BLOB[0]) == ("left", "cerebral white matter")
    hardly_tissue = painted((BLOB, CSF[0]), (BLOB[:10], LEFT_WHITE))
    assert len(BLOB) == 60 and name(BLOB, hardly_tissue, BLOB[0]) == ("left", "outer CSF")
    assert name(BLOB, painted((BLOB[:20], LEFT_WHITE)), BLOB[0]) == ("left", "cerebral white matter")


def test_rows_come_in_order_with_volume_peak_direction_and_agreement():
    other = box((60, 62), (50, 53), (50, 53))
    numbered = painted((BLOB, 1), (other, 2))
    signed = painted((BLOB, 3), (other, -4)).astype(np.float64)
    signed[21, 42, 41], signed[61, 52, 51] = 7.125, -9.0
    agreeing = np.where(numbered == 1, 1.0, 0.75)
    anatomy = painted((BLOB, LEFT_WHITE), (other, RIGHT_WHITE))
    first, second = rows_of(numbered, 2, signed, agreeing, anatomy)
    assert first == {
        "number": 1, "volume_ml": 0.48, "peak_z": 7.12, "x_mm": -37.0, "y_mm": -29.0, "z_mm": 8.0,
        "side": "left", "structure": "cerebral white matter", "direction": "brighter than expected",
        "agreement": 1.0,
    }  # fmt: skip
    assert second["number"] == 2 and second["volume_ml"] == pytest.approx(18 * 0.008, abs=1e-3)
    assert second["peak_z"] == 9.0 and (second["x_mm"], second["y_mm"], second["z_mm"]) == (43.0, -9.0, 28.0)
    assert (
        second["side"] == "right"
        and second["direction"] == "darker than expected"
        and second["agreement"] == 0.75
    )


def test_without_regions_there_are_no_rows():
    assert rows_of(np.zeros(GRID_SHAPE, np.int32), 0) == []


def test_volumes_are_counted_on_the_users_grid():
    native = np.zeros((30, 30, 30), np.int16)
    native[4:9, 5, 6:9] = 1
    (row,) = rows_of(painted((BLOB, 1)), 1, native=native, voxel_ml=0.02)
    assert row["volume_ml"] == pytest.approx(0.3)


def test_a_region_between_the_users_slices_keeps_its_row():
    (row,) = rows_of(painted((BLOB, 1)), 1, native=np.zeros((9, 9, 9), np.int16))
    assert row["volume_ml"] == 0 and row["number"] == 1


def test_rows_are_plain_values():
    """They go into JSON and CSV."""
    (row,) = rows_of(painted((BLOB, 1)), 1)
    assert {type(value) for value in row.values()} <= {int, float, str}


@pytest.mark.parametrize(("axes", "signs"), all_orientations()[::3])
def test_positions_are_the_patients_on_oblique_and_flipped_grids(axes, signs):
    """The peak's position, found back on the user's own grid, is the voxel that was lit there."""
    shape, affine = (60, 64, 56), oblique((2.6, 2.2, 3.1), axes, signs)
    frame = frame_on(shape, affine)
    lit = (23, 38, 33)
    scan = np.zeros(shape, np.float32)
    scan[lit] = 9.0
    heat = frame.to_model(scan)
    numbered = (heat > 0.3 * heat.max()).astype(np.int32)
    native = frame.to_native(numbered, order=0)
    anatomy = np.full(GRID_SHAPE, INDEX["", "brainstem"])
    (row,) = rows_of(numbered, 1, heat, anatomy=anatomy, frame=frame, native=native)
    said = np.array([row["x_mm"], row["y_mm"], row["z_mm"]])
    true = (affine @ [*lit, 1.0])[:3]
    assert np.linalg.norm(said - true) < 2.5
    across = true[0] - (affine @ [*(np.array(shape) - 1) / 2, 1.0])[0]
    if abs(across) > 8:
        assert row["side"] == ("right" if across > 0 else "left")
