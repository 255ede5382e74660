"""The module's own code keeps the rules that Slicer asks for: light imports, small files, no network."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from conftest import ROOT

MODULE = ROOT / "SlicerDiffusion"
FILES = [MODULE / "SlicerDiffusion.py", *sorted((MODULE / "SlicerDiffusionLib").rglob("*.py"))]
SLICERS_OWN = {"slicer", "vtk", "qt", "ctk", "SlicerDiffusionLib"}


def names(path):
    return str(path.relative_to(MODULE))


@pytest.mark.parametrize("path", FILES, ids=names)
def test_files_import_nothing_foreign_when_they_are_loaded(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [(node.module or "").partition(".")[0]]
        foreign = set(found) - SLICERS_OWN - set(sys.stdlib_module_names)
        assert not foreign, f"{foreign} at the top of {path.name}"


@pytest.mark.parametrize("path", FILES, ids=names)
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("path", FILES, ids=names)
def test_the_code_keeps_to_what_pythonqt_can(path):
    """No own signals, no subclass of a widget, no keyword argument of a Qt class."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            assert not any(base.startswith(("qt.", "ctk.", "slicer.qMRML")) for base in bases), node.name
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in ("qt.Signal", "qt.Slot", "qt.QProcess", "qt.QThread")
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("qt.", "ctk.")):
            assert not node.keywords, ast.unparse(node)


def test_every_file_says_what_it_is_for():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path.name


def test_every_file_of_the_module_is_installed_with_it():
    listed = (
        (MODULE / "CMakeLists.txt").read_text(encoding="utf-8").replace("${MODULE_NAME}", "SlicerDiffusion")
    )
    missing = [names(path) for path in FILES if names(path) not in listed]
    assert not missing, f"add to SlicerDiffusion/CMakeLists.txt: {missing}"


def test_loading_the_module_is_light_and_touches_no_network():
    pytest.importorskip("slicer")
    pytest.importorskip("PySide6")
    heavy = {"torch", "monai", "numpy", "scipy", "nibabel", "SimpleITK", "pydantic", "matplotlib"}
    lines = [
        "import socket, sys",
        "socket.socket.connect = lambda *_: sys.exit('the module opened a connection')",
        "from desktop_host import host_core",
        "host_core()",
        "before = set(sys.modules)",
        "import SlicerDiffusion, SlicerDiffusionLib.session",
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}",
        f"print(sorted(new & {heavy | {'braindiffusion'}!r}))",
    ]
    code = "\n".join(lines)
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "tests", check=False
    )
    assert said.stdout.strip().endswith("[]"), said.stdout + said.stderr
