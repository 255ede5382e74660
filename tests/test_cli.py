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


def test_train_makes_a_plan_for_the_models_trainer(monkeypatch, capsys):
    from braindiffusion.cli_train import TRAINERS

    pytest.importorskip("torch")
    plans = []
    for name in TRAINERS.values():
        module = importlib.import_module(f"braindiffusion.training.{name}")
        monkeypatch.setattr(module, "main", lambda plan, name=name: plans.append((name, plan)) or Path("ema"))
    assert cli.main(["train", "t1-brain-2mm", "--hours", "0.5", "--resume", "x", "--batch", "4"]) == 0
    name, plan = plans[0]
    assert name == "prior" and plan.hours == 0.5 and plan.resume == Path("x") and plan.batch == 4
    assert plan.folder == Path("runs/t1-brain-2mm") and "'ema'" in capsys.readouterr().out
    for wrong in (["--hours", "-1"], ["--hours", "soon"], []):
        assert cli.main(["train", "t1-brain-2mm", *wrong]) == 2
    assert cli.main(["train", "t2-brain", "--hours", "1"]) == 2


def test_every_trainer_trains_the_model_of_its_name():
    from braindiffusion.cli_train import TRAINERS

    pytest.importorskip("torch")
    for model, module in TRAINERS.items():
        assert importlib.import_module(f"braindiffusion.training.{module}").NAME == model


def test_evaluate_passes_its_options_on(monkeypatch):
    calls = []
    module = types.ModuleType("braindiffusion.evaluation.run")
    module.main = lambda argv: calls.append(argv)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert cli.main(["evaluate", "--only", "healing"]) == 0
    assert calls == [["--only", "healing"]]


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
    assert said.returncode == 0 and "the scan can be used" in said.stdout
