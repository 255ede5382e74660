"""Gives nodes their item in the subject hierarchy, which in 3D Slicer its Qt plugins do."""

from __future__ import annotations

from typing import Any

import slicer

from .observe import Observations

_OWNERS = (  # the first class that a node is of names the plugin of 3D Slicer that owns its item
    ("vtkMRMLLabelMapVolumeNode", "LabelMaps"),
    ("vtkMRMLVolumeNode", "Volumes"),
    ("vtkMRMLSegmentationNode", "Segmentations"),
    ("vtkMRMLMarkupsNode", "Markups"),
    ("vtkMRMLModelNode", "Models"),
    ("vtkMRMLTransformNode", "Transforms"),
    ("vtkMRMLTableNode", "Tables"),
    ("vtkMRMLPlotChartNode", "Charts"),
    ("vtkMRMLPlotSeriesNode", "Charts"),
    ("vtkMRMLTextNode", "Texts"),
    ("vtkMRMLSequenceNode", "Sequences"),
)


class SubjectHierarchy:
    """Adds an item below the scene for each data node that comes in, and removes it with the node."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._seen = Observations()
        self._seen.observe_nodes(scene, (scene.NodeAddedEvent,), self._add)
        self._seen.observe_nodes(scene, (scene.NodeAboutToBeRemovedEvent,), self._remove)
        self._seen.observe(scene, (scene.EndImportEvent, scene.EndBatchProcessEvent), self._add_all)

    def node(self) -> Any:
        """The subject hierarchy node of the scene; made where there is none."""
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _add(self, node: Any) -> None:
        if not self._scene.IsBatchProcessing():
            self._add_item(node)

    def _remove(self, node: Any) -> None:
        tree = self._scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")  # none while a scene closes
        item = 0 if tree is None or node is tree else tree.GetItemByDataNode(node)
        if item:
            tree.RemoveItem(item, False, tree.IsItemVirtualBranchParent(item))

    def _add_all(self, *_: object) -> None:
        if not self._scene.IsBatchProcessing():
            slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self._scene)  # of items from a file
            for i in range(self._scene.GetNumberOfNodes()):
                self._add_item(self._scene.GetNthNode(i))

    def _add_item(self, node: Any) -> None:
        owner = next((owner for kind, owner in _OWNERS if node.IsA(kind)), None)
        if owner is None or node.GetHideFromEditors():
            return
        tree = self.node()
        if tree.GetItemByDataNode(node) == tree.GetInvalidItemID():
            tree.SetItemOwnerPluginName(tree.CreateItem(tree.GetSceneItemID(), node), owner)

    def close(self) -> None:
        self._seen.clear()
