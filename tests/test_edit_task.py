"""A person's brain with other ventricles, and brains between two persons', where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import braindiffusion
from braindiffusion import cli, editing, engine
from braindiffusion.editing import slerp
from braindiffusion.errors import WrongParameters
from braindiffusion.imaging.grid import GRID_AFFINE
from braindiffusion.models import loading
from braindiffusion.result import Result
from braindiffusion.tasks.generate import MODEL
from known_brains import KnownBrains, installed, mean_brain, scan_of
from scan_files import save_nifti

FAST = {"steps": 6}
PERSON = (mean_brain(20.0) * (1 + 0.05 * np.sin(np.arange(80) / 4))[:, None, None]).astype(np.float32)
"""Somebody who is not the mean: slow shading, as the folds and shape of a person are."""
SCAN, OTHER = scan_of(PERSON), scan_of(mean_brain(40.0))


@pytest.fixture
def world(monkeypatch) -> KnownBrains:
    return installed(monkeypatch)


def last(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def edited(own: float, wanted: float, steps: int = 40) -> editing.Edited:
    prior = loading.load_model(MODEL)
    return last(editing.edit(prior, PERSON, {"ventricles": own}, {"ventricles": wanted}, steps))


def test_the_counterfactual_of_gaussian_brains_is_the_person_plus_the_change_of_the_mean(world):
    """Linear-Gaussian abduction, action and prediction (methods.md C20): what is the person's own stays."""
    changed = edited(20.0, 35.0).image - PERSON
    truth = np.where(PERSON > 0, mean_brain(35.0) - mean_brain(20.0), 0)
    assert np.abs(changed - truth).max() < 0.02
    assert np.abs(truth).max() > 0.5, "there was something to change"


def test_without_a_change_every_voxel_comes_back_and_the_error_of_the_way_is_told(world):
    same = edited(20.0, 20.0)
    np.testing.assert_array_equal(same.image, PERSON)
    errors = [edited(20.0, 20.0, steps).error for steps in (10, 40)]
    assert 0 < errors[1] < errors[0] / 4, "of second order"


def test_a_scan_that_is_not_changed_is_given_back_bit_for_bit(world):
    result = engine.run("edit", {"scan": SCAN}, FAST, device="cpu", threads=1)
    np.testing.assert_array_equal(result["edited"].volume.data, SCAN.data)
    assert not result["difference"].volume.data.any()
    assert result.provenance["voxels_changed"] == 0
    assert "Encoding and decoding this brain without a change errs by" in " ".join(result.notes)


def test_larger_ventricles_on_the_scans_own_grid(world):
    result = engine.run("edit", {"scan": SCAN}, FAST | {"ventricles_by": 20}, device="cpu", threads=1)
    row, brain = result["changes"].rows
    assert row["asked"] == pytest.approx(row["before"] + 20, abs=0.11)
    assert row["after"] - row["before"] == pytest.approx(20, abs=3)
    assert row["dark_after"] - row["dark_before"] == pytest.approx(20, abs=4)
    assert brain["asked"] == brain["before"]
    image = result["edited"].volume
    np.testing.assert_array_equal(image.affine, SCAN.affine)
    outside = SCAN.data == 0
    np.testing.assert_array_equal(image.data[outside], SCAN.data[outside])
    assert result.provenance["voxels_outside_changed"] == 0 < result.provenance["voxels_changed"]
    where = result["difference"].volume.data > 0.3
    assert image.data[where].mean() < SCAN.data[where].mean() - 200, "fluid took the place of tissue"
    assert result["edited"].synthetic and result["edited"].file_name() == "edited_synthetic.nii.gz"


def test_python_and_the_command_line_give_the_same_edit(world, tmp_path):
    path = save_nifti(tmp_path / "scan.nii.gz", SCAN.data, SCAN.affine)
    words = ["--ventricles-by", "15", "--steps", "4", "--device", "cpu", "-o", str(tmp_path / "out")]
    assert cli.main(["edit", str(path), *words]) == 0
    given = {"ventricles_by": 15, "steps": 4}
    again = braindiffusion.edit(path, **given, device="cpu")
    saved = Result.load(tmp_path / "out")
    np.testing.assert_array_equal(saved["edited"].volume.data, again["edited"].volume.data)


def test_the_age_can_be_changed_where_it_is_known_and_a_strange_one_is_flagged(world):
    with pytest.raises(WrongParameters, match="give the age in the scan too"):
        engine.run("edit", {"scan": SCAN}, FAST | {"age_by": 10})
    result = engine.run("edit", {"scan": SCAN}, FAST | {"age": 45, "age_by": 20}, device="cpu")
    assert any(note.startswith("Age 65 years lies outside the range") for note in result.notes)


def test_the_ends_of_a_morph_are_the_two_brains_and_it_goes_evenly_between_them(world):
    result = braindiffusion.morph(SCAN, OTHER, frames=5, steps=10, device="cpu")
    sequence = result["morph"]
    assert sequence.kind == "sequence" and len(sequence.volumes) == 5 and sequence.synthetic
    made = [volume.data for volume in sequence.volumes]
    first, second = (world.frame(scan).image for scan in (SCAN, OTHER))
    np.testing.assert_allclose(made[0], first, atol=1e-4)
    np.testing.assert_allclose(made[-1], second, atol=1e-4)
    away = [float(np.abs(image - first).mean()) for image in made]
    assert all(a < b for a, b in zip(away, away[1:])), "each is farther from the first"
    np.testing.assert_array_equal(sequence.volumes[0].affine, GRID_AFFINE)


def test_a_morph_is_the_same_in_any_batch(world):
    runs = [
        engine.run(
            "morph", {"scan": SCAN, "other": OTHER}, {"frames": 3, "steps": 4}, device="cpu", batch=batch
        )
        for batch in (1, 3)
    ]
    for one, three in zip(*(run["morph"].volumes for run in runs), strict=True):
        np.testing.assert_allclose(one.data, three.data, atol=1e-5)


def test_spherical_interpolation_keeps_the_strength_of_noise_where_a_line_weakens_it():
    noise = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(3))
    for share in (0.0, 0.25, 0.5, 1.0):
        mixed = slerp(noise[0], noise[1], share)
        assert float(mixed.std()) == pytest.approx(1, abs=0.01)
        straight = (1 - share) * noise[0] + share * noise[1]
        assert float(straight.std()) == pytest.approx(np.hypot(1 - share, share), abs=0.01)
    assert torch.equal(slerp(noise[0], noise[1], 0.0), noise[0])
    assert torch.equal(slerp(noise[0], noise[0], 0.5), noise[0])


@pytest.mark.slow
def test_the_shipped_model_edits_a_scan_and_leaves_what_is_outside_the_brain(monkeypatch):
    real = engine.run("edit", {"scan": SCAN}, {"ventricles_by": 10, "steps": 2}, device="cpu")
    outside = SCAN.data == 0
    assert not real["edited"].volume.data[outside].any()
    assert real.provenance["voxels_outside_changed"] == 0 and real.provenance["round_trip_error"] > 0
