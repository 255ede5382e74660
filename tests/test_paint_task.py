"""Painting pathology through the engine, Python and the command line: labels go in, tissue comes out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import braindiffusion
from brain_scans import WHITE, brain, oblique_affine, stored
from braindiffusion import cli, engine, report, segment
from braindiffusion.errors import Refused, WrongParameters
from braindiffusion.imaging import gate
from braindiffusion.imaging.volume import Volume
from braindiffusion.models import loading
from braindiffusion.models.card import Card
from braindiffusion.nets.paint import PaintDenoiser
from braindiffusion.painting import draw_levels, tissues_on
from braindiffusion.pathology import TISSUES, tissues
from braindiffusion.paths import resources
from braindiffusion.result import Result
from braindiffusion.tasks.paint import BRIGHT, SIMULATED, PaintParameters
from scan_files import save_nifti
from test_cli import one_sentence
from test_heal_task import World
from test_inpainting import labels, marked

SCAN = brain()
PLACES = ((-28.0, -20.0, 28.0), (30.0, -20.0, 28.0))


def tumour(scan: Volume) -> np.ndarray:
    """A core in a rim in oedema on the left, a lesion on the right, int [X, Y, Z] with their labels."""
    painted = np.zeros(scan.shape, np.int16)
    for radius, label in ((22.0, 2), (14.0, 4), (9.0, 1)):
        painted[marked(scan, PLACES[0], radius)] = label
    painted[marked(scan, PLACES[1], 10.0)] = 3
    return painted * (scan.data > 0) if scan.data.any() else painted


PAINTED = tumour(SCAN)
MASK = labels(PAINTED, SCAN.affine)
FAST = {"samples": 2, "steps": 3}


class Flat(torch.nn.Module):
    """A network that knows no more than that tissue is as bright as it is meant to be, with some texture."""

    def forward(self, x, *told):
        return -0.5 * x[:, :1]


def installed(patch: pytest.MonkeyPatch) -> World:
    """Models that know the anatomy, and a painter of nearly flat tissue."""
    world = World()
    card = Card(
        name="t1-brain-2mm-paint", title="", intended_use="", not_for="", frame={}, training={}, licence="",
        architecture={}, path={"kind": "edm", "sigma_min": 0.02, "sigma_max": 2.0}, parameters=0,
        fingerprint=[], sha256="d" * 64,
        parametrisation={"kind": "edm around flat tissue", "sigma_data": 0.02},
    )  # fmt: skip
    painter = loading.Model(card, Flat(), Path())
    models = {card.name: painter, "brain-anatomy-2mm": SimpleNamespace(card=world.card)}
    patch.setattr(loading, "load_model", lambda name: models[name])
    patch.setattr(segment.Segmenter, "load", lambda device, precision, model: world)
    return world


@pytest.fixture
def world(monkeypatch) -> World:
    return installed(monkeypatch)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, Path]:
    """The scan's file, and the folder that the command line made."""
    place = tmp_path_factory.mktemp("painted")
    scan = save_nifti(place / "scan.nii.gz", SCAN.data, SCAN.affine)
    mask = save_nifti(place / "mask.nii.gz", PAINTED, SCAN.affine)
    with pytest.MonkeyPatch.context() as patch:
        installed(patch)
        given = ["--mask", str(mask), "--seed", "7", "--samples", "2", "--steps", "3"]
        assert cli.main(["paint", str(scan), "-o", str(place / "out"), *given]) == 0
    return scan, place / "out"


@pytest.fixture(scope="module")
def result(saved) -> Result:
    return Result.load(saved[1])


def paint(scan: Volume, mask: Volume, batch: int | None = None, **parameters) -> Result:
    inputs = {"scan": scan, "mask": mask}
    return engine.run("paint", inputs, FAST | parameters, device="cpu", batch=batch)


def within(image: np.ndarray, label: int) -> np.ndarray:
    """Intensities of a tissue's voxels that no border touches, white matter 1."""
    from scipy.ndimage import binary_erosion

    return image[binary_erosion(PAINTED == label)] / WHITE


def test_each_tissue_has_the_brightness_that_was_asked_for(result):
    for number, image in enumerate(result["variants"].volumes):
        levels = result.provenance["levels"][number]
        for tissue, level in zip(TISSUES, levels):
            low, high = tissue.usual
            assert low <= level <= high
            shown = within(image.data, tissue.label)
            assert shown.mean() == pytest.approx(level, abs=0.06), tissue.name
            assert ((shown > tissue.low) & (shown < tissue.high)).mean() > 0.9, tissue.name
    first, second = result.provenance["levels"]
    assert first != second, "every painting has its own brightness"


def test_outside_the_labels_every_voxel_is_the_scans(saved, result):
    for image in [result["painted"].volume, *result["variants"].volumes]:
        assert ((image.data != SCAN.data) <= (PAINTED > 0)).all()
        assert np.array_equal(image.affine, nib.load(saved[0]).affine)
    assert result.provenance["voxels_outside_changed"] == 0
    assert 0.95 * (PAINTED > 0).sum() < result.provenance["voxels_changed"] <= (PAINTED > 0).sum()
    for note in ("Voxels changed outside the mask: 0.", SIMULATED, BRIGHT):
        assert note in result.notes


def test_the_labels_come_back_with_their_names(result):
    assert np.array_equal(result["labels"].volume.data, PAINTED)
    names = result["labels"].display["names"]
    assert names == {"1": "necrotic core", "2": "oedema", "3": "lesion", "4": "enhancing rim"}


def test_the_table_tells_of_each_tissue_in_each_painting(result):
    rows = result["tissues"].rows
    assert [(row["painting"], row["tissue"]) for row in rows] == [
        (n, tissue.name) for n in ("1", "2") for tissue in TISSUES
    ]
    for row in rows:
        place = row["label"] == PAINTED
        assert row["volume_ml"] == pytest.approx(place.sum() * SCAN.voxel_ml, abs=1e-3)
        image = result["variants"].volumes[int(row["painting"]) - 1].data
        assert row["before"] == pytest.approx(SCAN.data[place].mean() / WHITE, abs=0.02)
        assert row["after"] == pytest.approx(image[place].mean() / WHITE, abs=0.02)
        assert row["low"] < row["asked"] < row["high"] and 0.6 < row["within"] <= 1


def test_the_command_says_what_was_painted(result):
    said = report.summary(result)
    assert f"1. oedema: {(PAINTED == 2).sum() * SCAN.voxel_ml:.2f} ml, " in said and SIMULATED in said


def test_made_up_voxels_say_so(saved):
    for role in ("painted", "variants"):
        image = nib.load(saved[1] / f"{role}_synthetic.nii.gz")
        assert b"SYNTHETIC" in bytes(image.header["descrip"])
        assert json.loads((saved[1] / f"{role}_synthetic.json").read_text(encoding="utf-8"))["Synthetic"]


def test_the_same_seed_gives_the_same_voxels_in_any_batch(result, world):
    known = result.provenance
    scan, mask = (known["inputs"][name]["source"] for name in ("scan", "mask"))
    again = braindiffusion.paint(scan, mask, **known["parameters"], batch=1)
    for one, other in zip(again["variants"].volumes, result["variants"].volumes, strict=True):
        assert np.array_equal(one.data, other.data)
    other = braindiffusion.paint(scan, mask, **known["parameters"] | {"seed": 8})
    assert not np.array_equal(other["painted"].volume.data, result["painted"].volume.data)


def test_brightness_can_be_asked_for(world):
    result = paint(SCAN, MASK, necrotic_core=0.3, enhancing_rim=1.5, samples=1)
    image = result["painted"].volume.data
    assert within(image, 1).mean() == pytest.approx(0.3, abs=0.04)
    assert within(image, 4).mean() == pytest.approx(1.5, abs=0.08)
    with pytest.raises(WrongParameters, match="necrotic_core"):
        paint(SCAN, MASK, necrotic_core=1.5)


def test_without_contrast_agent_a_rim_is_no_brighter_than_white_matter(world):
    result = paint(SCAN, MASK, contrast_agent=False)
    rows = [row for row in result["tissues"].rows if row["label"] == 4]
    assert all(row["after"] < 1.05 and row["high"] == 1.1 for row in rows) and BRIGHT not in result.notes


def test_a_segment_is_the_tissue_that_its_name_says(world):
    """Whatever its number is, as a segmentation of a viewer has it."""
    numbered = np.select([PAINTED == 1, PAINTED == 2], [5, 1], 0).astype(np.int16)
    names = {5: "Necrotic core", 1: "Peritumoural edema"}
    result = paint(SCAN, Volume(numbered, SCAN.affine, {"names": names}), samples=1)
    assert np.array_equal(result["labels"].volume.data, np.where(PAINTED < 3, PAINTED, 0))
    with pytest.raises(Refused, match="The segment 'Segment_1' has the name of no tissue; call it one of"):
        paint(SCAN, Volume(numbered, SCAN.affine, {"names": {5: "Segment_1", 1: "oedema"}}))


def test_a_segmentation_file_brings_its_names(tmp_path):
    image = sitk.GetImageFromArray(np.where(PAINTED == 3, 2, 0).astype(np.uint8).T)
    image.SetMetaData("Segment0_Name", "Plaque")
    image.SetMetaData("Segment0_LabelValue", "2")
    sitk.WriteImage(image, str(tmp_path / "drawn.seg.nrrd"))
    mask, _ = gate.admit(tmp_path / "drawn.seg.nrrd", labels=True)
    assert mask.meta["names"] == {2: "Plaque"}
    painted, _ = tissues_on(mask, mask)
    assert set(np.unique(painted)) == {0, 3}


def test_labels_on_another_grid_land_on_the_same_tissue(world):
    turned = stored(SCAN, (1, 2, 0), (-1, 1, -1))
    shape = (60, 76, 34)
    blank = Volume(np.zeros(shape, np.float32), oblique_affine(shape, (3.0, 2.6, 5.0)))
    result = paint(turned, labels(tumour(blank), blank.affine), samples=1)
    image = result["painted"].volume
    differs = image.data != turned.data
    assert np.array_equal(image.affine, turned.affine) and any("another grid" in n for n in result.notes)
    assert 0.6 * (PAINTED > 0).sum() < differs.sum() < 1.4 * (PAINTED > 0).sum()
    core = stored(labels(marked(SCAN, PLACES[0], 6.0), SCAN.affine), (1, 2, 0), (-1, 1, -1))
    level = result.provenance["levels"][0][0]
    assert image.data[core.data > 0].mean() / WHITE == pytest.approx(level, abs=0.1)


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.zeros(SCAN.shape), "The mask is empty"),
        (9 * (PAINTED > 0), "The value 9 in the mask is no tissue; the values are 1 necrotic core"),
        (2 * (SCAN.data > 0), "The mask covers"),
        (np.full(SCAN.shape, 2), "The mask covers"),
        (np.pad(np.ones((3, 3, 3)), [(0, n - 3) for n in SCAN.shape]), "The mask lies outside the brain"),
    ],
    ids=["empty", "no tissue", "the brain", "everything", "outside"],
)
def test_labels_that_cannot_be_painted_are_refused_with_one_sentence(world, tmp_path, capsys, mask, sentence):
    scan = save_nifti(tmp_path / "scan.nii.gz", SCAN.data, SCAN.affine)
    drawn = save_nifti(tmp_path / "mask.nii.gz", np.asarray(mask).astype(np.uint8), SCAN.affine)
    assert cli.main(["paint", str(scan), "--mask", str(drawn), "-o", str(tmp_path / "out")]) == cli.REFUSED
    said = capsys.readouterr().err.splitlines()[-1]
    assert sentence in said and one_sentence(said + "\n") and not (tmp_path / "out").exists()


def test_what_is_painted_beside_the_brain_stays_and_is_told(world):
    ball = marked(SCAN, (-68.0, -20.0, 28.0), 16.0)
    result = paint(SCAN, labels(3 * ball, SCAN.affine), samples=1)
    assert any("lie outside the brain and stay as they are" in note for note in result.notes)
    assert not result["painted"].volume.data[SCAN.data == 0].any()
    assert not result["labels"].volume.data[SCAN.data == 0].any()


def test_a_brightness_belongs_to_its_seed():
    shown = tissues(True)
    both = draw_levels(shown, [None] * 4, [3, 9])
    assert np.array_equal(both[1:], draw_levels(shown, [None] * 4, [9]))
    assert draw_levels(shown, [None, 0.7, None, None], [3, 9])[:, 1].tolist() == pytest.approx([0.7, 0.7])


def test_the_card_says_which_denoiser_paints(world):
    assert isinstance(loading.load_model("t1-brain-2mm-paint").denoiser(), PaintDenoiser)


def test_previews_come_while_it_paints(world):
    seen = []
    engine.run("paint", {"scan": SCAN, "mask": MASK}, FAST, on_progress=seen.append)
    shown = [progress.preview for progress in seen if progress.preview is not None]
    assert 2 <= len(shown) <= 6 and all(preview.meta["synthetic"] for preview in shown)
    assert [p.fraction for p in seen] == sorted(p.fraction for p in seen)


@pytest.mark.slow
def test_the_sample_brain_through_the_shipped_networks(tmp_path):
    """A core in its rim, in a few steps: each is on its side of white matter."""
    path = resources() / "samples" / "sample-patient.nii.gz"
    image = nib.load(path)
    data = image.get_fdata(dtype=np.float32)
    middle = np.argwhere(data > np.percentile(data[data > 0], 60)).mean(0) + [25, 0, 15]
    away = np.linalg.norm(
        np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"), -1) - middle, axis=-1
    )
    drawn = np.select([away < 7, away < 11], [1, 4], 0).astype(np.uint8)
    mask = save_nifti(tmp_path / "mask.nii.gz", drawn, image.affine)
    out = tmp_path / "out"
    given = ["--samples", str(PaintParameters().samples), "--steps", "4", "--device", "cpu"]
    assert cli.main(["paint", str(path), "--mask", str(mask), "-o", str(out), *given]) == 0
    result = Result.load(out)
    assert ((result["painted"].volume.data != data) <= (drawn > 0)).all()
    for row in result["tissues"].rows:
        assert row["within"] > 0.6 and abs(row["after"] - row["asked"]) < 0.1
