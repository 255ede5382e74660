"""What the gate asks when a file leaves something open: which image is meant, and which side is left."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from desktop_host import Qt, QTest, QtWidgets, core  # noqa: F401 (a fixture)

# isort: split
import scan_files
from braindiffusion_desktop import io, questions
from desktop_events import settle, wait
from desktop_window import drop, opened, scan_path, slicer, window  # noqa: F401 (fixtures)
from scene_volumes import affine_of, voxels_of
from SlicerDiffusionLib import marks

IMAGES = [scan_files.head(seed=number) * (number + 1) for number in range(3)]


@pytest.fixture
def user(window: Any) -> Any:
    """The window with somebody before it."""
    window.interactive = True
    return window


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """`answers(*acts)`: each dialog that comes up is handed to the next act, which says whether to open.

    Returns the titles of the dialogs so far.
    """

    def prepare(*acts: Callable[[Any], bool]) -> list[Any]:
        waiting, shown = list(acts), []
        open_now: list[Any] = []

        def execute(dialog: Any) -> int:
            assert not open_now, "two questions at once"
            open_now.append(dialog)
            shown.append(dialog.windowTitle())
            accepted = waiting.pop(0)(dialog)
            open_now.pop()
            dialog.done(int(accepted))
            return int(accepted)

        monkeypatch.setattr(questions.Question, "exec", execute)
        return shown

    return prepare


def several(folder: Path, coded: bool = True) -> Path:
    """A file of three images; not `coded`: without an orientation."""
    code = int(coded)
    data, path = np.stack(IMAGES, axis=-1), folder / "echoes.nii.gz"
    return scan_files.save_nifti(path, data, scan_files.oblique(), sform=code, qform=code)


def unsided(folder: Path, name: str = "unsided.nii") -> Path:
    """A file that does not say how it lies in the head."""
    affine = np.diag([1.0, 1.2, 2.5, 1.0])
    return scan_files.save_nifti(folder / name, scan_files.head(), affine, sform=0, qform=0)


def choose(letters: str) -> Callable[[Any], bool]:
    def act(dialog: Any) -> bool:
        for box, letter in zip(dialog.axes, letters):
            box.setCurrentIndex(box.findData(letter))
        return bool(dialog.open_button.isEnabled())

    return act


def leave(_dialog: Any) -> bool:
    return False


def test_the_user_chooses_one_of_several_images_and_sees_how_bright_they_are(user, answers, tmp_path):
    rows: list[str] = []

    def third(dialog: Any) -> bool:
        wait(lambda: "mean" in dialog.list.item(2).text())
        rows.extend(dialog.list.item(row).text() for row in range(dialog.list.count()))
        dialog.list.setCurrentRow(2)
        return True

    answers(third)
    drop(user, several(tmp_path))
    (node,) = opened(user)
    assert np.array_equal(voxels_of(node), IMAGES[2])
    assert rows == [f"Image {number} – mean brightness {IMAGES[number].mean():.4g}" for number in range(3)]
    assert json.loads(node.GetAttribute(io.STATED)) == {"frame": 2}
    assert "number 2 (counted from 0)" in user.banner.text and user.banner.kind == "news"


def test_an_image_that_cannot_be_used_is_named_before_it_is_chosen(tmp_path):
    data = np.stack([IMAGES[0], np.zeros_like(IMAGES[0])], axis=-1)
    path = scan_files.save_nifti(tmp_path / "half.nii", data)
    dialog = questions.FrameQuestion(None, path, 2)
    wait(lambda: "cannot be used" in dialog.list.item(1).text())
    assert "same value" in dialog.list.item(1).toolTip() and dialog.answer() == {"frame": 0}
    dialog.reject()
    dialog.deleteLater()
    settle()


def test_the_user_states_the_orientation_of_a_file_that_has_none(user, answers, tmp_path):
    shown = answers(choose("LAS"))
    drop(user, unsided(tmp_path))
    (node,) = opened(user)
    assert shown == ["Which side is left?"]
    assert nib.aff2axcodes(affine_of(node)) == ("L", "A", "S")
    assert json.loads(node.GetAttribute(io.STATED)) == {"orientation": "LAS"}
    assert "LAS was used as you stated" in user.banner.text


def test_what_was_stated_goes_to_the_engine_with_the_scan(user, answers, tmp_path, monkeypatch):
    answers(choose("LPS"))
    drop(user, unsided(tmp_path))
    (node,) = opened(user)
    assert marks.stated(node) == {"frame": None, "orientation": "LPS"}
    sent: list[dict[str, Any]] = []
    jobs = user.module.logic.jobs
    say = jobs.engine.say
    monkeypatch.setattr(jobs.engine, "say", lambda message: (sent.append(message), say(message)))
    user.run_button().click()
    wait(lambda: jobs.current is None and not jobs.waiting)
    (scan,) = [message["inputs"]["scan"] for message in sent if message["do"] == "run"]
    assert scan["orientation"] == "LPS" and scan["frame"] is None


def test_both_are_asked_where_both_are_open(user, answers, tmp_path):
    def second(dialog: Any) -> bool:
        dialog.list.setCurrentRow(1)
        return True

    shown = answers(second, choose("RAS"))
    drop(user, several(tmp_path, coded=False))
    (node,) = opened(user)
    assert shown == ["Which image?", "Which side is left?"]
    assert np.array_equal(voxels_of(node), IMAGES[1])
    assert json.loads(node.GetAttribute(io.STATED)) == {"frame": 1, "orientation": "RAS"}


@pytest.mark.parametrize("make", [several, unsided])
def test_cancelling_opens_nothing_and_says_nothing(user, answers, tmp_path, make):
    answers(leave)
    drop(user, make(tmp_path))
    assert opened(user) == [] and not user.banner.isVisible()
    assert user.core.settings().recent_files() == []


def test_files_that_are_dropped_together_ask_one_after_the_other(user, answers, tmp_path):
    def slowly(dialog: Any) -> bool:
        for _ in range(50):  # meanwhile the other file is read
            QtWidgets.QApplication.processEvents()
            QTest.qWait(10)
        return choose("RAS")(dialog)

    shown = answers(slowly, slowly)
    drop(user, unsided(tmp_path, "a.nii"), unsided(tmp_path, "b.nii"))
    assert sorted(node.GetName() for node in opened(user)) == ["a", "b"] and len(shown) == 2


@pytest.mark.parametrize("make, words", [(several, "--frame 0"), (unsided, "--orientation RAS")])
def test_without_a_user_the_file_is_refused_in_the_gates_sentence(window, answers, tmp_path, make, words):
    answers()
    drop(window, make(tmp_path))
    assert opened(window) == []
    assert window.banner.kind == "error" and words in window.banner.text


def test_nothing_is_preset_for_the_sides_and_the_enter_key_cancels(core, qtbot, tmp_path):
    dialog = questions.OrientationQuestion(None, tmp_path / "unsided.nii")
    qtbot.addWidget(dialog)
    words = dialog.findChild(QtWidgets.QLabel).text()
    assert "does not say which side is left: choose what you know from the scanner, or cancel" in words
    assert not dialog.open_button.isEnabled() and [box.currentData() for box in dialog.axes] == [""] * 3
    assert not choose("RLS")(dialog) and "same line" in dialog.said.text()
    assert choose("LPI")(dialog) and dialog.answer() == {"orientation": "LPI"}
    dialog.show()
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert dialog.result() == QtWidgets.QDialog.DialogCode.Rejected and not dialog.isVisible()
