"""Opening and saving: scans, folders of DICOM files, scenes, screenshots."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from braindiffusion.paths import resources

from . import questions
from .io import NOTES, Loading
from .iomanager import damage_of_scene
from .kept import remember_scene

if TYPE_CHECKING:
    from braindiffusion.errors import Unanswered

SAMPLE = Path("samples") / "sample-patient.nii.gz"
_SCENES = (".mrb", ".mrml")
_SCANS = "Scans (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.mgz *.mgh *.dcm);;All files (*)"
_SCENE_FILES = "Scenes (*.mrb *.mrml)"
_NOTES_S = 30  # how long the notes on a scan stay above the views; they stay on its node
_MOST_SENTENCES = 4


def is_scene(path: str | Path) -> bool:
    return str(path).lower().endswith(_SCENES)


class Files(QtCore.QObject):
    """Opens and saves for a window; what goes wrong is said on its banner.

    Signals: `opened(object)` with the new node, or None for a scene; `refused(str)` with the sentence.
    """

    opened = QtCore.Signal(object)
    refused = QtCore.Signal(str)

    def __init__(self, window: Any) -> None:
        super().__init__(window)
        self._window = window
        self._settings = window.core.settings()
        self._going: list[Loading] = []
        self._asked: list[tuple[Path, dict[str, Any], Unanswered]] = []
        self._refusals: list[str] = []  # of what is being opened together, such as the files of one drop
        self._notes: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether something is being read, or asked about."""
        return bool(self._asked) or any(loading.going for loading in self._going)

    # -- scans

    def _read(self, path: Path, stated: dict[str, Any]) -> None:
        loading = Loading(
            path,
            lambda node: self._loaded(path, node),
            self.refuse,
            ask=lambda left_open: self._ask(path, stated, left_open),
            **stated,
        )
        self._going = [other for other in self._going if other.going] + [loading]
        self._say()

    def _ask(self, path: Path, stated: dict[str, Any], left_open: Unanswered) -> None:
        """Let the user state what a file leaves open, one file at a time; without a user it is refused."""
        if not self._window.interactive:
            self.refuse(str(left_open))
            return
        self._asked.append((path, stated, left_open))
        if len(self._asked) > 1:
            return  # another file's question is before the user
        while self._asked:
            path, stated, left_open = self._asked[0]
            answer = questions.ask(self._window, path, left_open)
            del self._asked[:1]
            if answer:
                self._read(path, stated | answer)
        self._say()

    # -- what a path leads to

    def open(self, path: str | Path) -> None:
        """Open a scan, a folder of DICOM files, a scene, or a segmentation, transform or colour table."""
        path = Path(path).expanduser().absolute()
        self._begin()
        if not path.exists():
            self.refuse(f"There is no file or folder '{path}'; it may have been moved or deleted.")
        elif is_scene(path):
            self.open_scene(path)
        elif path.is_file() and (kind := slicer.app.ioManager().fileType(str(path))) != "VolumeFile":
            self._open_node(path, kind)
        else:
            self._read(path, {})

    def open_sample(self) -> None:
        """Open the made-up patient that comes with the program."""
        self.open(resources() / SAMPLE)

    def refuse(self, sentence: str) -> None:
        """Say why something cannot be opened or saved, beside what else is wrong with what came together."""
        self._refusals.append(sentence)
        self._say()
        self.refused.emit(sentence)

    def _begin(self) -> None:
        """What the user does now: what was said before is over, unless it still goes on."""
        if not self.busy:
            self._refusals, self._notes = [], []

    def _say(self) -> None:
        """What is being read, what was refused and what is worth knowing, in one message."""
        banner = self._window.banner
        if self._refusals:
            said = [*self._refusals, *self._notes]
            more = [f"(and {len(said) - _MOST_SENTENCES} more)"] if len(said) > _MOST_SENTENCES else []
            banner.error(" ".join(said[:_MOST_SENTENCES] + more))
        elif reading := [one.path.name for one in self._going if one.going]:
            banner.news(f"Opening {', '.join(reading)} …")
        elif self._notes:
            banner.news(" ".join(self._notes), _NOTES_S)
        elif banner.kind != "question":
            banner.clear()

    def _loaded(self, path: Path, node: Any) -> None:
        self._settings.add_recent_file(str(path))
        notes = node.GetAttribute(NOTES) if node is not None else None
        if notes:
            self._notes.append(f"{node.GetName()}: " + notes.replace("\n", " "))
        self._say()
        self.opened.emit(node)

    def _open_node(self, path: Path, kind: str) -> None:
        """Segmentations, transforms and colours are small: MRML reads them while the user waits."""
        nodes = vtk.vtkCollection()
        if self._ask_io("loadNodes", kind, {"fileName": str(path)}, nodes):
            self._loaded(path, nodes.GetItemAsObject(0))

    def open_scene(self, path: str | Path) -> None:
        """Open a scene instead of the one that is open; asks first where something would be lost."""
        self._begin()
        damage = damage_of_scene(str(path))
        if damage:
            self.refuse(damage)
        else:
            self._window.guard.before(lambda: self._read_scene(Path(path)), "opening another scene")

    def _read_scene(self, path: Path) -> None:
        if self._ask_io("loadNodes", "SceneFile", {"fileName": str(path), "clear": True}, None):
            remember_scene(path)
            self._loaded(path, None)

    def save_scene(self, path: str | Path) -> bool:
        """Save all that is in the scene: .mrb is one file with all data, .mrml only refers to them."""
        path = Path(path)
        if not is_scene(path):
            path = path.with_name(path.name + ".mrb")
        self._begin()
        saved = self._ask_io("saveNodes", "SceneFile", {"fileName": str(path)})
        if saved:
            self._settings.add_recent_file(str(path))
            self._say()
        return saved

    def _ask_io(self, what: str, *arguments: Any) -> bool:
        """Let Slicer's I/O manager do something; what it complains of is said on the banner."""
        messages = slicer.vtkMRMLMessageCollection()
        QtWidgets.QApplication.setOverrideCursor(QtCore.Qt.CursorShape.WaitCursor)
        try:
            done = getattr(slicer.app.ioManager(), what)(*arguments, messages)
        finally:
            QtWidgets.QApplication.restoreOverrideCursor()
        if not done:
            name = Path(arguments[1]["fileName"]).name
            said = messages.GetNthMessageText(0) if messages.GetNumberOfMessages() else ""
            self.refuse(said or f"{name} could not be read or written; is the file or the disk damaged?")
        return done

    def close_scene(self) -> None:
        slicer.mrmlScene.Clear(False)
        self._window.banner.clear()

    def save_screenshot(self, path: str | Path) -> bool:
        """Save the views as they are, with their letters and the mark on made-up voxels."""
        saved = self._window.layouts.grab().save(str(path))
        if not saved:
            self._begin()
            self.refuse(f"The picture could not be saved to '{path}'; choose another name or folder.")
        return saved

    # -- dialogs, for the menu

    def ask_scan(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self._window, "Open scan", self._folder(), _SCANS)
        self._open_chosen(path)

    def ask_dicom(self) -> None:
        path = QtWidgets.QFileDialog.getExistingDirectory(self._window, "Open DICOM folder", self._folder())
        self._open_chosen(path)

    def ask_scene(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(
            self._window, "Open scene", self._folder(), _SCENE_FILES
        )
        self._open_chosen(path)

    def ask_save_scene(self) -> bool:
        """False where the user thought better of it, or it could not be saved."""
        path = str(Path(self._folder()) / "scene.mrb")
        path, _ = QtWidgets.QFileDialog.getSaveFileName(self._window, "Save scene", path, _SCENE_FILES)
        return bool(path) and self.save_scene(path)

    def ask_screenshot(self) -> None:
        path = str(Path(self._folder()) / time.strftime("screenshot-%Y%m%d-%H%M%S.png"))
        path, _ = QtWidgets.QFileDialog.getSaveFileName(
            self._window, "Export screenshot", path, "Pictures (*.png *.jpg)"
        )
        if path:
            self.save_screenshot(path)

    def _open_chosen(self, path: str) -> None:
        if path:
            self.open(path)

    def _folder(self) -> str:
        """Where the user was last."""
        recent = self._settings.recent_files()
        return str(Path(recent[0]).parent) if recent else str(Path.home())

    def finalize(self) -> None:
        self._asked.clear()
        for loading in self._going:
            loading.cancel()
