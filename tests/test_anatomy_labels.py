"""The table of structures: sides, FreeSurfer's numbers and volumes."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.anatomy import (
    CSF,
    MIRROR,
    PARENCHYMA,
    STRUCTURES,
    VENTRICLES,
    from_freesurfer,
    volumes_ml,
)
from braindiffusion.paths import data_root
from conftest import needs_data


def named(name: str, side: str = "") -> int:
    return next(s.index for s in STRUCTURES if (s.name, s.side) == (name, side))


def test_the_table_is_numbered_in_order_and_fits_a_byte():
    assert [s.index for s in STRUCTURES] == list(range(len(STRUCTURES)))
    assert len(STRUCTURES) < 256
    assert len({(s.name, s.side) for s in STRUCTURES}) == len(STRUCTURES)


def test_no_freesurfer_number_means_two_structures():
    numbers = [n for s in STRUCTURES for n in s.freesurfer]
    assert len(numbers) == len(set(numbers))


def test_mirroring_twice_is_nothing():
    assert np.array_equal(MIRROR[MIRROR], np.arange(len(STRUCTURES)))


def test_mirroring_swaps_sides_and_leaves_the_midline():
    for structure in STRUCTURES:
        other = STRUCTURES[MIRROR[structure.index]]
        assert other.name == structure.name
        swapped = {"left": "right", "right": "left", "": ""}
        assert other.side == swapped[structure.side]


def test_tissues_part_the_intracranial_space():
    assert sorted((*VENTRICLES, *CSF, *PARENCHYMA)) == list(range(1, len(STRUCTURES)))
    assert {STRUCTURES[i].name for i in VENTRICLES} == {
        "lateral ventricle",
        "third ventricle",
        "fourth ventricle",
    }


@pytest.mark.parametrize(
    ("numbers", "name", "side"),
    [
        ((0, 9999, 500, 502, 530, 15999), "outside", ""),
        ((3, 1000, 1001, 1035, 1999, 11100, 11175), "cerebral cortex", "left"),
        ((42, 2000, 2035, 2999, 12100, 12175), "cerebral cortex", "right"),
        ((2, 77), "cerebral white matter", "left"),
        ((41,), "cerebral white matter", "right"),
        ((4, 5, 31), "lateral ventricle", "left"),
        ((43, 44, 63), "lateral ventricle", "right"),
        ((7, 8), "cerebellum", "left"),
        ((46, 47), "cerebellum", "right"),
        ((10,), "thalamus", "left"),
        ((53,), "hippocampus", "right"),
        ((58,), "accumbens", "right"),
        ((14,), "third ventricle", ""),
        ((15,), "fourth ventricle", ""),
        ((16,), "brainstem", ""),
        ((24,), "outer CSF", ""),
    ],
)
def test_freesurfer_numbers_find_their_structure(numbers, name, side):
    assert set(from_freesurfer(np.array(numbers)).tolist()) == {named(name, side)}


def test_shape_is_kept_and_numbers_beyond_every_table_are_outside():
    labels = np.array([[[2, 41], [3, 70000]]], np.int32)
    ours = from_freesurfer(labels)
    assert ours.shape == labels.shape and ours.dtype == np.uint8
    assert ours[0, 1, 1] == 0
    assert np.array_equal(from_freesurfer(labels.astype(np.float64)), ours)


def test_the_corpus_callosum_is_white_matter_of_the_nearer_side():
    """FreeSurfer's full segmentation numbers it apart: as "outside" it would be a hole in the brain."""
    labels = np.zeros((12, 9, 9), np.int32)
    labels[1:4] = 2
    labels[4:8] = np.array([251, 252, 253, 254, 255, 253, 252, 251, 255])[None, :, None]
    labels[8:11] = 41
    ours = from_freesurfer(labels)
    left, right = (named("cerebral white matter", side) for side in ("left", "right"))
    assert (ours[1:6] == left).all() and (ours[6:11] == right).all() and not ours[[0, 11]].any()


def test_volumes_count_what_they_say():
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[0] = named("cerebral white matter", "left")
    labels[1] = named("cerebral cortex", "right")
    labels[2, :5] = named("lateral ventricle", "left")
    labels[2, 5:] = named("third ventricle")
    labels[3] = named("outer CSF")
    volumes = volumes_ml(labels, 0.008)
    assert volumes == pytest.approx({"intracranial": 3.2, "brain": 1.6, "ventricles": 0.8})
    assert volumes_ml(MIRROR[labels], 0.008) == pytest.approx(volumes)


@needs_data("label_maps")
def test_a_real_label_map_has_every_structure_on_its_side():
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.load(data_root() / "label_maps" / "seg_14.nii.gz"))
    ours = from_freesurfer(np.asarray(image.dataobj))[::2, ::2, ::2]
    for left in (s for s in STRUCTURES if s.side == "left"):
        places = [np.argwhere(ours == index)[:, 0].mean() for index in (left.index, MIRROR[left.index])]
        assert places[0] < places[1], f"{left.name}: x grows to the right in RAS"
    volumes = volumes_ml(ours, 0.008)
    assert 1100 < volumes["intracranial"] < 2000
    assert 0.6 < volumes["brain"] / volumes["intracranial"] < 0.95
    assert 5 < volumes["ventricles"] < 150
