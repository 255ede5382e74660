"""The reversible way to the model's grid: exact in every orientation, without scale, intensities too."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from braindiffusion.errors import Cancelled, Refused
from braindiffusion.imaging import frame as frame_module
from braindiffusion.imaging.frame import Frame, Placement
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_CENTRE, GRID_SHAPE, sample, upright
from braindiffusion.imaging.intensity import TissueScale, log_bias_field, tissue_means
from braindiffusion.imaging.template import template
from braindiffusion.paths import data_root
from conftest import needs_data
from scan_files import all_orientations, oblique

BRAIN = 180
"""Intensity above which a voxel of `scan_of_template` is brain."""
SPACINGS = [(1.0, 1.0, 1.0), (0.9, 1.1, 5.0), (0.5, 0.5, 0.8)]
POSE = np.eye(4)
"""Template millimetre -> the patient's millimetre: a head turned by 20 degrees and moved by 3 cm."""
POSE[:3, :3] = Rotation.from_euler("xyz", [12, -9, 15], degrees=True).as_matrix()
POSE[:3, 3] = [14.0, -25.0, 11.0]


def scan_of_template(
    pose: np.ndarray, spacing: float = 2.0, side: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """A stripped brain in scanner's units [side] * 3 and its affine; the template, put at `pose`."""
    affine = upright(spacing, (side, side, side), pose[:3, :3] @ GRID_CENTRE + pose[:3, 3])
    index = np.linalg.inv(GRID_AFFINE) @ np.linalg.inv(pose) @ affine
    return 900 * sample(template().t1, index, (side, side, side)), affine


def fitted(pose: np.ndarray) -> tuple[Frame, np.ndarray]:
    data, affine = scan_of_template(pose)
    return Frame.fit(data, affine, data > BRAIN), data


@pytest.fixture(scope="module")
def turned() -> tuple[Frame, np.ndarray]:
    """The frame of the turned brain, and its voxels."""
    return fitted(POSE)


@pytest.fixture(scope="module")
def straight() -> Frame:
    """The frame of the same brain as the template has it."""
    return fitted(np.eye(4))[0]


def on_grid(shape: tuple[int, int, int], affine: np.ndarray, rigid: np.ndarray) -> Frame:
    """A frame whose place is known, for geometry alone."""
    nothing = np.zeros(GRID_SHAPE, np.float32)
    scale = TissueScale(70.0, 100.0)
    return Frame(shape, affine, rigid, np.eye(4), nothing > 0, nothing, scale, nothing, np.zeros((3, 3)))


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(Rotation.from_matrix(a[:3, :3] @ b[:3, :3].T).as_rotvec())))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("axes", "signs"), all_orientations())
def test_points_come_back_in_every_orientation(axes, signs, spacing):
    frame = on_grid((60, 70, 50), oblique(spacing, axes, signs), np.linalg.inv(POSE))
    points = np.random.default_rng(0).uniform(-20, 120, (40, 3))
    native = frame.model_to_native_mm(points)
    assert np.abs(frame.native_mm_to_model(native) - points).max() * 2 <= 1e-4
    there = native @ frame.rigid[:3, :3].T + frame.rigid[:3, 3]
    assert np.abs(there - (points @ GRID_AFFINE[:3, :3].T + GRID_AFFINE[:3, 3])).max() <= 1e-4
    back = there @ np.linalg.inv(frame.rigid)[:3, :3].T + np.linalg.inv(frame.rigid)[:3, 3]
    assert np.abs(back - native).max() <= 1e-4


@pytest.mark.parametrize(("axes", "signs"), all_orientations())
def test_left_stays_left_in_every_orientation(axes, signs):
    """A marker 4 cm to the patient's left lands at the model grid's low x, and comes back to its voxel."""
    shape = (48, 48, 48)
    affine = oblique((3.0, 2.6, 3.4), axes, signs)
    middle = affine[:3, :3] @ (np.array(shape) - 1) / 2 + affine[:3, 3]
    rigid = np.eye(4)
    rigid[:3, 3] = GRID_CENTRE - middle
    frame = on_grid(shape, affine, rigid)
    left = np.linalg.inv(affine) @ [*(middle - (40.0, 0, 0)), 1.0]
    voxel = tuple(np.rint(left[:3]).astype(int))
    scan = np.zeros(shape, np.float32)
    scan[voxel] = 1.0
    model = frame.to_model(scan)
    peak = np.unravel_index(model.argmax(), GRID_SHAPE)
    assert abs(peak[0] - (39.5 - 20)) < 2 and abs(peak[1] - 47.5) < 2 and abs(peak[2] - 39.5) < 2
    native = frame.to_native(model)
    assert native.shape == shape
    assert np.unravel_index(native.argmax(), shape) == voxel


def test_labels_go_there_and_back_without_new_values():
    shape, affine = (90, 90, 90), oblique((1.1, 1.3, 1.2))
    rigid = np.eye(4)
    rigid[:3, 3] = GRID_CENTRE - (affine @ [44.5, 44.5, 44.5, 1.0])[:3]
    frame = on_grid(shape, affine, rigid)
    labels = np.zeros(frame.shape, np.uint8)
    labels[20:70, 25:60, 30:65] = 41
    labels[30:50, 30:50, 40:50] = 13
    there = frame.to_model(labels, order=0)
    back = frame.to_native(there, order=0)
    assert there.dtype == back.dtype == np.uint8 and set(np.unique(back)) <= {0, 13, 41}
    for value in (13, 41):
        overlap = (
            2
            * ((back == value) & (labels == value)).sum()
            / ((back == value).sum() + (labels == value).sum())
        )
        assert overlap > 0.88


def test_the_rigid_part_has_no_scale(turned):
    linear = turned[0].rigid[:3, :3]
    assert np.linalg.det(linear) == pytest.approx(1, abs=1e-9)
    assert np.abs(linear @ linear.T - np.eye(3)).max() < 1e-9


def test_a_brain_lies_where_its_head_was_aligned():
    """Turned as the alignment turns it, not stretched, its middle in the middle; the rest is for maps."""
    stretched = np.diag([1.2, 0.9, 1.1, 1.0])
    stretched[0, 1] = 0.1
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("zyx", [20, -12, 30], degrees=True).as_matrix()
    turn[:3, 3] = 12, -40, 25
    place = Placement.by_head((90, 110, 90), oblique(), stretched @ turn)
    assert np.allclose(place.to_template @ place.rigid, stretched @ turn)
    assert np.allclose(place.rigid[:3, :3] @ place.rigid[:3, :3].T, np.eye(3))
    assert np.linalg.det(place.rigid[:3, :3]) == pytest.approx(1)
    middle = np.linalg.inv(stretched @ turn) @ [*GRID_CENTRE, 1.0]
    assert np.allclose((place.rigid @ middle)[:3], GRID_CENTRE)
    off = Rotation.from_matrix(place.rigid[:3, :3] @ turn[:3, :3].T).magnitude()
    assert np.degrees(off) < 5, "a little shear turns it a little"


def test_a_turned_brain_is_brought_back(turned, straight):
    frame, _ = turned
    assert degrees_between(frame.rigid @ POSE, np.eye(4)) < 2
    assert degrees_between(frame.rigid @ POSE, straight.rigid) < 1
    apart = (frame.rigid @ POSE - straight.rigid) @ [*GRID_CENTRE, 1.0]
    assert np.abs(apart[:3]).max() < 2
    same = np.corrcoef(frame.image[frame.mask & straight.mask], straight.image[frame.mask & straight.mask])[
        0, 1
    ]
    assert same > 0.9


def test_the_affine_to_the_template_lands_on_the_template(turned):
    frame, _ = turned
    whole = frame.to_template @ frame.rigid @ POSE
    corners = np.array([[-60, -90, -50, 1], [60, 60, 70, 1], [0, -20, 10, 1], [-50, 40, 60, 1]], float)
    assert np.abs((corners @ whole.T - corners)[:, :3]).max() < 4
    moved = sample(frame.image, frame.template_index, GRID_SHAPE)
    brain = template().t1 > 0.2
    assert np.corrcoef(moved[brain], template().t1[brain])[0, 1] > 0.9


def test_the_same_scan_gives_the_same_frame_bit_for_bit(turned):
    frame, again = turned[0], fitted(POSE)[0]
    for name in ("rigid", "to_template", "mask", "log_bias", "image", "tissue"):
        assert np.array_equal(getattr(frame, name), getattr(again, name)), name
    assert frame.scale == again.scale


def test_to_be_told_how_far_it_is_changes_no_bit_and_comes_often(turned):
    frame, data = turned
    shares: list[float] = []
    again = Frame.fit(data, frame.affine, data > BRAIN, tell=shares.append)
    for name in ("rigid", "to_template", "mask", "log_bias", "image", "tissue"):
        assert np.array_equal(getattr(frame, name), getattr(again, name)), name
    assert shares == sorted(shares) and 0 <= shares[0] < 0.1 and 0.9 < shares[-1] <= 1
    assert len(shares) > 30 and max(np.diff(shares)) < 0.3


@pytest.mark.parametrize("share", [0.05, 0.2, 0.45, 0.8])
def test_a_fit_that_is_not_wanted_any_more_ends_soon(turned, share):
    """In either search, in either resolution, and between them."""
    frame, data = turned
    asked: list[float] = []

    def stop(done):
        if done >= share:
            asked.append(time.process_time())
            raise Cancelled

    with pytest.raises(Cancelled):
        Frame.fit(data, frame.affine, data > BRAIN, tell=stop)
    assert time.process_time() - asked[0] < 1, "seconds of computing, whatever else the machine does"


def test_no_brain_touches_a_face_and_it_is_centred(turned):
    mask = turned[0].mask
    inside = np.argwhere(mask)
    low, high = inside.min(0), np.array(GRID_SHAPE) - 1 - inside.max(0)
    assert (low > 0).all() and (high > 0).all()
    assert np.abs(low - high).max() <= 5
    assert not turned[0].image[~mask].any()


def test_the_image_is_on_the_model_scale(turned):
    frame, _ = turned
    truth = sample(np.stack(template()[1:]).argmax(0).astype(np.uint8), frame.template_index, GRID_SHAPE, 0)
    certain = sample(np.maximum(template().grey, template().white), frame.template_index, GRID_SHAPE) > 0.9
    moved = sample(frame.image, frame.template_index, GRID_SHAPE)
    assert np.median(moved[certain & (truth == 1)]) == pytest.approx(1.0, abs=0.1)
    assert np.median(moved[certain & (truth == 0)]) == pytest.approx(0.7, abs=0.1)
    assert frame.image.dtype == np.float32 and 0 <= frame.image.min() and frame.image.max() <= 2


def test_intensities_come_back_on_the_users_own_grid(turned):
    frame, data = turned
    back = frame.native_intensity(frame.image)
    deep = sample(frame.mask.astype(np.float32), np.linalg.inv(frame.index), frame.shape) > 0.999
    assert back.shape == data.shape and deep.sum() > 5000
    assert np.median(np.abs(back[deep] - data[deep]) / 900) < 0.02
    assert np.corrcoef(back[deep], data[deep])[0, 1] > 0.97


def test_a_brain_that_is_too_large_is_refused(monkeypatch):
    data, affine = scan_of_template(np.eye(4))
    large = affine @ np.diag([1.4, 1.4, 1.4, 1.0])
    monkeypatch.setattr(frame_module, "rigid_to_template", lambda data, mask, affine, tell: np.eye(4))
    with pytest.raises(Refused, match=r"^The brain is larger than 160 x 192 x 160 mm .*\.$"):
        Frame.fit(data, large, data > BRAIN)


@pytest.mark.parametrize(
    "scale", [TissueScale(310.0, 450.0), TissueScale(450.0, 310.0), TissueScale(-5.0, 80.0)]
)
def test_the_intensity_scale_is_monotone_and_has_an_exact_inverse(scale):
    native = np.linspace(-200, 3000, 5001).astype(np.float32)
    model = scale.to_model(native)
    assert model.dtype == np.float32 and (np.diff(model) > 0).all()
    assert np.abs(scale.to_native(model) - native).max() < 1e-6 * 3000
    assert scale.to_model(np.array([0.0, scale.white])) == pytest.approx([0, 1], abs=1e-6)


def test_landmarks_lie_where_they_should():
    assert TissueScale(300.0, 450.0).to_model(np.array([300.0, 600.0])) == pytest.approx([0.7, 1.3], abs=1e-6)


def test_a_bias_field_is_found():
    mask = template().t1 > 0.15
    x, y, z = (np.linspace(-1, 1, n) for n in GRID_SHAPE)
    field = 0.25 * x[:, None, None] - 0.15 * y[None, :, None] ** 2 + 0.1 * z[None, None, :]
    field = field - field[mask].mean()
    found = log_bias_field((template().t1 * np.exp(field)).astype(np.float32) * mask, mask)
    assert found.shape == GRID_SHAPE and found[mask].mean() == pytest.approx(0, abs=1e-4)
    assert (found - field)[mask].std() < 0.4 * field[mask].std()
    assert np.corrcoef(found[mask], field[mask])[0, 1] > 0.95


def test_tissue_means_of_a_known_mixture():
    random = np.random.default_rng(0)
    truth = random.choice(3, 60_000, p=[0.2, 0.45, 0.35])
    values = random.normal(np.array([0.3, 0.7, 1.0])[truth], np.array([0.08, 0.06, 0.04])[truth])
    priors = 0.15 + 0.55 * np.eye(3)[truth].T
    values[random.random(60_000) < 0.03] = 2.5
    means, deviations, shares = tissue_means(values, priors)
    assert means == pytest.approx([0.3, 0.7, 1.0], abs=0.02)
    assert deviations == pytest.approx([0.08, 0.06, 0.04], abs=0.02)
    assert shares == pytest.approx([0.2, 0.45, 0.35], abs=0.03)


def test_large_ventricles_do_not_pull_white_matter_onto_grey():
    """A third of what is white matter in the template is fluid here, as in old age."""
    random = np.random.default_rng(2)
    expected = random.choice(3, 60_000, p=[0.15, 0.45, 0.40])
    truth = np.where((expected == 2) & (random.random(60_000) < 0.37), 0, expected)
    values = random.normal(np.array([0.3, 0.72, 1.0])[truth], 0.1)
    means, _, _ = tissue_means(values, 0.05 + 0.85 * np.eye(3)[expected].T)
    assert means == pytest.approx([0.3, 0.72, 1.0], abs=0.03)


def test_tissue_means_do_not_need_white_to_be_the_brightest():
    random = np.random.default_rng(1)
    truth = random.choice(3, 30_000, p=[0.2, 0.45, 0.35])
    values = random.normal(np.array([1.0, 0.6, 0.4])[truth], 0.05)
    means, _, _ = tissue_means(values, 0.15 + 0.55 * np.eye(3)[truth].T)
    assert means == pytest.approx([1.0, 0.6, 0.4], abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("axes", "signs"), all_orientations()[::7])
def test_the_fit_does_not_depend_on_how_the_voxels_are_stored(turned, axes, signs):
    frame, data = turned
    voxel_axes = np.argsort(axes)
    stored = np.transpose(data, axes)[tuple(slice(None, None, s) for s in signs)]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    start = np.zeros(4)
    start[3] = 1
    for i, (axis, sign) in enumerate(zip(axes, signs)):
        affine[:3, i] = sign * frame.affine[:3, axis]
        start[axis] = 0 if sign > 0 else data.shape[axis] - 1
    affine[:3, 3] = (frame.affine @ start)[:3]
    assert np.array_equal(np.transpose(stored[tuple(slice(None, None, s) for s in signs)], voxel_axes), data)
    other = Frame.fit(stored, affine, stored > BRAIN)
    assert degrees_between(other.rigid, frame.rigid) < 0.1
    assert np.abs((other.rigid - frame.rigid) @ [*GRID_CENTRE, 1.0]).max() < 0.5
    assert np.abs(other.image - frame.image).mean() < 0.01


@pytest.mark.slow
def test_a_whole_head_takes_at_most_fifteen_seconds():
    """Time of the processor, so that what else the machine does is not measured."""
    data, affine = scan_of_template(POSE, 1.0, 256)
    start = time.process_time()
    frame = Frame.fit(data, affine, data > BRAIN)
    assert time.process_time() - start < 15
    assert degrees_between(frame.rigid @ POSE, np.eye(4)) < 2


@pytest.mark.slow
@needs_data("t1_brains")
@pytest.mark.parametrize("name", ["sub-06", "sub-38", "sub-53"])
def test_a_real_brain_keeps_its_size_and_touches_no_face(name):
    import nibabel

    image = nibabel.load(data_root() / "t1_brains" / f"{name}_T1w_brain.nii.gz")
    data = image.get_fdata(dtype=np.float32)
    frame = Frame.fit(data, image.affine, data > 0)
    faces = [np.take(frame.mask, end, axis).any() for axis in range(3) for end in (0, -1)]
    assert not any(faces)
    assert frame.mask.sum() * 0.008 == pytest.approx((data > 0).sum() / 1000, rel=0.02)
    assert degrees_between(frame.rigid, np.eye(4)) < 40
    assert 0.4 < frame.scale.grey / frame.scale.white < 0.9
