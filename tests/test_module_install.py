"""What the engine needs is looked for without importing it, explained, and installed on a click only."""

from __future__ import annotations

import re
import sys
import types

import pytest

from conftest import ROOT
from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import install, installpanel, jobs
from SlicerDiffusionLib import job as states
from SlicerDiffusionLib.job import Complaint
from test_module_jobs import WORKER, Plain, finish

pytestmark = pytest.mark.usefixtures("core")


def finding(package, state, version=None, where=(), home=()):
    need = next(need for need in (*install.NEEDS, *install.FIXED) if need.package == package)
    return install.Finding(need, state, version, where, home)


@pytest.fixture
def queue():
    """A queue whose engine computes nothing."""
    made = jobs.Jobs([sys.executable, WORKER, "ok"])
    yield made
    made.close()


@pytest.fixture
def panel(queue):
    made = installpanel.InstallPanel(queue)
    yield made
    made.cleanup()


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


def make_torch(folder, *, code, noted):
    """A fake torch in a fake site-packages: whole, or what a broken installation leaves of it."""
    place = folder / "site-packages"
    (place / "torch" / "lib").mkdir(parents=True)
    if code:
        (place / "torch" / "__init__.py").write_text("__version__ = '1.0'\n")
    if code is None:
        (place / "torch" / "lib").rmdir()
        (place / "torch").rmdir()
    if noted:
        (place / "torch-1.0.dist-info").mkdir()
        (place / "torch-1.0.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n"
        )
    return place


def python_with(place):
    """A Python that has nothing but what is in `place`."""
    launcher = place.parent / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH="{place}" exec "{sys.executable}" -S "$@"\n')
    launcher.chmod(0o755)
    return str(launcher)


def checked(place, qtbot):
    """{package: finding} of a check of what is in `place`."""
    check, found = install.Check(python_with(place)), []
    qtbot.waitUntil(lambda: found.append(check.poll()) or found[-1] is not None, timeout=60000)
    return {item.need.package: item for item in found[-1]}


@pytest.mark.parametrize(
    "code, noted, state",
    [
        (True, True, "old"),
        (False, False, "broken"),
        (False, True, "broken"),
        (None, True, "broken"),
        (True, False, "broken"),
    ],
)
def test_a_half_installed_and_an_old_torch_are_told_apart(tmp_path, qtbot, code, noted, state):
    found = checked(make_torch(tmp_path, code=code, noted=noted), qtbot)
    assert found["torch"].state == state
    assert found["nibabel"].state == "missing" and "is not there" in found["nibabel"].sentence
    assert {item.need.package for item in install.wanting(list(found.values()))} >= {"torch", "nibabel"}


@pytest.mark.parametrize("code, noted", [(False, True), (None, True), (False, False), (True, False)])
def test_after_a_repair_pip_does_not_take_what_is_broken_for_installed(
    tmp_path, qtbot, slicer_app, code, noted
):
    place = make_torch(tmp_path, code=code, noted=noted)
    for other in ("torchvision-0.20.dist-info", "monai-1.5.dist-info"):
        (place / other).mkdir()
    install.repair([checked(place, qtbot)["torch"]], lambda text: None)
    assert sorted(path.name for path in place.iterdir()) == [
        "monai-1.5.dist-info",
        "torchvision-0.20.dist-info",
    ]
    assert checked(place, qtbot)["torch"].state == "missing"
    assert slicer_app[0][0] == "torch"


def test_a_file_that_is_in_use_is_told_before_anything_is_installed(tmp_path, slicer_app, monkeypatch):
    import shutil

    def in_use(place):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", in_use)
    place = make_torch(tmp_path, code=False, noted=True)
    broken = finding("torch", "broken", "1.0", (str(place / "torch"),), (str(place),))
    with pytest.raises(Complaint, match="cannot be removed .Permission denied.; restart 3D Slicer"):
        install.repair([broken], lambda text: None)
    assert not slicer_app


def test_a_torch_that_does_not_compute_is_found(tmp_path, qtbot):
    trial, said = install.Trial(python_with(make_torch(tmp_path, code=True, noted=True))), []
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
    place = make_torch(tmp_path, code=False, noted=False)
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


def test_a_failing_torch_installation_is_one_sentence(slicer_app, monkeypatch):
    def fail(**options):
        raise ValueError("no build of PyTorch suits this computer")

    torch = types.SimpleNamespace(PyTorchUtilsLogic=lambda: types.SimpleNamespace(installTorch=fail))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", torch)
    with pytest.raises(Complaint, match="no build of PyTorch .* press Check & repair again"):
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


def test_the_panel_explains_first_and_installs_at_the_second_click(qtbot, slicer_app, panel, monkeypatch):
    answers = [[finding("torch", "there", "2.13"), finding("monai", "missing")]]
    monkeypatch.setattr(install, "Check", lambda: Ready(answers[-1]))
    monkeypatch.setattr(install, "Trial", lambda: Ready(""))
    panel.button.click()
    qtbot.waitUntil(lambda: panel.button.property("text") == "Check & repair")
    assert "monai" in panel.said.property("text") and not slicer_app
    answers.append([finding("torch", "there", "2.13"), finding("monai", "there", "1.6")])
    panel.button.click()
    qtbot.waitUntil(lambda: panel.button.property("text") == "Check")
    assert slicer_app[0][0] == "monai>=1.5"
    assert "All that the engine needs is there" in panel.said.property("text")


def test_a_torch_that_fails_the_trial_is_offered_for_repair(qtbot, slicer_app, panel, monkeypatch):
    monkeypatch.setattr(install, "Check", lambda: Ready([finding("torch", "there", "2.13")]))
    monkeypatch.setattr(install, "Trial", lambda: Ready("ImportError: libcudart.so"))
    panel.button.click()
    qtbot.waitUntil(lambda: panel.button.property("text") == "Check & repair")
    assert "libcudart.so" in panel.said.property("text") and "half installed" in panel.said.property("text")


def fail_with(error):
    def fail(*args):
        raise error

    return fail


@pytest.mark.parametrize("error", [Complaint("The engine's Python cannot be started."), OSError("no pipe")])
@pytest.mark.parametrize("when", ["started", "asked", "tried"])
def test_whatever_fails_is_told_and_the_button_works_again(qtbot, panel, monkeypatch, error, when):
    ready, broken = Ready([finding("torch", "there", "2.13")]), Ready(None)
    monkeypatch.setattr(broken, "poll", fail_with(error))
    check = {"started": fail_with(error), "asked": lambda: broken, "tried": lambda: ready}[when]
    monkeypatch.setattr(install, "Check", check)
    monkeypatch.setattr(install, "Trial", fail_with(error))
    panel.button.click()
    assert str(error) in panel.said.property("text") and panel.button.property("enabled")
    monkeypatch.setattr(install, "Check", lambda: ready)
    monkeypatch.setattr(install, "Trial", lambda: Ready(""))
    panel.button.click()
    qtbot.waitUntil(lambda: "All that the engine needs" in panel.said.property("text"))


def test_a_repair_that_fails_leaves_the_button_and_a_report(qtbot, slicer_app, panel, queue, monkeypatch):
    monkeypatch.setattr(install, "Check", lambda: Ready([finding("torch", "missing")]))
    monkeypatch.setattr(install, "_installTorch", lambda: None)
    panel.button.click()
    monkeypatch.setattr(install, "_installTorch", fail_with(KeyError("cu130")))
    panel.button.click()
    assert "cu130" in panel.said.property("text") and panel.button.property("enabled")
    assert "Traceback" in queue.logText()


def test_the_engine_ends_before_a_repair_and_a_run_is_not_disturbed(
    qtbot, slicer_app, panel, queue, monkeypatch
):
    monkeypatch.setattr(install, "Check", lambda: Ready([finding("monai", "missing"), there("torch")]))
    monkeypatch.setattr(install, "Trial", lambda: Ready(""))
    finish(qtbot, queue.submit(states.Job(Plain())))
    panel.button.click()
    running = queue.submit(states.Job(Plain(behaviour="slow")))
    qtbot.waitUntil(lambda: running.stage == "Healing", timeout=20000)
    panel.button.click()
    assert "A run goes on" in panel.said.property("text") and not slicer_app
    running.cancel()
    finish(qtbot, running)
    assert queue.processId() is not None
    panel.button.click()
    assert slicer_app[0][0] == "monai>=1.5" and queue.processId() is None


def there(package):
    return finding(package, "there", "9.9")


def test_a_run_without_a_package_unfolds_the_installation_and_checks(qtbot, panel, queue, monkeypatch):
    monkeypatch.setattr(install, "Check", lambda: Ready([there("torch"), finding("pydantic", "missing")]))
    monkeypatch.setattr(install, "Trial", lambda: Ready(""))
    assert panel.widget.property("collapsed")
    queue.engine.command = [sys.executable, WORKER, "dies at start"]
    job = queue.submit(states.Job(Plain()))
    finish(qtbot, job)
    qtbot.waitUntil(lambda: "pydantic" in panel.said.property("text"))
    assert not panel.widget.property("collapsed")


def test_another_failure_leaves_the_installation_folded(qtbot, panel, queue, monkeypatch):
    monkeypatch.setattr(install, "Check", lambda: pytest.fail("nothing is to be checked"))
    finish(qtbot, queue.submit(states.Job(Plain(behaviour="refused"))))
    qtbot.wait(50)
    assert panel.widget.property("collapsed")
