"""Cohorts: a brain for each row, nothing half-written, and the same command goes on where it was stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from braindiffusion import cli, cohort, engine
from braindiffusion.errors import BrainDiffusionError, Cancelled, WrongParameters
from braindiffusion.models import card
from known_brains import KnownBrains, installed
from known_brains import card as known_card

FAST = {"steps": 3}
TABLE = """participant_id,age,sex,ventricles,brain,seed
sub-01,30,F,20,,5
02,45,male,n/a,1100,
sub-03,,,35,,
"""


@pytest.fixture
def world(monkeypatch) -> KnownBrains:
    return installed(monkeypatch)


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def statuses(outcomes) -> dict[str, str]:
    return {outcome.name: outcome.status for outcome in outcomes}


def brain_of(folder: Path, name: str) -> np.ndarray:
    return nib.load(folder / name / "anat" / f"{name}_desc-synthetic_T1w.nii.gz").get_fdata()


def test_a_cohort_is_a_bids_derivative_whose_brains_say_that_they_are_made_up(world, table, tmp_path):
    folder = tmp_path / "dataset"
    assert set(statuses(cohort.make(table, folder, FAST)).values()) == {"made"}
    said = json.loads((folder / "dataset_description.json").read_text())
    assert said["DatasetType"] == "derivative" and said["GeneratedBy"][0]["Name"] == "BrainDiffusion"
    image = nib.load(folder / "sub-01" / "anat" / "sub-01_desc-synthetic_T1w.nii.gz")
    assert image.shape == (80, 96, 80) and bytes(image.header["descrip"]).startswith(b"SYNTHETIC")
    sidecar = json.loads((folder / "sub-01" / "anat" / "sub-01_desc-synthetic_T1w.json").read_text())
    assert sidecar["Synthetic"] is True and sidecar["Request"]["sex"] == "female"
    with open(folder / "participants.tsv", newline="") as file:
        people = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert list(people) == ["sub-01", "sub-02", "sub-03"]
    assert people["sub-02"]["ventricles"] == people["sub-03"]["age"] == "n/a"
    assert float(people["sub-03"]["ventricles_ml"]) == pytest.approx(35, abs=1)
    assert set(json.loads((folder / "participants.json").read_text())) == set(people["sub-01"]) - {
        "participant_id"
    }
    entries = json.loads((folder / "manifest.json").read_text())["rows"]
    assert [entry["status"] for entry in entries] == ["made"] * 3
    assert all(len(entry["sha256"]) == 64 and (folder / entry["file"]).is_file() for entry in entries)
    assert not list(folder.glob(".*")), "nothing unfinished is left"


def test_a_row_has_the_voxels_of_the_same_request(world, table, tmp_path):
    cohort.make(table, tmp_path / "dataset", FAST)
    asked = {"age": 30, "sex": "female", "ventricles": 20, "samples": 1, "seed": 5, **FAST}
    alone = engine.run("generate", {}, asked, device="cpu", threads=1)
    np.testing.assert_array_equal(brain_of(tmp_path / "dataset", "sub-01"), alone["brains"].volumes[0].data)


def test_a_cohort_at_1_mm_names_both_models_and_is_not_mixed_with_one_at_2_mm(world, tmp_path, monkeypatch):
    table, folder = tmp_path / "table.csv", tmp_path / "dataset"
    table.write_text("participant_id,age\n01,30\n", encoding="utf-8")
    monkeypatch.setattr(card, "folder_of", lambda name: name)
    monkeypatch.setattr(card, "read_card", known_card)
    fine = FAST | {"voxel_size": 1}
    assert statuses(cohort.make(table, folder, fine)) == {"sub-01": "made"}
    assert brain_of(folder, "sub-01").shape == (160, 192, 160)
    sidecar = json.loads((folder / "sub-01" / "anat" / "sub-01_desc-synthetic_T1w.json").read_text())
    assert sidecar["Request"]["detail_sha256"] == sidecar["Provenance"]["detail_model"]["sha256"]
    assert statuses(cohort.make(table, folder, fine)) == {"sub-01": "kept"}
    (outcome,) = cohort.make(table, folder, FAST)
    assert outcome.status == "failed" and "made with another voxel size" in outcome.message


def test_seeds_belong_to_names_so_that_rows_can_be_moved_and_added(table, tmp_path):
    rows = {row.name: row.parameters for row in cohort.read_table(table)}
    lines = TABLE.splitlines()
    moved = tmp_path / "moved.csv"
    moved.write_text("\n".join([lines[0], "new,20,m,12,,", *reversed(lines[1:])]), encoding="utf-8")
    again = {row.name: row.parameters for row in cohort.read_table(moved)}
    assert {name: again[name] for name in rows} == rows and len({p["seed"] for p in again.values()}) == 4
    other = {row.name: row.parameters for row in cohort.read_table(table, {"seed": 1})}
    assert other["sub-01"]["seed"] == 5 and other["sub-02"]["seed"] != rows["sub-02"]["seed"]


def test_it_goes_on_where_it_was_stopped(world, table, tmp_path):
    folder = tmp_path / "dataset"
    world.interrupt, world.after = KeyboardInterrupt(), 4
    with pytest.raises(Cancelled, match="the same command goes on"):
        cohort.make(table, folder, FAST)
    assert sorted(path.name for path in folder.glob("sub-*")) == ["sub-01"]
    entries = json.loads((folder / "manifest.json").read_text())["rows"]
    assert [entry["status"] for entry in entries] == ["made", "waiting", "waiting"]
    first = (folder / "sub-01" / "anat" / "sub-01_desc-synthetic_T1w.nii.gz").stat().st_mtime_ns
    world.interrupt = None
    (folder / ".unfinished-killed").mkdir()
    found = statuses(cohort.make(table, folder, FAST))
    assert found == {"sub-01": "kept", "sub-02": "made", "sub-03": "made"}
    assert (folder / "sub-01" / "anat" / "sub-01_desc-synthetic_T1w.nii.gz").stat().st_mtime_ns == first
    assert not list(folder.glob(".*"))


def test_a_broken_row_is_told_and_the_rest_is_made(world, tmp_path, capsys):
    table = tmp_path / "table.tsv"
    table.write_text(
        "participant_id\tage\nsub-01\told\nsub-02\t30\nsub-02\t31\nsub-../x\t30\nsub-05\t30\t9\n",
        encoding="utf-8",
    )
    words = ["generate", "--covariates", str(table), "-o", str(tmp_path / "out"), "--steps", "2"]
    assert cli.main(words) == cli.FAILED
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if "failed" in line]
    assert len(told) == 4 and "'age'" in told[0] and "there twice" in told[1]
    assert "no name of a participant" in told[2] and "as many values" in told[3]
    assert "sub-02: made" in said.err and "1 brains made, 0 were there, 4 failed." in said.out
    assert [path.name for path in (tmp_path / "out").glob("sub-*")] == ["sub-02"]
    assert not (tmp_path / "x").exists()


def test_a_fault_in_one_row_does_not_lose_the_others(world, table, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plain, told = engine.run, []

    def run(task, inputs, parameters, **machine):
        if parameters["age"] == 45:
            raise ZeroDivisionError("no")
        return plain(task, inputs, parameters, **machine)

    monkeypatch.setattr(engine, "run", run)
    found = cohort.make(table, tmp_path / "dataset", FAST, on_outcome=told.append)
    assert statuses(found) == {"sub-01": "made", "sub-02": "failed", "sub-03": "made"} and told == found
    assert "fault of the program" in found[1].message and found[1].message.endswith(".txt'.")


def test_a_brain_of_another_request_is_not_taken_for_this_one(world, table, tmp_path, monkeypatch):
    folder = tmp_path / "dataset"
    cohort.make(table, folder, FAST)
    found = {o.name: o for o in cohort.make(table, folder, FAST | {"seed": 9})}
    assert found["sub-01"].status == "kept", "it has a seed of its own"
    assert found["sub-02"].message.startswith("sub-02 is there, made with another seed;")
    monkeypatch.setattr(card, "read_card", lambda folder: SimpleNamespace(sha256="f" * 64))
    assert "another model" in cohort.make(table, folder, FAST)[0].message


def test_room_on_the_disk_is_looked_for_before_anything_is_made(world, table, tmp_path, monkeypatch):
    monkeypatch.setattr(cohort.shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(BrainDiffusionError, match="3 brains need up to 0.01 GB"):
        cohort.make(table, tmp_path / "dataset", FAST)
    assert world.asked == 0 and not (tmp_path / "dataset").exists()


def test_a_folder_of_somebody_is_left_alone(world, table, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.doc").write_text("mine")
    with pytest.raises(BrainDiffusionError, match="no cohort; give an empty or a new folder"):
        cohort.make(table, tmp_path / "thesis", FAST)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age\n", "has no rows"),
        ("agee,sex\n30,female\n", "a column 'agee' that is not known"),
        ("age,age\n30,31\n", "two columns of one name"),
    ],
)
def test_a_table_that_is_none_is_refused_in_a_sentence(tmp_path, text, said):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(WrongParameters, match=said):
        cohort.read_table(tmp_path / "table.csv")
    with pytest.raises(WrongParameters, match="cannot be read"):
        cohort.read_table(tmp_path / "nowhere.csv")


def test_options_that_do_not_go_together(table, tmp_path, capsys):
    out = ["-o", str(tmp_path / "out")]
    assert cli.main(["generate", "--covariates", str(table), "--samples", "2", *out]) == cli.USAGE
    assert cli.main(["generate", "--jobs", "2", *out]) == cli.USAGE
    said = capsys.readouterr().err.splitlines()
    assert "leave --samples out." in said[0] and "give it with --covariates." in said[1]


@pytest.mark.slow
def test_two_processes_make_what_one_makes(table, tmp_path):
    """The shipped model, since what a test puts in its place is not there in another process."""
    for jobs, place in ((1, "one"), (2, "two")):
        found = cohort.make(table, tmp_path / place, {"steps": 2}, jobs=jobs, threads=1)
        assert set(statuses(found).values()) == {"made"}
    for name in ("sub-01", "sub-02", "sub-03"):
        np.testing.assert_array_equal(brain_of(tmp_path / "one", name), brain_of(tmp_path / "two", name))
