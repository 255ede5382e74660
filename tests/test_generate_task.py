"""Brains from covariates: they measure what was asked for, and the same request gives the same voxels."""

from __future__ import annotations

import json
import threading

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

import braindiffusion
from braindiffusion import cli, engine, generating
from braindiffusion.diffusion.noise import sample_seeds
from braindiffusion.errors import Cancelled, WrongParameters
from braindiffusion.imaging.grid import FINE_AFFINE, FINE_SHAPE, GRID_AFFINE, GRID_SHAPE
from braindiffusion.models import loading
from braindiffusion.models.card import folder_of, read_card
from braindiffusion.nets.detail import coarsened
from braindiffusion.result import Result
from braindiffusion.tasks import base
from braindiffusion.tasks.generate import DETAIL_MODEL, MODEL, TASK, GenerateParameters, memory
from known_brains import SHADE, STRIPE, KnownBrains, installed, mean_brain

FAST = {"samples": 2, "steps": 6}


@pytest.fixture
def world(monkeypatch) -> KnownBrains:
    return installed(monkeypatch)


def generate(**parameters) -> Result:
    return engine.run("generate", {}, FAST | parameters, device="cpu", threads=1)


def test_ventricles_are_those_that_were_asked_for(world):
    for asked in (12.0, 30.0, 50.0):
        result = generate(ventricles=asked, seed=3)
        assert result.plausible and result.verdict == "The brains measure what was asked for."
        for row in result["volumes"].rows:
            assert row["ventricles_asked_ml"] == asked and row["brain_asked_ml"] is None
            assert row["ventricles_ml"] == pytest.approx(asked, abs=1)
            assert row["ventricles_dark_ml"] == pytest.approx(asked, abs=2)


def test_samples_spread_around_the_conditional_mean_as_the_data_does(world):
    result = generate(ventricles=40, samples=8, steps=20)
    brains = np.stack([volume.data for volume in result["brains"].volumes])
    inside = mean_brain(40.0) > 0
    assert np.abs(brains.mean(0) - mean_brain(40.0))[inside].mean() < SHADE
    assert brains.std(0, ddof=1)[inside].mean() == pytest.approx(SHADE, rel=0.1)
    np.testing.assert_allclose(result["mean"].volume.data, brains.mean(0), atol=1e-6)
    np.testing.assert_allclose(result["spread"].volume.data, brains.std(0), atol=1e-6)


def test_each_brain_lies_in_template_space_and_says_that_it_is_made_up(world, tmp_path):
    folder = generate(age=30, sex="female").save(tmp_path / "out")
    image = nib.load(folder / "brains_synthetic.nii.gz")
    assert image.shape == (*GRID_SHAPE, 2)
    np.testing.assert_array_equal(image.affine, GRID_AFFINE)
    assert image.header["sform_code"] == 4, "NIfTI's code of MNI space"
    assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC")
    assert json.loads((folder / "brains_synthetic.json").read_text(encoding="utf-8"))["Synthetic"] is True
    for picture in ("scatter.png", "picture.png"):
        assert (folder / picture).read_bytes()[:4] == b"\x89PNG"
    assert (folder / "volumes.csv").read_text(encoding="utf-8").startswith("sample,seed,age (years)")


def test_at_1_mm_every_image_lies_on_the_fine_grid_and_the_volumes_stay(world, tmp_path):
    coarse, fine = generate(ventricles=30), generate(ventricles=30, voxel_size=1)
    assert fine["volumes"].rows == coarse["volumes"].rows and fine.plausible
    assert fine.provenance["detail_model"] == {"name": DETAIL_MODEL, "sha256": DETAIL_MODEL[0] * 64}
    assert "detail_model" not in coarse.provenance
    for name in ("mean", "spread"):
        assert fine[name].volume.data.shape == FINE_SHAPE
    for small, large in zip(coarse["brains"].volumes, fine["brains"].volumes, strict=True):
        np.testing.assert_array_equal(large.affine, FINE_AFFINE)
        blocks = large.data.reshape(80, 2, 96, 2, 80, 2).mean((1, 3, 5))
        inner = binary_erosion(small.data > 0, iterations=3)
        assert np.abs(blocks - (1 - STRIPE / 2) * small.data)[inner].mean() < 0.03
        stripes = large.data[1::2] - large.data[::2]
        assert stripes[inner.repeat(2, 1).repeat(2, 2)].mean() > STRIPE / 2, "what only 1 mm can show"
    image = nib.load(fine.save(tmp_path / "out") / "brains_synthetic.nii.gz")
    assert image.shape == (*FINE_SHAPE, 2) and image.header["sform_code"] == 4
    np.testing.assert_array_equal(image.affine, FINE_AFFINE)
    assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC")


def test_the_preview_goes_on_while_detail_is_drawn(world):
    steps = []
    engine.run("generate", {}, FAST | {"voxel_size": 1}, threads=1, device="cpu", on_progress=steps.append)
    shown = [step for step in steps if step.preview is not None]
    assert {step.preview.data.shape for step in shown} == {GRID_SHAPE, FINE_SHAPE}
    assert shown[-1].stage == "Drawing detail at 1 mm"
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)


def test_command_line_and_python_give_the_same_voxels(world, tmp_path, capsys):
    given = {"age": 30, "sex": "female", "ventricles": 20}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    out = str(tmp_path / "out")
    assert cli.main(["generate", *words, "--samples", "2", "--steps", "6", "--seed", "7", "-o", out]) == 0
    assert "1. ventricles 20 ml (asked for: 20), brain" in capsys.readouterr().out
    again = braindiffusion.generate(**given, **FAST, seed=7)
    for saved, made in zip(Result.load(out)["brains"].volumes, again["brains"].volumes, strict=True):
        np.testing.assert_array_equal(saved.data, made.data)


def test_a_sample_belongs_to_its_seed_whatever_is_made_beside_it(world):
    two, one = generate(seed=5), generate(seed=5, samples=1)
    single = engine.run("generate", {}, FAST | {"seed": 5}, device="cpu", threads=1, batch=1)
    np.testing.assert_array_equal(two["brains"].volumes[0].data, one["brains"].volumes[0].data)
    for first, second in zip(two["brains"].volumes, single["brains"].volumes, strict=True):
        np.testing.assert_array_equal(first.data, second.data)
    assert not np.array_equal(*(volume.data for volume in two["brains"].volumes))
    assert two.provenance["seeds"] == [row["seed"] for row in two["volumes"].rows] == sample_seeds(5, 2)
    assert "mean" not in one, "one brain has no spread"


def test_the_preview_sharpens(world):
    steps = []
    result = engine.run(
        "generate", {}, {"samples": 1, "steps": 8}, device="cpu", threads=1, on_progress=steps.append
    )
    previews = [step.preview for step in steps if step.preview is not None]
    final = result["brains"].volumes[0].data
    errors = [float(np.abs(preview.data - final).mean()) for preview in previews]
    assert len(previews) == 8 and errors[0] > errors[3] > errors[-1]
    assert all(np.array_equal(preview.affine, GRID_AFFINE) for preview in previews)
    assert previews[0].meta == {"synthetic": True, "space": "MNI", "title": "Generated brain, preview"}


def test_it_can_be_stopped_between_two_steps(world):
    cancel = threading.Event()

    def on_progress(step):
        if step.stage == "Generating":
            cancel.set()

    with pytest.raises(Cancelled):
        engine.run("generate", {}, FAST | {"steps": 50}, on_progress=on_progress, cancel=cancel)
    assert world.asked <= 2


def test_what_lies_outside_the_training_range_is_made_and_flagged(world):
    result = generate(age=80, ventricles=20)
    assert result.notes == [
        "Age 80 years lies outside the range this model was trained on (19 to 52 years); the result is an "
        "extrapolation."
    ]
    assert not result.plausible and result["brains"].volumes


def test_a_brain_that_is_not_what_was_asked_for_is_told(world, monkeypatch):
    monkeypatch.setattr("known_brains.USUAL_ML", 60.0)
    plain = world.denoise
    world.denoise = lambda x, node, cond: plain(x, node, cond.null("ventricles"))
    result = generate(ventricles=20)
    assert not result.plausible
    assert "ventricular volume of 2 of 2 brains is not what was asked for (by up to 4" in result.verdict


def test_guidance_moves_the_mean_away_from_that_of_everybody(monkeypatch, world):
    def aged(x, node, cond):
        centre = torch.where(cond.known[:, :1], 1.0 + cond.covariates[:, :1], 1.0)[:, :, None, None, None]
        return centre.expand_as(x)

    world.denoise = aged
    prior = loading.load_model(MODEL)
    monkeypatch.setattr(generating, "GUIDED_BETWEEN", (0.0, np.inf))
    brains = []
    for weight in (1.0, 0.0, 2.0):
        steps = generating.generate(prior, {"age": 43.75}, [1], 3, weight=weight)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            brains.append(float(end.value.mean()))
    assert brains == pytest.approx([1.5, 1.0, 2.0], abs=1e-4), "age 43.75 is halfway up its range"


def test_without_a_brain_nothing_is_measured(world):
    empty = np.zeros(GRID_SHAPE, np.float32)
    assert set(generating.measured(empty, world).values()) == {0.0}


def test_specks_around_a_brain_are_removed_and_fluid_inside_it_stays():
    image = mean_brain(30.0).copy()
    image[1, 1, 1], image[40, 2, 40] = 0.8, -0.3
    np.testing.assert_array_equal(generating.cleaned(image), mean_brain(30.0))


def test_the_panel_has_labels_units_and_ranges_of_the_models_card():
    card = {c.name: c for c in read_card(folder_of(MODEL)).conditions()}
    described = base.schema(TASK)["properties"]
    for name in ("age", "ventricles", "brain"):
        known, shown = card[name], described[name]
        assert (shown["title"], shown["unit"]) == (known.label, known.unit)
        assert shown["range"] == [known.low, known.high]
        assert f"{known.low:g} to {known.high:g} {known.unit}" in shown["description"]


@pytest.mark.parametrize(
    "wrong", [{"samples": 65}, {"age": -1}, {"sex": "other"}, {"ventricles": 1000}, {"voxel_size": 3}]
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(wrong):
    with pytest.raises(WrongParameters, match=f"'{next(iter(wrong))}'"):
        GenerateParameters.parse(wrong)


def test_memory_grows_with_what_is_computed_at_once():
    plain, guided = (GenerateParameters(guidance=weight) for weight in (1.0, 2.0))
    assert memory({}, plain, 2, "fp32") > memory({}, plain, 1, "fp32") > memory({}, plain, 1, "bf16")
    assert memory({}, guided, 1, "fp32") > memory({}, plain, 1, "fp32")
    fine = GenerateParameters(samples=16, voxel_size=1)
    assert memory({}, plain, 1, "fp32") < memory({}, fine, 1, "fp32") < 8 * 2**30


@pytest.mark.slow
def test_the_shipped_model_makes_marked_brains_on_the_grid_with_measured_volumes(tmp_path):
    asked = {"age": 30, "sex": "female", "ventricles": 20, "samples": 1, "steps": 3}
    result, again = (engine.run("generate", {}, asked, device="cpu") for _ in range(2))
    (brain,) = result["brains"].volumes
    np.testing.assert_array_equal(brain.data, again["brains"].volumes[0].data)
    assert brain.data.shape == GRID_SHAPE and brain.data.min() == 0 and brain.data.max() > 0.5
    (row,) = result["volumes"].rows
    assert row["intracranial_ml"] > row["brain_ml"] > 0
    assert result.provenance["model"]["sha256"] == read_card(folder_of(MODEL)).sha256


@pytest.mark.slow
def test_the_shipped_models_make_a_brain_at_1_mm_around_the_one_at_2_mm():
    asked = {"age": 30, "sex": "female", "samples": 1, "steps": 8}
    coarse, fine = (
        engine.run("generate", {}, asked | size, device="cpu") for size in ({}, {"voxel_size": 1})
    )
    (small,), (large,) = coarse["brains"].volumes, fine["brains"].volumes
    assert large.data.shape == FINE_SHAPE and large.data.min() == 0 and large.data.max() > 0.5
    again = coarsened(torch.from_numpy(large.data)[None, None])[0, 0].numpy()
    assert np.sqrt(np.square(again - small.data)[small.data > 0].mean()) < 0.05
    assert fine.provenance["detail_model"]["sha256"] == read_card(folder_of(DETAIL_MODEL)).sha256
    assert fine["volumes"].rows == coarse["volumes"].rows
