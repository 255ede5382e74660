"""Conditions: validation in clear sentences, a null for each covariate, batching (methods.md A16, A21)."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import torch

from braindiffusion.diffusion.cond import UNKNOWN, Cond, Covariate
from braindiffusion.errors import BrainDiffusionError

AGE = Covariate("age", "Age", "years", 20, 80)
SEX = Covariate("sex", "Sex", "", 0, 1, span=(-1, 1), choices={"female": 0, "male": 1})
VENTRICLES = Covariate("ventricles", "Ventricular volume", "ml", 10, 60)
ALL = [AGE, SEX, VENTRICLES]


def test_scales_to_the_span_and_back() -> None:
    assert [AGE.scale(v) for v in (20, 50, 80)] == [0, 0.5, 1]
    assert [SEX.scale(v) for v in (0, 1)] == [-1, 1]
    assert VENTRICLES.unscale(VENTRICLES.scale(37.5)) == pytest.approx(37.5)
    assert SEX.value_of("Male") == 1 and AGE.value_of("54.5") == 54.5


def test_covariates_travel_through_a_card() -> None:
    for covariate in ALL:
        assert Covariate.from_json(json.loads(json.dumps(covariate.to_json()))) == covariate


def test_values_become_scaled_conditions() -> None:
    cond = Cond.from_values(
        ALL, [{"age": 50, "sex": "male"}, {"ventricles": 10, "age": None}], real=[1, UNKNOWN]
    )
    assert cond.covariates.tolist() == [[0.5, 1, 0], [0, 0, 0]]
    assert cond.known.tolist() == [[True, True, False], [False, False, True]]
    assert cond.real.tolist() == [1, 0.5] and cond.names == ("age", "sex", "ventricles")
    assert not cond.outside.any() and cond.batch == 2 and cond.has_guide.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        ({"agee": 50}, "This model has no condition called 'agee'; it knows age, sex, ventricles."),
        ({"age": "old"}, "Age cannot be 'old'; give a number from 20 to 80 years."),
        ({"age": math.nan}, "Age cannot be 'nan'; give a number from 20 to 80 years."),
        ({"age": math.inf}, "Age cannot be 'inf'; give a number from 20 to 80 years."),
        ({"sex": 0.5}, "Sex cannot be '0.5'; give female or male."),
        (
            {"age": 95},
            "Age 95 years lies outside the range this model was trained on (20 to 80 years); "
            "choose a value inside it or allow extrapolation.",
        ),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(sample: dict, sentence: str) -> None:
    with pytest.raises(BrainDiffusionError) as refused:
        Cond.from_values(ALL, [sample])
    assert str(refused.value) == sentence


def test_extrapolation_is_allowed_and_flagged() -> None:
    cond = Cond.from_values(ALL, [{"age": 95, "ventricles": 30}], allow_outside=True)
    assert cond.covariates[0, 0] == pytest.approx(1.25)
    assert cond.outside.tolist() == [[True, False, False]]
    assert not cond.null("age").outside.any()


def test_each_covariate_has_its_own_null() -> None:
    cond = Cond.from_values(ALL, [{"age": 50, "sex": "male", "ventricles": 20}]).with_guide(
        torch.ones(1, 1, 2, 2, 2)
    )
    without_age = cond.null("age")
    assert without_age.known.tolist() == [[False, True, True]]
    assert without_age.covariates[0, 0] == 0 and without_age.covariates[0, 1] == 1
    assert without_age.guide is not None
    nothing = cond.null()
    assert not nothing.known.any() and not nothing.covariates.any()
    assert nothing.guide is None and nothing.hole is None and nothing.has_guide.tolist() == [0]
    assert nothing.real.tolist() == [1]
    assert cond.known.all()  # the one it was made from is unchanged
    with pytest.raises(BrainDiffusionError, match="no condition called 'weight'"):
        cond.null("weight")


def test_a_null_differs_from_every_valid_value() -> None:
    youngest = Cond.from_values(ALL, [{"age": 20}])
    unknown = Cond.from_values(ALL, [{}])
    assert torch.equal(youngest.covariates, unknown.covariates)
    assert not torch.equal(youngest.known, unknown.known)


def test_unknown_values_never_leak() -> None:
    cond = Cond(torch.tensor([[0.7, 0.2]]), torch.tensor([[False, True]]), torch.ones(1))
    assert cond.covariates.tolist() == [[0, pytest.approx(0.2)]]
    dirty = Cond(torch.tensor([[math.nan, 0.2]]), torch.tensor([[False, True]]), torch.ones(1))
    assert torch.isfinite(dirty.covariates).all()


def test_the_guide_is_hidden_inside_its_hole() -> None:
    hole = torch.zeros(1, 1, 4, 4, 4)
    hole[..., :2] = 1
    cond = Cond.from_values(ALL, [{}]).with_guide(torch.full((1, 1, 4, 4, 4), 3.0), hole)
    assert not cond.guide[..., :2].any() and (cond.guide[..., 2:] == 3).all()
    assert cond.has_guide.tolist() == [1]
    assert cond.without_guide().guide is None


def test_batches_join_repeat_and_split() -> None:
    guided = Cond.from_values(ALL, [{"age": 50}]).with_guide(torch.ones(1, 1, 2, 2, 2))
    plain = Cond.from_values(ALL, [{"age": 20}, {"sex": "female"}], real=0)
    both = Cond.cat([guided, plain])
    assert both.batch == 3 and both.has_guide.tolist() == [1, 0, 0] and both.real.tolist() == [1, 0, 0]
    assert both.guide.shape == (3, 1, 2, 2, 2) and not both.guide[1:].any() and both.hole is None
    twice = both.repeat(2)
    assert twice.covariates[:, 0].tolist() == [0.5, 0.5, 0, 0, 0, 0] and twice.batch == 6
    last = both.index(-1)
    assert last.batch == 1 and last.known.tolist() == [[False, True, False]]
    assert both.index(0).guide.all() and both.index([2, 0]).has_guide.tolist() == [0, 1]
    assert both.index(slice(1, 3)).batch == 2
    with pytest.raises(BrainDiffusionError, match="same covariates"):
        Cond.cat([plain, Cond.from_values([AGE], [{}])])


def test_a_model_without_covariates() -> None:
    cond = Cond.from_values([], [{}, {}])
    assert cond.covariates.shape == (2, 0) and cond.null().batch == 2 and cond.repeat(3).batch == 6
    with pytest.raises(BrainDiffusionError, match="it knows none"):
        Cond.from_values([], [{"age": 3}])


def test_moves_and_keeps_flags_bool() -> None:
    cond = Cond.from_values(ALL, [{"age": 50}]).with_guide(torch.ones(1, 1, 2, 2, 2)).to("cpu", torch.float64)
    assert cond.covariates.dtype == cond.guide.dtype == cond.real.dtype == torch.float64
    assert cond.known.dtype == cond.outside.dtype == torch.bool
    assert cond.to("meta").guide.device.type == "meta" and cond.to("meta").guide.dtype == torch.float64


def test_wrong_shapes_are_refused() -> None:
    ok = torch.zeros(2, 1, dtype=torch.bool)
    with pytest.raises(BrainDiffusionError, match="known flags"):
        Cond(torch.zeros(2, 3), ok, torch.ones(2))
    with pytest.raises(BrainDiffusionError, match="'guide' is for 3 samples, not 2"):
        Cond(torch.zeros(2, 1), ok, torch.ones(2), guide=torch.zeros(3, 1, 2, 2, 2))
    with pytest.raises(BrainDiffusionError, match="2 names"):
        Cond(torch.zeros(2, 1), ok, torch.ones(2), names=("a", "b"))
    with pytest.raises(BrainDiffusionError, match="range of Age"):
        Covariate("age", "Age", "years", 80, 20)


def test_covariates_and_paths_need_no_torch() -> None:
    """The panel and the worker's first answer read them."""
    code = (
        "import sys; import braindiffusion.diffusion.covariate, braindiffusion.diffusion.path; "
        "sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
    )
