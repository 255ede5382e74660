"""What the engine needs, whether it is there, and how it gets there: only on a click, and never what belongs
to Slicer.

The check runs in the engine's Python, in a process of its own; nothing of what it finds is imported here.
NumPy, VTK and SimpleITK are Slicer's: they are neither installed nor changed, and installing anything else is
held to the versions of them that are there.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import places, process
from .job import Complaint


@dataclass(frozen=True)
class Need:
    """A package that the engine needs: its name for pip, its name for import, versions, and what it is
    for.
    """

    package: str
    module: str
    versions: str
    why: str

    @property
    def requirement(self) -> str:
        return f"{self.package}{self.versions}"


TORCH = Need("torch", "torch", ">=2.10", "computes the networks (about 200 MB to 3 GB, by graphics card)")
NEEDS = (
    TORCH,
    Need("monai", "monai", ">=1.5", "networks for medical images"),
    Need("scipy", "scipy", ">=1.11", "distances and filters"),
    Need("nibabel", "nibabel", ">=5.2", "reads and writes NIfTI"),
    Need("pydicom", "pydicom", ">=3.0", "reads DICOM"),
    Need("highdicom", "highdicom", ">=0.25", "writes DICOM"),
    Need("pydantic", "pydantic", ">=2.7", "checks parameters"),
    Need("safetensors", "safetensors", ">=0.4.3", "reads the models' weights safely"),
    Need("rich", "rich", ">=13", "texts on the command line"),
    Need("scikit-image", "skimage", ">=0.22", "image analysis"),
    Need("matplotlib", "matplotlib", ">=3.8", "draws the picture of a result"),
)
# Slicer's own: needed, never touched.
FIXED = (
    Need("numpy", "numpy", ">=1.26", "numbers; part of Slicer"),
    Need("SimpleITK", "SimpleITK", ">=2.3", "registration; part of Slicer"),
)
_NOT_INSTALLED = (
    "The installation did not end well ({error}); check the connection and press Check & repair again."
)
UNTOUCHED = ("numpy", "vtk", "SimpleITK")

# Runs in the engine's Python. A folder torch/ without __init__.py is what a broken installation leaves: it
# can be imported, as a namespace package, and has no __version__. What pip noted of a package, such as
# torch-2.10.dist-info, may be left alone too, and then pip takes the package for installed.
_CHECK = """
import importlib.metadata as metadata, importlib.util as util, json, re, sys
def numbers(text):
    return [int(part) for part in re.findall(r"\\d+", text.split("+")[0])[:4]]
found = {}
for package, module, versions in json.loads(sys.argv[1]):
    try:
        noted = metadata.distribution(package)
        version = noted.metadata.get("Version")
    except metadata.PackageNotFoundError:
        noted = version = None
    try:
        spec = util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None and noted is None:
        state = "missing"
    elif spec is None or spec.origin is None or version is None:
        state = "broken"
    elif numbers(version) < numbers(versions):
        state = "old"
    else:
        state = "there"
    where = list(spec.submodule_search_locations or []) if spec is not None else []
    home = [str(noted.locate_file(""))] if noted is not None else []
    found[package] = {"state": state, "version": version, "where": where, "home": home}
print(json.dumps(found))
"""
# A whole computation, as a version number says nothing about a library that cannot be loaded.
_TRY_TORCH = """
import torch
torch.__version__
values = torch.nn.functional.conv3d(torch.ones(1, 1, 4, 4, 4), torch.ones(1, 1, 3, 3, 3))
assert float(values.sum()) == 216.0
print("works", torch.__version__)
"""


@dataclass(frozen=True)
class Finding:
    """What the check says of one package.

    state: there, old, missing or broken. where: the folders of its code. home: where pip's notes of it lie.
    """

    need: Need
    state: str
    version: str | None
    where: tuple[str, ...] = ()
    home: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        what = f"{self.need.package} ({self.need.why})"
        return {
            "there": f"{what}: {self.version} is there.",
            "old": f"{what}: {self.version} is there, {self.need.versions} is needed.",
            "missing": f"{what}: is not there.",
            "broken": f"{what}: is only half installed.",
        }[self.state]


class Check:
    """A check that is going on in the engine's Python; `poll` it until it says that it is over."""

    def __init__(self, python: str | None = None):
        """Raises Complaint where that Python cannot be started."""
        asked = json.dumps([[need.package, need.module, need.versions] for need in (*NEEDS, *FIXED)])
        self._process = _start([python or process.python(), "-c", _CHECK, asked])

    def poll(self) -> list[Finding] | None:
        """None while it goes on; then what was found. Raises Complaint where the Python fails."""
        if self._process.poll() is None:
            return None
        said, complained = self._process.communicate()
        if self._process.returncode != 0:
            raise Complaint(
                f"The engine's Python does not work: {_lastLine(complained)}; install the viewer anew."
            )
        found = json.loads(said)
        return [
            Finding(need, item["state"], item["version"], tuple(item["where"]), tuple(item["home"]))
            for need in (*NEEDS, *FIXED)
            for item in [found[need.package]]
        ]


class Trial:
    """A small computation with torch in the engine's Python."""

    def __init__(self, python: str | None = None):
        self._process = _start([python or process.python(), "-c", _TRY_TORCH])

    def poll(self) -> str | None:
        """None while it goes on; then empty where torch works, else what it says."""
        if self._process.poll() is None:
            return None
        _, complained = self._process.communicate()
        return "" if self._process.returncode == 0 else _lastLine(complained)


def wanting(findings: list[Finding]) -> list[Finding]:
    """What must be installed or repaired; what is Slicer's is only told, see `explain`."""
    return [finding for finding in findings if finding.state != "there" and finding.need in NEEDS]


def explain(findings: list[Finding]) -> str:
    """What a click on Check & repair would do, in sentences."""
    wanted = wanting(findings)
    fixed = [finding for finding in findings if finding.state != "there" and finding.need in FIXED]
    lines = [finding.sentence for finding in (*wanted, *fixed)]
    if wanted:
        lines.append("Check & repair downloads these from PyPI and from PyTorch's own site, nothing else.")
    if fixed:
        lines.append("What is part of 3D Slicer is not changed: install a newer 3D Slicer.")
    return "\n".join(lines) or "All that the engine needs is there."


def canInstall() -> bool:
    """Whether this viewer installs packages by itself: 3D Slicer does, the window is installed with its
    engine.
    """
    import importlib.util

    import slicer

    return importlib.util.find_spec("slicer.packaging") is not None or hasattr(slicer.app, "slicerHome")


def repair(findings: list[Finding], say: Callable[[str], None]) -> None:
    """Install what is wanting; on a click only. Blocks, as pip does in Slicer. Raises Complaint with the
    reason.
    """
    if not canInstall():
        raise Complaint(
            "This window was installed with its engine by pip; repair it there: pip install "
            "--force-reinstall 'braindiffusion[desktop]'."
        )
    wanted = wanting(findings)
    for finding in wanted:
        if finding.state == "broken":
            say(f"Removing what is left of {finding.need.package}")
            removeRest(finding)
    if any(finding.need is TORCH for finding in wanted):
        say("Installing PyTorch")
        _installTorch()
    others = [finding.need.requirement for finding in wanted if finding.need is not TORCH]
    if others:
        say(f"Installing {', '.join(others)}")
        _pip(others)


def removeRest(finding: Finding) -> None:
    """Remove what a broken installation left, in site-packages only: pip's notes first, then the code.

    Raises Complaint where a file is in use.
    """
    import importlib
    import shutil

    code = [place for place in map(Path, finding.where) if place.name == finding.need.module]
    homes = {*map(Path, finding.home), *(place.parent for place in code)}
    notes = [place for home in homes for place in home.glob("*.dist-info") if _isOf(place, finding.need)]
    for place in (*notes, *code):
        if place.parent.name in ("site-packages", "dist-packages"):
            try:
                shutil.rmtree(place)
            except OSError as error:
                raise Complaint(
                    f"What is left of {finding.need.package} cannot be removed ({error.strerror or error}); "
                    "restart 3D Slicer and press Check & repair before anything else."
                ) from error
    importlib.invalidate_caches()


def _isOf(notes: Path, need: Need) -> bool:
    """Whether a folder with pip's notes, `scikit_image-0.22.dist-info`, is that of a package."""
    name = notes.name.partition("-")[0]
    return re.sub(r"[-_.]+", "-", name).lower() == need.package.lower()


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ImportError:
        raise Complaint(
            "PyTorch comes with the extension 'PyTorch': install it in the Extensions Manager, restart, and "
            "press Check & repair again."
        ) from None
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=TORCH.versions
        )
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        raise Complaint(_NOT_INSTALLED.format(error=error)) from error
    if torch is None:
        raise Complaint("PyTorch was not installed; press Check & repair when you want to go on.")


def _pip(requirements: list[str]) -> None:
    import slicer

    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder, "constraints.txt")
        held.write_text(constraints(), encoding="utf-8")
        try:
            packaging = _packaging()
            if packaging is not None:
                packaging.pip_ensure(
                    requirements, constraints=str(held), prompt_install=False, requester="BrainDiffusion"
                )
            else:
                slicer.util.pip_install([*requirements, "--constraint", str(held)])
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            raise Complaint(_NOT_INSTALLED.format(error=error)) from error


def constraints() -> str:
    """Lines that hold what belongs to Slicer, and torch, to the versions that are there."""
    import importlib.metadata

    lines = []
    for name in (*UNTOUCHED, TORCH.package):
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def _packaging() -> Any:
    try:
        import slicer.packaging
    except ImportError:  # Slicer before 5.12
        return None
    return slicer.packaging


def _start(command: list[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=process.environment(places.core()),
        )
    except OSError as error:
        raise Complaint(
            f"The engine's Python '{command[0]}' cannot be started ({error.strerror or error}); install the "
            "viewer anew."
        ) from error


def _lastLine(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
