"""The evaluation's own honesty: folds that do not leak, findings counted as they are, honest pages."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from braindiffusion.cli_evaluate import add_evaluation_options
from braindiffusion.evaluation import baselines, cases, crossfit, judged, run, sections, write
from braindiffusion.evaluation.cases import Case
from braindiffusion.evaluation.implants import Lesion
from braindiffusion.evaluation.parts import PARTS
from braindiffusion.evaluation.setting import Setting, key_of, shared_out
from braindiffusion.healing import Healed
from braindiffusion.imaging.frame import Frame
from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE
from braindiffusion.imaging.intensity import TissueScale
from braindiffusion.models.card import folder_of, read_card
from braindiffusion.nets.correspondence import Correspondence
from braindiffusion.plan import Plan


def _frame(image: np.ndarray) -> Frame:
    """A scan that lies on the model grid already."""
    eye = np.eye(4)
    scale = TissueScale(70.0, 100.0)
    flat = np.zeros(GRID_SHAPE, np.float32)
    return Frame(GRID_SHAPE, GRID_AFFINE, eye, eye, image > 0, flat, scale, image, np.ones((2, 3)))


def _brain(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    inside = np.zeros(GRID_SHAPE, bool)
    inside[20:60, 24:72, 20:60] = True
    texture = gaussian_filter(rng.normal(size=GRID_SHAPE), 1.5)
    return np.where(inside, 1 + 0.2 * texture, 0).astype(np.float32)


def _case(subject: str, seed: int, contrast: float = 0.0) -> Case:
    image, truth = _brain(seed), np.zeros(GRID_SHAPE, np.uint8)
    lesions: tuple[Lesion, ...] = ()
    if contrast:
        truth[36:42, 40:46, 36:42] = 1
        image = np.where(truth > 0, image * (1 + contrast), image).astype(np.float32)
        lesions = (Lesion("someone", 0, 216 * 0.008, contrast, 0.0, (0.0, 0.0, 0.0)),)
    return Case(subject, int(bool(contrast)), _frame(image), truth, image > 0, lesions)


@pytest.fixture(scope="module")
def set_of_cases() -> list[Case]:
    names = [f"sub-{n}" for n in range(5)]
    normal = [_case(name, n) for n, name in enumerate(names)]
    return normal + [_case(name, n, 0.6) for n, name in enumerate(names)]


class Here:
    """Places of brains that all lie on the mean brain."""

    brain = (_brain(0) > 0).astype(np.float32)

    def __call__(self, case: Case) -> Correspondence:
        return Correspondence(np.zeros((3, *GRID_SHAPE), np.float32))


def _copy(case: Case) -> Healed:
    return Healed.of(np.ones((1, *GRID_SHAPE), np.float32) * (case.image > 0))


@pytest.fixture(scope="module")
def scored(set_of_cases) -> crossfit.Scored:
    return crossfit.against_normal(set_of_cases, _copy, Here())


def test_a_brain_is_never_judged_by_what_was_fitted_on_it(set_of_cases, scored):
    """A normal brain changed beyond recognition changes how others are judged, never how its copies are."""
    strange = _case("sub-2", 2)
    strange = replace(strange, frame=_frame(strange.image + 2.0 * (_brain(99) > 1.05) * (strange.image > 0)))
    changed = [strange if case.name == "sub-2-0" else case for case in set_of_cases]
    after = crossfit.against_normal(changed, _copy, Here())
    assert after.thresholds["sub-2"] == scored.thresholds["sub-2"]
    assert np.array_equal(after.maps["sub-2-1"], scored.maps["sub-2-1"])
    assert not np.array_equal(after.maps["sub-1-1"], scored.maps["sub-1-1"])


def test_work_is_shared_out_among_processes_in_order(tmp_path):
    setting = Setting(tmp_path, tmp_path, tmp_path, tmp_path, Plan(threads=2))
    assert shared_out(setting, "Roots", math.sqrt, [9, 4, 16]) == [3, 2, 4]
    assert shared_out(setting, "Roots", math.sqrt, [25]) == [5]


def test_folds_hold_whole_brains():
    folds = cases.folds(["b", "a", "b", "c", "a"], 2)
    assert folds == {"a": 0, "b": 1, "c": 0}


def test_an_obvious_lesion_is_found_counted_and_scored(set_of_cases, scored):
    row = judged.table(judged.judge("perfect", "", set_of_cases, scored))
    assert row["auprc"] > 0.95 and row["best_threshold_dice"] > 0.85 and row["dice"] > 0.3
    assert row["cases"] == 5 and row["normal_brains"] == 5
    small, middle, large = row["sensitivity"]
    assert (middle["found"], middle["lesions"]) == (5, 5) and small["lesions"] == large["lesions"] == 0
    assert row["false_interval"][0] <= row["false_rate"] <= row["false_interval"][1]


def test_voxels_of_unwanted_lesions_do_not_count(set_of_cases):
    maps = {case.name: (case.truth > 0).astype(np.float32) for case in set_of_cases}
    _, counted = judged.count(set_of_cases, maps)
    whole = counted[0].histogram(lambda lesion: True)
    none = counted[0].histogram(lambda lesion: False)
    assert whole.lesion.sum() == 216 and none.lesion.sum() == 0
    assert whole.normal.sum() == none.normal.sum() == (set_of_cases[5].brain.sum() - 216)


def test_a_better_method_is_better_with_an_interval(set_of_cases):
    rng = np.random.default_rng(0)
    sharp = {c.name: (c.truth > 0) + rng.normal(0, 0.3, GRID_SHAPE) for c in set_of_cases}
    dull = {c.name: (c.truth > 0) + rng.normal(0, 1.0, GRID_SHAPE) for c in set_of_cases}
    first, second = (
        judged.Judged(name, "", *judged.count(set_of_cases, maps), crossfit.Scored(maps, dict), [])
        for name, maps in (("sharp", sharp), ("dull", dull))
    )
    difference = first.difference(second)
    assert 0 < difference.low <= difference.value <= difference.high
    assert first.difference(first).value == 0


def test_the_population_score_is_a_z_score():
    rng = np.random.default_rng(1)
    inside = _brain(0) > 0
    images = np.stack([np.where(inside, 1 + 0.2 * rng.normal(size=GRID_SHAPE), 0) for _ in range(40)])
    plain = baselines._population({"images": images, "inside": np.stack([inside] * 40)}, 0.0)
    assert plain.score is not None
    usual = plain.score(_case("sub-0", 0))
    odd = replace(_case("sub-0", 0), frame=_frame(np.where(inside, 2.0, 0).astype(np.float32)))
    assert np.median(usual[inside]) < 1.0 and not usual[~inside].any()
    assert np.median(plain.score(odd)[inside]) == pytest.approx(5.0, rel=0.1)


def test_a_smoothed_copy_of_an_even_brain_leaves_no_residual():
    even = replace(_case("sub-0", 0), frame=_frame((_brain(0) > 0).astype(np.float32)))
    for variant in baselines.smoothed_copies():
        if variant.score is not None:
            assert float(variant.score(even).max()) < 1e-3


def test_a_frame_survives_the_cache(tmp_path):
    frame = _frame(_brain(3))
    setting = Setting(tmp_path, tmp_path, tmp_path, tmp_path, Plan())
    kept = setting.cached("frame", key_of("a"), lambda: cases.frame_arrays(frame))
    again = setting.cached("frame", key_of("a"), dict)
    back = cases.frame_of(again)
    assert back.scale == frame.scale and back.shape == frame.shape
    assert np.array_equal(back.image, frame.image) and np.array_equal(kept["mask"], frame.mask)
    setting.cached("frame", key_of("b"), lambda: cases.frame_arrays(frame))
    assert len(list((tmp_path / "cache").iterdir())) == 1, "what another key made is stale"


def test_the_page_says_what_was_not_measured_and_hides_no_failure(tmp_path):
    empty = write.page(tmp_path / "results")
    assert empty.count("Not measured yet") == len(PARTS) and "--only heal" in empty
    prior = {
        "steps": 20,
        "samples": 12,
        "seconds_per_sample": 7.25,
        "brains": 12,
        "loss": [
            {"sigma": 1.0, "linear": 4.56, **{k: {"error": 3.21, "loss": 0.5} for k in ("free", "guided")}}
        ],
        "spectrum": {
            "real_brains": 60,
            "rings_within": 0.9,
            "median_within": 1.0,
            "fine_ratio": 0.97,
            "finest_mm": 2.0,
        },
        "control": {name: {"r": 0.87, "mean_error_ml": 4.0} for name in ("ventricles", "brain")},
    }
    setting = Setting(tmp_path, tmp_path, tmp_path, tmp_path, Plan())
    setting.keep("prior", prior, 61)
    page = write.page(tmp_path / "results")
    assert page.count("Not measured yet") == len(PARTS) - 1
    assert "| Seconds per sample of 20 steps | ≤ 6 | 7.2 | **no** | prior |" in page
    assert "3.2" in page and "0.87" in page and "1 minutes" in page
    kept = json.loads((tmp_path / "results" / "prior.json").read_text(encoding="utf-8"))
    assert kept["machine"]["threads"] == 1
    assert kept["models"]["t1-brain-2mm"] == read_card(folder_of("t1-brain-2mm")).sha256


def test_the_page_keeps_what_it_said_of_a_part_that_has_no_figures_here(tmp_path):
    before = """# Results

|  | goal | measured | met | part |
|---|---|---|---|---|
| Healing | above 0 | 0.1 | yes | heal |
| Samples | 6 | 9.9 | **no** | prior |

## Healing

Said of healing.

## Real cases

Said of real cases.
"""
    page = write.page(tmp_path / "nothing", before)
    assert "| Healing | above 0 | 0.1 | yes | heal |" in page and "Said of real cases." in page
    assert page.count("Said of healing.") == 1 and page.count("Not measured yet") == len(PARTS) - 2
    assert page.index("9.9") < page.index("| Healing"), "rows stand in the order of the parts"
    assert write.page(tmp_path / "nothing", page) == page


def test_a_quick_run_is_kept_apart_and_says_so(tmp_path, monkeypatch):
    class Part:
        @staticmethod
        def run(setting: Setting) -> dict:
            assert setting.quick and setting.pictures.parent == tmp_path / "quick"
            raise SystemExit(3)

    monkeypatch.setattr(run.importlib, "import_module", lambda name: Part)
    monkeypatch.setattr(run, "require_data", lambda *names: tmp_path)
    words = ["--quick", "--only", "prior", "--folder", str(tmp_path), "--device", "cpu", "--threads", "1"]
    command = argparse.ArgumentParser()
    add_evaluation_options(command)
    with pytest.raises(SystemExit):
        run.measure(command.parse_args(words))


def test_what_every_verdict_says_is_said_once():
    said = ["Early networks. Looks well, z 1.5.", "Differs everywhere. Early networks."]
    shared = sections._in_common(said)
    assert shared == ["Early networks."] and sections._in_common(said[:1]) == []
    row = {"verdict": said[1], "strongest": []}
    assert sections._words(row, shared) == "Differs everywhere. Nothing was found."
