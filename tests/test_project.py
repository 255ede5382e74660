"""The repository keeps its promises: no shadowed names, fresh schemas, light imports, a whole wheel."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import braindiffusion
from braindiffusion.paths import resources
from braindiffusion.tasks import base
from conftest import ROOT

CORE = Path(braindiffusion.__file__).parent


def test_the_folder_does_not_shadow_the_module(tmp_path):
    """With the repository root on the path, `import SlicerDiffusion` never finds the folder."""
    folder = ROOT / "SlicerDiffusion"
    assert not (folder / "__init__.py").exists()
    # A folder without __init__.py loses to a module of the same name anywhere on the path.
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "SlicerDiffusion.py").write_text("found = 'the module'\n")
    code = "import SlicerDiffusion; print(SlicerDiffusion.found)"
    paths = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path / 'module')!r}]; "
    said = subprocess.run([sys.executable, "-c", paths + code], capture_output=True, text=True, cwd=tmp_path)
    assert said.stdout.strip() == "the module", said.stderr


def test_no_file_shadows_a_library():
    """A script's own folder comes first on the path, so none there may carry a library's name."""
    libraries = {
        "torch",
        "monai",
        "numpy",
        "scipy",
        "nibabel",
        "pydicom",
        "pydantic",
        "rich",
        *sys.stdlib_module_names,
    }
    for folder in (ROOT, ROOT / "core", ROOT / "tests", ROOT / "tools"):
        names = {
            path.stem for path in folder.glob("*") if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert not names & libraries


@pytest.mark.parametrize("name", base.names())
def test_the_schema_of_every_task_is_fresh(name):
    task = base.get(name)
    path = base.schema_path(task)
    assert path.is_file(), "run `make schema`"
    assert json.loads(path.read_text(encoding="utf-8")) == base.schema(task), "stale: run `make schema`"


def test_no_schema_is_left_of_a_task_that_is_gone():
    known = {f"{name}.schema.json" for name in base.names()}
    assert {path.name for path in (resources() / "tasks").glob("*.json")} <= known


@pytest.mark.parametrize("name", base.names())
def test_every_parameter_can_be_shown(name):
    """The panel, the help and the schema need a label, a sentence and a level of every parameter."""
    for parameter, described in base.schema(base.get(name))["properties"].items():
        assert described.get("title") and described.get("description"), parameter
        assert described["description"].endswith("."), parameter
        assert described["level"] in ("basic", "advanced"), parameter
        assert parameter == "seed" or "default" in described, parameter


def test_importing_the_package_and_its_tasks_is_light():
    code = (
        "import sys, braindiffusion, braindiffusion.engine, braindiffusion.cli\n"
        "from braindiffusion.tasks import base; base.names()\n"
        "print([name for name in ('torch', 'monai', 'SimpleITK', 'matplotlib') if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=CORE.parent, check=True
    )
    assert said.stdout.strip() == "[]"


def test_files_stay_small():
    too_long = [
        path for path in CORE.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 400
    ]
    assert not too_long


def test_constraints_pin_every_library_that_is_needed():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.S | re.M)
    assert block is not None
    needed = {name.lower() for name in re.findall(r'"([\w-]+)>=', block[1])}
    lines = (ROOT / "constraints-cpu.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    assert needed and needed <= pinned
    assert "torch==2.13.0" in lines


def test_shipped_weights_stay_within_their_budget():
    weights = sum(path.stat().st_size for path in (resources() / "models").rglob("*.safetensors"))
    assert weights <= 36 * 2**20


@pytest.mark.slow
def test_the_wheel_is_whole(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    for path in [*CORE.rglob("*.py"), *(path for path in resources().rglob("*") if path.is_file())]:
        inside = (
            path.relative_to(CORE)
            if CORE in path.parents
            else "resources" / path.relative_to(ROOT / "resources")
        )
        assert f"braindiffusion/{Path(inside).as_posix()}" in names
    assert any(name.endswith("entry_points.txt") for name in names) and any(
        "LICENSE" in name for name in names
    )
