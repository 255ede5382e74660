"""Where the files of runs are: kept when the program ends, and tidied up when they are old or many."""

from __future__ import annotations

import os
import shutil
import sys
import time
import types
from pathlib import Path
from urllib.request import url2pathname

import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import logic  # noqa: F401
from SlicerDiffusionLib import places

pytestmark = pytest.mark.usefixtures("core")
DAY = 86400


@pytest.fixture
def home(core, tmp_path, monkeypatch):  # noqa: F811
    """An empty folder for runs, with a name that is not plain ASCII."""
    before = core.settings().value(places.RUNS_SETTING)
    core.settings().setValue(places.RUNS_SETTING, str(tmp_path / "Läufe"))
    yield tmp_path / "Läufe"
    core.settings().setValue(places.RUNS_SETTING, before)


def made(days: float, size: int = 10, inside: str = "result") -> Path:
    """The folder of a run that ended so many days ago."""
    folder = places.newRunFolder()
    shutil.rmtree(folder / "inputs")
    (folder / inside).mkdir()
    (folder / inside / "healed.nii.gz").write_bytes(b"x" * size)
    os.utime(folder, (time.time() - days * DAY,) * 2)
    return folder


def test_without_a_setting_runs_are_kept_in_the_users_own_data(core, tmp_path, monkeypatch):  # noqa: F811
    import qt

    before = core.settings().value(places.RUNS_SETTING)
    core.settings().remove(places.RUNS_SETTING)
    monkeypatch.setattr(qt.QStandardPaths, "writableLocation", lambda _kind: str(tmp_path))
    assert places.runsFolder() == tmp_path / "BrainDiffusion" / "runs"
    core.settings().setValue(places.RUNS_SETTING, before)


def test_the_files_of_a_run_are_there_after_the_program_has_ended(home, logic):  # noqa: F811
    import slicer

    nodes = logic.run("heal", input=module_scans.scan(), seed=7)
    (folder,) = home.iterdir()
    assert Path(slicer.app.temporaryPath) not in folder.parents
    assert sorted(path.name for path in folder.iterdir()) == ["result"], "what was handed over has gone"
    assert (folder / "result" / "result.json").is_file() and "healed" in nodes
    assert not (folder / "result" / ".handover").exists()


def test_a_folder_that_cannot_be_written_to_does_not_stop_a_run(core, home):  # noqa: F811
    import slicer

    home.write_text("a file is in the way")
    core.settings().setValue(places.RUNS_SETTING, str(home / "runs"))
    os.environ["XDG_DATA_HOME"], before = str(home), os.environ.get("XDG_DATA_HOME")
    try:
        assert Path(slicer.app.temporaryPath) in places.newRunFolder().parents
    finally:
        os.environ.pop("XDG_DATA_HOME") if before is None else os.environ.update(XDG_DATA_HOME=before)


def test_old_runs_go_and_others_stay(home, qtbot):
    new, old = made(29), made(31)
    mine = home / "my own things"
    mine.mkdir()
    os.utime(mine, (time.time() - 99 * DAY,) * 2)
    places.removeOldRuns()
    qtbot.waitUntil(lambda: not old.exists())
    assert new.exists() and mine.exists()


def test_the_oldest_go_where_all_take_too_much(home, qtbot, monkeypatch):
    monkeypatch.setattr(places, "_KEEP_BYTES", 2500)
    folders = [made(days, 1000) for days in (4, 3, 2, 1)]
    places.removeOldRuns()
    qtbot.waitUntil(lambda: not folders[0].exists() and not folders[1].exists())
    assert folders[2].exists() and folders[3].exists()


def test_a_run_that_goes_on_stays_and_one_that_broke_off_goes(home, monkeypatch):
    monkeypatch.setattr(places, "_KEEP_BYTES", 0)
    running, broken = made(0.5, inside="inputs"), made(2, inside="inputs")
    assert places.oldRuns() == [broken]
    assert running.exists()


def test_the_module_tidies_up_when_it_starts(home, logic, qtbot, monkeypatch):  # noqa: F811
    import SlicerDiffusion
    from module_window import load

    monkeypatch.setattr(SlicerDiffusion, "_TIDY_AFTER_MS", 0)
    old = made(31)
    _, panel = load()
    qtbot.waitUntil(lambda: not old.exists())
    panel.cleanup()
    panel.deleteLater()


def test_in_3d_slicer_the_sample_patient_is_among_slicers_own(core, monkeypatch):  # noqa: F811
    """Slicer calls this at its start; the window has no module Sample Data: a stand-in takes its place."""
    import slicer

    import SlicerDiffusion

    offered: list[dict[str, str]] = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(**source):
            offered.append(source)

    SlicerDiffusion._offerSample()
    assert not offered
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(slicer.modules, "sampledata", module, raising=False)
    SlicerDiffusion._offerSample()
    (source,) = offered
    assert source["uris"].startswith("file://") and source["fileNames"] == "sample-patient.nii.gz"
    assert Path(url2pathname(source["uris"].removeprefix("file://"))).is_file()
