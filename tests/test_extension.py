"""The Slicer extension can be built and installed, whole, and the catalogue would take its entry.

CMake runs against `tests/mock_slicer`, which stands in for Slicer's CMake package.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

MODULE = ROOT / "SlicerDiffusion"
LISTS = "SlicerDiffusion/CMakeLists.txt"
INSTALLED = Path("lib/Slicer-5.10/qt-scripted-modules")
ENTRY = ROOT / "BrainDiffusion.json"


def cmake(*arguments: object) -> str:
    """Run CMake, the one of the Python environment first, and return what it said; fails with that."""
    beside = Path(sys.executable).parent / "cmake"
    command = str(beside) if beside.is_file() else shutil.which("cmake")
    if command is None:
        pytest.skip("needs CMake (pip install cmake)")
    said = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    if said.returncode:
        raise AssertionError(said.stdout + said.stderr)
    return said.stdout


def build_and_install(source: Path, work: Path) -> tuple[Path, Path]:
    """The extension in its build tree and as installed: the folders that Slicer loads the module from."""
    build, install = work / "build", work / "install"
    # Nothing is compiled, so any program does for a compiler.
    compilers = [f"-DCMAKE_{language}_COMPILER={sys.executable}" for language in ("C", "CXX")]
    compilers += [f"-DCMAKE_{language}_COMPILER_FORCED=TRUE" for language in ("C", "CXX")]
    mock = f"-DSlicer_DIR={ROOT / 'tests' / 'mock_slicer'}"
    cmake("-S", source, "-B", build, mock, f"-DCMAKE_INSTALL_PREFIX={install}", *compilers)
    cmake("--build", build)
    cmake("--install", build)
    return build / INSTALLED, install / INSTALLED


def belongs_to_the_module(path: str) -> bool:
    """Whether a file of `SlicerDiffusion/`, relative to it, is to be installed with the module."""
    return not path.startswith(("Desktop/", "Testing/")) and path != "CMakeLists.txt"


def files(folder: Path, but: tuple[str, ...] = ()) -> set[str]:
    """Paths below a folder, relative to it, without Python's caches and without the folders `but`."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts and path.parts[0] not in but}


def check_lists(source: Path, installed: Path) -> None:
    """Raises AssertionError that names the line to add for each file of the module that is not installed."""
    there = {path for path in files(source / "SlicerDiffusion") if belongs_to_the_module(path)}
    missing = sorted(there - files(installed, but=("BrainDiffusion",)))
    kinds = ["SCRIPTS" if path.endswith(".py") else "RESOURCES" for path in missing]
    lines = [f"  {path}   to MODULE_PYTHON_{kind}" for path, kind in zip(missing, kinds)]
    assert not missing, "\n".join([f"not installed; add to {LISTS} the line", *lines])


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build_and_install(ROOT, tmp_path_factory.mktemp("extension"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what CMake reads, to be spoiled: the engine and its models are one small file each."""
    copy = tmp_path / "source"
    shutil.copytree(MODULE, copy / "SlicerDiffusion", ignore=shutil.ignore_patterns("Desktop", "__pycache__"))
    for name in ("CMakeLists.txt", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy / name)
    for name in ("core", "resources"):
        (copy / name).mkdir()
        (copy / name / "file").write_text("something")
    return copy


def test_every_file_of_the_module_is_installed(extension):
    for tree in extension:
        check_lists(ROOT, tree)


def test_nothing_else_is_installed(extension):
    expected = {path for path in files(MODULE) if belongs_to_the_module(path)}
    for tree in extension:
        assert files(tree, but=("BrainDiffusion",)) <= expected


def test_a_file_that_is_not_listed_is_named_with_the_line_to_add(source, tmp_path):
    (source / "SlicerDiffusion" / "SlicerDiffusionLib" / "forgotten.py").write_text("")
    (source / "SlicerDiffusion" / "Resources" / "forgotten.json").write_text("{}")
    _, installed = build_and_install(source, tmp_path)
    with pytest.raises(AssertionError) as said:
        check_lists(source, installed)
    assert "  SlicerDiffusionLib/forgotten.py   to MODULE_PYTHON_SCRIPTS" in str(said.value)
    assert "  Resources/forgotten.json   to MODULE_PYTHON_RESOURCES" in str(said.value)
    assert LISTS in str(said.value)


def test_a_listed_file_that_is_missing_stops_the_build(source, tmp_path):
    (source / "SlicerDiffusion" / "SlicerDiffusionLib" / "__init__.py").unlink()
    with pytest.raises(AssertionError, match="listed, and not there: SlicerDiffusionLib/__init__.py"):
        build_and_install(source, tmp_path)


def test_the_engine_and_its_models_lie_beside_the_module(extension):
    for tree in extension:
        beside = tree / "BrainDiffusion"
        for name in ("core", "resources"):
            assert files(beside / name) == files(ROOT / name), f"{name} is not whole"
        assert files(beside, but=("core", "resources")) == {"LICENSE", "NOTICE"}


def test_the_installed_engine_finds_its_models_and_tasks(extension, tmp_path):
    """Started with the installed `core/` on its path and from elsewhere, as the module starts its worker."""
    beside = extension[1] / "BrainDiffusion"
    code = """if True:
        import json, sys
        sys.path.insert(0, sys.argv[1])
        import braindiffusion
        from braindiffusion.paths import resources
        from braindiffusion.tasks import base
        missing = [name for name in base.names() if not base.schema_path(base.get(name)).is_file()]
        print(json.dumps([braindiffusion.__file__, str(resources()), base.names(), missing]))
    """
    command = [sys.executable, "-c", code, str(beside / "core")]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert not said.returncode, said.stderr
    where, resources, tasks, missing = json.loads(said.stdout)
    assert Path(where) == beside / "core" / "braindiffusion" / "__init__.py"
    assert Path(resources) == beside / "resources"
    assert "heal" in tasks and not missing


def test_the_installed_module_starts_the_installed_engine(extension, tmp_path):
    """Its own finder leads to the engine beside it, and the worker that it starts there answers."""
    tree = extension[1]
    code = """if True:
        import json, subprocess, sys
        sys.path.insert(0, sys.argv[1])
        from SlicerDiffusionLib import places, process
        core = places.core()
        worker = subprocess.run(
            [sys.executable, "-m", "braindiffusion.worker"],
            env=process.environment(core), input='{"v": 1, "do": "quit"}\\n',
            stdout=subprocess.PIPE, text=True, timeout=60,
        )
        first = json.loads(worker.stdout.splitlines()[0])
        print(json.dumps([str(core), str(places.resources()), first]))
    """
    command = [sys.executable, "-c", code, str(tree)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert not said.returncode, said.stderr
    core, resources, first = json.loads(said.stdout)
    assert Path(core) == tree / "BrainDiffusion" / "core"
    assert Path(resources) == tree / "BrainDiffusion" / "resources"
    assert (first["event"], first["protocol"]) == ("ready", 1)


def metadata() -> dict[str, str]:
    """The lines `set(EXTENSION_X "...")`, read as text, as the catalogue's checker does."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"$]+)"\)$', text, re.M))


def test_the_catalogue_entry_has_the_fields_of_its_schema():
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    assert entry["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert set(entry) <= {
        *("$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies"),
        *("build_subdirectory", "enabled", "tier"),
    }
    assert entry["category"] == "Neuroimaging"  # one of those that the catalogue knows
    module = (MODULE / "SlicerDiffusion.py").read_text(encoding="utf-8")
    (category,) = re.findall(r'parent\.categories = \[translate\("\w+", "(.+?)"\)\]', module)
    assert category == entry["category"], "the menu of modules and the catalogue say the same"
    assert entry["tier"] in (1, 3, 5)
    assert entry["build_dependencies"] == metadata()["DEPENDS"].split() == ["PyTorch"]


def test_names_follow_the_rules_of_the_catalogue():
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    top = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    project = re.search(r"^project\((\w+)\)$", top, re.M)
    assert project is not None and project[1] == ENTRY.stem
    assert not ENTRY.stem.startswith("Slicer")
    assert entry["scm_url"].startswith("https://")
    assert "slicer" in entry["scm_url"].rsplit("/", 1)[1].lower()
    assert (ROOT / "LICENSE").is_file()


def test_the_extension_says_what_it_is_and_its_pictures_are_there():
    said = metadata()
    assert set(said) == {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"}
    assert "not for diagnosis" in said["DESCRIPTION"]
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    assert said["HOMEPAGE"] == entry["scm_url"]
    for url in (said["ICONURL"], *said["SCREENSHOTURLS"].split()):
        home = f"{said['HOMEPAGE']}/raw/{entry['scm_revision']}/"
        assert url.startswith(home)
        picture = ROOT / url.removeprefix(home)
        assert picture.suffix == ".png" and picture.is_file(), f"{picture} is not there"


@pytest.mark.parametrize(("name", "size"), [("SlicerDiffusion.png", 128), ("SlicerDiffusion-48.png", 48)])
def test_the_icon_can_be_seen_on_any_ground(name, size):
    from PIL import Image

    with Image.open(MODULE / "Resources" / "Icons" / name) as icon:
        assert icon.size == (size, size) and icon.mode == "RGBA"
        corner, middle = icon.getpixel((0, 0)), icon.getpixel((size // 4, size // 2))
    assert corner[3] == 0 and middle[3] == 255
