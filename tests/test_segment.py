"""The anatomy of a scan: the same in any storage, left stays left, one region, and no brain is a sentence."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from brain_scans import (
    INDEX,
    INSIDE,
    POSE,
    SHAPE,
    SIZE,
    brain,
    frame_of,
    grid_mm,
    labels,
    oblique_affine,
    stored,
)
from braindiffusion import segment as segment_module
from braindiffusion.anatomy import MIRROR, STRUCTURES
from braindiffusion.errors import Cancelled, Refused
from braindiffusion.imaging import align
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE, sample, upright
from braindiffusion.imaging.volume import Volume
from braindiffusion.nets.anatomy import AnatomyNet
from braindiffusion.segment import Segmentation, Segmenter, find, is_stripped, one_region, stripped_mask
from braindiffusion.telling import silent
from scan_files import all_orientations

LEFT_CORTEX, LEFT_WHITE = INDEX["left", "cerebral cortex"], INDEX["left", "cerebral white matter"]
SCAN = brain()
FRAME = frame_of(SCAN)
IMAGE = FRAME.image
TURNED = all_orientations()[29]


class ByIntensity(nn.Module):
    """Knows grey from white by intensity, and left from right by the coordinates it is told."""

    def forward(self, image: Tensor, *place: Tensor) -> Tensor:
        right = (place[1][:, :1] > 0).float() if place else torch.zeros_like(image)
        kinds = [image < 0.05, (image >= 0.05) & (image < 0.75), image >= 0.75]
        logits = image.new_zeros(1, len(STRUCTURES), *image.shape[2:])
        logits[:, 0] = 9.0 * kinds[0][:, 0]
        for left, kind in ((LEFT_CORTEX, kinds[1]), (LEFT_WHITE, kinds[2])):
            logits[:, left] = 9.0 * (kind * (1 - right))[:, 0]
            logits[:, MIRROR[left]] = 9.0 * (kind * right)[:, 0]
        return logits


@pytest.fixture(scope="module")
def unknowing() -> AnatomyNet:
    """A network that has learnt nothing: it answers from the atlas and the tissues' intensities alone."""
    return AnatomyNet(len(STRUCTURES), width=8, blocks=(1, 1, 1, 1)).eval()


@pytest.fixture(scope="module")
def scattered() -> AnatomyNet:
    """A network of random weights."""
    torch.manual_seed(0)
    net = AnatomyNet(len(STRUCTURES), width=8, blocks=(1, 1, 1, 1)).eval()
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return net


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the voxels that either calls something, which both call the same."""
    return float((a == b)[(a > 0) | (b > 0)].mean())


def test_a_network_that_has_learnt_nothing_has_left_on_the_left(unknowing):
    found = Segmenter(unknowing).segment(FRAME, SCAN.data)
    assert found.labels.shape == GRID_SHAPE and found.labels.dtype == np.uint8
    x = (found.affine @ np.c_[np.argwhere(found.labels > 0), np.ones((found.labels > 0).sum())].T)[:3]
    middle = np.linalg.inv(POSE)[:3, :3] @ x + np.linalg.inv(POSE)[:3, 3:]
    sides = np.array([s.side for s in STRUCTURES])[found.labels[found.labels > 0]]
    assert np.median(middle[0][sides == "left"]) < -15 and np.median(middle[0][sides == "right"]) > 15
    assert found.confidence > 0.4
    counts = np.bincount(found.labels.ravel(), minlength=len(STRUCTURES))
    assert counts[LEFT_WHITE] == pytest.approx(counts[MIRROR[LEFT_WHITE]], rel=0.02)


def test_left_and_right_come_from_where_the_brain_lies_and_not_from_how_it_is_stored():
    found = Segmenter(ByIntensity()).segment(FRAME, SCAN.data).labels
    left = grid_mm()[..., 0] < -2
    assert set(np.unique(found[left & (found > 0)])) <= {LEFT_CORTEX, LEFT_WHITE}
    right = grid_mm()[..., 0] > 2
    assert set(np.unique(found[right & (found > 0)])) <= {MIRROR[LEFT_CORTEX], MIRROR[LEFT_WHITE]}
    moved = replace(FRAME, to_template=shifted(20.0))
    further = Segmenter(ByIntensity()).segment(moved, SCAN.data).labels
    wrong = (further > 0) & (grid_mm()[..., 0] > -18) & np.isin(further, [LEFT_CORTEX, LEFT_WHITE])
    assert not wrong.any(), "the template's midline is where the affine puts it"


def shifted(x_mm: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x_mm
    return matrix


@pytest.mark.slow
def test_the_image_and_its_mirror_image_have_mirrored_anatomy(scattered):
    """Left and right are treated alike, whatever the weights."""
    random = np.random.default_rng(0).uniform(0, 1, GRID_SHAPE).astype(np.float32) * (IMAGE > 0)
    image = torch.from_numpy(random)
    there, mirrored = (Segmenter(scattered).segment_model(i, FRAME).labels for i in (image, image.flip(0)))
    assert len(np.unique(there)) > 3
    assert overlap(MIRROR[mirrored[::-1]].astype(np.uint8), there) > 0.999


def assert_the_same_in_storage(net: nn.Module, axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """The same brain with its voxels in another order has the same structures at the same places."""
    other = stored(SCAN, axes, signs)
    there = Segmenter(net).segment(FRAME, SCAN.data)
    again = Segmenter(net).segment(frame_of(other), other.data)
    assert np.abs(again.affine - there.affine).max() < 1e-9 and len(np.unique(there.labels)) > 3
    assert overlap(again.labels, there.labels) > 0.999
    moved = stored(Volume(there.labels_on(SCAN.shape, SCAN.affine), SCAN.affine), axes, signs)
    assert overlap(moved.data, again.labels_on(other.shape, other.affine)) > 0.99


in_any_storage = pytest.mark.parametrize(
    ("axes", "signs"),
    [TURNED, *(pytest.param(*some, marks=pytest.mark.slow) for some in all_orientations()[::11])],
)


@in_any_storage
def test_the_anatomy_is_the_same_in_any_storage(axes, signs):
    assert_the_same_in_storage(ByIntensity(), axes, signs)


@pytest.mark.slow
@pytest.mark.parametrize(("axes", "signs"), all_orientations()[3::20])
def test_the_anatomy_is_the_same_in_any_storage_whatever_the_weights(scattered, axes, signs):
    assert_the_same_in_storage(scattered, axes, signs)


def head(nod_degrees: float = 0.0, contrast: float = 1.0) -> tuple[Volume, np.ndarray]:
    """A head with skull and neck on an oblique grid, and where its brain is. contrast -1 turns grey values
    round.
    """
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", nod_degrees, degrees=True).as_matrix()
    affine = oblique_affine((90, 110, 90))
    to_mm = np.linalg.inv(POSE @ turn @ SIZE) @ affine
    shown = sample(align._head(), np.linalg.inv(align.HEAD_AFFINE) @ to_mm, (90, 110, 90))
    inside = sample(INSIDE.astype(np.float32), np.linalg.inv(GRID_AFFINE) @ to_mm, (90, 110, 90)) > 0.5
    shown = shown if contrast > 0 else np.where(shown > 0.1, 1.1 - shown, shown)
    return Volume(500 * shown, affine), inside


@in_any_storage
def test_the_brain_of_a_head_is_found_in_any_storage(axes, signs):
    scan, inside = head()
    other = stored(scan, axes, signs)
    brain_there, space, _ = find(other)
    truth = stored(Volume(inside, scan.affine), axes, signs).data
    assert 2 * (brain_there & truth).sum() / (brain_there.sum() + truth.sum()) > 0.93
    assert (space & truth).sum() > 0.98 * truth.sum(), "nothing of the brain lies outside what may be"


@pytest.mark.parametrize("nod", [pytest.param(-22.0, marks=pytest.mark.slow), 22.0])
def test_the_brain_of_a_nodding_head_is_found(nod):
    scan, inside = head(nod)
    found = find(scan).brain
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.93


def test_the_brain_of_a_head_is_found_in_another_contrast():
    scan, inside = head(contrast=-1.0)
    found = find(scan).brain
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.9


@pytest.mark.slow
def test_the_brain_is_found_far_from_the_middle_of_a_large_field_of_view():
    scan, inside = head()
    wide, there = (np.pad(array, ((0, 20), (15, 0), (0, 25))) for array in (scan.data, inside))
    affine = scan.affine.copy()
    affine[:3, 3] = (scan.affine @ [0, -15, 0, 1.0])[:3]
    found = find(Volume(wide, affine)).brain
    assert 2 * (found & there).sum() / (found.sum() + there.sum()) > 0.93


def test_where_there_is_nothing_to_align_it_says_so():
    with pytest.raises(Refused) as caught:
        find(Volume(np.full(SHAPE, -5.0, np.float32), oblique_affine()))
    assert str(caught.value) == "No brain was found in this image; check that it is a head or brain scan."


def test_where_the_network_finds_no_brain_it_says_so():
    class Outside(ByIntensity):
        def forward(self, image: Tensor, *place: Tensor) -> Tensor:
            logits = image.new_zeros(1, len(STRUCTURES), *image.shape[2:])
            logits[:, 0] = 9.0
            return logits

    with pytest.raises(Refused) as caught:
        Segmenter(Outside()).frame(head()[0])
    assert str(caught.value) == "No brain was found in this image; check that it is a head or brain scan."


def test_a_head_is_framed_by_what_the_network_finds_and_a_stripped_brain_by_what_it_shows(monkeypatch):
    asked = []

    def fit(data, affine, mask, tell=None):
        asked.append(mask)
        return frame_of(Volume(data, affine))

    monkeypatch.setattr(segment_module.Frame, "fit", fit)
    Segmenter(ByIntensity()).frame(SCAN)
    (mask,) = asked
    assert np.array_equal(mask, stripped_mask(SCAN))
    scan, inside = head()
    assert not is_stripped(scan)
    Segmenter(ByIntensity()).frame(scan)
    assert overlap(asked[1], inside) > 0.7


@pytest.mark.slow
def test_bone_and_scalp_beyond_what_may_be_intracranial_are_left_out(monkeypatch):
    """A network that calls the whole head brain is held back by where the head's alignment puts the skull."""

    class Everything(ByIntensity):
        def forward(self, image: Tensor, *place: Tensor) -> Tensor:
            logits = super().forward(image, *place)
            logits[:, 0] = -9.0
            return logits

    asked = []

    def fit(data, affine, mask, tell=None):
        asked.append(mask)
        return frame_of(Volume(data, affine))

    scan, inside = head()
    monkeypatch.setattr(segment_module.Frame, "fit", fit)
    Segmenter(Everything()).frame(scan)
    assert (asked[-1] <= find(scan).intracranial).all()
    assert 2 * (asked[-1] & inside).sum() / (asked[-1].sum() + inside.sum()) > 0.85


@pytest.mark.slow
def test_what_is_told_of_a_head_changes_no_bit_of_its_frame(unknowing):
    shares: list[float] = []
    plain, told = (Segmenter(unknowing).frame(head()[0], tell) for tell in (silent, shares.append))
    assert np.array_equal(told.image, plain.image) and np.array_equal(told.rigid, plain.rigid)
    assert shares == sorted(shares) and shares[0] < 0.1 and 0.9 < shares[-1] <= 1 and len(shares) > 100


def test_what_is_told_on_the_way_changes_no_label_and_rises(unknowing):
    shares: list[float] = []
    segmenter = Segmenter(unknowing)
    there, told = (segmenter.segment(FRAME, SCAN.data, tell) for tell in (silent, shares.append))
    assert np.array_equal(told.labels, there.labels) and np.array_equal(told.inside, there.inside)
    assert shares == sorted(shares) and shares[0] < 0.1 and 0.9 < shares[-1] <= 1 and len(shares) > 20


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_segmentation_that_is_not_wanted_any_more_ends_soon_and_the_next_is_whole(unknowing, share):
    asked: list[float] = []

    def stop(done: float) -> None:
        if done >= share:
            asked.append(time.process_time())
            raise Cancelled

    segmenter = Segmenter(unknowing)
    with pytest.raises(Cancelled):
        segmenter.segment(FRAME, SCAN.data, stop)
    assert time.process_time() - asked[0] < 1, "seconds of computing, whatever else the machine does"
    assert not any(part._forward_hooks for part in unknowing.modules())


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_a_search_for_a_head_that_is_not_wanted_any_more_ends_soon(share):
    asked: list[float] = []

    def stop(done: float) -> None:
        if done >= share:
            asked.append(time.process_time())
            raise Cancelled

    with pytest.raises(Cancelled):
        Segmenter(ByIntensity()).frame(head()[0], stop)
    assert time.process_time() - asked[0] < 1, "seconds of computing, whatever else the machine does"


@pytest.mark.slow
def test_lower_precision_gives_the_same_anatomy(unknowing):
    model = SimpleNamespace(net=unknowing)
    exact, rough = (
        Segmenter.load("cpu", precision, model).segment(FRAME, SCAN.data).labels
        for precision in ("fp32", "bf16")
    )
    assert overlap(exact, rough) > 0.98


def ball(radius_mm: float, spacing: float = 4.0, n: int = 60, background: float = 0.0) -> Volume:
    affine = upright(spacing, (n, n, n), np.zeros(3))
    axis = spacing * (np.arange(n) - (n - 1) / 2)
    distance = np.sqrt(sum(g**2 for g in np.meshgrid(axis, axis, axis, indexing="ij")))
    return Volume(np.where(distance < radius_mm, 100.0, background).astype(np.float32), affine)


@pytest.mark.parametrize(
    ("volume", "stripped"),
    [
        (ball(70), True),  # 1.4 litres
        (ball(56), True),
        (ball(50), False),  # half a litre
        (ball(90), False),  # a head of 3 litres
        (ball(70, background=1.0), True),
        (ball(70, background=-1000.0), True),
        (ball(70, n=28), False),  # hardly any background: a crop through a head
        (ball(200), False),
    ],
)
def test_whether_the_skull_was_removed(volume, stripped):
    assert is_stripped(volume) is stripped


def test_the_mask_of_a_stripped_brain_is_one_region_without_holes():
    volume = ball(70)
    volume.data[30, 30, 30] = volume.data[28:31, 25, 33] = 0
    volume.data[2:4, 2:4, 2:4] = 50.0
    mask = stripped_mask(volume)
    assert mask.dtype == bool and mask[30, 30, 30] and mask[29, 25, 33] and not mask[3, 3, 3]
    assert mask.sum() == (ball(70).data > 0).sum()


def test_nothing_has_no_region():
    assert not one_region(np.zeros((4, 4, 4), bool)).any()


def known(inside: np.ndarray | None = None) -> Segmentation:
    """A segmentation at `POSE` whose labels are the coarse anatomy of the template, in a space that may be
    another.
    """
    sure = Segmentation.certain(labels(), POSE @ GRID_AFFINE)
    return sure if inside is None else replace(sure, inside=inside.astype(np.float32))


def test_labels_lie_on_another_grid_where_they_are_in_the_patient():
    affine = oblique_affine((50, 60, 40), (3.1, 2.9, 4.3))
    there = known().labels_on((50, 60, 40), affine)
    assert there.shape == (50, 60, 40) and there.dtype == np.uint8
    assert set(np.unique(there)) == set(np.unique(labels()))
    random = np.random.default_rng(0)
    for voxel in random.integers(0, (50, 60, 40), (200, 3)):
        place = np.linalg.inv(POSE @ GRID_AFFINE) @ affine @ [*voxel, 1.0]
        nearest = np.rint(place[:3]).astype(int)
        if np.abs(place[:3] - nearest).max() < 0.2:
            inside = (nearest >= 0).all() and (nearest < GRID_SHAPE).all()
            assert there[tuple(voxel)] == (labels()[tuple(nearest)] if inside else 0)
    same = known().labels_on(GRID_SHAPE, POSE @ GRID_AFFINE)
    assert np.array_equal(same, labels())


def test_a_border_between_structures_lies_where_both_are_as_likely():
    probabilities = np.zeros((len(STRUCTURES), *GRID_SHAPE), np.float16)
    left, right = 0.9 - 0.01 * np.arange(80), 0.1 + 0.01 * np.arange(80)
    probabilities[3], probabilities[4] = left[:, None, None], right[:, None, None]
    segmentation = Segmentation(probabilities, np.ones(GRID_SHAPE, np.float32), np.eye(4), 1.0)
    fine = np.diag([0.125, 1, 1, 1])
    found = segmentation.labels_on((8 * 79, 2, 2), fine)
    border = int(np.argmax(found[:, 0, 0] == 4)) * 0.125
    assert set(np.unique(found)) == {3, 4} and abs(border - 40) <= 0.15


def test_the_mask_on_another_grid_is_one_region_of_the_right_volume():
    inside = np.full(GRID_SHAPE, 0.1)
    inside[labels() > 0] = 0.9
    inside[40, 50, 40] = 0.2  # a hole
    inside[2:6, 2:6, 2:6] = 0.9  # a crumb
    affine = oblique_affine((150, 190, 150), (1.2, 1.1, 1.3))
    mask = known(inside).mask_on((150, 190, 150), affine)
    assert mask.sum() * 1.2 * 1.1 * 1.3 / 1000 == pytest.approx((labels() > 0).sum() * 0.008, rel=0.02)
    back = sample(mask.astype(np.float32), np.linalg.inv(affine) @ POSE @ GRID_AFFINE, GRID_SHAPE)
    assert back[40, 50, 40] == 1 and not back[2:6, 2:6, 2:6].any()


def test_volumes_are_millilitres_of_the_patient():
    found = known().volumes()
    ventricles = 2 * 4 / 3 * np.pi * 12**3 / 1000
    assert found["ventricles"] == pytest.approx(ventricles, rel=0.03)
    assert found["intracranial"] == pytest.approx((labels() > 0).sum() * 0.008)
    assert found["brain"] == pytest.approx(found["intracranial"] - found["ventricles"])


@pytest.mark.slow
@pytest.mark.parametrize(("axes", "signs"), all_orientations()[5::17])
def test_the_shipped_network_sees_the_same_in_any_storage(axes, signs):
    """With the frame searched for, which may differ by rounding."""
    scan = SCAN
    other = stored(scan, axes, signs)
    there, again = (
        segment_module.segment(volume).labels_on(volume.shape, volume.affine) for volume in (scan, other)
    )
    assert overlap(stored(Volume(there, scan.affine), axes, signs).data, again) > 0.97
