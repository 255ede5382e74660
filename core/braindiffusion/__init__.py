"""BrainDiffusion: heal, generate and inspect brain scans with diffusion models. Research use only.

    import braindiffusion as bd
    result = bd.heal("scan.nii.gz", seed=7)
    result["heatmap"].volume, result.findings, result.provenance

Importing the package imports neither torch nor any other heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["heal", "inspect", "load_model", "__version__"]

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
    from . import engine

    settings = {name: options.pop(name) for name in _ENGINE_OPTIONS if name in options}
    return engine.run("heal", {"scan": scan}, options, seed=seed, **settings)


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
