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
MODULE = ROOT / "SlicerDiffusion"


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
        "slicer",
        "vtk",
        "qt",
        "ctk",
        *sys.stdlib_module_names,
    }
    for folder in (ROOT, ROOT / "core", ROOT / "tests", ROOT / "tools", MODULE, MODULE / "Desktop"):
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
    paths = [*CORE.rglob("*.py"), *MODULE.rglob("*.py")]
    assert not [path for path in paths if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_constraints_pin_every_library_that_is_needed():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = {name.lower() for name in re.findall(r'^ .*?"([\w-]+)>=', project, re.M)}
    assert {"torch", "slicer-core", "pyside6-essentials", "pytest"} <= needed
    lines = (ROOT / "constraints-cpu.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    assert needed and needed <= pinned
    assert "torch==2.13.0" in lines


def test_the_module_asks_for_what_the_engine_needs():
    """The module cannot read pyproject.toml in a built extension, so its own list must be the same."""
    from SlicerDiffusionLib import install

    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.S | re.M)
    assert block is not None
    asked = {need.requirement for need in (*install.NEEDS, *install.FIXED)}
    assert asked == set(re.findall(r'"(.*?)"', block[1]))
    offline = (ROOT / "docs" / "slicer.md").read_text(encoding="utf-8")
    assert [need.requirement for need in install.NEEDS] == re.findall(r'"([\w-]+>=[\d.]+)"', offline)


def test_shipped_weights_stay_within_their_budget():
    weights = sum(path.stat().st_size for path in (resources() / "models").rglob("*.safetensors"))
    assert weights <= 36 * 2**20


def pip(command: str, *arguments: object) -> None:
    line = [sys.executable, "-m", "pip", command, "-q", "--no-deps", *map(str, arguments)]
    subprocess.run(line, check=True)


def carried() -> dict[Path, str]:
    """What a wheel has to carry, and under which name."""
    trees = {
        CORE: "braindiffusion",
        ROOT / "resources": "braindiffusion/resources",
        MODULE / "Desktop" / "braindiffusion_desktop": "braindiffusion_desktop",
        MODULE / "SlicerDiffusionLib": "braindiffusion_desktop/module/SlicerDiffusionLib",
        MODULE / "Resources": "braindiffusion_desktop/module/Resources",
    }
    found = {MODULE / "SlicerDiffusion.py": "braindiffusion_desktop/module/SlicerDiffusion.py"}
    for folder, name in trees.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found[path] = f"{name}/{path.relative_to(folder).as_posix()}"
    return found


@pytest.mark.slow
def test_the_wheel_is_whole(tmp_path):
    pip("wheel", "-w", tmp_path, ROOT)
    wheel = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    extra = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert extra == set(carried().values())
    about = {name.rsplit("/", 1)[1]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert {"LICENSE", "NOTICE", "entry_points.txt"} <= set(about)
    commands = wheel.read(about["entry_points.txt"]).decode()
    assert "braindiffusion = braindiffusion.cli:main" in commands
    assert "braindiffusion-desktop = braindiffusion_desktop.app:main" in commands


@pytest.mark.slow
def test_a_checkout_that_is_installed_editable_has_both_packages(tmp_path):
    """`make` installs the checkout in this way: what is edited is what runs, and no old copy of it."""
    pip("install", "--target", tmp_path, "-e", ROOT)
    (path_file,) = tmp_path.glob("*.pth")
    assert set(path_file.read_text().split("\n")) == {str(ROOT / "core"), str(MODULE / "Desktop")}
    assert not (tmp_path / "braindiffusion").exists()
