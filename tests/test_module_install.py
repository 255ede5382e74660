"""What the engine needs is looked for without importing it, explained, and installed on a click only."""

from __future__ import annotations

import re
import sys
import types

import pytest

from conftest import ROOT
from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import install, installpanel
from SlicerDiffusionLib.job import Complaint

pytestmark = pytest.mark.usefixtures("core")


def finding(package, state, version=None, where=()):
    need = next(need for need in (*install.NEEDS, *install.FIXED) if need.package == package)
    return install.Finding(need, state, version, where)


@pytest.fixture
def slicer_app(monkeypatch):
    """As if this were 3D Slicer, with a pip that only takes notes."""
    import slicer

    asked = []
    monkeypatch.setattr(install, "canInstall", lambda: True)
    monkeypatch.setattr(install, "_packaging", lambda: None)
    monkeypatch.setattr(slicer.util, "pip_install", lambda args: asked.append(list(args)))
    torch = types.SimpleNamespace(
        PyTorchUtilsLogic=lambda: types.SimpleNamespace(
            installTorch=lambda **options: asked.append(["torch", options]) or "torch"
        )
    )
    monkeypatch.setitem(sys.modules, "PyTorchUtils", torch)
    return asked


def test_it_asks_for_what_the_package_declares():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.S | re.M)[1]
    declared = set(re.findall(r'"([^"]+)"', block))
    assert {need.requirement for need in (*install.NEEDS, *install.FIXED)} == declared


def test_what_belongs_to_slicer_is_never_asked_for():
    assert not {need.package.lower() for need in install.NEEDS} & {"numpy", "vtk", "simpleitk"}


def test_the_check_finds_what_is_here_and_imports_nothing(qtbot):
    before = set(sys.modules)
    check, found = install.Check(), []
    qtbot.waitUntil(lambda: found.append(check.poll()) or found[-1] is not None, timeout=60000)
    states = {item.need.package: item.state for item in found[-1]}
    assert states["torch"] == "there" and states["nibabel"] == "there"
    assert install.wanting(found[-1]) == []
    assert "All that the engine needs" in install.explain(found[-1])
    assert "torch" not in set(sys.modules) - before


def make_torch(folder, *, whole):
    """A fake torch in a fake site-packages: whole, or what a broken installation leaves."""
    place = folder / "site-packages"
    (place / "torch" / "lib").mkdir(parents=True)
    if whole:
        (place / "torch" / "__init__.py").write_text("__version__ = '1.0'\n")
        (place / "torch-1.0.dist-info").mkdir()
        (place / "torch-1.0.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n"
        )
    return place


@pytest.mark.parametrize("whole, state", [(True, "old"), (False, "broken")])
def test_a_half_installed_and_an_old_torch_are_told_apart(tmp_path, qtbot, monkeypatch, whole, state):
    place = make_torch(tmp_path, whole=whole)
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH="{place}" exec "{sys.executable}" -S "$@"\n')
    launcher.chmod(0o755)
    check, found = install.Check(str(launcher)), []
    qtbot.waitUntil(lambda: found.append(check.poll()) or found[-1] is not None, timeout=60000)
    torch = next(item for item in found[-1] if item.need is install.TORCH)
    assert torch.state == state
    nibabel = next(item for item in found[-1] if item.need.package == "nibabel")
    assert nibabel.state == "missing" and "is not there" in nibabel.sentence
    assert {item.need.package for item in install.wanting(found[-1])} >= {"torch", "nibabel"}


def test_a_torch_that_does_not_compute_is_found(tmp_path, qtbot):
    place = make_torch(tmp_path, whole=True)
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH="{place}" exec "{sys.executable}" -S "$@"\n')
    launcher.chmod(0o755)
    trial, said = install.Trial(str(launcher)), []
    qtbot.waitUntil(lambda: said.append(trial.poll()) or said[-1] is not None, timeout=60000)
    assert "nn" in said[-1]


def test_a_python_that_is_not_there_is_told():
    with pytest.raises(Complaint, match="cannot be started"):
        install.Check("/no/such/python")


def test_the_explanation_says_what_will_be_done_and_what_never():
    text = install.explain([finding("torch", "missing"), finding("numpy", "old", "1.20")])
    assert "torch" in text and "downloads" in text
    assert "numpy" in text and "is not changed" in text


def test_repair_installs_what_is_missing_and_holds_the_rest(slicer_app):
    told = []
    found = [finding("torch", "missing"), finding("monai", "missing"), finding("scipy", "there", "1.17")]
    install.repair(found, told.append)
    assert slicer_app[0][0] == "torch" and slicer_app[0][1]["torchVersionRequirement"] == ">=2.10"
    arguments = slicer_app[1]
    assert arguments[0] == "monai>=1.5" and arguments[1] == "--constraint" and len(arguments) == 3
    assert not any(name in " ".join(arguments[:1]) for name in ("numpy", "vtk", "SimpleITK"))
    assert told == ["Installing PyTorch", "Installing monai>=1.5"]


def test_constraints_hold_numpy_and_simpleitk_to_what_is_there():
    import numpy
    import SimpleITK

    lines = install.constraints().split()
    assert f"numpy=={numpy.__version__}" in lines
    assert any(line.startswith("SimpleITK==") for line in lines) and SimpleITK.Version
    assert any(line.startswith("torch==") for line in lines)


def test_repair_uses_slicers_own_tool_where_it_is(slicer_app, monkeypatch):
    asked = []
    tool = types.SimpleNamespace(pip_ensure=lambda needed, **options: asked.append((needed, options)))
    monkeypatch.setattr(install, "_packaging", lambda: tool)
    install.repair([finding("nibabel", "old", "4.0")], lambda text: None)
    assert asked[0][0] == ["nibabel>=5.2"] and asked[0][1]["constraints"] and not slicer_app


def test_what_a_broken_installation_left_is_removed(tmp_path, slicer_app):
    place = make_torch(tmp_path, whole=False)
    elsewhere = tmp_path / "home" / "torch"
    elsewhere.mkdir(parents=True)
    broken = finding("torch", "broken", None, (str(place / "torch"), str(elsewhere)))
    install.repair([broken], lambda text: None)
    assert not (place / "torch").exists() and elsewhere.exists()  # only in site-packages
    assert slicer_app[0][0] == "torch"


def test_without_the_pytorch_extension_the_user_is_told_where_it_is(slicer_app, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(Complaint, match="Extensions Manager"):
        install.repair([finding("torch", "missing")], lambda text: None)


def test_a_failing_pip_is_one_sentence(slicer_app, monkeypatch):
    import subprocess

    import slicer

    def fail(args):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    with pytest.raises(Complaint, match="check the connection"):
        install.repair([finding("monai", "missing")], lambda text: None)


def test_the_window_installs_nothing(monkeypatch):
    import slicer

    monkeypatch.setattr(slicer.util, "pip_install", lambda args: pytest.fail("nothing may be installed"))
    assert install.canInstall() is False
    with pytest.raises(Complaint, match="pip install"):
        install.repair([finding("monai", "missing")], lambda text: None)


class Ready:
    """A check or trial that has ended."""

    def __init__(self, answer):
        self.answer = answer

    def poll(self):
        return self.answer


def test_the_panel_explains_first_and_installs_at_the_second_click(qtbot, slicer_app, monkeypatch):
    answers = [[finding("torch", "there", "2.13"), finding("monai", "missing")]]
    monkeypatch.setattr(install, "Check", lambda: Ready(answers[-1]))
    monkeypatch.setattr(install, "Trial", lambda: Ready(""))
    panel = installpanel.InstallPanel()
    panel.button.click()
    qtbot.waitUntil(lambda: panel.button.property("text") == "Check & repair")
    assert "monai" in panel.said.property("text") and not slicer_app
    answers.append([finding("torch", "there", "2.13"), finding("monai", "there", "1.6")])
    panel.button.click()
    qtbot.waitUntil(lambda: panel.button.property("text") == "Check")
    assert slicer_app[0][0] == "monai>=1.5"
    assert "All that the engine needs is there" in panel.said.property("text")
    panel.cleanup()


def test_a_torch_that_fails_the_trial_is_offered_for_repair(qtbot, slicer_app, monkeypatch):
    monkeypatch.setattr(install, "Check", lambda: Ready([finding("torch", "there", "2.13")]))
    monkeypatch.setattr(install, "Trial", lambda: Ready("ImportError: libcudart.so"))
    panel = installpanel.InstallPanel()
    panel.button.click()
    qtbot.waitUntil(lambda: panel.button.property("text") == "Check & repair")
    assert "libcudart.so" in panel.said.property("text") and "half installed" in panel.said.property("text")
    panel.cleanup()


def test_a_complaint_is_shown_and_the_button_works_again(qtbot, monkeypatch):
    def fail():
        raise Complaint("The engine's Python cannot be started.")

    monkeypatch.setattr(install, "Check", fail)
    panel = installpanel.InstallPanel()
    panel.button.click()
    assert "cannot be started" in panel.said.property("text") and panel.button.property("enabled")
    panel.cleanup()
