"""The frozen implant set: that it stays as it is, keeps its rules, and shares nothing with training."""

from __future__ import annotations

import ast
import hashlib
import json

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from braindiffusion.evaluation import implants
from braindiffusion.paths import data_root
from braindiffusion.training.shapes import TEST_CASE, held_out
from conftest import needs_data

FROZEN = "41874b06fd3794b029b57b8553ae8d67ced65e75c53d463c74c6a07fd9afad66"


@pytest.fixture(scope="module")
def frozen() -> dict:
    return json.loads(implants.MANIFEST.read_text(encoding="utf-8"))


def test_the_manifest_is_the_frozen_one():
    assert hashlib.sha256(implants.MANIFEST.read_bytes()).hexdigest() == FROZEN


def test_every_lesion_keeps_the_rules_and_no_shape_is_a_training_patients(frozen):
    lesions = [lesion for case in frozen["cases"].values() for lesion in case]
    assert len(frozen["cases"]) == 12 * frozen["copies"] and 60 <= len(lesions) <= 144
    for lesion in lesions:
        assert 0.1 <= lesion["volume_ml"] <= 20 and 0.1 <= abs(lesion["contrast"]) <= 0.6
        assert 0 <= lesion["edge_mm"] <= 2
        assert held_out(lesion["patient"]) and lesion["patient"] != TEST_CASE
    logs = np.log([lesion["volume_ml"] for lesion in lesions])
    assert np.histogram(logs, 4, np.log((0.1, 20)))[0].min() > 0.12 * len(lesions)
    assert 0.3 < np.mean([lesion["contrast"] > 0 for lesion in lesions]) < 0.7


def test_implants_share_no_code_with_the_simulator_of_training():
    tree = ast.parse(open(implants.__file__, encoding="utf-8").read())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any("lesions" in module or "fields" in module for module in imported if module)


def test_a_shape_keeps_its_volume_when_it_is_turned_and_scaled():
    mask = np.zeros((14, 18, 10), bool)
    mask[2:12, 3:15, 2:8] = True
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]])
    soft, box = implants._placed(mask, turn, 1.3, 0.0, np.array([40, 40, 40]), (80, 80, 80))
    assert (soft > 0.5).sum() == pytest.approx(1.3**3 * mask.sum(), rel=0.06)
    middle = np.argwhere(soft > 0.5).mean(0) + [side.start for side in box]
    assert middle == pytest.approx(np.full(3, 40), abs=1.0)
    blurred, _ = implants._placed(mask, turn, 1.3, 1.5, np.array([40, 40, 40]), (80, 80, 80))
    assert blurred.max() == 1.0 and ((blurred > 0.05) & (blurred < 0.95)).sum() > 500


@needs_data("t1_brains")
@needs_data("stroke")
def test_two_brains_are_made_again_as_frozen(frozen):
    root = data_root()
    library = implants.shapes(root)
    names = set()
    for subject, index in (("sub-08", 1), ("sub-62", 2)):
        case = implants.implanted(root, subject, index, library)
        names.add(case.name)
        _same(case.lesions, frozen["cases"][case.name])
        _exact(case, implants.normal(root, subject))
    assert names <= set(frozen["cases"])


def _same(lesions: tuple[implants.Lesion, ...], rows: list[dict]) -> None:
    assert len(lesions) == len(rows)
    for lesion, row in zip(lesions, rows, strict=True):
        assert (lesion.patient, lesion.piece) == (row["patient"], row["piece"])
        assert (lesion.contrast, lesion.edge_mm) == (row["contrast"], row["edge_mm"])
        assert lesion.volume_ml == pytest.approx(row["volume_ml"], rel=0.01)
        assert lesion.position == pytest.approx(row["position"], abs=0.3)


def _exact(case: implants.Implanted, normal: implants.Implanted) -> None:
    """The truth is where the scan changed, by the contrast at the core, and nothing changed far away."""
    change = case.image.data / np.where(normal.brain, normal.image.data, 1) - 1
    assert not (case.truth > 0)[~normal.brain].any()
    for number, lesion in enumerate(case.lesions, 1):
        mask = case.truth == number
        assert mask.sum() / 1000 == pytest.approx(lesion.volume_ml, abs=0.001)
        assert np.median(change[mask] / lesion.contrast) > 0.55
        assert np.abs(change[mask]).max() == pytest.approx(abs(lesion.contrast), rel=0.02)
    far = distance_transform_edt(case.truth == 0) > 14
    assert np.array_equal(case.image.data[far], normal.image.data[far])
    for number in range(2, len(case.lesions) + 1):
        others = (case.truth > 0) & (case.truth < number)
        assert distance_transform_edt(~others)[case.truth == number].min() > 3
