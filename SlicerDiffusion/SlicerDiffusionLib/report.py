"""Everything about a run as text: for a colleague, a bug report, or the panel."""

from __future__ import annotations

import json
import platform
from typing import Any

from . import job as jobs_
from . import marks

# Plain words for keys of the provenance, in the order in which they are shown.
_FACTS = (
    ("seed", "Seed"),
    ("model", "Model"),
    ("anatomy_model", "Anatomy model"),
    ("solver", "Sampler"),
    ("steps", "Steps"),
    ("threshold", "Threshold"),
    ("device", "Computed on"),
    ("device_name", "Device"),
    ("precision", "Precision"),
    ("voxels_changed", "Voxels changed"),
    ("voxels_outside_changed", "Voxels changed elsewhere"),
    ("started", "Started"),
)


def facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of what a reader asks first about a run's origin."""
    provenance = record.get("provenance", {})
    found = [(label, _short(provenance[key])) for key, label in _FACTS if provenance.get(key) is not None]
    for name, title in record.get("inputs", {}).items():
        found.insert(0, (name.replace("_", " ").capitalize(), title))
    if record.get("seconds"):
        found.append(("Took", duration(record["seconds"])))
    version = provenance.get("versions", {}).get("braindiffusion")
    return [*found, *([("Version", version)] if version else [])]


def _short(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        digest = str(value.get("sha256", ""))[:12]
        return f"{value['name']} ({digest}…)" if digest else str(value["name"])
    return f"{value:g}" if isinstance(value, float) else str(value)


def outside(record: dict[str, Any]) -> tuple[str, bool]:
    """How many voxels a run with a mask has changed outside it, as a sentence, and whether that is as it
    should be; no sentence where there was no mask, or nobody has counted.
    """
    changed = record.get("provenance", {}).get("voxels_outside_changed")
    if not isinstance(changed, int) or "mask" not in record.get("inputs", {}):
        return "", True
    return f"Voxels changed outside the mask: {changed}.", changed == 0


def duration(seconds: float) -> str:
    """ "0:42", "12:05" or "1:02:03"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def verdict(record: dict[str, Any]) -> str:
    """What is to be thought of a run, in sentences, one to a line."""
    return "\n".join(filter(None, [record.get("verdict", ""), *record.get("notes", [])]))


def text(record: dict[str, Any], log: str, last: jobs_.Job | None = None) -> str:
    """The report: versions, request, verdict, provenance, what happened last, and the log."""
    parts = [("BrainDiffusion report", _viewer())]
    if record:
        request = {
            key: record.get(key) for key in ("task", "parameters", "options", "inputs", "run", "folder")
        }
        parts.append(("Request", json.dumps(request, indent=2, ensure_ascii=False)))
        parts.append(("Verdict and notes", verdict(record)))
        parts.append(("Provenance", json.dumps(record.get("provenance"), indent=2, ensure_ascii=False)))
    if last is not None:
        told = f"{last.work.title}: {last.state} in '{last.stage}' after {last.elapsed:.1f} s. {last.message}"
        parts.append(("Last run", told.strip()))
        fault = last.faultText()
        if fault:
            parts.append(("Fault", fault))
    parts.append(("Log", log))
    parts.append(
        ("Note", f"{marks.NOTICE}. The log may hold names of files and images: read it before you send it.")
    )
    return "\n\n".join(f"== {title} ==\n{content}" for title, content in parts if content)


def _viewer() -> str:
    import slicer

    app = slicer.app
    name = getattr(app, "applicationName", "viewer")
    version = getattr(app, "applicationVersion", "")
    lines = [
        f"viewer: {name} {version}".rstrip(),
        f"viewer's Python: {platform.python_version()}",
        f"system: {platform.platform()}",
    ]
    return "\n".join(lines)


def toClipboard(nodes: dict[str, Any], log: str, last: jobs_.Job | None = None) -> None:
    """Put the report of a run in the scene, or of none, on the clipboard."""
    import qt

    qt.QApplication.clipboard().setText(runReport(nodes, log, last))


def runReport(nodes: dict[str, Any], log: str, last: jobs_.Job | None = None) -> str:
    """The report of a run in the scene."""
    record = next(iter(marks.recordOf(node) for node in nodes.values()), {})
    return text(record, log, last)
