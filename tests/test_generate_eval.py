"""The evaluation of generated brains: what it asks for, and that its page says what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.evaluation import generate_eval, write
from braindiffusion.evaluation.generate_eval import followed, privacy, realism, requests, spectrum
from braindiffusion.evaluation.resemblance import variety
from braindiffusion.evaluation.setting import Setting
from braindiffusion.plan import Plan
from braindiffusion.training.prior import COVARIATES
from known_brains import installed, mean_brain


def brains(n: int, seed: int, noise: float = 0.05) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    found = []
    for ml in generator.uniform(12, 50, n):
        image = mean_brain(round(float(ml), 1))
        found.append((image + (image > 0) * generator.normal(0, noise, image.shape)).astype(np.float32))
    return found


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path, tmp_path, tmp_path, tmp_path, Plan())


def test_requests_lie_inside_the_training_ranges_and_are_always_the_same():
    rows = requests(COVARIATES, 50)
    assert rows == requests(COVARIATES, 50)
    for covariate in COVARIATES:
        values = [covariate.value_of(row[covariate.name]) for row in rows]
        assert not any(map(covariate.is_outside, values)) and len(set(values)) > 1
    assert {row["sex"] for row in rows} == {"female", "male"}


def test_volumes_that_are_what_was_asked_for_have_r_and_slope_of_one(setting, monkeypatch):
    installed(monkeypatch)
    monkeypatch.setattr(generate_eval.Segmenter, "load", lambda device, precision: installed(monkeypatch))
    asked = [{"ventricles": ml, "brain": 1000.0 + ml} for ml in (12.0, 25.0, 48.0)]
    found = followed(setting, [mean_brain(row["ventricles"]) for row in asked], asked)
    assert found["ventricles"]["r"] > 0.999 and found["ventricles"]["slope"] == pytest.approx(1, abs=0.05)
    assert found["ventricles, by threshold"]["slope"] == pytest.approx(1, abs=0.05)
    assert found["brain"]["r"] < -0.99, "larger ventricles leave less brain in the same head"


def test_the_page_of_made_up_brains(setting):
    training, real = brains(4, 1), brains(4, 2)
    made, vae = [*brains(3, 3, noise=0.2), training[2][::-1]], brains(4, 5, noise=0)
    content = {
        "brains": 4,
        "steps": 20,
        "followed": {
            name: {"r": 0.95, "slope": 0.7, "mean_error_ml": 3.0, "pairs": []}
            for name in ("ventricles", "ventricles, by threshold", "brain")
        },
        "effects": [{"age": 19, "sex": "female", "brains": 5, "ventricles": 14.2, "brain": 1044.0}],
        "realism": realism({"made": made, "vae": vae}, real, training),
        "variety": {name: generate_eval._summary(variety(some)) for name, some in
                    (("made", made), ("vae", vae), ("real", training))},
        "privacy": privacy(setting, made, training),
        "spectrum": {name: spectrum(some, [*real, *training]) for name, some in
                     (("made", made), ("vae", vae))},
    }  # fmt: skip
    assert content["privacy"]["made"]["highest"] == pytest.approx(1), "the mirrored copy is found"
    assert (setting.pictures / "nearest.png").is_file()
    assert content["realism"]["made"]["kid"] > content["realism"]["train"]["kid"]
    assert content["spectrum"]["made"]["fine_ratio"] > 1 > content["spectrum"]["vae"]["fine_ratio"]
    setting.keep("generate", content, 60)
    page = write.page(setting.results)
    assert "| Generated brains, ventricles, slope | 0.8 to 1.2 | 0.70 | **no** | generate |" in page
    assert "| Generated brains, ventricles, r | ≥ 0.90 | 0.95 | yes | generate |" in page
    assert "| Generated brains, most similar training brain, r |" in page
    assert page.count("variational autoencoder") >= 3 and "baseline-vae-2mm" in page
    assert "| 19 years, female | 5 | 14 | 1044 |" in page and "(pictures/nearest.png)" in page
