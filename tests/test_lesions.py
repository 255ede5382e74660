"""Lesions for training: as large as asked, inside the brain, and no patient on both sides."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor

from braindiffusion.paths import data_root
from braindiffusion.training import shapes as shapes_module
from braindiffusion.training.lesions import VOXEL_ML, blob, implant, library_shape, paint
from braindiffusion.training.shapes import TEST_CASE, components, held_out, masks, training_shapes
from conftest import needs_data
from oracles import seeded

SHAPE = (60, 64, 56)


@pytest.fixture(scope="module")
def brain() -> Tensor:
    """An ellipsoid of white matter with a grey rim, dark ventricles and a faint edge, [X, Y, Z]."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = torch.stack(axes).square().sum(0).sqrt()
    image = torch.where(radius < 0.6, 1.0, torch.where(radius < 0.85, 0.7, 0.0))
    image[28:32, 28:36, 26:30] = 0.03
    image[(radius >= 0.85) & (radius < 0.87)] = 0.02
    return image + 0.01 * torch.rand(SHAPE, generator=seeded(9)) * (image > 0)


@pytest.mark.parametrize("volume_ml", [0.1, 0.5, 2.0, 8.0, 20.0])
def test_a_lump_has_the_volume_that_was_asked_for(brain, volume_ml):
    for seed in range(4):
        lump = blob(seeded(seed), brain > 0.05, volume_ml)
        assert float(lump.sum()) * VOXEL_ML == pytest.approx(volume_ml, rel=0.15)


def test_a_lump_lies_inside_and_is_one_thing(brain):
    inside = brain > 0.05
    for seed in range(8):
        lump = blob(seeded(seed), inside, 4.0)
        assert lump.shape == inside.shape and set(lump.unique().tolist()) == {0.0, 1.0}
        assert not lump[~inside].any()
        pieces = sorted(piece.sum() for piece in components(lump.numpy() > 0, 0.0))
        assert pieces[-1] > 0.8 * float(lump.sum())


def test_a_lump_in_a_brain_that_is_smaller_fills_it():
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[10:13, 10:13, 10:13] = True
    assert torch.equal(blob(seeded(), inside, 5.0) > 0, inside)


@pytest.mark.parametrize("seed", range(12))
def test_an_implant_changes_nothing_else(brain, seed):
    """Bit for bit, the faint rim too: a guide must not show otherwise that something was painted on."""
    shapes = [torch.ones(4, 6, 3, dtype=torch.bool)]
    lesioned, soft = implant(seeded(seed), brain, shapes)
    changed = lesioned != brain
    assert changed.any() and not changed[soft == 0].any()
    assert not changed[brain <= 0.05].any(), "outside the brain"
    assert 0 <= float(soft.min()) and float(soft.max()) <= 1
    assert lesioned.isfinite().all() and float(lesioned.min()) >= 0
    assert torch.equal(implant(seeded(seed), brain, shapes)[0], lesioned)


def test_lesions_are_dark_and_bright_small_and_large(brain):
    changes, volumes = [], []
    for seed in range(24):
        lesioned, soft = implant(seeded(seed), brain)
        inside = soft > 0.5
        volumes.append(float(inside.sum()) * VOXEL_ML)
        if inside.any():
            changes.append(float((lesioned - brain)[inside].mean()))
    assert min(changes) < -0.15 and max(changes) > 0.15
    assert min(volumes) < 0.5 and max(volumes) > 15


def test_painting_moves_the_middle_of_the_lesion_most(brain):
    mask = torch.zeros(SHAPE)
    mask[20:30, 20:30, 14:24] = 1
    for seed in range(6):
        painted, soft = paint(seeded(seed), brain, mask)
        assert torch.equal(painted[soft == 0], brain[soft == 0])
        assert (painted - brain)[mask > 0].abs().mean() > 3 * (painted - brain)[mask == 0].abs().mean()


def test_a_shape_of_the_library_keeps_its_voxels_however_it_is_turned(brain):
    shape = torch.zeros(7, 5, 3, dtype=torch.bool)
    shape[0:6, 1, 1] = shape[2, :, 0] = True
    inside = torch.ones(SHAPE, dtype=torch.bool)
    inside[:6] = inside[-6:] = inside[:, :6] = inside[:, -6:] = inside[..., :6] = inside[..., -6:] = False
    boxes = set()
    for seed in range(24):
        put = library_shape(seeded(seed), [shape], inside)
        spans = [
            int(np.ptp(np.flatnonzero(put.sum([a for a in range(3) if a != axis])))) + 1 for axis in range(3)
        ]
        boxes.add(tuple(spans))
        assert not put[~inside].any() and put.sum() <= shape.sum()
    assert len(boxes) >= 6, "every turn should be drawn"
    whole = [library_shape(seeded(s), [shape], torch.ones(SHAPE, dtype=torch.bool)).sum() for s in range(30)]
    assert max(whole) == shape.sum()


def test_a_shape_at_the_edge_of_the_grid_is_cut_off():
    corner = torch.zeros(SHAPE, dtype=torch.bool)
    corner[0, 0, 0] = corner[-1, -1, -1] = True
    everywhere = torch.ones(9, 9, 9, dtype=torch.bool)
    for seed in range(4):
        assert library_shape(seeded(seed), [everywhere], corner).sum() in (1, 2)


def _case(side: int) -> nibabel.Nifti1Image:
    """A lesion that is a box of `side` by 10 by 10 millimetre."""
    mask = np.zeros((60, 60, 60), np.uint8)
    mask[10 : 10 + side, 10:20, 10:20] = 1
    return nibabel.Nifti1Image(mask, np.eye(4))


@pytest.fixture
def made_up(tmp_path: Path) -> tuple[Path, dict[str, int]]:
    """A data folder with lesions whose length tells the patient."""
    names = [f"patient{n:02d}" for n in range(10, 22)] + [f"sub-{n}" for n in range(1000, 1012)]
    lengths = {name: 6 + 2 * i for i, name in enumerate(names) if 6 + 2 * i < 48}
    (tmp_path / "ms" / "lesion_masks").mkdir(parents=True)
    (tmp_path / "stroke").mkdir()
    with tarfile.open(tmp_path / "stroke" / "soop_lesion_masks_mni.tar", "w") as archive:
        for name, length in lengths.items():
            if name.startswith("patient"):
                nibabel.save(
                    _case(length), tmp_path / "ms" / "lesion_masks" / f"{name}_gold_lesions_MNI.nii.gz"
                )
                continue
            content = _case(length).to_bytes()
            member = tarfile.TarInfo(f"./{name}_lesion.nii")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return tmp_path, lengths


def test_training_shapes_come_from_patients_that_are_not_held_out(made_up, monkeypatch):
    root, lengths = made_up
    assert TEST_CASE == "patient19" and TEST_CASE in lengths
    assert set(dict(masks(root))) == set(lengths) - {TEST_CASE}
    used = []

    def recorded(mask: np.ndarray, smallest_ml: float) -> Iterator[np.ndarray]:
        used.append(int(mask.sum()) // 100)
        return components(mask, smallest_ml)

    monkeypatch.setattr(shapes_module, "components", recorded)
    shapes = training_shapes(root)
    allowed = sorted(length for name, length in lengths.items() if not held_out(name) and name != TEST_CASE)
    assert sorted(used) == allowed and 0 < len(allowed) < len(lengths) - 1
    assert len(shapes) == len(allowed) and all(shape.dtype == torch.bool for shape in shapes)
    volumes = sorted(float(shape.sum()) * VOXEL_ML for shape in shapes)
    assert volumes == pytest.approx([length / 10 for length in allowed], rel=0.35), (
        "2 mm copies of the lesions"
    )


def test_who_is_held_out_never_changes():
    """A third of the patients by a hash of the name: the weights that ship were trained without them."""
    assert [n for n in range(1, 31) if held_out(f"patient{n:02d}")] == [1, 8, 13, 18, 21, 23, 28]
    assert abs(np.mean([held_out(f"sub-{n}") for n in range(3000)]) - 1 / 3) < 0.03


def test_components_are_separate_lesions_of_a_size():
    mask = np.zeros((30, 30, 30), bool)
    mask[2:12, 2:12, 2:12] = mask[20:24, 20:24, 20:24] = True
    assert [piece.shape for piece in components(mask, 0.5)] == [(10, 10, 10)]
    assert sorted(piece.sum() for piece in components(mask, 0.0)) == [64, 1000]


@pytest.mark.slow
@needs_data("ms/lesion_masks")
@needs_data("stroke/soop_lesion_masks_mni.tar")
def test_real_shapes_are_many_and_the_test_case_is_not_among_their_patients(monkeypatch):
    patients = []

    def recorded(root: Path) -> Iterator[tuple[str, np.ndarray]]:
        for patient, mask in masks(root):
            patients.append(patient)
            yield patient, mask

    monkeypatch.setattr(shapes_module, "masks", recorded)
    shapes = training_shapes(data_root())
    assert TEST_CASE not in patients and len(set(patients)) == len(patients) > 200
    assert 0.2 < np.mean([held_out(patient) for patient in patients]) < 0.45
    volumes = np.array([float(shape.sum()) * VOXEL_ML for shape in shapes])
    assert len(shapes) > 100 and all(shape.dtype == torch.bool for shape in shapes)
    assert volumes.min() < 0.2 and 5 < volumes.max() <= 40
