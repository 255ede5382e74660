"""Each floor of the house imports only from floors below it, so that any can be read and tested alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import braindiffusion

CORE = Path(braindiffusion.__file__).parent

# From the ground up; floors on one line do not know of each other. A floor is a folder, or files.
HOUSE = [
    {"errors": "errors faults", "telling": "telling", "the package itself": "__init__"},
    {"paths": "paths"},
    {"anatomy": "anatomy pathology", "plan": "plan", "imaging": "imaging", "diffusion": "diffusion"},
    {"nets": "nets", "result": "result result_folder"},
    {"models": "models", "report": "report report_samples"},
    {
        "healing": "segment healing generating sharpening editing inpainting painting masks "
        "filling_error heatmap normal findings plausibility"
    },
    {"training": "training", "tasks": "tasks"},
    {"engine": "engine"},
    {"evaluation": "evaluation", "cohort": "cohort"},
    {
        "command line": "cli cli_commands cli_cohort cli_evaluate cli_options cli_output cli_train __main__",
        "worker": "worker protocol lifeline",
    },
]
# What a module uses of a floor that is not below it.
LOANS = {("training", "evaluation")}
"""A card takes its figures from the page of results (`release --measured`)."""
HEAVY = {"torch", "monai", "SimpleITK", "matplotlib", "scipy", "pydicom", "nilearn", "diffusers"}
TORCH = {
    *("diffusion", "nets", "models", "training", "evaluation"),
    *("segment", "healing", "inpainting", "painting", "generating", "sharpening", "editing"),
}


def level_and_floor(part: str) -> tuple[int, str]:
    """How high the floor of a top-level module lies, and its name."""
    for level, floors in enumerate(HOUSE):
        for floor, parts in floors.items():
            if part in parts.split():
                return level, floor
    raise AssertionError(f"'{part}' has no floor: put it into HOUSE and into CONTRIBUTING.md")


def modules() -> list[Path]:
    return sorted(path for path in CORE.rglob("*.py") if "__pycache__" not in path.parts)


def part_of(path: Path) -> str:
    """The top-level module or folder that a file belongs to."""
    # What `python -m` starts belongs to the command line, wherever it lies.
    return "__main__" if path.name == "__main__.py" else path.relative_to(CORE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The top-level parts of the package that a file imports, inside functions too."""
    package = path.relative_to(CORE).parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            whole = [*base, *(node.module.split(".") if node.module else [])]
            found |= {whole[0]} if whole else {alias.name for alias in node.names}
            continue
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("braindiffusion.")}
    return {
        name if (CORE / name).is_dir() or (CORE / f"{name}.py").is_file() else "__init__" for name in found
    }


def test_every_module_has_a_floor():
    for path in modules():
        _, floor = level_and_floor(part_of(path))
        assert floor, path


def test_no_floor_imports_from_a_floor_above():
    loans = set()
    for path in modules():
        if path == CORE / "__init__.py":
            continue  # its imports are inside the functions that a user calls
        part = part_of(path)
        level, floor = level_and_floor(part)
        for other in imported(path):
            other_level, other_floor = level_and_floor(other)
            if other_floor != floor and other_level >= level:
                loans.add((part, other))
    assert loans == LOANS, "an import goes up the house, or a loan was paid back and is still listed"


def test_imaging_and_diffusion_stand_alone():
    for part in ("imaging", "diffusion"):
        for path in (CORE / part).rglob("*.py"):
            assert imported(path) <= {part, "errors", "paths", "telling"}, path.name


def test_only_floors_that_compute_import_torch():
    """At the top of a file; a task imports it in the function that runs."""
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if {name.split(".")[0] for name in names} & {"torch", "monai"}:
                assert part_of(path) in TORCH, path


@pytest.mark.parametrize(
    "module", ["", ".cli", ".worker", ".engine", ".tasks.base", ".result", ".errors", ".anatomy"]
)
def test_importing_is_light(module):
    loaded = f"{HEAVY} & {{name.split('.')[0] for name in sys.modules}}"
    code = f"import sys, braindiffusion{module}; print(sorted({loaded}))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=CORE.parent, check=True
    )
    assert said.stdout.strip() == "[]"
