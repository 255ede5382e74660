"""Loading a model: every kind of damage is one clear sentence, and nothing of it is ever run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import braindiffusion
from braindiffusion.diffusion.cond import Cond
from braindiffusion.diffusion.path import Node
from braindiffusion.errors import BrainDiffusionError
from braindiffusion.evaluation import write
from braindiffusion.models import card as card_module
from braindiffusion.models import loading
from braindiffusion.models.card import WEIGHTS, Card, read_card, write_card
from braindiffusion.models.loading import build, fingerprint, load_model, sha256
from braindiffusion.paths import resources
from braindiffusion.training import release

PRIOR = {
    "class": "PriorNet",
    "arguments": {"covariates": 2, "widths": [8, 8], "blocks": [1, 1], "fine": 1},
}
EXTRA = "normal-guided.npz"
SHIPPED = {"brain-anatomy-2mm": 6.5e6, "t1-brain-2mm": 22e6, "t1-brain-1mm": 1.2e6}
"""Largest size of the weights in bytes."""

shipped = pytest.mark.parametrize("name", SHIPPED)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """The folder of a small prior as the project would ship it."""
    folder = tmp_path_factory.mktemp("models") / "small"
    folder.mkdir()
    torch.manual_seed(0)
    net = build(PRIOR).eval()
    torch.nn.init.normal_(net.fine_out.weight, std=0.1)
    save_file(net.state_dict(), folder / WEIGHTS)
    save_file({"mean": torch.zeros(3)}, folder / EXTRA)
    card = Card(
        name="small",
        title="Small",
        intended_use="Tests.",
        not_for="Anything else.",
        architecture=PRIOR,
        parametrisation={"kind": "edm around what is expected", "sigma_data": 0.4},
        path={"kind": "edm", "sigma_min": 0.01, "sigma_max": 80.0},
        frame={},
        training={},
        licence="Apache-2.0",
        parameters=sum(p.numel() for p in net.parameters()),
        sha256=sha256(folder / WEIGHTS),
        files={EXTRA: sha256(folder / EXTRA)},
        fingerprint=fingerprint(net),
    )
    write_card(card, folder)
    return folder


@pytest.fixture
def small(original, tmp_path, monkeypatch) -> Path:
    """A copy of the small prior, the only model that is installed while the test runs."""
    folder = tmp_path / "models" / "small"
    shutil.copytree(original, folder)
    monkeypatch.setattr(card_module, "resources", lambda: tmp_path)
    loading._checked.cache_clear()
    yield folder
    loading._checked.cache_clear()


def edit(folder: Path, **changes: Any) -> None:
    """Change entries of a card, whatever they mean."""
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


def reweigh(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the weights and give the card their new hash, as whoever tampers with a model would."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    edit(folder, sha256=sha256(folder / WEIGHTS))


def rewrite(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    edit(folder, sha256=sha256(folder / WEIGHTS))


def refusal(name: str = "small") -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(BrainDiffusionError) as caught:
        load_model(name)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and said[0].isupper(), said
    return said


def first(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return weights["stem.weight"]


def test_an_intact_model_loads(small):
    model = load_model("small")
    assert model.card.name == "small" and model.folder == small
    assert not model.net.training and not any(p.requires_grad for p in model.net.parameters())
    assert model.path.start.sigma == 80.0 and model.covariates == ()
    assert model.denoiser().sigma_data == 0.4
    assert model.file(EXTRA) == small / EXTRA


def test_a_model_is_loaded_once(small):
    model = load_model("small")
    (small / WEIGHTS).unlink()
    assert load_model("small") is model and load_model("small", "cpu") is model
    assert braindiffusion.load_model("small") is model


@pytest.mark.parametrize(
    "name",
    [
        "large",
        "",
        ".",
        "..",
        "../small",
        "small/../small",
        "/etc",
        "..\\small",
        "small/",
        "sm\0all",
        "a" * 5000,
        "a\nb",
    ],
)
def test_only_the_name_of_an_installed_model_is_one(small, name):
    assert "the installed models are: small." in refusal(name)


def test_a_path_to_a_whole_model_elsewhere_is_no_name(small, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(small, elsewhere)
    for name in ("../elsewhere", str(elsewhere)):
        assert "There is no model named" in refusal(name)


def test_without_any_model_it_says_so(small):
    shutil.rmtree(small)
    assert refusal() == "There is no model named 'small'; the installed models are: none."


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "<!DOCTYPE html><html>404</html>", '{"name": "small"}', "\udcff"]
)
def test_a_card_that_is_none(small, text):
    (small / "card.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "The model card in small cannot be read" in refusal()


def test_a_card_with_an_unknown_entry(small):
    edit(small, run_this="print(1)")
    assert "The model card in small cannot be read" in refusal()


def test_a_card_of_another_model(small):
    edit(small, name="t1-brain-2mm")
    assert "that of 't1-brain-2mm'" in refusal()


@pytest.mark.parametrize("file", [WEIGHTS, EXTRA])
def test_a_missing_file(small, file):
    (small / file).unlink()
    assert refusal() == f"The file {file} of the model small is missing or damaged; install the model again."


@pytest.mark.parametrize("file", [WEIGHTS, EXTRA])
@pytest.mark.parametrize("place", [0, -1])
def test_one_changed_bit(small, file, place):
    content = bytearray((small / file).read_bytes())
    content[place] ^= 1
    (small / file).write_bytes(content)
    assert f"The file {file} of the model small is missing or damaged" in refusal()


def test_a_wrong_hash(small):
    edit(small, sha256="0" * 64)
    assert f"The file {WEIGHTS} of the model small is missing or damaged" in refusal()


@pytest.mark.parametrize("share", [0, 4, 0.01, 0.5, 0.999])
def test_weights_cut_short_whose_hash_is_right(small, share):
    content = (small / WEIGHTS).read_bytes()
    rewrite(small, content[: int(share if share >= 1 else share * len(content))])
    assert "The weights of small cannot be read" in refusal()


def test_a_web_page_in_place_of_the_weights(small):
    rewrite(small, b"<!DOCTYPE html>\n<html><body>\n<h1>404 Not Found</h1>\n</body></html>\n" * 40)
    assert "The weights of small cannot be read" in refusal()


class Bomb:
    """What runs when a pickle of it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("write", [lambda bomb, path: path.write_bytes(pickle.dumps(bomb)), torch.save])
def test_no_pickle_is_ever_opened(small, tmp_path, write):
    mark = tmp_path / "exploded"
    write(Bomb(mark), small / WEIGHTS)
    edit(small, sha256=sha256(small / WEIGHTS))
    assert "The weights of small cannot be read" in refusal()
    assert not mark.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers(small, value):
    reweigh(small, lambda weights: first(weights).view(-1)[7:8].fill_(value))
    assert "hold values that are not numbers" in refusal()


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("stem.weight"),
        lambda weights: weights.update({"further": torch.zeros(1)}),
        lambda weights: weights.update({"stem.weight": first(weights)[:-1].contiguous()}),
        lambda weights: weights.update({"stem.weight": first(weights).flatten()}),
        lambda weights: weights.clear(),
    ],
)
def test_weights_of_another_network(small, change):
    reweigh(small, change)
    assert "do not fit the network that its card names" in refusal()


def test_weights_that_compute_something_else(small):
    reweigh(small, lambda weights: weights["fine_out.weight"].mul_(1.5))
    assert "computes something else here than when it was made" in refusal()


def test_weights_that_compute_nothing_finite(small):
    """Finite weights may still overflow; a fingerprint that is not a number agrees with none."""
    reweigh(small, lambda weights: first(weights).fill_(3e38))
    assert "computes something else" in refusal()


@pytest.mark.parametrize("wrong", [[], [0.0], [float("nan")] * 8])
def test_a_fingerprint_that_says_nothing(small, wrong):
    edit(small, fingerprint=wrong)
    assert "computes something else" in refusal() or "cannot be read" in refusal()


def test_a_fingerprint_allows_for_rounding_only(small):
    right = read_card(small).fingerprint
    edit(small, fingerprint=[value + 1e-4 for value in right])
    load_model("small")
    loading._checked.cache_clear()
    edit(small, fingerprint=[*right[:-1], right[-1] + 0.01])
    assert "computes something else" in refusal()


def test_half_precision_weights_load(small):
    """Weights may be stored at half precision; the network computes with them in float32."""
    weights = {key: value.half() for key, value in load_file(small / WEIGHTS).items()}
    save_file(weights, small / WEIGHTS)
    edit(small, sha256=sha256(small / WEIGHTS))
    assert {p.dtype for p in load_model("small").net.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "architecture",
    [
        {"class": "os.system", "arguments": {}},
        {"class": "torch.nn.Linear", "arguments": {"in_features": 1, "out_features": 1}},
        {"class": ["PriorNet"], "arguments": {}},
        {"arguments": {}},
        {},
    ],
)
def test_an_architecture_that_is_not_ours(small, architecture):
    edit(small, architecture=architecture)
    assert "This version does not know the network" in refusal()


@pytest.mark.parametrize("arguments", [{"wings": 2}, {"widths": [7, 8]}, {"widths": None}])
def test_arguments_that_build_no_network(small, arguments):
    edit(small, architecture={"class": "PriorNet", "arguments": arguments})
    assert "cannot build the network PriorNet" in refusal()


def test_a_file_that_the_card_does_not_list_is_not_used(small):
    shutil.copy(small / EXTRA, small / "normal-partial.npz")
    with pytest.raises(BrainDiffusionError, match="has no file normal-partial.npz"):
        load_model("small").file("normal-partial.npz")


def test_bfloat16_answers_in_float32(small):
    x = torch.rand(1, 1, 16, 16, 16)
    cond = Cond(torch.zeros(1, 2), torch.zeros(1, 2).bool(), torch.ones(1), guide=x)
    exact, rough = (
        load_model("small").denoiser("cpu", precision)(2 * x, Node(1.0, 1.0, 1.0), cond)
        for precision in ("fp32", "bf16")
    )
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.05 * (exact - x).abs().max()


@pytest.fixture
def measured(small, tmp_path, monkeypatch) -> Path:
    """A file that the evaluation could have written about the small prior."""
    monkeypatch.setattr(release, "resources", lambda: tmp_path)
    monkeypatch.setitem(release._CARDS, "small", dict)
    monkeypatch.setitem(write.MODELS, "prior", "small")
    content = {"steps": 20, "samples": 12, "seconds_per_sample": 7.25, "spectrum": {"median_within": 1.0}}
    part = {
        "content": content,
        "date": "2026-11-21",
        "quick": False,
        "models": {"small": read_card(small).sha256},
    }
    file = tmp_path / "eval" / "prior.json"
    file.parent.mkdir()
    file.write_text(json.dumps(part))
    return file


def test_a_card_takes_the_measured_figures_and_its_model_still_loads(small, measured):
    edit(small, measured={"calibration": {"guided": {"threshold": 4.0}}})
    before = read_card(small)
    release.main(["small", "--measured", str(measured.parent)])
    after = load_model("small").card
    assert after.measured["calibration"] == before.measured["calibration"]
    told = after.measured["evaluation"]["prior"]
    assert told["command"].endswith("--only prior") and told["date"] == "2026-11-21"
    assert told["figures"] == [
        {"what": "Seconds per sample of 20 steps", "goal": "≤ 6", "measured": "7.2", "met": False},
        {
            "what": "Power spectrum of the median of 12 samples within that of real brains",
            "goal": "all rings", "measured": "100%", "met": True,
        },
    ]  # fmt: skip
    assert after.model_copy(update={"measured": before.measured}) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quick": True}, "quick run"),
        ({"models": {"small": "0" * 64}}, "other weights"),
        (None, "Nothing in"),
    ],
)
def test_figures_that_are_not_the_models_own_stay_out_of_its_card(small, measured, capsys, changes, said):
    if changes is None:
        measured.unlink()
    else:
        measured.write_text(json.dumps(json.loads(measured.read_text()) | changes))
    before = (small / "card.json").read_bytes()
    with pytest.raises(SystemExit) as end:
        release.main(["small", "--measured", str(measured.parent)])
    error = capsys.readouterr().err
    assert end.value.code == 1 and said in error and error.count("\n") == 1
    assert (small / "card.json").read_bytes() == before


@shipped
def test_shipped_models_load(name):
    model = load_model(name)
    assert model.card.name == name
    assert model.card.parameters == sum(p.numel() for p in model.net.parameters())


@shipped
def test_shipped_weights_are_small(name):
    assert (resources() / "models" / name / WEIGHTS).stat().st_size <= SHIPPED[name]


def test_all_shipped_weights_together_are_small():
    assert sum(file.stat().st_size for file in (resources() / "models").rglob("*.safetensors")) <= 36e6


@shipped
def test_shipped_files_are_those_of_the_card(name):
    folder = resources() / "models" / name
    listed = {"card.json", WEIGHTS, *read_card(folder).files}
    assert {file.name for file in folder.iterdir()} <= listed


@shipped
def test_shipped_cards_are_complete(name):
    card = read_card(resources() / "models" / name)
    for text in (
        card.title,
        card.intended_use,
        card.not_for,
        card.licence,
        card.training["data"],
        card.training["method"],
    ):
        assert len(text) > 5
    assert "iagnosis" in card.not_for
    assert card.training["runs"] and all(
        run["hours"] >= 0 and run["machine"] for run in card.training["runs"]
    )
    assert [n * card.frame["spacing_mm"] for n in card.frame["grid"]] == [160, 192, 160]
    assert len(card.sha256) == 64 and len(card.fingerprint) == 8


def test_the_prior_knows_its_conditions():
    card = read_card(resources() / "models" / "t1-brain-2mm")
    by_name = {covariate.name: covariate for covariate in card.conditions()}
    assert list(by_name) == ["age", "sex", "ventricles", "brain"]
    assert by_name["age"].unit == "years" and set(by_name["sex"].choices) == {"female", "male"}
    assert by_name["ventricles"].unit == by_name["brain"].unit == "ml"
