"""Widgets on the MRML scene, with the names and properties of Slicer's own."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .observe import Observations

Property, Signal, Qt = QtCore.Property, QtCore.Signal, QtCore.Qt
_ADD, _RENAME, _REMOVE = "\tadd", "\trename", "\tremove"


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """One node of the scene, or none, by its name.

    It lists the nodes of `nodeTypes` (and what derives from them, with `showChildNodeTypes`) that have the
    attributes asked for with addAttribute(). It selects nothing by itself, and deselects a node that leaves
    the scene.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._types: list[str] = []
        self._flags = {"none": False, "add": True, "remove": True, "rename": False, "edit": False}
        self._flags |= {"hidden": False, "children": True, "select": True}
        self._base_name, self._none_display = "", "None"
        self._attributes: list[tuple[str, str, str | None]] = []
        self._current = ""
        self._listed: list[tuple[str, str]] = []
        self._shown: Any = None
        self._seen = Observations()
        self.destroyed.connect(self._seen.clear)
        self._combo = QtWidgets.QComboBox()
        policy = QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self._combo.setSizeAdjustPolicy(policy)
        self._combo.setMinimumContentsLength(8)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._combo.activated.connect(self._chosen)

    # the scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._seen.clear()
        self._scene = scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            events += (scene.EndCloseEvent, scene.EndImportEvent)
            self._seen.observe(scene, events, self._refresh)
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def nodes(self) -> list[Any]:
        """The nodes that can be chosen, in the order of the scene."""
        return [node for node in self._of_types() if self._matches(node)]

    def _of_types(self) -> list[Any]:
        """The nodes of the types, in the order of the scene, which most often are few among hundreds."""
        scene = self._scene
        if scene is None:
            return []
        if len(self._types) > 1:
            every = (scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))
            return [node for node in every if any(map(node.IsA, self._types))]
        found = [scene.GetNodesByClass(kind) for kind in self._types]
        for collection in found:
            collection.UnRegister(None)
        return [nodes.GetItemAsObject(i) for nodes in found for i in range(nodes.GetNumberOfItems())]

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self.nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def _matches(self, node: Any) -> bool:
        def is_of(kind: str) -> bool:
            return node.IsA(kind) if self._flags["children"] else node.GetClassName() == kind

        if not any(is_of(kind) for kind in self._types):
            return False
        for kind, name, value in self._attributes:
            has = node.GetAttribute(name)
            if node.IsA(kind) and (has is None or (value is not None and has != value)):
                return False
        return self._flags["hidden"] or not node.GetHideFromEditors()

    def _refresh(self, *_: object) -> None:
        """List the nodes anew, unless nothing that is shown has changed."""
        scene = self._scene
        if scene is not None and scene.IsBatchProcessing():
            return
        self._observe_nodes()
        nodes = self.nodes()
        listed = [(node.GetID(), node.GetName() or "") for node in nodes]
        shown = (listed, dict(self._flags), self._none_display, list(self._types))
        if shown == self._shown:
            return
        self._shown = shown
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        if self._flags["none"]:
            self._combo.addItem(self._none_display, "")
        for node, (identity, name) in zip(nodes, listed):
            self._combo.addItem(self._icon(node), name, identity)
        self._add_actions()
        self._listed = listed
        current = self._current if self._current in dict(listed) else ""
        self._combo.setCurrentIndex(self._combo.findData(current))
        self._combo.blockSignals(blocked)
        self._set_current(current)

    def _icon(self, node: Any) -> QtGui.QIcon:
        return QtGui.QIcon()

    def _add_actions(self) -> None:
        kind = self._types[0].removeprefix("vtkMRML").removesuffix("Node") if self._types else "node"
        actions = (
            ("add", f"Create new {kind}", _ADD),
            ("rename", "Rename current…", _RENAME),
            ("remove", "Delete current", _REMOVE),
        )
        wanted = [(text, action) for flag, text, action in actions if self._flags[flag]]
        if wanted and self._combo.count():
            self._combo.insertSeparator(self._combo.count())
        for text, action in wanted:
            self._combo.addItem(text, action)

    def _observe_nodes(self) -> None:
        """Follow names and attributes of every node of the types, listed or not."""
        scene, there = self._scene, self._of_types()
        for node in self._seen.objects():
            if node is not scene and node not in there:
                self._seen.forget(node)
        known = set(self._seen.objects())
        for node in there:
            if node not in known:
                self._seen.observe(node, ("ModifiedEvent",), self._node_modified)

    def _node_modified(self, node: Any, _event: str) -> None:
        shown = (node.GetID(), node.GetName() or "")
        if (shown in self._listed) != self._matches(node):
            self._refresh()

    # the current node

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, identity: str | None) -> None:
        identity = identity if identity in dict(self._listed) else ""
        self._combo.setCurrentIndex(self._combo.findData(identity))
        self._set_current(identity or "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def _set_current(self, identity: str) -> None:
        if identity != self._current:
            self._current = identity
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(identity)

    def _chosen(self, index: int) -> None:
        data = self._combo.itemData(index)
        act = {_ADD: self._add_by_user, _RENAME: self.renameCurrentNode, _REMOVE: self.removeCurrentNode}.get(
            data
        )
        if act is None:
            self._set_current(data or "")
            self.nodeActivated.emit(self.currentNode())
            return
        self._combo.setCurrentIndex(self._combo.findData(self._current))
        act()

    # what the user can do with nodes

    def addNode(self, kind: str | None = None) -> Any:
        """Add a node of the given or first type to the scene and, unless told otherwise, select it."""
        kind = kind or self._types[0]
        base = self._base_name or kind.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(base))
        for of_kind, name, value in self._attributes:
            if node.IsA(of_kind):
                node.SetAttribute(name, value or "")
        node = self._scene.AddNode(node)
        self.nodeAdded.emit(node)
        if self._flags["select"]:
            self.setCurrentNode(node)
        return node

    def _add_by_user(self) -> None:
        self.nodeAddedByUser.emit(self.addNode())

    def removeCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            self._scene.RemoveNode(node)

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node is None:
            return
        name, agreed = QtWidgets.QInputDialog.getText(self, "Rename", "New name:", text=node.GetName() or "")
        if agreed and name.strip():
            node.SetName(name.strip())

    # what is listed

    def addAttribute(self, kind: str, name: str, value: str | None = None) -> None:
        """List nodes of this type only where they have the attribute, and the value where one is given."""
        self._attributes.append((kind, name, None if value is None else str(value)))
        self._refresh()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes = [entry for entry in self._attributes if entry[:2] != (kind, name)]
        self._refresh()

    def setNodeTypes(self, types: list[str]) -> None:
        self._types = list(types)
        self._refresh()

    def setBaseName(self, name: str) -> None:
        self._base_name = name

    def setNoneDisplay(self, text: str) -> None:
        self._none_display = text
        self._refresh()

    def _set_flag(self, flag: str, value: bool) -> None:
        self._flags[flag] = bool(value)
        self._refresh()

    def setNoneEnabled(self, value: bool) -> None:
        self._set_flag("none", value)

    def setAddEnabled(self, value: bool) -> None:
        self._set_flag("add", value)

    def setRemoveEnabled(self, value: bool) -> None:
        self._set_flag("remove", value)

    def setRenameEnabled(self, value: bool) -> None:
        self._set_flag("rename", value)

    def setEditEnabled(self, value: bool) -> None:
        self._set_flag("edit", value)

    def setShowHidden(self, value: bool) -> None:
        self._set_flag("hidden", value)

    def setShowChildNodeTypes(self, value: bool) -> None:
        self._set_flag("children", value)

    def setSelectNodeUponCreation(self, value: bool) -> None:
        self._flags["select"] = bool(value)

    nodeTypes = Property("QStringList", lambda self: self._types, setNodeTypes)
    currentNodeID = Property(str, lambda self: self._current, setCurrentNodeID, notify=currentNodeIDChanged)
    baseName = Property(str, lambda self: self._base_name, setBaseName)
    noneDisplay = Property(str, lambda self: self._none_display, setNoneDisplay)
    noneEnabled = Property(bool, lambda self: self._flags["none"], setNoneEnabled)
    addEnabled = Property(bool, lambda self: self._flags["add"], setAddEnabled)
    removeEnabled = Property(bool, lambda self: self._flags["remove"], setRemoveEnabled)
    renameEnabled = Property(bool, lambda self: self._flags["rename"], setRenameEnabled)
    editEnabled = Property(bool, lambda self: self._flags["edit"], setEditEnabled)
    showHidden = Property(bool, lambda self: self._flags["hidden"], setShowHidden)
    showChildNodeTypes = Property(bool, lambda self: self._flags["children"], setShowChildNodeTypes)
    selectNodeUponCreation = Property(bool, lambda self: self._flags["select"], setSelectNodeUponCreation)


class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """A colour table of the scene, with a strip of its colours."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        for flag in ("add", "remove", "rename"):
            self._flags[flag] = False
        self._flags["hidden"] = True  # Slicer's own colour nodes are hidden from editors
        self._types = ["vtkMRMLColorNode"]
        self._combo.setIconSize(QtCore.QSize(48, 12))

    def _icon(self, node: Any) -> QtGui.QIcon:
        strip = QtGui.QImage(48, 1, QtGui.QImage.Format.Format_RGB32)
        count, color = node.GetNumberOfColors(), [0.0] * 4
        for x in range(48):
            found = count > 0 and node.GetColor(min(x * count // 48, count - 1), color)
            strip.setPixelColor(x, 0, QtGui.QColor.fromRgbF(*color[:3]) if found else QtGui.QColor("gray"))
        return QtGui.QIcon(QtGui.QPixmap.fromImage(strip.scaled(48, 12)))


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox, qMRMLColorTableComboBox)
