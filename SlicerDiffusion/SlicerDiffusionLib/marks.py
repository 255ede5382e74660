"""What the nodes of a run say of themselves, in attributes that are saved with the scene.

Each node of a run carries its record, so a run is whole as long as one of its nodes is there, and no node
depends on another. The record is a JSON object:

    {"run", "started", "task", "title", "parameters", "options", "inputs": {name: the node's name}, "seconds",
     "plausible", "verdict", "notes", "provenance", "folder", "plots": {role: path},
     "artifact": {"role", "kind", "display", "of", "synthetic"}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SYNTHETIC = "BrainDiffusion.Synthetic"
RUN = "BrainDiffusion.Run"
ROLE = "BrainDiffusion.Role"
PROVENANCE = "BrainDiffusion.Provenance"
# Node references from a result to the images that it was made from.
INPUT = "BrainDiffusion.Input."

NOTICE = "SYNTHETIC – research use only"
WORD = "SYNTHETIC"


def mark(node: Any, record: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Write the record on a node, and references to the input nodes that are still in the scene."""
    artifact = record["artifact"]
    node.SetAttribute(SYNTHETIC, "YES" if artifact["synthetic"] else None)
    node.SetAttribute(RUN, record["run"])
    node.SetAttribute(ROLE, artifact["role"])
    node.SetAttribute(PROVENANCE, json.dumps(record, ensure_ascii=False))
    for name, image in inputs.items():
        if image is not None and image.GetScene() is not None:
            node.SetNodeReferenceID(INPUT + name, image.GetID())


def isSynthetic(node: Any) -> bool:
    """Whether made-up voxels are in a node, or led to it."""
    return node is not None and node.GetAttribute(SYNTHETIC) == "YES"


def markIfFileSaysSo(node: Any) -> None:
    """Mark a volume that was read from a file which says, in the JSON beside it, that it is made up."""
    stored = node.GetStorageNode()
    file = Path((stored.GetFileName() or "") if stored is not None else "")
    if node.GetAttribute(SYNTHETIC) or not file.name:
        return
    sidecar = file.with_name(file.name.removesuffix(".gz").rpartition(".")[0] + ".json")
    try:
        said = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # most files have no such neighbour
        return
    if isinstance(said, dict) and said.get("Synthetic") is True:
        node.SetAttribute(SYNTHETIC, "YES")


def runOf(node: Any) -> str | None:
    """The run that a node comes from; None for all others."""
    return node.GetAttribute(RUN)


def roleOf(node: Any) -> str:
    return node.GetAttribute(ROLE) or ""


def recordOf(node: Any) -> dict[str, Any]:
    """The record of a node; empty where it has none, or one that cannot be read."""
    try:
        record = json.loads(node.GetAttribute(PROVENANCE) or "{}")
    except ValueError:  # edited by hand
        return {}
    return record if isinstance(record, dict) else {}


def inputOf(node: Any, name: str) -> Any:
    """The image that a node was made from, None where it has left the scene."""
    return node.GetNodeReference(INPUT + name)


def nodesOfRuns() -> dict[str, dict[str, Any]]:
    """{run: {role: node}} of all runs in the scene, in the order in which they were made."""
    import slicer

    scene = slicer.mrmlScene
    runs: dict[str, dict[str, Any]] = {}
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        run = runOf(node)
        if run is not None and roleOf(node):
            runs.setdefault(run, {}).setdefault(roleOf(node), node)  # a clone comes after its original
    return dict(sorted(runs.items(), key=lambda item: started(item[1])))


def started(nodes: dict[str, Any]) -> str:
    """When a run began, as its nodes say, in a form that can be sorted."""
    return next((str(record.get("started", "")) for record in map(recordOf, nodes.values()) if record), "")


def name(base: str, role: str, synthetic: bool) -> str:
    """The name of a result's node; made-up voxels say so in it."""
    return " ".join([base, role.replace("_", " "), *([WORD] if synthetic else [])])
