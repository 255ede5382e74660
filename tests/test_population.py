"""Synthetic images from label maps: the same for a seed, with labels that follow the image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor

from braindiffusion.anatomy import MIRROR, STRUCTURES, from_freesurfer, volumes_ml
from braindiffusion.paths import data_root
from braindiffusion.training import label_maps
from braindiffusion.training.label_maps import with_atlases
from braindiffusion.training.population import (
    SPINAL_CSF,
    Subject,
    anatomy_pair,
    degrade,
    draw_labels,
    draw_pose,
    normalise,
    paint_labels,
    posed_labels,
    random_contrast,
    strip,
    t1_contrast,
    widened,
)
from conftest import needs_data
from oracles import seeded

SHAPE = (32, 32, 32)
STILL = {"degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0, "bend": 0.0}
CODES = np.array([0, 2, 3, 4, 17, 24, 41, 42, 43, 53, 514], np.int16)
CLASSES = {0: 0, 2: 2, 3: 3, 4: 1, 17: 3, 24: 1, 41: 2, 42: 3, 43: 1, 53: 3, 501: 1, 514: 4}


def named(name: str, side: str = "") -> int:
    return next(s.index for s in STRUCTURES if (s.name, s.side) == (name, side))


def head() -> np.ndarray:
    """FreeSurfer numbers of a head at 1 mm, [64, 64, 64]: its left hippocampus is large, the right small."""
    axes = np.meshgrid(*(np.arange(64) - 31.5,) * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    left = axes[0] < 0
    numbers = np.zeros((64, 64, 64), np.int16)
    numbers[radius < 26] = 514
    numbers[radius < 22] = 24
    numbers[radius < 20] = np.where(left, 3, 42)[radius < 20]
    numbers[radius < 15] = np.where(left, 2, 41)[radius < 15]
    numbers[radius < 5] = np.where(left, 4, 43)[radius < 5]
    for sign, code, side in ((-1, 17, 5.0), (1, 53, 2.5)):
        place = np.abs(axes[0] - 10 * sign) < side
        numbers[place & (np.abs(axes[1]) < side) & (np.abs(axes[2]) < side)] = code
    return numbers


@pytest.fixture(scope="module")
def subject() -> Subject:
    labels = np.searchsorted(CODES, head()).astype(np.uint8)
    index = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
    index[:3, 3] = 31.5 - 2 * torch.tensor([39.5, 47.5, 39.5])
    return Subject(torch.from_numpy(labels), CODES, index)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with made-up intensity priors: CSF 40, white 160, grey 100, bone and skin 120."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "priors").mkdir()
    means = np.array([[5.0, 40.0, 160.0, 100.0, 120.0]] * 2)
    arrays = {
        "generation_labels": np.array(list(CLASSES)),
        "generation_classes_contrast_specific": np.array(list(CLASSES.values())),
        "prior_means_t1": means,
        "prior_stds_t1": np.full_like(means, 8.0),
    }
    for name, array in arrays.items():
        np.save(folder / "priors" / f"{name}.npy", array)
    return folder


def centroid(where: Tensor) -> float:
    """Mean x of the voxels that are true; x grows to the right."""
    return float(torch.nonzero(where)[:, 0].float().mean())


def test_labels_at_rest_are_the_subjects_own(subject):
    fine, truth = draw_labels(seeded(), subject, SHAPE, STILL)
    assert fine.shape == (64, 64, 64) and truth.shape == SHAPE
    assert torch.equal(fine, subject.labels)
    blocks = fine.view(32, 2, 32, 2, 32, 2).permute(0, 2, 4, 1, 3, 5).reshape(*SHAPE, 8)
    assert (blocks == truth[..., None]).any(-1).all(), (
        "at 2 mm a label of the eight voxels that it stands for"
    )


def test_deformed_labels_keep_their_sides_and_about_their_size(subject):
    pose = {"degrees": 20.0, "scale": 0.15, "shear": 0.1, "shift": 4.0, "bend": 3.5}
    for seed in range(6):
        fine, truth = draw_labels(seeded(seed), subject, SHAPE, pose)
        ours = torch.from_numpy(from_freesurfer(CODES))[truth.long()]
        cortex = [centroid(ours == named("cerebral cortex", side)) for side in ("left", "right")]
        assert cortex[0] + 3 < cortex[1]
        share = float((fine == 3).sum()) / float((subject.labels == 3).sum())
        assert 0.4 < share < 2.0
        volume = volumes_ml(ours.numpy(), 0.008)["intracranial"]
        assert volume == pytest.approx(
            volumes_ml(from_freesurfer(CODES)[fine.long().numpy()], 0.001)["intracranial"], rel=0.03
        )


def test_beyond_the_map_is_background(subject):
    far = Subject(subject.labels, CODES, subject.index.clone())
    far.index[0, 3] += 500
    fine, truth = draw_labels(seeded(), far, SHAPE, STILL)
    assert not fine.any() and not truth.any()


def test_widened_ventricles_push_tissue_aside_without_tearing(subject):
    """The walls of the ball of 5 mm move outwards by about what is asked, alike on both sides."""
    pose = draw_pose(seeded(3), SHAPE, STILL)
    ventricles = [named("lateral ventricle", side) for side in ("left", "right")]
    sizes, before = [], 0.0
    for amount in (0.0, 3.0, 6.0):
        wide = widened(subject, SHAPE, pose, amount)
        numbers = from_freesurfer(subject.codes)[posed_labels(subject, SHAPE, wide)[1].numpy()]
        left, right = ((numbers == v).sum() * 0.008 for v in ventricles)
        assert left == pytest.approx(right, rel=0.3)
        sizes.append(left + right)
        radius = (3 * 1000 * sizes[-1] / 12.566) ** (1 / 3)
        assert radius == pytest.approx(5.0 + amount, abs=1.3) and radius > before + 1
        before = radius
        assert (numbers > 0).sum() * 0.008 == pytest.approx(4.19 * 22**3 / 1000, rel=0.15), "the head stays"


def test_one_seed_gives_one_example(subject, root):
    first, again, other = (anatomy_pair(seeded(s), subject, SHAPE, root) for s in (5, 5, 6))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_examples_are_what_the_network_eats(subject, root):
    for seed in range(10):
        image, target, where = anatomy_pair(seeded(seed), subject, SHAPE, root)
        assert where is None, "an example whose place is unknown"
        assert image.shape == (1, *SHAPE) and image.dtype == torch.float32
        assert target.shape == SHAPE and target.dtype == torch.uint8
        assert image.isfinite().all() and 0 <= float(image.min()) and float(image.max()) <= 1
        assert float(image.std()) > 0.02
        assert int(target.max()) < len(STRUCTURES)


def test_a_flip_swaps_the_labels(subject, root):
    """The large hippocampus lies left in some and right in others, always under the name of its side."""
    small, large = set(), set()
    for seed in range(14):
        _, target, _ = anatomy_pair(seeded(seed), subject, SHAPE, root)
        places = {side: target == named("hippocampus", side) for side in ("left", "right")}
        cortex = {side: centroid(target == named("cerebral cortex", side)) for side in ("left", "right")}
        assert cortex["left"] < cortex["right"]
        sizes = {side: int(where.sum()) for side, where in places.items()}
        big = max(sizes, key=lambda side: sizes[side])
        large.add(big)
        small.add(min(sizes, key=lambda side: sizes[side]))
        middle = (cortex["left"] + cortex["right"]) / 2
        assert (centroid(places[big]) < middle) == (big == "left")
    assert large == small == {"left", "right"}


def test_an_aligned_example_knows_where_it_lies(subject, root):
    """Voxel -> template voxel: the middle is found to a few millimetre, and left is left after a flip too."""
    for seed in range(10):
        _, target, where = anatomy_pair(seeded(seed), subject, SHAPE, root, aligned=True)
        assert where is not None and where.shape == (4, 4)
        assert 0.75 < float(torch.linalg.det(where[:3, :3])) < 1.3, (
            "a flip of the image mirrors the template too"
        )
        places = {}
        for side in ("left", "right"):
            voxels = torch.nonzero(target == named("cerebral cortex", side)).float()
            places[side] = (voxels @ where[:3, :3].T + where[:3, 3]).mean(0)
        assert places["left"][0] < 39.5 - 2 and places["right"][0] > 39.5 + 2
        middle = (places["left"] + places["right"]) / 2
        assert (middle - torch.tensor([39.5, 47.5, 39.5])).abs().max() < 3


def test_an_atlas_leaves_out_its_own_brain_and_is_symmetric(subject):
    atlases = [s.atlas for s in with_atlases([subject, replace(subject, labels=0 * subject.labels), subject])]
    assert all(atlas is not None and atlas.shape == (len(STRUCTURES), 40, 48, 40) for atlas in atlases)
    first, second, third = (atlas for atlas in atlases if atlas is not None)
    assert torch.equal(first, third) and not torch.equal(first, second)
    white = named("cerebral white matter", "left")
    assert float(second[white].max()) > 0.7
    assert torch.allclose(2 * first[white], second[white], atol=1e-4), "the other brain and one that is empty"
    assert torch.allclose(second.sum(0), torch.ones(40, 48, 40), atol=1e-4)
    assert torch.allclose(second[torch.from_numpy(MIRROR)].flip(1), second, atol=1e-5)


def test_a_t1_is_dark_in_fluid_and_bright_in_white_matter(subject, root):
    fine, truth = draw_labels(seeded(1), subject, SHAPE, STILL)
    for seed in range(5):
        means, deviations = t1_contrast(seeded(seed), CODES, root)
        image = paint_labels(seeded(seed), fine, means, deviations)
        code = torch.from_numpy(CODES.astype(np.int64))[truth.long()]
        csf, grey, white = (float(image[code == c].mean()) for c in (4, 3, 2))
        assert csf < grey - 0.1 and grey < white - 0.1
        left, right = (float(means[np.flatnonzero(CODES == c)[0]]) for c in (2, 41))
        assert left == right, "both sides have one draw"
    assert grey == pytest.approx(0.7, abs=0.15) and white == pytest.approx(1.0, abs=0.15)


def test_random_contrast_differs_between_draws_and_not_between_sides():
    first, _ = random_contrast(seeded(0), CODES, CLASSES)
    second, deviations = random_contrast(seeded(1), CODES, CLASSES)
    assert not torch.allclose(first, second)
    assert first[1] == first[6] and first[2] == first[7]
    assert (deviations >= 0).all() and 0 <= float(second.min()) and float(second.max()) <= 0.95


def test_stripping_takes_what_lies_outside_the_brain(subject):
    fine, _ = draw_labels(seeded(), subject, SHAPE, STILL)
    kept = CODES[strip(seeded(), fine, CODES, keep_csf=True).unique().numpy()]
    assert 514 not in kept and 24 in kept and set(kept) >= {0, 2, 3, 41, 42}
    bare = CODES[strip(seeded(), fine, CODES, keep_csf=False).unique().numpy()]
    assert 24 not in bare and {4, 43} <= set(bare), "ventricles stay"


def test_degrading_by_nothing_changes_nothing():
    image = torch.rand(SHAPE, generator=seeded())
    assert torch.equal(degrade(seeded(3), image, 0.0, 0.0, 0.0, 0.0), image)


def test_degrading_blurs_shades_and_adds_noise():
    image = torch.ones(SHAPE)
    shaded = degrade(seeded(1), image, 0.5, 0.0, 0.0, 0.0)
    assert shaded.std() > 0.02 and shaded.diff(dim=0).abs().max() < 0.1
    assert degrade(seeded(1), image, 0.0, 0.0, 0.2, 0.0).std() > 0.01
    stripes = (torch.arange(32) % 2).float().view(32, 1, 1).expand(SHAPE).contiguous()
    thick = [degrade(seeded(s), stripes, 0.0, 0.0, 0.0, 1.0) for s in range(6)]
    assert all(image.shape == SHAPE for image in thick)
    assert (
        min(float(image[4:-4].std()) for image in thick)
        < 0.15
        < max(float(image[4:-4].std()) for image in thick)
    )


def test_normalising_gives_zero_to_one_whatever_the_scale():
    image = torch.rand(SHAPE, generator=seeded()) * (torch.rand(SHAPE, generator=seeded(1)) > 0.5)
    small, large = normalise(image), normalise(4000 * image)
    assert torch.allclose(small, large, atol=1e-5)
    assert float(small.min()) == 0 and float(small.max()) == 1
    assert not normalise(torch.zeros(SHAPE)).any() and not normalise(torch.full(SHAPE, -3.0)).any()


def test_spinal_fluid_is_no_part_of_the_brain(root, tmp_path, monkeypatch):
    """The maps number it like the skull's; below the brain it must not count as intracranial."""
    numbers = np.zeros((110, 110, 130), np.int16)
    numbers[23:87, 23:87, 60:124] = head()
    numbers[50:60, 50:60, 5:70][numbers[50:60, 50:60, 5:70] == 0] = 24
    path = tmp_path / "seg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(numbers[::-1], np.diag([-1.0, 1, 1, 1])), path)
    fits = []

    class Stub:
        index = template_index = np.eye(4)

        @classmethod
        def fit(cls, data, affine, mask):
            fits.append((data, affine, mask))
            return cls()

    monkeypatch.setattr(label_maps, "Frame", Stub)
    made = label_maps.load(root, path)
    assert SPINAL_CSF in made.codes and from_freesurfer(np.array([SPINAL_CSF]))[0] == 0
    values = made.codes[made.labels.numpy()]
    lowest = np.argwhere(np.isin(values, (2, 3, 41, 42)))[:, 2].min()
    assert (values[:, :, : lowest - 2] != 24).all() and (values[:, :, lowest:] == 24).any()
    assert (values == SPINAL_CSF).sum() > 500
    for axis in range(3):
        assert not values.take([0, -1], axis).any(), "clamping beyond the map has to find background"
    data, affine, mask = fits[0]
    assert data.shape == made.labels.shape and not data[~mask].any() and data[mask].min() > 0
    left = np.argwhere(values == 3)[:, 0].mean()
    right = np.argwhere(values == 42)[:, 0].mean()
    assert left < right and affine[0, 0] > 0, "stored from right to left, loaded from left to right"


@pytest.mark.slow
@needs_data("label_maps")
@needs_data("priors")
def test_a_real_map_makes_a_t1_of_a_brain():
    subject = label_maps.load(data_root(), data_root() / "label_maps" / "seg_14.nii.gz")
    shape = (80, 96, 80)
    fine, truth = draw_labels(seeded(), subject, shape, STILL)
    fine = strip(seeded(), fine, subject.codes, keep_csf=True)
    image = paint_labels(seeded(), fine, *t1_contrast(seeded(), subject.codes, data_root()))
    ours = torch.from_numpy(from_freesurfer(subject.codes))[truth.long()]
    means = [
        float(image[ours == named(name, side)].mean())
        for name, side in (
            ("lateral ventricle", "left"),
            ("cerebral cortex", "left"),
            ("cerebral white matter", "left"),
        )
    ]
    assert means[0] < 0.5 < means[1] < 0.85 < means[2] < 1.2
    for axis in range(3):
        assert not ours.numpy().take([0, -1], axis).any(), "the brain touches no face"
    mirrored = torch.from_numpy(MIRROR)[ours.long()].flip(0)
    overlap = float(((mirrored > 0) & (ours > 0)).sum()) / float((ours > 0).sum())
    assert overlap > 0.9, "the frame has turned the brain upright"
