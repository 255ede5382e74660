"""The whole way of a scan: a brain with a known lesion goes in, and what comes out is known too.

The brain is the template, put obliquely into a scanner; the prior knows what it was before the lesion.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import binary_dilation

import braindiffusion
from brain_scans import (
    GRID_SHAPE,
    INDEX,
    INSIDE,
    POSE,
    SIZE,
    WHITE,
    brain,
    frame_of,
    grid_mm,
    labels,
    sphere,
    to_patient,
    with_lesion,
)
from braindiffusion import cli, engine, healing, heatmap, segment
from braindiffusion.anatomy import VENTRICLES
from braindiffusion.diffusion.noise import LARGEST_SEED
from braindiffusion.errors import BrainDiffusionError, Cancelled, Refused, WrongParameters
from braindiffusion.healing import GUIDED_START, PARTIAL_LEVELS, composites
from braindiffusion.imaging.frame import Frame
from braindiffusion.imaging.grid import GRID_AFFINE, sample
from braindiffusion.imaging.template import template
from braindiffusion.imaging.volume import Volume
from braindiffusion.models import loading
from braindiffusion.models.card import Card
from braindiffusion.normal import NormalMaps
from braindiffusion.paths import resources
from braindiffusion.plan import make_plan
from braindiffusion.result import Result
from braindiffusion.segment import Segmentation, is_stripped, stripped_mask
from braindiffusion.tasks.heal import MISSES, UNCALIBRATED, HealParameters
from braindiffusion.telling import Tell, silent
from braindiffusion.training import trainer
from braindiffusion.training.muon import Optimiser
from braindiffusion.training.prior import COVARIATES
from dicom_files import write_series
from scan_files import save_nifti
from test_cli import one_sentence

HEALTHY = brain()
LESION_MM = (-28.0, -20.0, 28.0)
"""Middle of the lesion in template millimetre: deep in the left white matter."""
RADIUS_MM = 9.0
SICK = brain(with_lesion(LESION_MM, RADIUS_MM, 0.5))
LESION = np.abs(SICK.data - HEALTHY.data) > 0.25 * WHITE
SHADE = 0.03
"""SD of the healthy counterparts that the prior draws."""
FAST = {"samples": 2, "steps": 3}
VOLUMES = {"healed": True, "heatmap": True, "spread": True, "findings_labels": True, "anatomy": False}
"""The volumes of a result, and whether made-up voxels are in them or led to them."""


class World:
    """A prior and an anatomy network that know the truth; `fit` frames a scan, whose place is known too."""

    def __init__(self) -> None:
        self.healthy, self.ventricle_mm = HEALTHY, 12.0
        self.fit = lambda data, affine, mask: frame_of(Volume(data, affine))
        self.last: Frame | None = None
        self.interrupt: BaseException | None = None
        known = {"name": "brain-anatomy-2mm", "sha256": "c" * 64}
        self.card = SimpleNamespace(**known, caution="", identity=known)

    def frame(self, scan: Volume, tell: Tell = silent) -> Frame:
        assert is_stripped(scan)
        self.last = self.fit(scan.data, scan.affine, stripped_mask(scan))
        return self.last

    def segment(self, frame: Frame, data: np.ndarray, tell: Tell = silent) -> Segmentation:
        to_template = np.linalg.inv(POSE @ SIZE @ GRID_AFFINE) @ frame.affine @ frame.index
        there = sample(labels(self.ventricle_mm), to_template, GRID_SHAPE, order=0)
        return Segmentation.certain(there, frame.affine @ frame.index, 0.9)

    def segment_model(self, image: torch.Tensor, frame: Frame, tell: Tell = silent) -> Segmentation:
        return self.segment(frame, image.numpy())

    def truth(self) -> np.ndarray:
        """The healthy brain as the model sees it, [80, 96, 80]."""
        frame = self.last
        assert frame is not None
        flat = frame.to_model(self.healthy.data) * np.exp(-frame.log_bias)
        return np.clip(frame.scale.to_model(flat), 0, 2) * frame.mask

    def denoise(self, x, node, cond):
        """The exact denoiser of Gaussian images around the truth."""
        if self.interrupt is not None:
            raise self.interrupt
        centre = torch.from_numpy(self.truth()).float()
        gain = node.alpha * SHADE**2 / (node.alpha**2 * SHADE**2 + node.sigma**2)
        return centre + gain * (x - node.alpha * centre)


@pytest.fixture(scope="module")
def prior(tmp_path_factory) -> loading.Model:
    """A prior whose normal brains differ by 5 % of white matter, with a calibrated threshold of 4."""
    folder = tmp_path_factory.mktemp("prior")
    deviation = np.full(GRID_SHAPE, 0.05, np.float32)
    alike = np.array([2 * np.log(0.05), *[0.0] * 14])
    normal = NormalMaps(template().t1, 0 * deviation, deviation, alike, 4.0, 12, 0.6)
    normal.save(folder / "normal-guided.npz")
    card = Card(
        name="t1-brain-2mm", title="", intended_use="", not_for="", frame={}, training={}, licence="",
        architecture={}, path={"kind": "edm", "sigma_min": 0.01, "sigma_max": 80.0}, parameters=0,
        covariates=[covariate.to_json() for covariate in COVARIATES], fingerprint=[], sha256="a" * 64,
        files={"normal-guided.npz": "b" * 64},
    )  # fmt: skip
    return loading.Model(card, torch.nn.Identity(), folder)


def installed(patch: pytest.MonkeyPatch, prior: loading.Model) -> World:
    """Put models that know the truth in the place of the networks."""
    world = World()
    priors = dict.fromkeys(("t1-brain-2mm", "t1-brain-2mm-generate"), prior)
    models = {**priors, "brain-anatomy-2mm": SimpleNamespace(card=world.card)}
    patch.setattr(loading, "load_model", lambda name: models[name])
    for asked in ("denoiser", "guided_denoiser"):
        patch.setattr(loading.Model, asked, lambda self, device, precision: world.denoise)
    patch.setattr(segment.Segmenter, "load", lambda device, precision, model: world)
    return world


@pytest.fixture
def world(monkeypatch, prior) -> World:
    return installed(monkeypatch, prior)


@pytest.fixture(scope="module")
def saved(prior, tmp_path_factory) -> tuple[Path, Path]:
    """The sick brain's file, and the folder that the command line made of it; its frame was searched for."""
    place = tmp_path_factory.mktemp("saved")
    scan = save_nifti(place / "scan.nii.gz", SICK.data, SICK.affine)
    with pytest.MonkeyPatch.context() as patch:
        installed(patch, prior).fit = Frame.fit
        given = ["--seed", "7", "--samples", "2", "--steps", "3", "--age", "40", "--sex", "female"]
        assert cli.main(["heal", str(scan), "-o", str(place / "out"), *given]) == 0
    return scan, place / "out"


@pytest.fixture(scope="module")
def result(saved) -> Result:
    return Result.load(saved[1])


def heal(scan: Volume, **parameters) -> Result:
    return engine.run("heal", {"scan": scan}, FAST | parameters, device="cpu")


def same_voxels(a: Result, b: Result) -> bool:
    return all(np.array_equal(a[role].volume.data, b[role].volume.data) for role in VOLUMES)


def test_the_lesion_is_found_where_it_is(result):
    (row,) = result.findings
    truth = LESION.sum() * SICK.voxel_ml
    assert 1.8 < truth < 2.6 and 0.7 * truth < row["volume_ml"] < 1.4 * truth
    assert (row["side"], row["structure"]) == ("left", "cerebral white matter")
    assert row["direction"] == "darker than expected" and row["agreement"] > 0.95
    peak = np.array([row["x_mm"], row["y_mm"], row["z_mm"]])
    assert np.linalg.norm(peak - to_patient(LESION_MM)) < 0.9 * RADIUS_MM
    assert 6 < row["peak_z"] < 14
    assert result.plausible and result.verdict.startswith("The scan looks like the T1-weighted brains")


def test_the_findings_voxels_are_the_lesions(result):
    found = result["findings_labels"].volume.data
    assert found.dtype.kind in "iu" and set(np.unique(found)) == {0, 1}
    assert found.astype(bool).sum() * SICK.voxel_ml == pytest.approx(
        result.findings[0]["volume_ml"], abs=1e-3
    )
    assert 2 * (LESION & (found > 0)).sum() / (LESION.sum() + (found > 0).sum()) > 0.8
    heat = result["heatmap"].volume.data
    assert heat[LESION].mean() > 5 and np.percentile(heat[~LESION & (SICK.data > 0)], 99) < 2
    assert not heat[SICK.data == 0].any() or heat[SICK.data == 0].max() < 2


def test_every_volume_lies_on_the_scans_own_grid(saved, result):
    scan = nib.load(saved[0])
    for role in VOLUMES:
        volume = result[role].volume
        assert volume.data.shape == scan.shape and np.array_equal(volume.affine, scan.affine), role
        assert np.isfinite(volume.data).all()
    anatomy = result["anatomy"].volume.data
    assert set(np.unique(anatomy)) == set(np.unique(labels()))
    left = np.argwhere(anatomy == INDEX["left", "cerebral white matter"]).mean(0)
    assert (np.linalg.inv(POSE) @ scan.affine @ [*left, 1.0])[0] < -15


def test_outside_the_changed_region_every_voxel_is_the_scans(result):
    healed = result["healed"].volume.data
    differs = healed != SICK.data
    assert result.provenance["voxels_outside_changed"] == 0
    assert LESION.sum() < differs.sum() <= result.provenance["voxels_changed"] < 12 * LESION.sum()
    places = np.argwhere(differs) @ SICK.affine[:3, :3].T + SICK.affine[:3, 3]
    assert np.linalg.norm(places - to_patient(LESION_MM), axis=1).max() < RADIUS_MM + 12


def test_the_lesion_is_healed_without_a_trace_of_its_border(result):
    healed = result["healed"].volume.data
    assert np.abs(healed - HEALTHY.data)[LESION].mean() < 0.03 * WHITE
    assert np.abs(healed - HEALTHY.data).max() < 0.2 * WHITE, "nowhere is half of the lesion left"
    assert np.abs(SICK.data - HEALTHY.data).max() > 0.4 * WHITE


def test_python_gives_the_command_lines_voxels_bit_for_bit(saved, result, world):
    """From the record of the run alone: what was read, and how. The frame is searched for again."""
    world.fit = Frame.fit
    known = result.provenance
    again = braindiffusion.heal(known["inputs"]["scan"]["source"], **known["parameters"])
    assert same_voxels(again, result)
    assert again.findings == result.findings and again.verdict == result.verdict
    for key in ("parameters", "seeds", "threshold", "voxels_changed", "to_model_grid", "figures", "model"):
        assert again.provenance[key] == known[key], key


def test_the_record_is_complete(saved, result):
    scan, folder = saved
    known = json.loads((folder / "result.json").read_text(encoding="utf-8"))["provenance"]
    assert known["task"] == "heal" and known["seed"] == 7
    assert known["seeds"] == HealParameters(seed=7, samples=2).seeds()
    assert known["parameters"] == {
        "seed": 7, "samples": 2, "steps": 3, "method": "guided", "age": 40.0, "sex": "female",
        "threshold": None, "start": 5.0, "levels": "0.15, 0.3, 0.6", "keep_samples": False,
        "model": "t1-brain-2mm",
    }  # fmt: skip
    assert known["model"] == {"name": "t1-brain-2mm", "sha256": "a" * 64}
    assert (
        known["anatomy_model"]["name"] == "brain-anatomy-2mm" and known["anatomy_model"]["sha256"] == "c" * 64
    )
    assert known["solver"] == "dpmpp2m" and known["steps"] == 3
    assert known["threshold"] == 4.0 and known["calibration"] == {"brains": 12, "threshold": 4.0}
    read = known["inputs"]["scan"]
    assert (
        read["source"] == str(scan)
        and read["sha256"] == loading.sha256(scan)
        and len(read["content_hash"]) == 64
    )
    assert read["shape"] == list(SICK.shape)
    assert {"braindiffusion", "torch", "numpy", "monai", "SimpleITK"} <= set(known["versions"])
    assert known["device"] == "cpu" and known["precision"] in ("fp32", "bf16") and known["threads"] >= 1
    assert known["seconds"]["total"] > 0 and known["started"]
    assert {"intracranial_ml", "brain_ml", "ventricles_ml", "noise", "grey_to_white"} == set(known["figures"])
    assert np.array(known["to_model_grid"]).shape == (4, 4)
    assert MISSES in result.notes


def test_made_up_voxels_say_so_everywhere(saved):
    for role, synthetic in VOLUMES.items():
        path = saved[1] / f"{role}{'_synthetic' if synthetic else ''}.nii.gz"
        header = nib.load(path).header
        assert (b"SYNTHETIC" in bytes(header["descrip"])) == synthetic, role
        (comment,) = header.extensions
        for text in (
            comment.get_content(),
            (saved[1] / path.name.replace(".nii.gz", ".json")).read_text(encoding="utf-8"),
        ):
            assert json.loads(text)["Synthetic"] is synthetic
    assert (saved[1] / "picture.png").read_bytes()[:4] == b"\x89PNG"
    rows = (saved[1] / "findings.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 2 and "left,cerebral white matter" in rows[1]


def write_scan(path: Path, scan: Volume) -> Path:
    """The scan in the format that the name's ending says."""
    if path.suffix == ".gz":
        return save_nifti(path, scan.data, scan.affine)
    if path.suffix == ".mgz":
        nib.save(nib.freesurfer.MGHImage(scan.data, scan.affine), path)
        return path
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine
    image = sitk.GetImageFromArray(scan.data.T)
    image.SetSpacing(scan.spacing.tolist())
    image.SetDirection((lps[:3, :3] / scan.spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha", "scan.mgz"])
def test_a_scan_of_any_format_is_healed_on_its_own_grid(world, tmp_path, name):
    path = write_scan(tmp_path / name, SICK)
    given = ["--seed", "7", "--samples", "2", "--steps", "3", "--precision", "fp32"]
    assert cli.main(["heal", str(path), "-o", str(tmp_path / "out"), *given]) == 0
    result = Result.load(tmp_path / "out")
    (row,) = result.findings
    assert (row["side"], row["structure"]) == ("left", "cerebral white matter")
    healed = result["healed"].volume
    assert healed.shape == SICK.shape and np.allclose(healed.affine, SICK.affine, atol=1e-4)
    assert np.abs(healed.data - HEALTHY.data)[LESION].mean() < 0.03 * WHITE
    assert (healed.data == SICK.data)[~binary_dilation(LESION, iterations=12)].all()


def test_without_a_lesion_nothing_is_changed(world):
    result = heal(HEALTHY)
    assert result.findings == [] and not result["findings_labels"].volume.data.any()
    assert np.array_equal(result["healed"].volume.data, HEALTHY.data)
    assert result.provenance["voxels_changed"] == 0 and result["heatmap"].volume.data.max() < 4
    assert result["heatmap"].volume.data.any(), "normal variation still shows"


def test_the_seed_is_what_the_voxels_depend_on(world):
    first, other, alone = heal(SICK, seed=3), heal(SICK, seed=30), heal(SICK, seed=3, samples=1)
    assert not same_voxels(first, other) and not np.array_equal(
        first["heatmap"].volume.data, other["heatmap"].volume.data
    )
    assert not alone["spread"].volume.data.any()
    spread = first["spread"].volume.data[frame_of(SICK).to_native(world.truth()) > 0.9]
    assert 0.2 * SHADE < np.median(spread) < SHADE, "two samples in three steps"


def test_runs_of_neighbouring_seeds_share_no_sample():
    """Who averages the runs of seeds 0 to 99 averages that many times four samples."""
    drawn = [seed for run in range(100) for seed in HealParameters(seed=run).seeds()]
    assert len(set(drawn)) == len(drawn) == 400
    assert all(0 <= seed <= LARGEST_SEED for seed in drawn)
    assert (
        HealParameters(seed=LARGEST_SEED, samples=16).seeds()[:4] == HealParameters(seed=LARGEST_SEED).seeds()
    )


def test_a_sample_does_not_depend_on_how_many_there_are(world):
    few, many = (heal(SICK, seed=3, samples=n, keep_samples=True)["samples"].volumes for n in (1, 3))
    changed = (few[0].data != SICK.data) & (many[0].data != SICK.data)
    assert changed.sum() > 300
    same, other = (np.median(np.abs(a.data - b.data)[changed]) for a, b in ((few[0], many[0]), many[:2]))
    assert same < 0.1 * other, "only the border of what is changed depends on all samples together"


def test_one_sample_at_a_time_gives_the_same_voxels(world):
    together, one_by_one = (
        engine.run("heal", {"scan": SICK}, FAST | {"seed": 5}, device="cpu", batch=batch) for batch in (2, 1)
    )
    assert one_by_one.provenance["batch"] == 1 and same_voxels(together, one_by_one)


def test_a_lesion_on_the_right_that_is_brighter(world):
    place = (30.0, 10.0, 30.0)
    scan = brain(with_lesion(place, 7.0, 1.4))
    (row,) = heal(scan).findings
    assert row["side"] == "right" and row["direction"] == "brighter than expected"
    peak = np.array([row["x_mm"], row["y_mm"], row["z_mm"]])
    assert np.linalg.norm(peak - to_patient(place)) < 7


def test_the_users_threshold_takes_the_place_of_the_calibrated_one(world):
    strict = heal(SICK, threshold=50.0)
    assert strict.findings == [] and strict.provenance["threshold"] == 50.0
    assert (
        strict["heatmap"].display["threshold"] == 50.0
        and strict.provenance["calibration"]["threshold"] == 4.0
    )


def test_large_ventricles_raise_the_range_warning_and_are_not_judged(world):
    """What differs there, and at their border, is no finding; what differs elsewhere still is."""
    ventricle = np.isin(labels(22.0), VENTRICLES) & sphere((-14.0, -15.0, 12.0), 6.0)
    both = with_lesion(LESION_MM, RADIUS_MM, 0.5)
    scan = brain(np.where(ventricle, 0.2, both).astype(np.float32))
    assert len(heal(scan).findings) == 2
    world.ventricle_mm = 22.0
    result = heal(scan)
    assert not result.plausible and "The ventricles measure 59 ml, outside the 5 to 45 ml" in result.verdict
    (row,) = result.findings
    peak = np.array([row["x_mm"], row["y_mm"], row["z_mm"]])
    assert np.linalg.norm(peak - to_patient(LESION_MM)) < 0.9 * RADIUS_MM
    inside = np.isin(result["anatomy"].volume.data, VENTRICLES)
    assert result["heatmap"].volume.data[inside].max() < 0.5


def test_an_age_outside_the_range_is_a_warning(world):
    result = heal(HEALTHY, age=80)
    said = "Age 80 years lies outside the range this model was trained on (19 to 52 years)."
    assert result.verdict == said and not result.plausible


def test_a_scan_that_differs_nearly_everywhere_is_doubted(world, monkeypatch):
    """As one of another scanner does; the threshold that is named makes up for it."""
    monkeypatch.setattr(heatmap, "level", lambda z, inside: 1.2)
    result = heal(HEALTHY)
    assert not result.plausible and "looks like" not in result.verdict
    assert "typical z 1.2, at most 0.6 in normal brains" in result.verdict
    assert result.verdict.startswith("The scan differs"), "before what is said of every scan"
    assert "A threshold of 8.0 would" in result.verdict
    assert result.provenance["typical_z"] == {"scan": 1.2, "normal_brains": 0.6}
    assert "A threshold of 8.0 would" in heal(HEALTHY, threshold=6.0).verdict, "it is not raised twice"
    monkeypatch.setattr(heatmap, "level", lambda z, inside: 0.85)
    assert "nearly everywhere" not in heal(HEALTHY).verdict


def test_a_models_caution_is_carried_by_every_result(world):
    world.card.caution = "This network has not been shown to work."
    result = heal(HEALTHY)
    assert result.verdict.startswith(world.card.caution) and not result.plausible
    assert MISSES in result.notes


def test_progress_rises_and_names_its_stages(world):
    steps = []
    engine.run("heal", {"scan": HEALTHY}, FAST, device="cpu", on_progress=steps.append)
    shares, stages = [step.fraction for step in steps], [step.stage for step in steps]
    assert shares == sorted(shares) and shares[-1] == 1 and stages[-1] == "Done"
    assert stages.count("Healing") == 3, "one for each step of the sampler"
    assert stages.index("Loading the models") < stages.index("Healing") < stages.index("Naming the findings")


def test_the_healed_brain_shows_while_it_is_made(world):
    """Where the scan lies and in its units, so that a viewer shows both alike; a few times in a run."""
    steps = []
    engine.run("heal", {"scan": SICK}, FAST | {"steps": 12}, device="cpu", on_progress=steps.append)
    shown = [step.preview for step in steps if step.preview is not None]
    assert len(shown) == 6 and steps[[step.stage for step in steps].index("Healing")].preview is shown[0]
    for preview in (shown[0], shown[-1]):
        assert preview.shape == GRID_SHAPE and preview.meta["synthetic"]
        on_scan = sample(preview.data, np.linalg.inv(preview.affine) @ SICK.affine, SICK.shape)
        assert np.abs(on_scan - HEALTHY.data)[LESION].mean() < 0.06 * WHITE
        assert np.median(np.abs(on_scan - HEALTHY.data)[HEALTHY.data > 0]) < 0.06 * WHITE
        assert not preview.data[world.last.mask == 0].any(), "outside the brain nothing is made up"


@pytest.mark.parametrize(
    "at", ["Finding and aligning the brain", "Healing", "Bringing the results to the scan's grid"]
)
def test_a_cancelled_run_ends_where_it_is(world, at):
    cancel, stages = threading.Event(), []

    def on_progress(step):
        stages.append(step.stage)
        if step.stage == at:
            cancel.set()

    with pytest.raises(Cancelled):
        engine.run("heal", {"scan": HEALTHY}, FAST, on_progress=on_progress, cancel=cancel)
    assert stages[-1] == at


def failing(scan: Volume, tmp_path: Path, capsys, *further: str) -> tuple[int, str]:
    """Exit code and last line of a run that fails, after seeing that it left nothing behind."""
    path = save_nifti(tmp_path / "scan.nii.gz", scan.data, scan.affine)
    code = cli.main(
        ["heal", str(path), "-o", str(tmp_path / "out"), "--samples", "1", "--steps", "2", *further]
    )
    said = capsys.readouterr().err.splitlines(keepends=True)[-1]
    assert one_sentence(said) and list(tmp_path.iterdir()) == [path]
    return code, said


def test_an_interrupted_run_leaves_nothing(world, tmp_path, capsys):
    world.interrupt = KeyboardInterrupt()
    assert failing(HEALTHY, tmp_path, capsys) == (130, "Stopped; nothing was written.\n")


def test_another_contrast_is_refused(world, tmp_path, capsys):
    """As in a T2-weighted scan: fluid bright, white matter dark."""
    world.fit = Frame.fit
    inverted = np.where(HEALTHY.data > 0, 1.2 * WHITE - HEALTHY.data, 0).astype(np.float32)
    code, said = failing(
        Volume(np.maximum(inverted, (HEALTHY.data > 0) * 1.0), HEALTHY.affine), tmp_path, capsys
    )
    assert code == 3 and "does not look like a T1-weighted scan" in said


def half(axis: int, towards: int) -> Volume:
    """A brain of which only the half on one side of its middle was scanned."""
    at = np.moveaxis(np.indices(HEALTHY.shape), 0, -1) @ HEALTHY.affine[:3, :3].T + HEALTHY.affine[:3, 3]
    place = (at - POSE[:3, 3]) @ POSE[:3, :3]
    middle = (SIZE @ [*grid_mm()[INSIDE].mean(0), 1.0])[:3]
    kept = towards * (place - middle)[..., axis] > -10
    return Volume(np.where(kept, HEALTHY.data, 0).astype(np.float32), HEALTHY.affine)


@pytest.mark.parametrize(("axis", "towards"), [(0, 1), (2, 1), (2, -1)])
def test_half_a_brain_is_refused(world, tmp_path, capsys, axis, towards):
    code, said = failing(half(axis, towards), tmp_path, capsys)
    assert code == 3 and ("Part of the brain is missing" in said or "flat cut" in said)


@pytest.mark.slow
def test_half_a_brain_is_refused_where_its_frame_is_searched_for(world):
    world.fit = Frame.fit
    with pytest.raises(Refused, match="Part of the brain is missing"):
        heal(half(0, 1))


def test_a_method_without_normal_maps_is_one_sentence(world, tmp_path, capsys):
    code, said = failing(HEALTHY, tmp_path, capsys, "--method", "partial")
    assert code == 4 and "has no file normal-partial.npz" in said


def test_what_is_not_the_brains_stays_as_it_is_beside_a_lesion_at_its_edge():
    """On a grid shifted by half a voxel: nothing darkens the rim, and nothing leaks into the background."""
    shift = np.eye(4)
    shift[:3, 3] = 1.0
    mask = sphere((0.0, -17.0, 7.0), 50.0)
    scan = np.where(
        sample(mask.astype(np.float32), np.linalg.inv(GRID_AFFINE) @ shift @ GRID_AFFINE, GRID_SHAPE) > 0.5,
        0.5,
        0,
    )
    frame = frame_of(Volume((WHITE * scan).astype(np.float32), POSE @ shift @ GRID_AFFINE))
    frame.mask[:] = mask
    region = mask & (grid_mm()[..., 0] < -20)
    scanned = WHITE * scan.astype(np.float32)
    (healed,), changed = composites(scanned, frame, [mask.astype(np.float32)], region)
    assert not changed[scan == 0].any() and not healed[scan == 0].any()
    fully = frame.to_native((grid_mm()[..., 0] < -22).astype(np.float32)) == 1
    assert np.abs(healed[fully & (scan > 0)] - WHITE).max() < 0.01 * WHITE
    assert np.array_equal(healed[~changed], (WHITE * scan)[~changed]) and changed.sum() > 5000


def test_kept_samples_are_the_scan_but_for_what_was_changed(world, tmp_path):
    plain = heal(SICK, seed=3)
    kept = heal(SICK, seed=3, keep_samples=True)
    assert "samples" not in plain and same_voxels(plain, kept)
    samples = [volume.data for volume in kept["samples"].volumes]
    changed = kept["healed"].volume.data != SICK.data
    assert len(samples) == 2 and changed.sum() > 500
    for drawn in samples:  # a feathered voxel may by chance be the scan's in one of them
        differs = drawn != SICK.data
        assert differs.sum() <= kept.provenance["voxels_changed"]
        assert not differs[~binary_dilation(changed)].any() and differs[changed].mean() > 0.9
    assert not np.array_equal(*samples)
    lesion = LESION & changed
    assert abs(np.mean(samples, 0)[lesion].mean() - HEALTHY.data[lesion].mean()) < 0.1 * WHITE
    folder = kept.save(tmp_path / "out")
    assert len(Result.load(folder)["samples"].volumes) == 2
    assert (folder / "samples_synthetic.nii.gz").is_file()


def test_the_noise_is_what_it_was_where_it_is_not_set(world):
    defaults = HealParameters()
    assert (defaults.start, defaults.noise()) == (GUIDED_START, PARTIAL_LEVELS)
    assert same_voxels(heal(HEALTHY), heal(HEALTHY, start=GUIDED_START, levels=list(PARTIAL_LEVELS)))
    other = heal(HEALTHY, start=1.0)
    assert other.notes[-1] == UNCALIBRATED and other.provenance["parameters"]["start"] == 1.0
    assert UNCALIBRATED not in heal(HEALTHY, levels="0.3").notes  # guided does not use them


def test_the_levels_of_partial_diffusion_are_asked_for(world, monkeypatch):
    asked = []
    monkeypatch.setattr(healing, "heal", lambda *_, levels, **__: asked.append(levels) or iter(()))
    monkeypatch.setattr(NormalMaps, "load", lambda path: None)
    monkeypatch.setattr(loading.Model, "file", lambda self, name: Path(name))
    with pytest.raises(AttributeError):  # the stand-in heals nothing
        heal(HEALTHY, method="partial", levels="0.2 0.4")
    assert asked == [(0.2, 0.4)]


@pytest.mark.parametrize("levels", [0.3, "0.3", [0.3], (0.3,), np.float32(0.3)])
def test_one_level_of_partial_diffusion_is_given_as_a_number_or_a_list(levels):
    assert HealParameters.parse({"levels": levels}).noise() == (0.3,)


@pytest.mark.parametrize("levels", ["", "much", "0.3, -1", [0.001], "1 " * 9, 0.001, None, object()])
def test_levels_that_are_none_are_one_sentence(levels):
    with pytest.raises(WrongParameters, match="one to eight numbers between 0.02 and 10"):
        HealParameters.parse({"levels": levels})


def test_a_dicom_folder_goes_the_whole_way_through_the_shipped_networks(tmp_path):
    """The sample patient on the command line, as quickly as it goes."""
    sample_patient = nib.as_closest_canonical(nib.load(resources() / "samples" / "sample-patient.nii.gz"))
    voxels = np.asarray(sample_patient.dataobj).astype(np.uint16)
    write_series(tmp_path / "dicom", voxels, sample_patient.affine)
    out = tmp_path / "out"
    given = ["--samples", "1", "--steps", "2", "--device", "cpu"]
    assert cli.main(["heal", str(tmp_path / "dicom"), "-o", str(out), *given]) == 0
    result = Result.load(out)
    numbered = result["findings_labels"].volume.data
    assert set(np.unique(numbered)) - {0} == {row["number"] for row in result.findings} != set()
    assert all(row["structure"] and row["peak_z"] > result.provenance["threshold"] for row in result.findings)
    for role, synthetic in VOLUMES.items():
        image = nib.as_closest_canonical(nib.load(out / f"{role}{'_synthetic' if synthetic else ''}.nii.gz"))
        assert np.allclose(image.affine, sample_patient.affine, atol=1e-3), "the series' own grid"
        assert image.shape == voxels.shape and np.isfinite(image.get_fdata()).all()
        if role == "healed":
            differing = int((image.get_fdata() != voxels).sum())
            assert 0 < differing <= result.provenance["voxels_changed"] < voxels.size / 2
    assert result.provenance["voxels_outside_changed"] == 0
    files = {file.name for file in out.iterdir()}
    assert {"picture.png", "findings.csv", "result.json", "healed_synthetic.nii.gz"} <= files


def two_steps(device: str) -> list[float]:
    """The losses of two training steps and of the network after them, on a device in float32."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv3d(1, 16, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv3d(16, 1, 3, padding=1)
    )
    noise = torch.randn(2, 1, 12, 12, 12)
    batch = {"x": noise.to(device), "y": (0.5 * noise + 1).to(device)}
    optimiser = Optimiser(net.to(device), 0.01)

    def loss_of(net, batch):
        with torch.autocast(device, enabled=False):
            return (net(batch["x"]) - batch["y"]).square().mean()

    losses = [trainer._step(net, optimiser, 0.01, batch, loss_of) for _ in range(2)]
    return [*losses, float(loss_of(net, batch).detach())]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_the_graphics_card_computes_what_the_processor_does():
    prior, image = loading.load_model("t1-brain-2mm"), frame_of(SICK).image
    drawn, trained = [], []
    for device in ("cpu", "cuda"):
        with make_plan(device, "fp32")[0].applied():
            drawn.append(healing.guided(prior, image, [3, 4], 2, device=device).samples)
            trained.append(two_steps(device))
    assert np.abs(drawn[0] - drawn[1]).max() < 1e-3 and drawn[0].any()
    assert trained[0] == pytest.approx(trained[1], abs=1e-3) and trained[0][2] < trained[0][0]


@pytest.mark.slow
def test_the_shipped_networks_go_the_whole_way(tmp_path):
    """Whatever they find: a whole result on the scan's grid, and the same again."""
    try:
        first, again = (
            engine.run("heal", {"scan": SICK}, {"samples": 1, "steps": 2, "seed": 1}, device="cpu")
            for _ in range(2)
        )
    except BrainDiffusionError as refusal:
        pytest.fail(f"a brain with a lesion is no reason for '{refusal}'")
    assert same_voxels(first, again)
    assert np.array_equal(first["healed"].volume.affine, SICK.affine)
    outside = first.provenance["voxels_outside_changed"]
    assert (
        outside == 0
        and (first["healed"].volume.data != SICK.data).sum() <= first.provenance["voxels_changed"]
    )
    assert Result.load(first.save(tmp_path / "out")).findings == first.findings
