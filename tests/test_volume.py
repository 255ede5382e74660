"""Volume: voxels, their place, and an identity that does not depend on how they lie in memory."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.imaging.volume import Volume
from scan_files import SHAPE, head, oblique


def test_spacing_size_and_axes_come_from_the_affine() -> None:
    volume = Volume(head(), oblique((1.0, 1.2, 2.5), axes=(1, 2, 0), signs=(-1, 1, -1)))
    assert np.allclose(volume.spacing, (1.0, 1.2, 2.5))
    assert volume.voxel_ml == pytest.approx(3.0e-3)
    assert volume.shape == SHAPE
    assert volume.axcodes == ("P", "S", "L")


def test_a_flipped_grid_has_a_positive_voxel_volume() -> None:
    assert Volume(head(), np.diag([-2.0, 2, 2, 1])).voxel_ml == pytest.approx(8e-3)


def test_other_voxels_stay_on_the_grid_and_do_not_share_meta() -> None:
    volume = Volume(head(), oblique(), {"source": "a.nii"})
    other = volume.with_data(np.zeros(SHAPE, np.uint8))
    other.meta["source"] = "b.nii"
    assert np.array_equal(other.affine, volume.affine)
    assert volume.meta["source"] == "a.nii"
    with pytest.raises(ValueError, match="do not fit"):
        volume.with_data(np.zeros((2, 2, 2)))


def test_the_affine_is_a_copy_that_nobody_can_change() -> None:
    affine = np.eye(4)
    volume = Volume(head(), affine)
    affine[0, 0] = 7
    assert volume.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 7
    with pytest.raises(ValueError, match="4 x 4"):
        Volume(head(), np.eye(3))


def test_the_hash_knows_content_and_not_memory() -> None:
    data, affine = head(), oblique()
    same = Volume(data, affine).content_hash()
    assert Volume(np.asfortranarray(data), affine).content_hash() == same
    assert Volume(data.astype(">f4"), affine, {"source": "elsewhere"}).content_hash() == same
    changed = data.copy()
    changed[12, 14, 10] += 1e-3
    moved = affine.copy()
    moved[0, 3] += 1e-6
    others = {
        Volume(changed, affine).content_hash(),
        Volume(data, moved).content_hash(),
        Volume(data.astype(np.float64), affine).content_hash(),
        Volume(data.reshape(28, 24, 20), affine).content_hash(),
    }
    assert len(others | {same}) == 5
