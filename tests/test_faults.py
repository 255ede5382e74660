"""What is not installed is told from what is wrong with the program."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from braindiffusion import cli, cli_commands, faults, protocol
from worker_viewer import environment


def raised(code: str) -> BaseException:
    try:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
    except Exception as error:
        return error
    raise AssertionError(f"nothing is wrong with {code!r}")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Broken packages on the path: `emptied` has no code left, `unloadable` a library that is not found."""
    (tmp_path / "emptied" / "lib").mkdir(parents=True)
    (tmp_path / "unloadable").mkdir()
    text = "raise OSError(126, 'The specified module could not be found')\n"
    (tmp_path / "unloadable" / "__init__.py").write_text(text)
    (tmp_path / "linked.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object')\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("import no_such_package", "no_such_package"),
        ("import no_such_package.inside", "no_such_package"),
        ("from numpy import no_such_name", "numpy"),
        ("import emptied; emptied.zeros(3)", "emptied"),
        ("from emptied import nn", "emptied"),
        ("import unloadable", "unloadable"),
        ("import linked", "linked"),
        ("from braindiffusion import no_such_name", None),
        ("import braindiffusion.no_such_module", None),
        ("import numpy; numpy.no_such_name", None),
        ("import json; json.no_such_name", None),
        ("import types; types.SimpleNamespace().zeros", None),
        ("open('/no/such/file')", None),
        ("raise ValueError('shapes do not fit')", None),
    ],
)
def test_a_missing_or_broken_package_is_told_from_a_fault(packages, code, package):
    error = raised(code)
    assert faults.lacking(error) == package
    told = protocol.failure(error, "a test")
    assert told["kind"] == ("missing" if package else "fault")
    assert told.get("package") == package and (told["details"] is None) == bool(package)
    assert package is None or f"'{package}'" in told["message"]


def test_the_command_line_says_which_package_is_missing(monkeypatch, capsys, tmp_path):
    def run(*args, **more):
        raise ModuleNotFoundError("No module named 'safetensors'", name="safetensors")

    monkeypatch.setattr(cli_commands, "_run_task", run)
    assert cli.main(["heal", "scan.nii.gz", "-o", str(tmp_path / "out")]) == cli.FAILED
    said = capsys.readouterr().err
    assert "'safetensors' is missing or broken" in said and "pip install" in said
    assert "fault of the program" not in said


@pytest.mark.parametrize("package", ["pydantic", "pydantic_core"])
def test_a_package_that_the_command_line_itself_needs_is_named_in_one_sentence(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from braindiffusion import cli; sys.exit(cli.main())"
    )
    for arguments in (["--help"], ["heal", "scan.nii.gz", "-o", "out", "--json"]):
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment()
        )
        assert ended.returncode == cli.FAILED and ended.stderr.count("\n") == 1
        assert f"'{package}' is missing or broken; run 'python -m pip install" in ended.stderr
    assert json.loads(ended.stdout)["exit_code"] == cli.FAILED


def test_what_pip_does_not_know_is_installed_with_all_the_rest():
    assert cli._how_to_mend("skimage").endswith("--force-reinstall scikit-image'")
    assert cli._how_to_mend("no_such_package").endswith("'python -m pip install .'")


def test_the_worker_describes_what_is_missing_and_goes_on():
    code = "import sys; sys.modules['pydantic'] = None; import braindiffusion.worker as w; w.main()"
    asked = b'{"v": 1, "do": "describe", "id": "1"}\n{"v": 1, "do": "ping", "id": "2"}\n'
    ended = subprocess.run(
        [sys.executable, "-c", code], input=asked, stdout=subprocess.PIPE, env=environment(), check=True
    )
    ready, failed, pong = ended.stdout.splitlines()
    assert b'"ready"' in ready and b'"package": "pydantic"' in failed and b'"pong"' in pong
