"""A run's artifacts as nodes: named, marked, in one folder beside the input. One file per kind is in
presenters/.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import handover, marks, presenters

Presenter = Callable[[dict[str, Any], "Context"], Generator[None, None, Any]]


@dataclass(frozen=True)
class Context:
    """What a presenter may ask.

    base: name of the first input. inputs: the input nodes by name, None where one is gone. volumes: path and
    affine of the voxels of each role, as the engine handed them over; `role.1`, `role.2` and so on where an
    artifact has several images.
    """

    base: str
    inputs: dict[str, Any]
    volumes: dict[str, dict[str, Any]]

    def nameOf(self, artifact: dict[str, Any]) -> str:
        return marks.name(self.base, artifact["role"], artifact["synthetic"])

    def count(self, artifact: dict[str, Any]) -> int:
        """How many images an artifact has that has several."""
        return sum(role.rpartition(".")[0] == artifact["role"] for role in self.volumes)

    def image(self, artifact: dict[str, Any], number: int = 0) -> Generator[None, None, tuple[Any, Any]]:
        """Voxels of an artifact as vtkImageData, and its affine (4, 4), voxel index (i, j, k) to RAS mm.

        number: which image of several, from 1.
        """
        import numpy as np

        handed = self.volumes[f"{artifact['role']}.{number}" if number else artifact["role"]]
        image = yield from handover.read(handed["path"])
        return image, np.array(handed["affine"], float)


@cache
def registry() -> dict[str, Presenter]:
    """{kind: presenter} of every file in presenters/."""
    found = {}
    for info in pkgutil.iter_modules(presenters.__path__):
        module = importlib.import_module(f"{presenters.__name__}.{info.name}")
        found[module.KIND] = module.present
    return found


def nodes(
    record: dict[str, Any], manifest: dict[str, Any], context: Context
) -> Generator[None, None, dict[str, Any]]:
    """Make the nodes of a run, {role: node}; closed before its end, it removes what it has made.

    Artifacts of a kind that no presenter knows are passed over; `unshown` tells of them.
    """
    made: dict[str, Any] = {}
    try:
        for artifact in manifest["artifacts"]:
            presenter = registry().get(artifact["kind"])
            node = None if presenter is None else (yield from presenter(artifact, context))
            if node is not None:
                made[artifact["role"]] = node
                kept = {key: artifact.get(key) for key in ("role", "kind", "display", "of", "synthetic")}
                marks.mark(node, {**record, "artifact": kept}, context.inputs)
            yield
        members = [each for node in made.values() for each in (node, *companions(node))]
        putIntoFolder(record["title"], members, next(iter(context.inputs.values()), None))
        return made
    except BaseException:
        for node in made.values():
            remove(node)
        raise


def remove(node: Any) -> None:
    """Take a node out of the scene, with all that shows it."""
    import slicer

    others, browser = companions(node), marks.browserOf(node)
    count = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    shown = [node.GetNthDisplayNode(index) for index in range(count)]
    # The browser first: while it is there, it makes anew what shows its sequence.
    for each in [browser, node, *shown]:
        if each is not None and slicer.mrmlScene.IsNodePresent(each):
            slicer.mrmlScene.RemoveNode(each)
    for other in others:
        remove(other)


def companions(node: Any) -> list[Any]:
    """The volume that shows the images of a sequence; nothing for all other nodes."""
    shown = marks.volumeOf(node)
    return [shown] if shown is not None else []


def unshown(manifest: dict[str, Any]) -> list[str]:
    """A sentence for each artifact that this version cannot show."""
    return [
        f"This version cannot show '{item['role']}' ({item['kind']}); its file is in the result folder."
        for item in manifest["artifacts"]
        if item["kind"] not in registry()
    ]


def hierarchy() -> Any:
    """The subject hierarchy of the scene."""
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def putIntoFolder(title: str, members: list[Any], beside: Any) -> int:
    """A new folder of the subject hierarchy with these nodes in it, next to the node `beside`."""
    tree = hierarchy()
    parent = tree.GetSceneItemID()
    if beside is not None and beside.GetScene() is not None:
        item = tree.GetItemByDataNode(beside)
        parent = (tree.GetItemParent(item) if item else 0) or parent
    folder = tree.CreateFolderItem(parent, title)
    for node in members:
        item = tree.GetItemByDataNode(node) or tree.CreateItem(folder, node)
        tree.SetItemParent(item, folder)
    return folder


def plots(manifest: dict[str, Any], folder: str | Path) -> dict[str, str]:
    """{role: path} of the pictures of a run."""
    entries = [item for item in manifest["artifacts"] if item["kind"] == "plot" and item.get("path")]
    return {item["role"]: str(Path(folder, item["path"])) for item in entries}
