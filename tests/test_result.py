"""A result on disk: whole or not at all, and never at the cost of somebody else's files."""

from __future__ import annotations

import csv
import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from braindiffusion.errors import BrainDiffusionError
from braindiffusion.result import Artifact, Result
from braindiffusion.result_folder import check_folder


@pytest.fixture
def result(scan) -> Result:
    heat = scan.with_data(np.linspace(0, 9, scan.data.size, dtype=np.float32).reshape(scan.data.shape))
    labels = scan.with_data((heat.data > 5).astype(np.int16))
    rows = [
        {"number": 1, "volume_ml": np.float32(1.5), "side": "right"},
        {"number": 2, "volume_ml": 0.25, "side": "left"},
    ]
    return Result(
        "heal",
        [
            Artifact("heatmap", "volume", heat, of="scan", display={"window": [2, 8]}),
            Artifact("findings_labels", "labels", labels, of="heatmap"),
            Artifact(
                "findings",
                "table",
                rows=rows,
                display={"columns": {"number": "number", "volume_ml": "volume (ml)"}},
            ),
            Artifact("picture", "plot", draw=lambda path: path.write_bytes(b"\x89PNG")),
        ],
        verdict="Plausible – fine.",
        notes=["One note."],
        provenance={"seed": 7, "affine": np.eye(2), "path": Path("a")},
    )


@pytest.fixture
def kinds(scan) -> Result:
    """A result with the kinds of artifact that heal has not."""
    frames = [scan.with_data(np.full(scan.shape, n, np.float32)) for n in range(3)]
    labels = scan.with_data((scan.data > 50).astype(np.int16))
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, -2], [0, 0, 1.5, 1], [0, 0, 0, 1.0]])
    return Result(
        "morph",
        [
            Artifact("samples", "sequence", volumes=frames, of="scan"),
            Artifact("parcels", "segmentation", labels, of="scan", synthetic=False),
            Artifact("pose", "transform", matrix=turn),
            Artifact("warp", "transform", volumes=frames),
        ],
    )


def test_mapping(result):
    assert list(result) == ["heatmap", "findings_labels", "findings", "picture"] and len(result) == 4
    assert result["heatmap"].kind == "volume" and "healed" not in result
    assert [row["number"] for row in result.findings] == [1, 2]
    with pytest.raises(KeyError):
        result["healed"]


def test_save_then_load_gives_the_same(result, tmp_path):
    folder = result.save(tmp_path / "ünï çödé 脳" / "out")
    back = Result.load(folder)
    assert (back.task, back.plausible, back.verdict, back.notes) == (
        "heal",
        True,
        "Plausible – fine.",
        ["One note."],
    )
    assert back.provenance == {"seed": 7, "affine": [[1, 0], [0, 1]], "path": "a"}
    for role in ("heatmap", "findings_labels"):
        assert back[role].volume.data.dtype == result[role].volume.data.dtype
        np.testing.assert_array_equal(back[role].volume.data, result[role].volume.data)
        np.testing.assert_allclose(back[role].volume.affine, result[role].volume.affine, atol=1e-5)
    assert back["heatmap"].display == {"window": [2, 8]} and back["findings_labels"].of == "heatmap"
    assert back.findings == [
        {"number": 1, "volume_ml": 1.5, "side": "right"},
        {"number": 2, "volume_ml": 0.25, "side": "left"},
    ]
    assert Result.load(folder / "result.json", voxels=False)["heatmap"].volume is None


def test_sequences_segmentations_and_transforms_come_back(kinds, scan, tmp_path):
    back = Result.load(kinds.save(tmp_path / "out"))
    assert {artifact.role: artifact.path for artifact in back.artifacts} == {
        "samples": "samples_synthetic.nii.gz", "parcels": "parcels.nii.gz", "pose": "pose.tfm",
        "warp": "warp.nrrd",
    }  # fmt: skip
    for role in ("samples", "warp"):
        assert [volume.data.mean() for volume in back[role].volumes] == [0, 1, 2]
        np.testing.assert_allclose(back[role].volumes[0].affine, scan.affine, atol=1e-5)
    np.testing.assert_array_equal(back["parcels"].volume.data, kinds["parcels"].volume.data)
    np.testing.assert_allclose(back["pose"].matrix, kinds["pose"].matrix)


def test_transforms_are_written_as_itk_reads_them(kinds, scan, tmp_path):
    """In LPS, from a place to where its tissue came from."""
    import SimpleITK as sitk

    folder = kinds.save(tmp_path / "out")
    place = np.array([3.0, -4.0, 5.0])
    flip = np.array([-1, -1, 1])
    pose = sitk.ReadTransform(str(folder / "pose.tfm"))
    moved = (kinds["pose"].matrix @ [*place, 1])[:3]
    np.testing.assert_allclose(pose.TransformPoint((place * flip).tolist()), moved * flip)
    warp = sitk.DisplacementFieldTransform(
        sitk.Cast(sitk.ReadImage(str(folder / "warp.nrrd")), sitk.sitkVectorFloat64)
    )
    inside = (scan.affine @ [10, 12, 8, 1])[:3]
    np.testing.assert_allclose(
        warp.TransformPoint((inside * flip).tolist()), (inside + [0, 1, 2]) * flip, atol=1e-4
    )


def test_a_transform_that_is_none_is_not_written(scan, tmp_path):
    for content in ({"matrix": np.zeros((4, 4))}, {"volumes": [scan, scan]}):
        with pytest.raises(BrainDiffusionError, match="transform"):
            Result("morph", [Artifact("pose", "transform", **content)]).save(tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_manifest_and_files_say_synthetic(result, tmp_path):
    folder = result.save(tmp_path / "out")
    manifest = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert manifest["format"] == "braindiffusion result 1" and "SYNTHETIC" in manifest["notice"]
    entry = manifest["artifacts"][0]
    assert entry == {"role": "heatmap", "kind": "volume", "path": "heatmap_synthetic.nii.gz",
                     "display": {"window": [2, 8]}, "of": "scan", "synthetic": True}  # fmt: skip
    assert sorted([*manifest["files"], "result.json"]) == sorted(file.name for file in folder.iterdir())
    sidecar = json.loads((folder / "heatmap_synthetic.json").read_text(encoding="utf-8"))
    assert sidecar["Synthetic"] is True and sidecar["Provenance"]["seed"] == 7


def test_table_has_the_named_columns_only(result, tmp_path):
    folder = result.save(tmp_path / "out")
    with (folder / "findings.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["number", "volume (ml)"], ["1", "1.5"], ["2", "0.25"]]


def test_a_new_result_replaces_an_earlier_one(result, tmp_path):
    folder = result.save(tmp_path / "out")
    (folder / ".DS_Store").write_text("litter")
    result.artifacts = [artifact for artifact in result.artifacts if artifact.role != "picture"]
    result.save(folder)
    assert not (folder / "picture.png").exists() and "picture" not in Result.load(folder)


def test_an_empty_folder_is_taken(result, tmp_path):
    assert Result.load(result.save(tmp_path)).task == "heal"


def test_other_files_are_never_touched(result, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.doc").write_text("years of work")
    with pytest.raises(BrainDiffusionError, match="holds files that are not a result"):
        result.save(mine)
    assert [file.name for file in mine.iterdir()] == ["thesis.doc"]

    folder = result.save(tmp_path / "out")
    (folder / "notes.txt").write_text("my own notes")
    before = sorted(file.name for file in folder.iterdir())
    with pytest.raises(BrainDiffusionError, match="notes.txt"):
        result.save(folder)
    assert sorted(file.name for file in folder.iterdir()) == before


def test_a_manifest_cannot_name_files_elsewhere(result, tmp_path):
    folder = result.save(tmp_path / "out")
    outside = tmp_path / "outside.txt"
    outside.write_text("precious")
    manifest = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    (folder / "result.json").write_text(
        json.dumps(manifest | {"files": [*manifest["files"], "../outside.txt"]})
    )
    result.save(folder)
    assert outside.read_text(encoding="utf-8") == "precious"
    manifest["artifacts"][0]["path"] = "../outside.txt"
    (folder / "result.json").write_text(json.dumps(manifest))
    with pytest.raises(BrainDiffusionError, match="not whole"):
        Result.load(folder)


@pytest.mark.parametrize(
    "fault", [KeyboardInterrupt(), RuntimeError("a bug"), OSError(errno.ENOSPC, "No space left")]
)
def test_a_failed_save_leaves_nothing(result, tmp_path, fault):
    def fail(path):
        path.write_bytes(b"half a pict")
        raise fault

    result["picture"].draw = fail
    with pytest.raises((KeyboardInterrupt, RuntimeError, BrainDiffusionError)) as caught:
        result.save(tmp_path / "new" / "deep" / "out")
    assert list(tmp_path.iterdir()) == []
    if isinstance(fault, OSError):
        assert "the disk is full" in str(caught.value) and "nothing was kept" in str(caught.value)


def test_a_failed_save_keeps_the_earlier_result(result, tmp_path):
    folder = result.save(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    result["picture"].draw = lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "broken disk"))
    with pytest.raises(BrainDiffusionError, match="broken disk"):
        result.save(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_failed_save_leaves_what_others_wrote_meanwhile(result, tmp_path):
    """Two jobs begin in a new folder of results; one is done when the other one's disk is full."""
    results = tmp_path / "study" / "results"
    draw = result["picture"].draw

    def other_job_first(path):
        result["picture"].draw = draw
        result.save(results / "sub-02")
        raise OSError(errno.ENOSPC, "No space left")

    result["picture"].draw = other_job_first
    with pytest.raises(BrainDiffusionError, match="the disk is full"):
        result.save(results / "sub-01")
    assert [folder.name for folder in results.iterdir()] == ["sub-02"]
    assert Result.load(results / "sub-02").task == "heal"


def cut_off(monkeypatch, moves: int, fault: BaseException) -> None:
    """Lets a save move that many files and then fails once."""
    left, move = [moves], os.replace

    def replace(source, target):
        left[0] -= 1
        if left[0] == -1:
            raise fault
        move(source, target)

    monkeypatch.setattr("braindiffusion.result_folder.os.replace", replace)


@pytest.mark.parametrize("moves", [0, 1, 3, 7, 9, 12])
def test_a_replacement_that_is_interrupted_keeps_the_earlier_result(result, tmp_path, monkeypatch, moves):
    folder = result.save(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    result["findings"].rows[0]["volume_ml"] = 99.0
    result.artifacts.append(Artifact("more", "table", rows=[{"a": 1}]))
    cut_off(monkeypatch, moves, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        result.save(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert Result.load(result.save(folder)).findings[0]["volume_ml"] == 99.0


def test_a_save_that_was_killed_is_in_nobodys_way(result, tmp_path, monkeypatch):
    """Killed while files were moved: the next run finds what was there before, and then replaces it."""
    folder = result.save(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / ".unfinished-old").mkdir()
    (folder / ".unfinished-old" / "half.nii.gz").write_bytes(b"half")
    with monkeypatch.context() as patch:
        patch.setattr("braindiffusion.result_folder._put_back", lambda *places: None)
        patch.setattr("braindiffusion.result_folder.shutil.rmtree", lambda *places, **options: None)
        cut_off(patch, 9, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            result.save(folder)
    assert not (folder / "result.json").exists()
    check_folder(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    result.save(folder)
    assert sorted(file.name for file in folder.iterdir()) == sorted(before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_file_name_that_is_not_utf8_can_be_recorded(result, scan, tmp_path):
    source = os.fsdecode(b"/archive/M\xfcller.nii.gz")
    result.provenance["inputs"] = {"scan": {"source": source}}
    result.notes = [f"{source} was repaired."]
    back = Result.load(result.save(tmp_path / os.fsdecode(b"M\xfcller")))
    assert back.provenance["inputs"]["scan"]["source"] == r"/archive/M\xfcller.nii.gz"
    assert back.notes == [r"/archive/M\xfcller.nii.gz was repaired."]


def test_a_name_that_is_too_long_is_refused_before_the_run(tmp_path):
    for folder in (tmp_path / ("x" * 300), tmp_path / "new" / ("x" * 300)):
        with pytest.raises(BrainDiffusionError, match="cannot be written"):
            check_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_nan_never_reaches_the_manifest(result, tmp_path):
    result["findings"].rows[0]["volume_ml"] = float("nan")
    with pytest.raises(ValueError):
        result.save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_check_folder_before_a_run(tmp_path):
    (tmp_path / "a file").write_text("")
    with pytest.raises(BrainDiffusionError, match="is a file"):
        check_folder(tmp_path / "a file")
    with pytest.raises(BrainDiffusionError, match="is not a folder"):
        check_folder(tmp_path / "a file" / "below")
    assert check_folder(tmp_path / "new" / "deep") == [] and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "not a result"),
        ('{"format": "other"}', "not a result"),
        (None, "no result.json"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(BrainDiffusionError, match=said):
        Result.load(tmp_path)


def test_a_damaged_volume_is_refused(result, tmp_path):
    folder = result.save(tmp_path / "out")
    path = folder / "heatmap_synthetic.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BrainDiffusionError, match="damaged"):
        Result.load(folder)
    path.unlink()
    with pytest.raises(BrainDiffusionError, match="missing"):
        Result.load(folder)


def test_unknown_kinds_are_a_mistake():
    with pytest.raises(ValueError, match="kind"):
        Artifact("heatmap", "image")
