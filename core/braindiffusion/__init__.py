"""BrainDiffusion: heal, generate and inspect brain scans with diffusion models. Research use only.

    import braindiffusion as bd
    result = bd.heal("scan.nii.gz", seed=7)
    result["heatmap"].volume, result.findings, result.provenance

Importing the package imports neither torch nor any other heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["edit", "generate", "heal", "inpaint", "inspect", "load_model", "morph", "paint", "__version__"]

if TYPE_CHECKING:
    from pathlib import Path

    from .imaging.gate import Verdict
    from .imaging.volume import Volume
    from .result import Result

_ENGINE_OPTIONS = ("device", "precision", "threads", "batch", "frame", "orientation", "on_progress", "cancel")


def heal(scan: str | Path | Volume, seed: int = 0, **options: Any) -> Result:
    """Heal a T1 scan: the healed scan, a heat map of anomalies, a table of findings, on the scan's own grid.

    `options` are the parameters of the task (`braindiffusion heal --help`) and those of `engine.run`: device,
    precision, threads, batch, frame, orientation, on_progress, cancel. Raises Refused for a scan that cannot
    be used.
    """
    return _run("heal", {"scan": scan}, {**options, "seed": seed})


def inpaint(scan: str | Path | Volume, mask: str | Path | Volume, seed: int = 0, **options: Any) -> Result:
    """Fill the region of a T1 scan that `mask` marks with plausible healthy tissue, on the scan's own grid.

    `options` are the parameters of the task (`braindiffusion inpaint --help`) and those of `engine.run`, as
    for `heal`. Raises Refused for a scan or a mask that cannot be used.
    """
    return _run("inpaint", {"scan": scan, "mask": mask}, {**options, "seed": seed})


def paint(scan: str | Path | Volume, mask: str | Path | Volume, seed: int = 0, **options: Any) -> Result:
    """Paint pathology on a T1 scan where `mask` has the labels of tissues, on the scan's own grid.

    `options` are the parameters of the task (`braindiffusion paint --help`) and those of `engine.run`, as for
    `heal`. Raises Refused for a scan or a mask that cannot be used.
    """
    return _run("paint", {"scan": scan, "mask": mask}, {**options, "seed": seed})


def generate(seed: int = 0, **options: Any) -> Result:
    """Generate brains: `generate(age=30, sex="female", ventricles=20, samples=2, seed=7)`.

    `result["brains"].volumes` are the brains on a 2 mm grid in MNI space, `result["volumes"].rows` what was
    asked for and what was measured. `options` are the parameters of the task (`braindiffusion generate
    --help`) and those of `engine.run`, as for `heal`.
    """
    return _run("generate", {}, {**options, "seed": seed})


def edit(scan: str | Path | Volume, **options: Any) -> Result:
    """The person's brain as it would be: `edit("scan.nii.gz", ventricles_by=10)`, on the scan's own grid.

    `options` are the parameters of the task (`braindiffusion edit --help`) and those of `engine.run`, as for
    `heal`. Raises Refused for a scan that cannot be used.
    """
    return _run("edit", {"scan": scan}, options)


def morph(scan: str | Path | Volume, other: str | Path | Volume, **options: Any) -> Result:
    """Brains on the way from one scan's to the other's, as `result["morph"].volumes` in MNI space.

    `options` are the parameters of the task (`braindiffusion morph --help`) and those of `engine.run`, as for
    `heal`. Raises Refused for a scan that cannot be used.
    """
    return _run("morph", {"scan": scan, "other": other}, options)


def _run(task: str, inputs: dict[str, Any], options: dict[str, Any]) -> Result:
    """Run a task; the options of the engine are told from the task's parameters by their names."""
    from . import engine

    settings = {name: options.pop(name) for name in _ENGINE_OPTIONS if name in options}
    return engine.run(task, inputs, options, **settings)


def inspect(
    scan: str | Path | Volume, *, frame: int | None = None, orientation: str | None = None
) -> Verdict:
    """What the gate says about a scan: passed, repaired (with notes) or refused (with the reason)."""
    from .imaging import gate

    return gate.inspect(scan, frame=frame, orientation=orientation)


def load_model(name: str, device: str = "cpu") -> Any:
    """The network of that name, its hash and fingerprint checked."""
    from .models.loading import load_model as load

    return load(name, device)
