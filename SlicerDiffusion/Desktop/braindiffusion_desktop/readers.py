"""One reader per file type of Slicer's: each adds one node to the scene, or gives None."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core import CoreApp

Properties = dict[str, Any]
_COMPOUND = (".nii.gz", ".seg.nrrd", ".seg.nhdr", ".mrk.json", ".mgh.gz")
_VOLUME_OPTIONS = {
    "labelmap": 1,
    "center": 2,
    "singleFile": 4,
    "autoWindowLevel": 8,
    "discardOrientation": 16,
}


def stem(path: str) -> str:
    """A file's name without its ending, also without one of two parts."""
    name = os.path.basename(path)
    ending = next(
        (ending for ending in _COMPOUND if name.lower().endswith(ending)), os.path.splitext(name)[1]
    )
    return name[: len(name) - len(ending)]


def _name(path: str, properties: Properties) -> str:
    return properties.get("name") or stem(path)


def _volume(core: CoreApp, path: str, properties: Properties, messages: Any) -> Any:
    options = sum(bit for key, bit in _VOLUME_OPTIONS.items() if properties.get(key))
    return core.logic("Volumes").AddArchetypeVolume(path, _name(path, properties), options, None, messages)


def _segmentation(core: CoreApp, path: str, properties: Properties, messages: Any) -> Any:
    logic, opacities = core.logic("Segmentations"), properties.get("autoOpacities", True)
    return logic.LoadSegmentationFromFile(path, opacities, _name(path, properties), None, messages)


def _transform(core: CoreApp, path: str, properties: Properties, messages: Any) -> Any:
    node = core.logic("Transforms").AddTransform(path, core.scene, messages)
    if node is not None and properties.get("name"):
        node.SetName(properties["name"])
    return node


def _colors(core: CoreApp, path: str, properties: Properties, messages: Any) -> Any:
    return core.logic("Colors").LoadColorFile(path, _name(path, properties), messages)


def _markups(core: CoreApp, path: str, properties: Properties, messages: Any) -> Any:
    identities = core.logic("Markups").LoadMarkups(path, _name(path, properties), messages)
    return core.scene.GetNodeByID(identities.split(",")[0]) if identities else None


def _model(core: CoreApp, path: str, properties: Properties, messages: Any) -> Any:
    from slicer import vtkMRMLStorageNode

    system = properties.get("coordinateSystem", vtkMRMLStorageNode.CoordinateSystemLPS)
    return core.logic("Models").AddModel(path, system, messages)


def _table(core: CoreApp, path: str, properties: Properties, messages: Any) -> Any:
    return core.logic("Tables").AddTable(path, _name(path, properties), True, "", messages)


READERS: dict[str, Callable[[CoreApp, str, Properties, Any], Any]] = {
    "VolumeFile": _volume,
    "SegmentationFile": _segmentation,
    "TransformFile": _transform,
    "ColorTableFile": _colors,
    "MarkupsFile": _markups,
    "ModelFile": _model,
    "TableFile": _table,
}
ENDINGS = {  # endings that say the type; everything else is taken for a volume
    "SceneFile": (".mrml", ".mrb"),
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "TransformFile": (".tfm", ".h5", ".mat"),
    "ColorTableFile": (".ctbl",),
    "MarkupsFile": (".mrk.json", ".fcsv"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".ply", ".obj"),
    "TableFile": (".csv", ".tsv"),
}
