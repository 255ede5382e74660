"""Sequences, transforms and segmentations in the scene, from the files that the engine hands over."""

from __future__ import annotations

import numpy as np
import pytest

import module_scans
from braindiffusion.imaging import handover
from braindiffusion.imaging.volume import Volume
from braindiffusion.result import Artifact
from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import marks, panel, present, stepper, view

pytestmark = pytest.mark.usefixtures("core")

GRID = module_scans.GRIDS["oblique"]


def shown(artifact, folder, scan=None):
    """The node of an artifact, as a run would make it."""
    volumes = {}
    for name, volume in artifact.parts().items():
        handover.write(volume, folder / f"{name}.nrrd", synthetic=artifact.synthetic)
        volumes[name] = {"path": str(folder / f"{name}.nrrd"), "affine": volume.affine.tolist()}
    context = present.Context("MRHead", {"scan": scan}, volumes)
    record = {"run": "r1", "started": "2025-01-01", "title": "Morph 10:00"}
    entry = artifact.entry()
    if artifact.matrix is not None:
        entry["matrix"] = artifact.matrix.tolist()
    steps = present.nodes(record, {"artifacts": [entry]}, context)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value[artifact.role]


def samples(folder, scan=None, count=3):
    frames = [Volume(np.full((6, 5, 4), n, np.float32), GRID) for n in range(1, count + 1)]
    display = {"window": [0, 4], "index": "sample"}
    return shown(Artifact("samples", "sequence", volumes=frames, of="scan", display=display), folder, scan)


def seen(sequence):
    """The volume that shows a sequence."""
    return marks.volumeOf(sequence)


def test_the_images_of_a_sequence_can_be_stepped_through(tmp_path):
    import slicer

    sequence = samples(tmp_path)
    assert sequence.GetClassName() == "vtkMRMLSequenceNode" and sequence.GetNumberOfDataNodes() == 3
    assert sequence.GetName() == "MRHead samples SYNTHETIC" and sequence.GetIndexName() == "sample"
    volume, browser = seen(sequence), marks.browserOf(sequence)
    np.testing.assert_allclose(module_scans.grid_of(volume), GRID)
    for number in range(3):
        browser.SetSelectedItemNumber(number)
        assert (slicer.util.arrayFromVolume(volume) == number + 1).all()
        assert marks.isSynthetic(volume) and "SYNTHETIC" in volume.GetName()
        assert (volume.GetDisplayNode().GetWindow(), volume.GetDisplayNode().GetLevel()) == (4, 2)
    assert not panel.isScan(volume)  # it is a result, not a scan of the user's


def test_a_sequence_stays_made_up_when_the_scene_was_saved(tmp_path):
    import slicer

    samples(tmp_path)
    file = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(file)
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(file)
    sequence = view.nodesOf("vtkMRMLSequenceNode")[0]
    volume = seen(sequence)
    marks.browserOf(sequence).SetSelectedItemNumber(1)
    assert (slicer.util.arrayFromVolume(volume) == 2).all()
    assert marks.isSynthetic(volume) and marks.runOf(volume) == "r1" and not panel.isScan(volume)


def test_a_sequence_goes_with_all_that_shows_it(tmp_path):
    sequence = samples(tmp_path)
    folder = present.hierarchy().GetItemParent(present.hierarchy().GetItemByDataNode(seen(sequence)))
    assert present.hierarchy().GetItemName(folder) == "Morph 10:00"
    present.remove(sequence)
    for kind in ("vtkMRMLSequenceNode", "vtkMRMLSequenceBrowserNode", "vtkMRMLVolumeNode"):
        assert not view.nodesOf(kind), kind


def test_a_matrix_says_where_tissue_came_from(tmp_path):
    matrix = np.array([[0, -1, 0, 5], [1, 0, 0, -2], [0, 0, 1, 1], [0, 0, 0, 1.0]])
    node = shown(Artifact("pose", "transform", matrix=matrix, synthetic=False), tmp_path)
    assert node.GetClassName() == "vtkMRMLLinearTransformNode"
    place = (matrix @ [3, 4, 5, 1])[:3]  # the tissue at (3, 4, 5) came from here, and goes there again
    np.testing.assert_allclose(node.GetTransformToParent().TransformPoint(place), (3, 4, 5), atol=1e-6)


@pytest.mark.parametrize("grid", ["RAS", "LPS", "oblique"])
def test_displacements_move_to_the_right_the_front_and_up(grid, tmp_path):
    affine = module_scans.GRIDS[grid]
    field = [Volume(np.full((24, 20, 18), step, np.float32), affine) for step in (2.0, -1.0, 0.5)]
    field[0].data[:12] = 3.0  # one half of the grid comes from farther to the right
    node = shown(Artifact("warp", "transform", volumes=field), tmp_path)
    for voxel, right in (((18, 10, 9), 2.0), ((5, 10, 9), 3.0)):
        place = (affine @ [*voxel, 1])[:3]
        came = node.GetTransformFromParent().TransformPoint(place)
        np.testing.assert_allclose(came, place + [right, -1.0, 0.5], atol=1e-5)


def test_a_transform_moves_a_scan_as_the_engine_meant_it(tmp_path):
    """A scan under it shows, at each place, the voxel of the place that its tissue came from."""
    from SlicerDiffusionLib import handover as viewers

    scan = module_scans.scan(grid=module_scans.GRIDS["RAS"])
    matrix = np.eye(4)
    matrix[0, 3] = 3.0  # from 3 mm to the right
    scan.SetAndObserveTransformNodeID(shown(Artifact("pose", "transform", matrix=matrix), tmp_path).GetID())
    steps = viewers.write(scan, tmp_path / "scan.nrrd")
    while True:
        try:
            next(steps)
        except StopIteration as end:
            affine = np.array(end.value)
            break
    np.testing.assert_allclose(affine[:3, 3] - module_scans.GRIDS["RAS"][:3, 3], (-3, 0, 0))


CODES = {1: ["SCT", "89278009", "Putamen", "left"], 2: ["DCM", "110700", "Ventral Diencephalon", ""]}


def anatomy(folder, scan=None, kind="segmentation"):
    labels = np.zeros((6, 5, 4), np.int16)
    labels[1, 2, 3], labels[2, 2, 2], labels[4, 4, 3] = 1, 2, 3
    display = {"names": {1: "left putamen", 2: "ventral diencephalon"}, "codes": CODES}
    display = {key: {str(value): each for value, each in table.items()} for key, table in display.items()}
    return shown(Artifact("anatomy", kind, Volume(labels, GRID), of="scan", display=display), folder, scan)


@pytest.mark.parametrize("kind", ["labels", "segmentation"])
def test_segments_have_the_code_that_dicom_needs(kind, tmp_path):
    import slicer

    segmentation = anatomy(tmp_path, kind=kind).GetSegmentation()
    found = []
    for index in range(segmentation.GetNumberOfSegments()):
        tag = slicer.vtkSegment.GetTerminologyEntryTagName()
        entry = slicer.vtkSlicerTerminologyEntry()
        text = tagOf(segmentation.GetNthSegment(index), tag)
        assert slicer.vtkSlicerTerminologiesModuleLogic().DeserializeTerminologyEntry(text, entry)
        kind_, side = entry.GetTypeObject(), entry.GetTypeModifierObject()
        found.append((kind_.GetCodingSchemeDesignator(), kind_.GetCodeValue(), side.GetCodeMeaning()))
    assert found == [("SCT", "89278009", "Left"), ("DCM", "110700", None), ("SCT", "85756007", None)]


def tagOf(segment, tag):
    import vtk

    text = vtk.reference("")
    segment.GetTag(tag, text)
    return str(text)


def test_every_structure_of_the_brain_has_a_code():
    from braindiffusion.anatomy import STRUCTURES

    named = [structure for structure in STRUCTURES if structure.index]
    assert all(structure.code for structure in named)
    codes = [(*structure.code, structure.side) for structure in named]
    assert len(set(codes)) == len(codes)


def test_a_segmentations_reference_geometry_is_that_of_its_labels(tmp_path):
    import slicer
    import vtk

    scan = module_scans.scan(grid=GRID)
    scan.SetAndObserveTransformNodeID(module_scans.turn(40).GetID())  # the labels lie in the world
    node = anatomy(tmp_path, scan)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    image = slicer.vtkOrientedImageData()
    text = node.GetSegmentation().GetConversionParameter(name)
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), GRID, atol=1e-6)
    assert image.GetDimensions() == (6, 5, 4)


@pytest.fixture
def composite(core):  # noqa: F811
    """Makes what a slice view shows, which a cleared scene would keep."""
    import slicer

    made = []

    def make(name):
        known = view.composites().get(name)  # of views that tests before this one had
        if known is not None:
            known.SetBackgroundVolumeID(None)
            return known
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetLayoutName(name)
        made.append(slicer.mrmlScene.AddNode(node))
        return made[-1]

    yield make
    for node in made:
        slicer.mrmlScene.RemoveNode(node)


def test_a_slider_steps_through_the_images_in_the_views(qtbot, composite, tmp_path):
    import slicer

    scan = module_scans.scan()
    sequence = samples(tmp_path, scan)
    red, result, original = (composite(name) for name in ("Red", "ResultAxial", "OriginalAxial"))
    columns = {"ResultAxial": view.RESULT, "OriginalAxial": view.ORIGINAL}
    made = stepper.Stepper()
    nodes = {"samples": sequence}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "columnOf", lambda name: columns.get(name, ""))
        made.show(view.partsOf(nodes))
        assert made.slider.property("maximum") == 3 and made.label.property("text") == "3 samples: off"
        made.slider.setValue(2)
        assert made.label.property("text") == "Sample 2 of 3"
        assert (slicer.util.arrayFromVolume(made.volume) == 2).all()
        shown = made.volume.GetID()
        assert (red.GetBackgroundVolumeID(), result.GetBackgroundVolumeID()) == (shown, shown)
        assert original.GetBackgroundVolumeID() is None
        made.slider.setValue(0)
        assert red.GetBackgroundVolumeID() == scan.GetID()
    made.show(view.Parts())
    assert made.volume is None and not made.widget.isVisibleTo(None)


def test_every_column_is_named_after_what_it_shows(tmp_path):
    """A run that gave nothing but images to step through, as a morph."""
    nodes = {"samples": samples(tmp_path)}
    parts = view.partsOf(nodes)
    shown = [view.behind(parts, column) for column in (view.ORIGINAL, view.RESULT, view.MAP, "")]
    assert shown == [marks.volumeOf(nodes["samples"])] * 4
    assert {view._title(parts, column) for column in (view.ORIGINAL, view.RESULT, view.MAP)} == {"Samples"}
