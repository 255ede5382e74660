"""The command line: what it prints where, its exit codes, and that bad input leaves nothing behind."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import braindiffusion
from braindiffusion import cli
from braindiffusion.cli_commands import parser
from braindiffusion.result import Result

CORE = Path(braindiffusion.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join((str(CORE), str(Path(__file__).parent)))}


def one_sentence(text: str) -> bool:
    return text.count("\n") == 1 and text.rstrip("\n").endswith(".") and "Traceback" not in text


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"braindiffusion {braindiffusion.__version__}"


def test_help_is_made_from_the_parameters(toy, capsys):
    assert cli.main(["toy", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "INPUT" in said and "--noise-level X" in said and "--sharpen, --no-sharpen" in said
    assert "Age of the person. (years, above 0, at most 120)" in said
    assert "How many samples are drawn. (at least 1, at most 16; default: 4)" in said
    assert "--method {guided,partial}" in said and "Sharpen by 10 % more. (default: False)" in said
    assert said.rindex("--method") < said.index("advanced parameters") < said.rindex("--sharpen")
    assert "not for diagnosis" in said


def test_help_needs_neither_torch_nor_a_second(tmp_path):
    code = (
        "import sys\nfrom braindiffusion.cli import main\nmain(['--help'])\n"
        "print([name for name in ('torch', 'monai', 'SimpleITK', 'matplotlib') if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True
    ).stdout
    assert "inspect" in said and said.splitlines()[-1] == "[]"


def test_a_run_writes_a_result_and_says_what_was_found(toy, scan_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        cli.main(["toy", str(scan_file), "-o", str(out), "--seed", "7", "--no-sharpen", "--age", "61.5"]) == 0
    )
    said = capsys.readouterr()
    assert (
        "The scan looks like a box." in said.out
        and "peak z" in said.out
        and "Note: A box is no brain." in said.out
    )
    assert "SYNTHETIC" in said.out and "healed_synthetic.nii.gz" in said.out and "picture.png" in said.out
    assert "Thinking" in said.err and "Thinking" not in said.out
    back = Result.load(out)
    assert back.provenance["parameters"]["age"] == 61.5 and back.provenance["seed"] == 7
    assert (out / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_python_and_command_line_give_the_same_voxels(toy, scan_file, tmp_path):
    from braindiffusion import engine

    assert cli.main(["toy", str(scan_file), "-o", str(tmp_path / "out"), "--seed", "3"]) == 0
    in_memory = engine.run("toy", {"scan": scan_file}, seed=3)
    for role in ("healed", "heatmap"):
        saved = Result.load(tmp_path / "out")[role].volume.data
        np.testing.assert_array_equal(saved, in_memory[role].volume.data)


def test_json(toy, scan_file, tmp_path, capsys):
    assert cli.main(["toy", str(scan_file), "-o", str(tmp_path / "out"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"progress": 0.0, "stage": "Starting"}
    assert lines[-1]["result"]["task"] == "toy" and lines[-1]["result"]["folder"] == str(tmp_path / "out")
    assert all({"progress", "stage"} == set(line) for line in lines[:-1])
    assert cli.main(["toy", str(scan_file), "-o", str(tmp_path / "b"), "--samples", "99", "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["exit_code"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "COMMAND"),
        (["heel"], 2, "heel"),
        (["toy", "SCAN"], 2, "--output"),
        (["toy", "SCAN", "-o", "OUT", "--samples", "17"], 2, "'samples' should be less than or equal to 16"),
        (["toy", "SCAN", "-o", "OUT", "--samples", "many"], 2, "--samples"),
        (["toy", "SCAN", "-o", "OUT", "--method", "magic"], 2, "guided"),
        (["toy", "SCAN", "-o", "OUT", "--sead", "3"], 2, "There is no option '--sead'"),
        (["toy", "SCAN", "-o", "OUT", "--device", "gpu"], 2, "There is no device 'gpu'"),
        (["toy", "BROKEN", "-o", "OUT"], 3, ""),
        (["toy", "MISSING", "-o", "OUT"], 3, ""),
        (["toy", "SCAN", "-o", "SCAN"], 4, "is a file"),
        (["toy", "SCAN", "-o", "FULL"], 4, "holds files that are not a result"),
        (["toy", "SCAN", "-o", "x" * 300], 4, "cannot be written"),
        (["inspect"], 2, "INPUT"),
    ],
)
def test_errors_are_one_sentence_a_code_and_nothing_left(
    make_task, scan_file, tmp_path, capsys, arguments, code, said
):
    make_task("toy", uses_torch=True)
    work = tmp_path / "work"
    (work / "full").mkdir(parents=True)
    (work / "full" / "thesis.doc").write_text("mine")
    (work / "broken.nii.gz").write_bytes(b"no scan")
    places = {
        "SCAN": scan_file, "OUT": work / "out", "FULL": work / "full",
        "BROKEN": work / "broken.nii.gz", "MISSING": work / "missing.nii.gz",
    }  # fmt: skip
    before = sorted(work.rglob("*"))
    assert cli.main([str(places.get(word, word)) for word in arguments]) == code
    error = capsys.readouterr().err.splitlines(keepends=True)
    assert one_sentence(error[-1]) and said in error[-1]
    assert all("%" in line for line in error[:-1])
    assert sorted(work.rglob("*")) == before


def test_a_bug_is_one_sentence_and_a_file(make_task, scan_file, tmp_path, capsys, monkeypatch):
    def run(inputs, parameters, plan):
        raise KeyError("no such thing")
        yield

    make_task("buggy", run=run)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main(["buggy", str(scan_file), "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines(keepends=True)[-1]
    assert one_sentence(error) and "fault of the program" in error
    report = next(tmp_path.glob("braindiffusion-fault-*.txt")).read_text(encoding="utf-8")
    assert "KeyError: 'no such thing'" in report and "Traceback" in report and str(scan_file) in report
    assert not (tmp_path / "out").exists()


def test_inspect(scan_file, tmp_path, capsys):
    assert cli.main(["inspect", str(scan_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] in ("passed", "repaired")
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    assert cli.main(["inspect", str(tmp_path / "broken.nii.gz")]) == 3
    said = capsys.readouterr()
    assert "refused – the scan cannot be used:" in said.out and said.err == ""
    assert cli.main(["inspect", str(tmp_path / "broken.nii.gz"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["reason"]


def test_inspect_names_what_was_mended(scan, tmp_path, capsys):
    import nibabel

    data = scan.data.copy()
    data[10, 10, 10] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, scan.affine), tmp_path / "nan.nii.gz")
    assert cli.main(["inspect", str(tmp_path / "nan.nii.gz")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "repaired" in said[0] and len(said) >= 2


def test_train_makes_a_plan_for_the_models_trainer(monkeypatch, tmp_path, capsys):
    from braindiffusion.cli_train import TRAINERS

    pytest.importorskip("torch")
    plans = []
    for name in TRAINERS.values():
        module = importlib.import_module(f"braindiffusion.training.{name}")
        monkeypatch.setattr(module, "main", lambda plan, name=name: plans.append((name, plan)) or Path("ema"))
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.touch()
    words = ["train", "t1-brain-2mm", "--hours", "0.5", "--resume", str(checkpoint), "--batch", "4"]
    assert cli.main(words) == 0
    name, plan = plans[0]
    assert name == "prior" and plan.hours == 0.5 and plan.resume == checkpoint and plan.batch == 4
    assert plan.folder == Path("runs/t1-brain-2mm") and "'ema'" in capsys.readouterr().out
    for wrong in (["--hours", "-1"], ["--hours", "soon"], []):
        assert cli.main(["train", "t1-brain-2mm", *wrong]) == 2
    assert cli.main(["train", "t2-brain", "--hours", "1"]) == 2


def test_every_trainer_trains_the_model_of_its_name():
    from braindiffusion.cli_train import TRAINERS

    pytest.importorskip("torch")
    for model, module in TRAINERS.items():
        assert importlib.import_module(f"braindiffusion.training.{module}").NAME == model


def test_evaluate_measures_what_its_options_say(monkeypatch, capsys):
    calls = []
    module = types.ModuleType("braindiffusion.evaluation.run")
    module.measure = lambda options: calls.append(options) or Path("results.md")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert cli.main(["evaluate", "--only", "heal", "--quick"]) == 0
    assert calls[0].only == "heal" and calls[0].quick and "'results.md'" in capsys.readouterr().out
    assert calls[0].docs == CORE.parent / "docs", "a checkout's own page"
    assert cli.main(["evaluate", "--only", "nonsense"]) == 2
    said = capsys.readouterr().err
    assert one_sentence(said) and "braindiffusion evaluate --help" in said and len(calls) == 1
    assert cli.main(["evaluate", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--only", "--quick", "--baselines", "--folder", "--docs"))


def test_outside_a_checkout_pages_go_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "braindiffusion" / "resources").mkdir(parents=True)
    monkeypatch.setattr("braindiffusion.paths._PACKAGE", tmp_path / "braindiffusion")
    assert parser().parse_args(["evaluate"]).docs == Path("docs")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "t1-brain-2mm", "--hours", "1"],
        ["train", "brain-anatomy-2mm", "--hours", "1"],
        ["train", "baseline-dae-2mm", "--hours", "1"],
        ["evaluate"],
    ],
)
def test_without_data_training_and_evaluation_say_what_to_set(command, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setenv("BRAINDIFFUSION_DATA", str(tmp_path / "nonexistent"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(command) == 4
    said = capsys.readouterr().err
    assert one_sentence(said) and "set BRAINDIFFUSION_DATA" in said and "nonexistent" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"), [("--resume", "gone.pt"), ("--batch", "0"), ("--workers", "-1")]
)
def test_training_checks_its_options_before_anything_is_loaded(option, value, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "braindiffusion.training.trainer", None)
    assert cli.main(["train", "t1-brain-2mm", "--hours", "1", option, value]) == 2
    assert one_sentence(capsys.readouterr().err)


def test_a_fault_without_a_place_for_its_details_is_told(make_task, scan_file, tmp_path, capsys, monkeypatch):
    def run(inputs, parameters, plan):
        raise KeyError("no such thing")
        yield

    make_task("buggy", run=run)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert cli.main(["buggy", str(scan_file), "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines(keepends=True)[-1]
    assert one_sentence(error) and "KeyError" in error and "no folder for temporary files" in error


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_scan_whose_name_is_not_utf8_is_healed_and_recorded(toy, scan_file, tmp_path, capsys):
    odd = tmp_path / os.fsdecode(b"M\xfcller.nii.gz")
    scan_file.rename(odd)
    assert cli.main(["toy", str(odd), "-o", str(tmp_path / "out")]) == 0
    source = Result.load(tmp_path / "out").provenance["inputs"]["scan"]["source"]
    assert source == str(tmp_path / r"M\xfcller.nii.gz")


def test_schema_is_written_and_checked(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("braindiffusion.tasks.base.resources", lambda: tmp_path)
    assert cli.main(["schema", "--check"]) == 4 and not (tmp_path / "tasks").exists()
    assert cli.main(["schema"]) == 0 and cli.main(["schema", "--check"]) == 0
    schema = json.loads((tmp_path / "tasks" / "toy.schema.json").read_text(encoding="utf-8"))
    assert schema["task"] == "toy" and schema["inputs"][0]["name"] == "scan"
    noise = schema["properties"]["noise_level"]
    assert noise["level"] == "advanced" and noise["minimum"] == 0 and noise["default"] == 1.0
    assert schema["properties"]["age"]["unit"] == "years"


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_the_run_and_leaves_nothing(scan_file, tmp_path, name):
    code = (
        "import signal, sys, time\nfrom dataclasses import replace\nfrom toy_task import TOY\n"
        # A shell that starts the tests in the background has told them to ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from braindiffusion.cli import main\nfrom braindiffusion.tasks import base\n"
        "def run(inputs, parameters, plan):\n"
        "    while True:\n"
        "        yield base.Progress(0.5, 'Sampling')\n"
        "        time.sleep(0.02)\n"
        "base.register(replace(TOY, run=run))\n"
        f"sys.exit(main(['toy', {str(scan_file)!r}, '-o', {str(tmp_path / 'out')!r}]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Sampling" in line:
            break
    process.send_signal(getattr(signal, name))
    rest = process.stderr.read()
    assert process.wait(timeout=5) == 130
    assert rest == "Stopped; nothing was written.\n" and not (tmp_path / "out").exists()


def test_output_in_a_terminal_without_unicode(scan_file):
    said = subprocess.run(
        [sys.executable, "-m", "braindiffusion", "inspect", str(scan_file)],
        capture_output=True, text=True, env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert said.returncode == 0 and "the file is sound" in said.stdout
