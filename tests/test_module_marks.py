"""Files of made-up voxels are known as such when they are read again, also where 3D Slicer wrote them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import module_scans
from braindiffusion.imaging.handover import write
from braindiffusion.imaging.io import write_nifti, write_nrrd
from braindiffusion.imaging.volume import Volume
from desktop_host import core  # noqa: F401
from module_runs import logic  # noqa: F401
from SlicerDiffusionLib import history, marks

pytestmark = pytest.mark.usefixtures("core")


def save(node, path, properties=None):
    """As 3D Slicer saves: by the node's own storage node, which knows nothing of marks."""
    if node.GetStorageNode() is None:
        node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    return bool(node.GetStorageNode().WriteData(node))


def read(path, kind="vtkMRMLScalarVolumeNode"):
    """As 3D Slicer reads: by a new node's own storage node."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(kind, "again")
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().ReadData(node)
    return node


def test_what_an_export_saved_is_marked_when_it_is_read_again(logic, tmp_path, monkeypatch):  # noqa: F811
    import shutil

    import slicer

    logic.run("heal", input=module_scans.scan("T1"))
    (entry,) = history.entries()
    shutil.rmtree(entry.folder())
    monkeypatch.setattr(slicer.util, "saveNode", save)
    folder = history.export(entry, tmp_path)
    slicer.mrmlScene.Clear(False)
    kinds = {".nrrd": "vtkMRMLScalarVolumeNode", ".seg.nrrd": "vtkMRMLSegmentationNode"}
    for name, made in [
        ("healed_synthetic.nrrd", True),
        ("heatmap_synthetic.nrrd", True),
        ("findings_labels_synthetic.seg.nrrd", True),
        ("anatomy.seg.nrrd", False),
    ]:
        node = read(folder / name, kinds[name[name.index(".") :]])
        marks.markIfFileSaysSo(node)
        assert marks.isSynthetic(node) is made, name
    said = json.loads((folder / "healed_synthetic.json").read_text(encoding="utf-8"))
    assert said["Synthetic"] is True and said["Provenance"]["artifact"]["role"] == "healed"
    assert (folder / "findings_synthetic.json").is_file() and not (folder / "anatomy.seg.json").exists()


def made_up(path, synthetic=True):
    """A file of the engine's, as it writes them, and alone."""
    volume = Volume(np.random.default_rng(0).uniform(0, 9, (8, 9, 10)).astype(np.float32), np.eye(4))
    if path.name == "handed.nrrd":
        write(volume, path, synthetic=synthetic)
    elif path.suffix == ".nrrd":
        write_nrrd(volume, path, synthetic=synthetic, description="made up")
    else:
        write_nifti(volume, path, synthetic=synthetic, description="made up")
    path.with_name("scan.json").unlink(missing_ok=True)
    return path


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "handed.nrrd"])
@pytest.mark.parametrize("synthetic", [True, False])
def test_the_header_alone_marks_what_the_engine_wrote(tmp_path, name, synthetic):
    node = read(made_up(tmp_path / name, synthetic))
    marks.markIfFileSaysSo(node)
    assert marks.isSynthetic(node) is synthetic


def test_a_damaged_or_vanished_file_is_not_marked_and_no_error(tmp_path):
    file = made_up(tmp_path / "scan.nii.gz")
    node = read(file)
    file.write_bytes(file.read_bytes()[:20])
    marks.markIfFileSaysSo(node)
    file.unlink()
    marks.markIfFileSaysSo(node)
    assert not marks.isSynthetic(node)


def test_a_scan_beside_another_files_json_is_not_marked(tmp_path):
    file = made_up(tmp_path / "scan.nii.gz", synthetic=False)
    (tmp_path / "scan.json").write_text('{"Manufacturer": "X", "Synthetic": "no"}', encoding="utf-8")
    node = read(file)
    marks.markIfFileSaysSo(node)
    assert not marks.isSynthetic(node)


def test_the_views_say_it_of_a_segmentation_that_was_read(logic, tmp_path, qtbot):  # noqa: F811
    from SlicerDiffusionLib import corner

    nodes = logic.run("heal", input=module_scans.scan("T1"))
    path = tmp_path / "mine.seg.nrrd"
    assert save(nodes["findings_labels"], path)
    marks.markFile(nodes["findings_labels"], path)
    node = read(path, "vtkMRMLSegmentationNode")
    watching = corner.Corner()
    try:
        watching._markRead()
    finally:
        watching.cleanup()
    assert marks.isSynthetic(node)
