"""What the nodes of a run say of themselves, in attributes that are saved with the scene.

Each node of a run carries its record, so a run is whole as long as one of its nodes is there, and no node
depends on another. The record is a JSON object:

    {"run", "started", "task", "title", "parameters", "options", "inputs": {name: the node's name},
     "parts": {name: id of the part of the node that was taken}, "seconds",
     "plausible", "verdict", "notes", "provenance", "folder", "plots": {role: path},
     "artifact": {"role", "kind", "display", "of", "synthetic"}}
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

SYNTHETIC = "BrainDiffusion.Synthetic"
RUN = "BrainDiffusion.Run"
ROLE = "BrainDiffusion.Role"
PROVENANCE = "BrainDiffusion.Provenance"
# Which image of a sequence of its run a volume was taken from: "role.number".
PART = "BrainDiffusion.Part"
# The window's: the file that a volume was read from, and how it was then (braindiffusion_desktop/io.py).
SOURCE, READ = "BrainDiffusion.Source", "BrainDiffusion.Read"
# The window's too: what the user stated where that file leaves it open.
STATED = "BrainDiffusion.Stated"
# Node references from a result to the images that it was made from.
INPUT = "BrainDiffusion.Input."

_HEADER_BYTES = 2**16
# Where NIfTI-1 and NIfTI-2 have their description, by the size of the header, in both byte orders.
_DESCRIPTIONS = {
    size.to_bytes(4, order): place for size, place in ((348, 148), (540, 240)) for order in ("little", "big")
}

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
    return node is not None and bearer(node).GetAttribute(SYNTHETIC) == "YES"


def markFile(node: Any, file: Path) -> None:
    """Say in a JSON file beside the file to which a node was just saved that it is made up, if it is.

    What is in a scene says so there; a file alone needs this, as Slicer writes no such word into images.
    Raises OSError where the disk refuses.
    """
    if isSynthetic(node):
        maker = {"GeneratedBy": [{"Name": "BrainDiffusion"}]}
        said = {"Synthetic": True, "Description": NOTICE, **maker, "Provenance": recordOf(node)}
        text = json.dumps(said, indent=1, ensure_ascii=False)
        _sidecar(file).write_text(text + "\n", encoding="utf-8")


def markIfFileSaysSo(node: Any) -> None:
    """Mark a volume or segmentation that was read from a file which says of itself that it is made up: in its
    header, or in the JSON beside it.
    """
    stored = node.GetStorageNode()
    file = Path((stored.GetFileName() or "") if stored is not None else "")
    if not node.GetAttribute(SYNTHETIC) and file.name and (_sidecarSaysSo(file) or _headerSaysSo(file)):
        node.SetAttribute(SYNTHETIC, "YES")


def _sidecar(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".gz").rpartition(".")[0] + ".json")


def _sidecarSaysSo(file: Path) -> bool:
    try:
        said = json.loads(_sidecar(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # most files have no such neighbour
        return False
    return isinstance(said, dict) and said.get("Synthetic") is True


def _headerSaysSo(file: Path) -> bool:
    """Whether a NIfTI file's description begins with the word, or an NRRD file has the key, as the engine and
    the window write them.
    """
    try:
        with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as opened:
            start = opened.read(_HEADER_BYTES)
    except (OSError, EOFError, zlib.error):  # who reads the voxels tells the user
        return False
    if start.startswith(b"NRRD"):
        header = re.split(rb"\r?\n\r?\n", start)[0]
        return re.search(rb"^Synthetic:= *true\r?$", header, re.M | re.I) is not None
    place = _DESCRIPTIONS.get(start[:4])
    return place is not None and start[place : place + 80].upper().startswith(WORD.encode())


def runOf(node: Any) -> str | None:
    """The run that a node comes from; None for all others. What shows a sequence comes from its run."""
    return bearer(node).GetAttribute(RUN)


def browserOf(sequence: Any) -> Any:
    """The browser of a sequence node; None where it has none, and for all other nodes."""
    found = _browsers(sequence.GetScene()) if sequence.IsA("vtkMRMLSequenceNode") else []
    return next((browser for browser in found if browser.GetMasterSequenceNode() is sequence), None)


def volumeOf(sequence: Any) -> Any:
    """The volume that shows the images of a sequence; None where it has none, and for all other nodes."""
    browser = browserOf(sequence)
    return browser.GetProxyNode(sequence) if browser is not None else None


def bearer(node: Any) -> Any:
    """The node that bears the marks: for a volume that shows a sequence, that is the sequence.

    What the volume bears itself is taken from the image that it shows, and is not saved with the scene.
    """
    if node.IsA("vtkMRMLScalarVolumeNode") and not node.GetAttribute(RUN):
        for browser in _browsers(node.GetScene()):
            sequence = browser.GetSequenceNode(node)
            if sequence is not None:
                return sequence
    return node


def _browsers(scene: Any) -> list[Any]:
    kind = "vtkMRMLSequenceBrowserNode"
    count = scene.GetNumberOfNodesByClass(kind) if scene is not None else 0
    return [scene.GetNthNodeByClass(index, kind) for index in range(count)]


def roleOf(node: Any) -> str:
    """What a node is in its run; what shows a sequence is what the sequence is."""
    return bearer(node).GetAttribute(ROLE) or ""


def recordOf(node: Any) -> dict[str, Any]:
    """The record of a node; empty where it has none, or one that cannot be read."""
    return _object(node, PROVENANCE)


def readFrom(node: Any) -> dict[str, Any]:
    """How a volume was when the window read it; empty where it did not."""
    return _object(node, READ)


def stated(node: Any) -> dict[str, Any]:
    """What the user stated when a volume was read: `frame`, which image of the file it is, and `orientation`;
    each None where the file leaves nothing open.
    """
    said = _object(node, STATED)
    return {key: said.get(key) for key in ("frame", "orientation")}


def _object(node: Any, attribute: str) -> dict[str, Any]:
    try:
        said = json.loads(node.GetAttribute(attribute) or "{}")
    except ValueError:  # edited by hand
        return {}
    return said if isinstance(said, dict) else {}


def inputOf(node: Any, name: str) -> Any:
    """The image that a node was made from, None where it has left the scene."""
    return node.GetNodeReference(INPUT + name)


def inputsOf(node: Any) -> list[Any]:
    """The images that a node was made from, as far as they are in the scene."""
    roles: list[str] = []
    node.GetNodeReferenceRoles(roles)
    found = [node.GetNodeReference(role) for role in roles if role.startswith(INPUT)]
    return [image for image in found if image is not None]


def nodesOfRuns() -> dict[str, dict[str, Any]]:
    """{run: {role: node}} of all runs in the scene, in the order in which they were made."""
    import slicer

    scene = slicer.mrmlScene
    runs: dict[str, dict[str, Any]] = {}
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        run = node.GetAttribute(RUN)
        if run and roleOf(node):
            runs.setdefault(run, {}).setdefault(roleOf(node), node)  # a clone comes after its original
    return dict(sorted(runs.items(), key=lambda item: started(item[1])))


def started(nodes: dict[str, Any]) -> str:
    """When a run began, as its nodes say, in a form that can be sorted."""
    return next((str(record.get("started", "")) for record in map(recordOf, nodes.values()) if record), "")


def name(base: str, role: str, synthetic: bool) -> str:
    """The name of a result's node; made-up voxels say so in it."""
    return " ".join([base, role.replace("_", " "), *([WORD] if synthetic else [])])
