"""Filling a region through the engine, Python and the command line: a tumour and its mask go in."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import braindiffusion
from brain_scans import GRID_SHAPE, WHITE, brain, oblique_affine, stored, with_lesion
from braindiffusion import cli, engine
from braindiffusion.errors import Cancelled, WrongParameters
from braindiffusion.imaging.expected import Expected
from braindiffusion.imaging.frame import Frame
from braindiffusion.imaging.volume import Volume
from braindiffusion.models import loading
from braindiffusion.paths import resources
from braindiffusion.result import Result
from braindiffusion.tasks import base
from braindiffusion.tasks.inpaint import INVENTED, InpaintParameters
from scan_files import save_nifti
from test_cli import one_sentence
from test_heal_task import World, installed, prior  # noqa: F401
from test_inpainting import Brains, labels, marked

HEALTHY = brain()
TUMOUR_MM, RADIUS_MM = (-28.0, -20.0, 28.0), 11.0
SICK = brain(with_lesion(TUMOUR_MM, RADIUS_MM, 0.5))
REGION = marked(SICK, TUMOUR_MM, RADIUS_MM + 2)
MASK = labels(REGION, SICK.affine)
FAST = {"samples": 2, "steps": 3, "method": "guided"}
VOLUMES = ("inpainted", "mean", "spread")


def knowing(patch: pytest.MonkeyPatch, prior: loading.Model) -> World:  # noqa: F811
    """Models that know what the healthy brain is, and how brains differ from it."""
    world = installed(patch, prior)
    world.denoise = Brains(own=0.03)
    deviation = np.full(GRID_SHAPE, 0.1, np.float32)
    patch.setattr(Frame, "expected", property(lambda self: Expected(world.truth(), deviation)))
    return world


@pytest.fixture
def world(monkeypatch, prior) -> World:  # noqa: F811
    return knowing(monkeypatch, prior)


@pytest.fixture(scope="module")
def saved(prior, tmp_path_factory) -> tuple[Path, Path]:  # noqa: F811
    """The files that the command line was given, and the folder that it made."""
    place = tmp_path_factory.mktemp("inpainted")
    scan = save_nifti(place / "scan.nii.gz", SICK.data, SICK.affine)
    mask = save_nifti(place / "mask.nii.gz", REGION.astype(np.uint8), SICK.affine)
    with pytest.MonkeyPatch.context() as patch:
        knowing(patch, prior)
        given = ["--mask", str(mask), "--seed", "7", "--samples", "2", "--steps", "3", "--sex", "female"]
        given += ["--method", "guided"]
        assert cli.main(["inpaint", str(scan), "-o", str(place / "out"), *given]) == 0
    return scan, place / "out"


@pytest.fixture(scope="module")
def result(saved) -> Result:
    return Result.load(saved[1])


def inpaint(scan: Volume, mask: Volume, **parameters) -> Result:
    return engine.run("inpaint", {"scan": scan, "mask": mask}, FAST | parameters, device="cpu")


def test_a_mask_that_is_smaller_than_the_tumour_fills_it_when_it_is_widened(world):
    small = labels(marked(SICK, TUMOUR_MM, RADIUS_MM - 2), SICK.affine)
    filled = inpaint(SICK, small, widen=4)
    changed = filled["inpainted"].volume.data != SICK.data
    assert changed[REGION].mean() > 0.8 and not changed[~marked(SICK, TUMOUR_MM, RADIUS_MM + 4)].any()
    assert any(note.startswith("The mask was widened by 4 mm") for note in filled.notes)
    assert filled.provenance["voxels_outside_changed"] == 0
    assert np.abs(filled["mean"].volume.data - HEALTHY.data)[REGION].mean() < 0.05 * WHITE


def test_the_tumour_is_gone_and_its_border_too(result):
    filled = result["inpainted"].volume.data
    assert np.abs(SICK.data - HEALTHY.data)[REGION].mean() > 0.25 * WHITE
    assert np.abs(filled - HEALTHY.data)[REGION].mean() < 0.05 * WHITE
    assert np.abs(result["mean"].volume.data - HEALTHY.data)[REGION].mean() < 0.05 * WHITE
    for row in result["fillings"].rows:
        assert 0.4 < row["seam"] < 1.3


def test_outside_the_mask_every_voxel_is_the_scans(saved, result):
    own_grid = nib.load(saved[0]).affine
    images = [result["inpainted"].volume, result["mean"].volume, *result["variants"].volumes]
    for image in images:
        assert ((image.data != SICK.data) <= REGION).all() and np.array_equal(image.affine, own_grid)
    assert not result["spread"].volume.data[~REGION].any()
    assert [row["changed_outside"] for row in result["fillings"].rows] == [0, 0, 0]
    assert result.provenance["voxels_outside_changed"] == 0
    assert 0.95 * REGION.sum() < result.provenance["voxels_changed"] <= REGION.sum()
    assert "Voxels changed outside the mask: 0." in result.notes and INVENTED in result.notes


def test_mean_and_spread_are_those_of_the_fillings(result):
    first, second = (volume.data for volume in result["variants"].volumes)
    assert np.array_equal(result["inpainted"].volume.data, first) and not np.array_equal(first, second)
    assert np.abs(result["mean"].volume.data - (first + second) / 2).max() < 1e-2
    spread = result["spread"].volume.data
    assert np.abs(spread - np.abs(first - second) / 2 / WHITE).max() < 1e-3
    assert 0.005 < spread[REGION].mean() < 0.03


def test_the_table_says_how_much_was_filled(saved, result):
    volume_ml = REGION.sum() * SICK.voxel_ml
    assert [row["filling"] for row in result["fillings"].rows] == ["1", "2", "mean"]
    for row in result["fillings"].rows:
        assert row["mask_ml"] == row["filled_ml"] == pytest.approx(volume_ml, abs=1e-3)
    with (saved[1] / "fillings.csv").open(encoding="utf-8") as file:
        heading, *rows = csv.reader(file)
    assert heading[3] == "voxels changed outside the mask" and [row[3] for row in rows] == ["0"] * 3


def test_python_gives_the_command_lines_voxels_bit_for_bit(result, world):
    known = result.provenance
    scan, mask = (known["inputs"][name]["source"] for name in ("scan", "mask"))
    again = braindiffusion.inpaint(scan, mask, **known["parameters"])
    for role in VOLUMES:
        assert np.array_equal(again[role].volume.data, result[role].volume.data)
    pairs = zip(again["variants"].volumes, result["variants"].volumes, strict=True)
    assert all(np.array_equal(a.data, b.data) for a, b in pairs)
    assert again["fillings"].rows == result["fillings"].rows
    other = braindiffusion.inpaint(scan, mask, **known["parameters"] | {"seed": 8})
    assert not np.array_equal(other["inpainted"].volume.data, result["inpainted"].volume.data)


def test_the_record_is_complete(saved):
    known = json.loads((saved[1] / "result.json").read_text(encoding="utf-8"))["provenance"]
    assert known["task"] == "inpaint" and known["seed"] == 7 and known["solver"] == "dpmpp2m"
    assert known["seeds"] == InpaintParameters(seed=7, samples=2).seeds() and known["steps"] == 3
    assert known["model"] == {"name": "t1-brain-2mm", "sha256": "a" * 64}
    assert known["anatomy_model"]["sha256"] == "c" * 64
    for name in ("scan", "mask"):
        read = known["inputs"][name]
        assert read["sha256"] == loading.sha256(Path(read["source"])) and len(read["content_hash"]) == 64
    assert known["mask_ml"] == pytest.approx(REGION.sum() * SICK.voxel_ml, abs=1e-3)


def test_made_up_voxels_say_so(saved):
    for role in (*VOLUMES, "variants"):
        image = nib.load(saved[1] / f"{role}_synthetic.nii.gz")
        assert b"SYNTHETIC" in bytes(image.header["descrip"])
        assert json.loads((saved[1] / f"{role}_synthetic.json").read_text(encoding="utf-8"))["Synthetic"]


def test_what_the_mask_hides_changes_nothing(world):
    """A tumour of any intensity is filled with the same voxels: nothing of it is looked at."""
    first = inpaint(SICK, MASK)
    bright = SICK.with_data(np.where(REGION, 2.5 * WHITE, SICK.data).astype(np.float32))
    second = inpaint(bright, MASK)
    assert np.array_equal(first["inpainted"].volume.data, second["inpainted"].volume.data)


@pytest.mark.parametrize("method", ["resample", "posterior"])
def test_the_other_methods_keep_the_outside_too(world, method):
    result = inpaint(SICK, MASK, method=method, samples=1, repeats=2)
    differs = result["inpainted"].volume.data != SICK.data
    assert (differs <= REGION).all() and differs.any() and result.provenance["voxels_outside_changed"] == 0
    assert method in result.provenance["solver"] and not result["spread"].volume.data.any()


def test_a_finding_of_heal_is_a_mask(world):
    """Its file of numbered findings, and the number of the one to fill; the others stay."""
    other = marked(SICK, (30.0, -20.0, 28.0), 7.0)
    found = labels(REGION + 2 * other, SICK.affine)
    result = inpaint(SICK, found, label=2, keep_samples=False)
    differs = result["inpainted"].volume.data != SICK.data
    assert (differs <= other).all() and differs.any() and "variants" not in result


def test_scan_and_mask_may_lie_in_any_direction(world):
    """A scan stored backwards, its mask drawn on thick upright slices."""
    turned = stored(SICK, (1, 2, 0), (-1, 1, -1))
    shape = (60, 76, 34)
    blank = Volume(np.zeros(shape, np.float32), oblique_affine(shape, (3.0, 2.6, 5.0)))
    world.healthy = stored(HEALTHY, (1, 2, 0), (-1, 1, -1))
    result = inpaint(turned, labels(marked(blank, TUMOUR_MM, RADIUS_MM + 2), blank.affine))
    filled = result["inpainted"].volume
    differs = filled.data != turned.data
    assert np.array_equal(filled.affine, turned.affine)
    assert 0.6 * REGION.sum() < differs.sum() < 1.4 * REGION.sum()
    assert any("another grid" in note for note in result.notes)
    core = stored(labels(marked(SICK, TUMOUR_MM, RADIUS_MM - 4), SICK.affine), (1, 2, 0), (-1, 1, -1))
    assert np.abs(filled.data - world.healthy.data)[core.data > 0].mean() < 0.06 * WHITE


def test_what_lies_outside_the_brain_stays_and_is_told(world):
    """A sphere at the brain's surface, as one is placed with the mouse."""
    ball = marked(SICK, (-68.0, -20.0, 28.0), 16.0)
    result = inpaint(SICK, labels(ball, SICK.affine), samples=1)
    row = result["fillings"].rows[0]
    assert 0.1 * row["mask_ml"] < row["filled_ml"] < 0.9 * row["mask_ml"] and row["changed_outside"] == 0
    assert any("lie outside the brain and stay as they are" in note for note in result.notes)
    assert not result["inpainted"].volume.data[SICK.data == 0].any()


def test_a_scan_without_its_mask_is_no_request(world):
    with pytest.raises(WrongParameters, match="needs the image 'mask'"):
        engine.run("inpaint", {"scan": SICK}, FAST)


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.zeros(SICK.shape), "The mask is empty"),
        (SICK.data > 0, "The mask covers 1"),
        (np.ones(SICK.shape), "The mask covers"),
        (np.pad(np.ones((3, 3, 3)), [(0, n - 3) for n in SICK.shape]), "The mask lies outside the brain"),
    ],
    ids=["empty", "the brain", "everything", "outside"],
)
def test_a_mask_that_cannot_be_filled_is_refused_with_one_sentence(world, tmp_path, capsys, mask, sentence):
    scan = save_nifti(tmp_path / "scan.nii.gz", SICK.data, SICK.affine)
    drawn = save_nifti(tmp_path / "mask.nii.gz", mask.astype(np.uint8), SICK.affine)
    assert cli.main(["inpaint", str(scan), "--mask", str(drawn), "-o", str(tmp_path / "out")]) == cli.REFUSED
    said = capsys.readouterr().err.splitlines()[-1]
    assert sentence in said and one_sentence(said + "\n") and not (tmp_path / "out").exists()


def test_previews_come_while_it_draws_and_a_cancel_ends_it(world):
    seen, cancel = [], threading.Event()
    engine.run("inpaint", {"scan": SICK, "mask": MASK}, FAST, on_progress=seen.append)
    shown = [progress.preview for progress in seen if progress.preview is not None]
    assert 2 <= len(shown) <= 6 and all(preview.meta["synthetic"] for preview in shown)
    assert [p.fraction for p in seen] == sorted(p.fraction for p in seen)

    def stop(progress: base.Progress) -> None:
        if progress.stage == "Filling the region":
            cancel.set()

    with pytest.raises(Cancelled):
        engine.run("inpaint", {"scan": SICK, "mask": MASK}, FAST, on_progress=stop, cancel=cancel)


def test_memory_grows_with_the_batch_and_with_gradients():
    task = base.get("inpaint")
    images = {"scan": SICK, "mask": MASK}
    few, many = (task.memory(images, InpaintParameters(), batch, "fp32") for batch in (1, 5))
    gradients = task.memory(images, InpaintParameters(method="posterior"), 1, "fp32")
    assert 1e9 < few < many and gradients > 3 * few and task.samples(InpaintParameters()) == 5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["guided", "posterior"])
def test_the_sample_patient_through_the_shipped_networks(tmp_path, method):
    """Its painted lesion, marked by a ball, as quickly as it goes."""
    path = resources() / "samples" / "sample-patient.nii.gz"
    image = nib.load(path)
    data = image.get_fdata(dtype=np.float32)
    middle = np.argwhere(data > np.percentile(data[data > 0], 60)).mean(0)
    grid = np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"), -1)
    ball = np.linalg.norm(grid - middle - [25, 0, 15], axis=-1) < 12
    mask = save_nifti(tmp_path / "mask.nii.gz", ball.astype(np.uint8), image.affine)
    given = ["--samples", "2" if method == "guided" else "1", "--steps", "3", "--device", "cpu"]
    out = tmp_path / "out"
    command = ["inpaint", str(path), "--mask", str(mask), "-o", str(out), "--method", method, *given]
    assert cli.main(command) == 0
    result = Result.load(out)
    filled = result["inpainted"].volume.data
    assert ((filled != data) <= ball).all() and 0.9 * ball.sum() < (filled != data).sum()
    assert np.isfinite(filled).all() and result.provenance["voxels_outside_changed"] == 0
    assert all(0.1 < row["seam"] < 1.5 for row in result["fillings"].rows), result["fillings"].rows
