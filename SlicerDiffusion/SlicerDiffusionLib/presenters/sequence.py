"""A sequence: several images of one kind, and a volume that shows one of them at a time."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .. import marks
from . import volume

KIND = "sequence"


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """A vtkMRMLSequenceNode, with a browser and the volume that it shows the images in."""
    import slicer

    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetName(context.nameOf(artifact))
    sequence.SetIndexName(artifact["display"].get("index", "image"))
    sequence.SetIndexUnit("")
    sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
    shown, highest = None, 0.0
    for number in range(1, context.count(artifact) + 1):
        node, top = yield from volume.read(artifact, context, number)
        highest = max(highest, top)
        # The volume that shows an image takes its attributes.
        node.SetAttribute(marks.SYNTHETIC, "YES" if artifact["synthetic"] else None)
        sequence.SetDataNodeAtValue(node, str(number))
        shown = shown or node
        yield
    slicer.mrmlScene.AddNode(sequence)
    if shown is not None:
        volume.show(shown, artifact["display"], highest, context.inputs.get(artifact["of"]))
        browser = slicer.vtkMRMLSequenceBrowserNode()
        browser.SetName(sequence.GetName())
        slicer.mrmlScene.AddNode(browser)
        # In this order: a browser that has a sequence without a volume makes one of its own.
        browser.AddProxyNode(shown, sequence, False)
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence
