"""Painting pathology from the panel: the task is offered, asks for labels, and gets a segmentation's."""

from __future__ import annotations

import pytest

import module_scans
from brain_scans import brain
from desktop_host import core  # noqa: F401 (a fixture)
from SlicerDiffusionLib import jobs, panel, schema
from test_inpainting import marked
from test_module_inputs import segmentation

pytestmark = pytest.mark.usefixtures("core")


def painted_brain():
    """A brain in the scene, and a segmentation with a core in its rim."""
    scan = brain()
    node = module_scans.volume("Head", scan.data.transpose(2, 1, 0), scan.affine)
    core_, rim = (marked(scan, (-28.0, -20.0, 28.0), radius).transpose(2, 1, 0) for radius in (8.0, 13.0))
    drawn = segmentation(node, core_, rim & ~core_, name="Tumour")
    for n, name in enumerate(("Necrotic core", "Enhancing rim")):
        drawn.GetSegmentation().GetNthSegment(n).SetName(name)
    return node, drawn, core_, rim & ~core_


def test_the_panel_offers_painting_and_asks_for_labels():
    import slicer

    task = next(each for each in schema.tasks() if each.name == "paint")
    node = slicer.mrmlScene.AddNode(slicer.vtkMRMLScriptedModuleNode())
    made = panel.Panel([task], node, lambda: None)
    scan, drawn, *_ = painted_brain()
    made.page.setScan(scan)
    assert made.page.missing() == "Choose what is to be 'Mask' first: a segmentation or a label map."
    made.page.setNode("mask", drawn)
    assert made.page.missing() == "" and made.page.nodes() == {"scan": scan, "mask": drawn}
    assert not made.takesMasks(), "a finding is no tissue"
    made.cleanup()


@pytest.mark.slow
def test_a_painted_segmentation_becomes_tissue():
    """Through the real engine and the shipped networks."""
    import slicer

    from SlicerDiffusion import SlicerDiffusionLogic

    vars(slicer.modules).pop(jobs._SHARED, None)
    scan, drawn, core_, rim = painted_brain()
    logic = SlicerDiffusionLogic()
    try:
        nodes = logic.run("paint", scan=scan, mask=drawn, samples=2, steps=2, seed=3)
    finally:
        logic.jobs.close()
    before, after = (slicer.util.arrayFromVolume(each) for each in (scan, nodes["painted"]))
    assert ((before != after) <= (core_ | rim)).all()
    assert after[core_].mean() < 0.6 * before[core_].mean() and after[rim].mean() > 1.1 * before[rim].mean()
    assert nodes["variants"].GetNumberOfDataNodes() == 2 and "SYNTHETIC" in nodes["painted"].GetName()
    names = nodes["labels"].GetSegmentation()
    assert [names.GetNthSegment(n).GetName() for n in range(2)] == ["necrotic core", "enhancing rim"]
