"""What is handed to the engine: the voxels as they are, where they lie in the world, and nothing that is no
scan.
"""

from __future__ import annotations

import numpy as np
import pytest

import module_scans
from braindiffusion.imaging import handover as engine
from braindiffusion.imaging.volume import Volume
from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import handover
from SlicerDiffusionLib.job import Complaint

pytestmark = pytest.mark.usefixtures("core")


def finish(steps):
    """The value of a generator, and how many steps it took."""
    count = 0
    while True:
        try:
            next(steps)
            count += 1
        except StopIteration as end:
            return end.value, count


def written(node, tmp_path):
    """The volume as the engine reads it."""
    path = tmp_path / "scan.nrrd"
    affine, _ = finish(handover.write(node, path))
    return engine.read(path, affine, {"name": node.GetName()})


@pytest.mark.parametrize("grid", module_scans.GRIDS)
def test_the_engine_reads_the_same_voxels_at_the_same_place(tmp_path, grid):
    import slicer

    node = module_scans.scan(grid=module_scans.GRIDS[grid])
    there = written(node, tmp_path)
    np.testing.assert_array_equal(there.data.T, slicer.util.arrayFromVolume(node))
    np.testing.assert_allclose(there.affine, module_scans.GRIDS[grid], atol=1e-9)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_every_kind_of_number_arrives(tmp_path, kind):
    voxels = np.arange(60).reshape(3, 4, 5).astype(kind)
    node = module_scans.volume("numbers", voxels, np.eye(4))
    there = written(node, tmp_path)
    assert there.data.dtype == kind
    np.testing.assert_array_equal(there.data.T, voxels)


def test_a_linear_transform_moves_the_affine_and_not_the_voxels(tmp_path):
    import slicer

    node, parent = module_scans.scan(grid=module_scans.GRIDS["oblique"]), module_scans.turn()
    node.SetAndObserveTransformNodeID(parent.GetID())
    there = written(node, tmp_path)
    np.testing.assert_array_equal(there.data.T, slicer.util.arrayFromVolume(node))
    expected = slicer.util.arrayFromTransformMatrix(parent) @ module_scans.GRIDS["oblique"]
    np.testing.assert_allclose(there.affine, expected, atol=1e-9)
    node.HardenTransform()
    np.testing.assert_allclose(there.affine, module_scans.grid_of(node), atol=1e-6)


@pytest.mark.parametrize("grid", ["RAS", "LIA", "anisotropic"])
@pytest.mark.parametrize("above", ["nothing", "turn"])
def test_under_a_bent_grid_each_voxel_is_that_of_its_place(tmp_path, grid, above):
    """An image whose value is a plane in local RAS tells at every voxel where it came from."""
    import vtk

    affine = module_scans.GRIDS[grid]
    i, j, k = np.indices((24, 20, 18))
    local = np.einsum("rc,cijk->rijk", affine[:3, :3], np.array([i, j, k])) + affine[:3, 3, None, None, None]
    plane = (local[0] + 2 * local[1] + 3 * local[2]).astype(np.float32)
    node, parent = (
        module_scans.volume("plane", np.ascontiguousarray(plane.T), affine),
        module_scans.bend(),
    )
    if above == "turn":
        parent.SetAndObserveTransformNodeID(module_scans.turn().GetID())
    node.SetAndObserveTransformNodeID(parent.GetID())
    there = written(node, tmp_path)

    fromWorld = vtk.vtkGeneralTransform()
    parent.GetTransformFromWorld(fromWorld)
    toVoxel, checked = np.linalg.inv(affine), 0
    for voxel in np.random.default_rng(0).integers(0, there.data.shape, (800, 3)):
        place = np.array(fromWorld.TransformPoint((there.affine @ [*voxel, 1])[:3]))
        before = (toVoxel @ [*place, 1])[:3]
        if (before >= 0).all() and (before <= np.array(plane.shape) - 1).all():
            assert there.data[tuple(voxel)] == pytest.approx(place @ [1, 2, 3], abs=0.05)
            checked += 1
    assert checked > 100


def test_nothing_of_a_bent_volume_is_cut_off(tmp_path):
    node, parent = module_scans.scan(), module_scans.bend((60.0, 0.0, 0.0))
    node.SetAndObserveTransformNodeID(parent.GetID())
    there = written(node, tmp_path)
    lesion = np.argwhere(there.data > 150)
    middle = (there.affine @ [*lesion.mean(0), 1])[:3]
    assert len(lesion) > 50
    np.testing.assert_allclose(middle[0], -4 + 60, atol=1)


def test_the_volume_itself_is_not_changed(tmp_path):
    node, parent = module_scans.scan(), module_scans.bend()
    node.SetAndObserveTransformNodeID(parent.GetID())
    before = handover.state(node)
    written(node, tmp_path)
    assert handover.state(node) == before and node.GetParentTransformNode() is parent


def test_a_large_volume_is_written_and_read_in_many_steps(tmp_path):
    node = module_scans.volume("large", np.zeros((120, 256, 256), np.float32), np.eye(4))
    path = tmp_path / "large.nrrd"
    assert finish(handover.write(node, path))[1] >= 3
    assert finish(handover.read(path))[1] >= 3
    node.SetAndObserveTransformNodeID(module_scans.bend().GetID())
    assert finish(handover.write(node, path))[1] >= 30


def test_what_changes_after_the_first_step_does_not_enter(tmp_path):
    import slicer

    node = module_scans.volume("large", np.ones((60, 256, 256), np.float32), np.eye(4))
    steps = handover.write(node, tmp_path / "large.nrrd")
    next(steps)
    slicer.util.arrayFromVolume(node)[...] = 7
    affine, _ = finish(steps)
    assert (engine.read(tmp_path / "large.nrrd", affine, {}).data == 1).all()


def test_a_change_of_voxels_grid_or_transform_is_seen():
    import slicer

    node, parent = module_scans.scan(), module_scans.turn()
    states = [handover.state(node)]
    slicer.util.arrayFromVolume(node)[0] = 5
    slicer.util.arrayFromVolumeModified(node)
    states.append(handover.state(node))
    node.SetOrigin(1, 2, 3)
    states.append(handover.state(node))
    node.SetAndObserveTransformNodeID(parent.GetID())
    states.append(handover.state(node))
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
    states.append(handover.state(node))
    assert len(set(states)) == 5
    node.GetDisplayNode().SetWindow(7)
    node.SetName("renamed")
    assert handover.state(node) == states[-1]


@pytest.mark.parametrize("kind", ["f4", "i2", "u1", "i4"])
def test_what_the_engine_writes_is_read(tmp_path, kind):
    data = np.arange(60).reshape(5, 4, 3).astype(kind)
    engine.write(Volume(data, np.eye(4)), tmp_path / "result.nrrd", synthetic=True)
    image, _ = finish(handover.read(tmp_path / "result.nrrd"))
    assert image.GetDimensions() == (5, 4, 3)
    np.testing.assert_array_equal(handover.voxels(image), data.T)


def test_numbers_of_the_other_byte_order_are_read(tmp_path):
    path = tmp_path / "big.nrrd"
    voxels = np.arange(24).reshape(2, 3, 4).astype(">i2")
    header = "NRRD0004\n# a comment\ntype: short\ndimension: 3\nsizes: 4 3 2\nendian: big\nencoding: raw\n\n"
    path.write_bytes(header.encode() + voxels.tobytes())
    image, _ = finish(handover.read(path))
    np.testing.assert_array_equal(handover.voxels(image), voxels)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PNG",
        b"NRRD0004\ntype: float\n",
        b"NRRD0004\ntype: float\nsizes: 4 3 2\nencoding: raw\n\nabc",
        b"NRRD0004\ntype: float\nsizes: 4 3 2\nencoding: gzip\n\n" + bytes(96),
        b"NRRD0004\ntype: block\nsizes: 4 3 2\nencoding: raw\n\n" + bytes(96),
    ],
)
def test_a_broken_file_is_an_error_and_never_zeros(tmp_path, content):
    path = tmp_path / "broken.nrrd"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        finish(handover.read(path))


@pytest.mark.parametrize(
    "kind, shape, words",
    [
        ("vtkMRMLLabelMapVolumeNode", (4, 4, 4), "label map"),
        ("vtkMRMLVectorVolumeNode", (4, 4, 4, 3), "values in each voxel"),
        ("vtkMRMLScalarVolumeNode", None, "no voxels"),
        ("vtkMRMLModelNode", None, "not an image"),
    ],
)
def test_what_is_no_scan_is_refused_with_a_sentence(kind, shape, words):
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass(kind, "Vessels")
    if shape is not None:
        image = vtk.vtkImageData()
        image.SetDimensions(shape[:3])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, shape[3] if len(shape) > 3 else 1)
        node.SetAndObserveImageData(image)
    with pytest.raises(Complaint, match=words) as raised:
        handover.refuseUnless3DScalar(node)
    assert "Vessels" in str(raised.value) and str(raised.value).endswith(".")


def test_a_transform_that_would_fill_the_memory_is_refused(tmp_path):
    import slicer

    node, parent = module_scans.scan(), module_scans.bend()
    moved = slicer.util.arrayFromGridTransform(parent)
    moved[::2, ::2, ::2] += 500.0
    slicer.util.arrayFromGridTransformModified(parent)
    node.SetAndObserveTransformNodeID(parent.GetID())
    with pytest.raises(Complaint, match="check the transform"):
        finish(handover.write(node, tmp_path / "scan.nrrd"))
