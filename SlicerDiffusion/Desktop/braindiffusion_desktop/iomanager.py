"""`slicer.app.ioManager()`: what slicer.util.load*, save* and exportNode ask of Slicer's I/O manager."""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import slicer
import vtk

from .readers import ENDINGS, READERS
from .synthetic import SYNTHETIC, mark_file

if TYPE_CHECKING:
    from .core import CoreApp


class IOManager:
    """Readers and writers by Slicer's names of file types; a failure is False and a message."""

    def __init__(self, core: CoreApp) -> None:
        self._core = core

    # reading

    def loadNodes(
        self, file_type: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None
    ) -> bool:
        """Read a file into the scene; `loaded` (vtkCollection) takes the nodes."""
        path = str(properties.get("fileName", ""))
        messages = messages if messages is not None else slicer.vtkMRMLMessageCollection()
        if file_type != "SceneFile" and file_type not in READERS:
            return _fail(messages, f"This window cannot read files of the type {file_type}.")
        if not os.path.exists(path):
            return _fail(messages, f"There is no file '{path}'; check its name.")
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear")), messages)
        node = READERS[file_type](self._core, path, properties, messages)
        if node is None:
            return _fail(messages, f"{os.path.basename(path)} could not be read as {file_type}.")
        if node.IsA("vtkMRMLVolumeNode") and properties.get("show", True):
            self._core.show_volume(node)
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def fileType(self, path: str) -> str:
        """The type that a file's name asks for; a volume where it says nothing."""
        name = os.path.basename(str(path)).lower()
        return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), "VolumeFile")

    def registeredFileReaderCount(self, file_type: str) -> int:
        return int(file_type in READERS or file_type == "SceneFile")

    def _load_scene(self, path: str, clear: bool, messages: Any) -> bool:
        damage = damage_of_scene(path)
        if damage:
            return _fail(messages, damage)
        scene = self._core.scene
        if path.lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    # writing

    def fileWriterFileType(self, node: Any, _path: str | None = None) -> str:
        return node.GetClassName()

    def fileWriterExtensions(self, node: Any) -> list[str]:
        """What a node can be written as, such as "NRRD (.nrrd)"."""
        if node.IsA("vtkMRMLVolumeNode"):  # its storage node leaves the list to ITK
            types = slicer.vtkDataFileFormatHelper().GetITKSupportedWriteFileFormats()
        else:
            storage = node.GetStorageNode() or _default_storage(node)
            types = storage.GetSupportedWriteFileTypes() if storage is not None else vtk.vtkStringArray()
        return [types.GetValue(i) for i in range(types.GetNumberOfValues())]

    def extractKnownExtension(self, path: str, node: Any) -> str:
        """The longest ending of a path that the node can be written as, such as ".nii.gz"; "" for none."""
        known = {
            match.group(1) for text in self.fileWriterExtensions(node) if (match := _ENDING.search(text))
        }
        fitting = [ending for ending in known if str(path).lower().endswith(ending.lower())]
        return max(fitting, key=len, default="")

    def saveNodes(self, _file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """Write one node ("nodeID") or, without it, the scene to "fileName"."""
        path = str(properties["fileName"])
        messages = messages if messages is not None else slicer.vtkMRMLMessageCollection()
        identity = properties.get("nodeID")
        if identity is None:
            return self._save_scene(path, messages)
        node = self._core.scene.GetNodeByID(identity)
        if node is None:
            return _fail(messages, "The node is no longer in the scene.")
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        return _write(node, node.GetStorageNode(), path, properties, messages)

    def exportNodes(
        self,
        identities: list[str],
        paths: list[str],
        properties: dict[str, Any],
        harden: bool,
        messages: Any = None,
    ) -> bool:
        """Write copies of nodes; where the nodes themselves are saved stays as it was.

        harden: apply the parent transforms to the copies, so that the files are in world coordinates.
        """
        messages = messages if messages is not None else slicer.vtkMRMLMessageCollection()
        done = True
        for identity, path in zip(identities, paths):
            node = self._core.scene.GetNodeByID(identity)
            if node is None:
                done = _fail(messages, "The node is no longer in the scene.")
            else:
                done = self._export(node, path, properties, harden, messages) and done
        return done

    def _export(self, node: Any, path: str, properties: dict[str, Any], harden: bool, messages: Any) -> bool:
        scene = slicer.vtkMRMLScene()
        copy = scene.AddNewNodeByClass(node.GetClassName(), node.GetName())
        copy.CopyContent(node, harden)  # a deep copy only where it will be changed
        copy.SetAttribute(SYNTHETIC, node.GetAttribute(SYNTHETIC))
        if harden and node.GetParentTransformNode() is not None:
            _harden(copy, node.GetParentTransformNode())
        storage = _default_storage(copy)
        if storage is not None:
            scene.AddNode(storage)
        return _write(copy, storage, str(path), properties, messages)

    def _save_scene(self, path: str, messages: Any) -> bool:
        scene = self._core.scene
        scene.StartState(scene.SaveState)  # modules bring their parameters up to date when they hear it
        try:
            return self._write_scene(Path(path).resolve(), messages)
        finally:
            scene.EndState(scene.SaveState)

    def _write_scene(self, target: Path, messages: Any) -> bool:
        """Write a bundle (.mrb), a .mrml file with the data beside it, or a folder with both."""
        scene = self._core.scene
        if target.suffix.lower() == ".mrb":
            return self._save_bundle(target, messages)
        if target.suffix.lower() != ".mrml":
            target.mkdir(parents=True, exist_ok=True)
            return bool(scene.SaveSceneToSlicerDataBundleDirectory(str(target), None, messages))
        if not target.parent.is_dir():
            return _fail(messages, f"There is no folder '{target.parent}'; make it, or choose another.")
        for node in self._storable():
            if node.GetStorageNode() is not None and node.GetStorageNode().GetFileName():
                _make_absolute(node.GetStorageNode())
        scene.SetURL(str(target))
        folder = target.with_name(target.stem + "_data")
        return self._save_data(folder, messages) and bool(scene.Commit(str(target), messages))

    def _save_bundle(self, target: Path, messages: Any) -> bool:
        """Write beside the target first: where the disk is full, the bundle that was there stays."""
        try:
            with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as folder:
                part = Path(folder, target.name)
                if not self._core.scene.WriteToMRB(str(part), None, messages):
                    return _fail(messages, f"{target.name} could not be written; look for space on the disk.")
                os.replace(part, target)
        except OSError as error:
            return _fail(messages, f"Nothing was written to '{target}': {error.strerror}.")
        return True

    def _save_data(self, folder: Path, messages: Any) -> bool:
        """Write the nodes that no file holds as they are now; the .mrml file itself holds no voxels."""
        done = True
        for node in self._storable():
            storage = node.GetStorageNode()
            if storage is not None and _is_stored(node, storage):
                continue
            if storage is None:
                node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
            if storage is None:
                continue  # there is nothing in it, or, as in a camera, nothing beside the scene's own file
            folder.mkdir(exist_ok=True)
            path = self._free_path(folder, node, storage)
            done = _write(node, storage, path, {}, messages) and done
        return done

    def _storable(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLStorableNode", self._core.scene)
        return [node for node in nodes if node.GetSaveWithScene()]

    def _free_path(self, folder: Path, node: Any, storage: Any) -> str:
        """A path for a node's data that no other node of the scene has."""
        others = (other.GetStorageNode() for other in self._storable() if other is not node)
        taken = {other.GetFullNameFromFileName() for other in others if other is not None}
        stem = re.sub(r"[^\w.-]+", "_", node.GetName() or node.GetID())
        ending = storage.GetDefaultWriteFileExtension() or "nrrd"
        numbered = (f"{stem}_{number}" if number else stem for number in count())
        return next(path for name in numbered if (path := str(folder / f"{name}.{ending}")) not in taken)

    def emitNewFileLoaded(self, *_: object) -> None: ...


_ENDING = re.compile(r"\((\.[^)]*)\)")


def _fail(messages: Any, sentence: str) -> bool:
    messages.AddMessage(vtk.vtkCommand.ErrorEvent, sentence)
    return False


def _default_storage(node: Any) -> Any:
    """A storage node that fits the node and is in no scene; None where there is none."""
    storage = node.CreateDefaultStorageNode() if node.IsA("vtkMRMLStorableNode") else None
    if storage is not None:
        storage.UnRegister(None)  # the variable owns it now
    return storage


def _write(node: Any, storage: Any, path: str, properties: dict[str, Any], messages: Any) -> bool:
    if storage is None:
        return _fail(messages, f"{node.GetName()} holds nothing that could be written to a file.")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        return _fail(messages, f"There is no folder '{os.path.dirname(path)}'; make it, or choose another.")
    if node.IsA("vtkMRMLVolumeNode") and path.lower().endswith((".nii", ".nii.gz")) and _sheared(node):
        return _fail(
            messages,
            f"The voxel axes of {node.GetName()} are not at right angles, which NIfTI would lose here; "
            "save it as .nrrd.",
        )
    storage.SetFileName(path)
    storage.SetUseCompression(int(properties.get("useCompression", True)))
    if properties.get("compressionParameter"):
        storage.SetCompressionParameter(properties["compressionParameter"])
    if storage.WriteData(node):
        return _mark(node, path, messages)
    messages.AddMessages(storage.GetUserMessages())
    return _fail(
        messages, f"{node.GetName()} could not be written to '{path}'; check the name and the space there."
    )


def _mark(node: Any, path: str, messages: Any) -> bool:
    try:
        mark_file(node, path)
    except OSError as error:
        os.unlink(path)  # made-up voxels do not lie about without their mark
        return _fail(messages, f"{node.GetName()} could not be written whole to '{path}': {error.strerror}.")
    return True


def _sheared(volume: Any) -> bool:
    directions = [[0.0] * 3 for _ in range(3)]
    volume.GetIJKToRASDirections(directions)
    columns = list(zip(*directions))
    return any(abs(vtk.vtkMath.Dot(columns[i], columns[j])) > 1e-4 for i, j in ((0, 1), (0, 2), (1, 2)))


def _harden(node: Any, transform: Any) -> None:
    if transform.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(matrix)
        node.ApplyTransformMatrix(matrix)
    else:
        to_world = vtk.vtkGeneralTransform()
        transform.GetTransformToWorld(to_world)
        node.ApplyTransform(to_world)


def _is_stored(node: Any, storage: Any) -> bool:
    """Whether a file holds the node as it is now."""
    return not node.GetModifiedSinceRead() and os.path.isfile(storage.GetFullNameFromFileName() or "")


def _make_absolute(storage: Any) -> None:
    """Name files by their whole path, so that they are found when the scene moves to another folder."""
    storage.SetFileName(storage.GetFullNameFromFileName())
    for i in range(storage.GetNumberOfFileNames()):
        storage.ResetNthFileName(i, storage.GetFullNameFromNthFileName(i))


def damage_of_scene(path: str) -> str | None:
    """What is wrong with a scene file, in a sentence: MRML itself empties the scene before it looks."""
    name = os.path.basename(path)
    try:
        if name.lower().endswith(".mrb"):
            with zipfile.ZipFile(path) as bundle:
                whole = any(member.endswith(".mrml") for member in bundle.namelist())
        else:
            whole = ElementTree.parse(path).getroot().tag == "MRML"
    except (zipfile.BadZipFile, ElementTree.ParseError):
        whole = False
    except OSError as error:
        return f"{name} cannot be opened: {error.strerror}."
    return None if whole else f"{name} is damaged, cut short or no scene of 3D Slicer; copy it again."
