"""The Qt dialect of 3D Slicer's Python (PythonQt) on PySide6, strictly: what PythonQt refuses fails here too.

`install()` puts the modules `qt` and `ctk` into `sys.modules` and the qMRML widgets on `slicer`. In that
dialect

* a Qt property is an attribute, `w.text`, and so `w.text()` is a TypeError; `setText()` stays a method;
* an object of a Qt class takes no new attributes, and writing an unknown one is an AttributeError;
* classes do not inherit from one another: `isinstance(button, qt.QWidget)` is False, `inherits()` says True;
* there is no `qt.Signal`, and keyword arguments of constructors are refused.

The window's own code uses PySide6 directly. Where it holds a widget that the module has made, it must use
what both dialects share: `setX()` to write and `property("x")` to read. Objects that Qt itself makes, such as
the header of a table, stay in PySide6's dialect: Shiboken does not let their class be changed.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

_QObject = QtCore.QObject
_SIGNAL_TYPES = {"bool": bool, "int": int, "double": float, "QString": str}
_METHOD_BEFORE_PROPERTY = {(QtCore.QTimer, "singleShot")}  # a static method in PythonQt's eyes
_property_names: dict[type, frozenset[str]] = {}

# Where a property's C++ getter is virtual (QLayout.spacing), reading it makes Shiboken look for a Python
# method of its name: what is being read is then no property.
_being_read: set[tuple[int, str]] = set()


class Dialect:
    """Mixed in before a PySide6 class: attributes are Qt properties, and nothing else can be set."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        own = _OWN.get(name)
        if own is not None and hasattr(type(self), _BEHIND.get(name, name)):
            return own.__get__(self)
        if name == "name":  # slicer.util.findChild reads it, as Slicer's PythonQt lets it
            name = "objectName"
        asked = (id(self), name)
        if asked in _being_read or name not in _properties(self):
            return super().__getattribute__(name)
        _being_read.add(asked)
        try:
            value = _QObject.property(self, name)
        finally:
            _being_read.discard(asked)
        return tuple(value) if isinstance(value, list) else value

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        if name in _properties(self):
            if not _QObject.setProperty(self, name, list(value) if isinstance(value, tuple) else value):
                raise TypeError(f"property {name} of {cls.__name__} cannot be {value!r}")
            return
        state = self.__dict__
        if "_qt_class" in cls.__dict__ and state.get("_made") and name not in state:
            raise AttributeError(f"{cls.__name__} has no property {name}; Qt objects take no new attributes")
        super().__setattr__(name, value)

    def className(self) -> str:
        return _QObject.metaObject(self).className()

    def findChildren(self, cls: type = _QObject, *args: Any) -> list[Any]:
        return super().findChildren(_raw(cls), *args)

    def findChild(self, cls: type = _QObject, *args: Any) -> Any:
        return super().findChild(_raw(cls), *args)

    def _connect(self, signal: str, *receiver: Any) -> bool:
        """connect("clicked()", f), or connect("clicked()", object, "slot()")."""
        _signal(self, signal).connect(_slot(receiver))
        return True

    def _disconnect(self, signal: str, *receiver: Any) -> bool:
        _signal(self, signal).disconnect(_slot(receiver))
        return True

    def _exec(self, *args: Any) -> Any:
        return super().exec(*args)

    def _add_action(self, *args: Any) -> Any:
        """Of a menu or tool bar: the action that it makes from a text answers in this dialect, too."""
        if not isinstance(args[-1], str):
            return super().addAction(*args)
        action = sys.modules["qt"].QAction(*args, self)
        super().addAction(action)
        return action


# Shiboken finds connect() and disconnect() itself, before the classes of Python: these come first of all.
_OWN = {
    "connect": Dialect._connect,
    "disconnect": Dialect._disconnect,
    "exec_": Dialect._exec,
    "addAction": Dialect._add_action,
}
_BEHIND = {"exec_": "exec"}  # what PySide6 calls it


def _properties(obj: Any) -> frozenset[str]:
    """Names of the Qt properties of an object that PythonQt shows as attributes."""
    cls = type(obj)
    names = _property_names.get(cls)
    if names is None:
        meta = _QObject.metaObject(obj)
        every = {meta.property(i).name() for i in range(meta.propertyCount())}
        methods = {name for base, name in _METHOD_BEFORE_PROPERTY if issubclass(cls, base)}
        names = _property_names[cls] = frozenset(every - methods)
    return names


def _raw(cls: type) -> type:
    return cls.__dict__.get("_qt_class", cls)


def _slot(receiver: tuple[Any, ...]) -> Any:
    return receiver[0] if len(receiver) == 1 else getattr(receiver[0], receiver[1].partition("(")[0])


def _signal(obj: Any, signature: str) -> Any:
    """The signal "name(types)" of an object, in its overload for these types where there is one."""
    name, _, arguments = signature.partition("(")
    signal = getattr(obj, name)
    words = [word.strip() for word in arguments.rstrip(")").split(",") if word.strip()]
    kinds = tuple(_SIGNAL_TYPES.get(word) for word in words)
    if kinds and None not in kinds:
        try:
            return signal[kinds if len(kinds) > 1 else kinds[0]]
        except (KeyError, IndexError):
            return signal
    return signal


class _StrictType(type(_QObject)):
    """Makes objects without keyword arguments, and closes them to new attributes once they are made."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if kwargs and "_qt_class" in cls.__dict__:
            raise TypeError(f"{cls.__name__} takes no keyword arguments: PythonQt ignores them")
        obj = super().__call__(*args, **kwargs)
        obj.__dict__["_made"] = True
        return obj


def strict(cls: type, **own: Any) -> type:
    """A class of PySide6, or one derived from it, in the dialect of PythonQt, with methods of its own."""
    members = {"__module__": "qt", "_qt_class": cls, **own}  # reading cls.__doc__ would parse all signatures
    return _StrictType(cls.__name__, (Dialect, cls), members)


def _path_alone(function: Callable[..., tuple[Any, str]]) -> staticmethod:
    """A static function of QFileDialog that gives the path or paths, and not the filter that was chosen."""
    return staticmethod(lambda *args: function(*args)[0])


def _exceptions() -> Iterator[tuple[str, type]]:
    """Classes of which PythonQt shows some methods otherwise than C++ does."""
    dialog, names = QtWidgets.QFileDialog, ("getOpenFileName", "getOpenFileNames", "getSaveFileName")
    yield "QFileDialog", strict(dialog, **{name: _path_alone(getattr(dialog, name)) for name in names})
    box = QtWidgets.QDialogButtonBox
    yield "QDialogButtonBox", strict(box, buttons=lambda self: ())  # PythonQt cannot convert this list


def _qt_names() -> Iterator[tuple[str, Any]]:
    """All classes of Qt in one name space; those with properties and signals in the strict dialect."""
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            if name.startswith("Q"):
                value = getattr(module, name)
                is_object = isinstance(value, type) and issubclass(value, _QObject)
                yield name, strict(value) if is_object else value
    yield "Qt", QtCore.Qt
    yield from _exceptions()


def install() -> types.ModuleType:
    """Make `import qt, ctk` and `slicer.qMRML...` work as in 3D Slicer; a second call does nothing.

    Returns the module `qt`. Where a real PythonQt is present (in 3D Slicer), its modules stay as they are.
    """
    if "qt" not in sys.modules:
        qt = types.ModuleType("qt", "Qt in the dialect of PythonQt.")
        vars(qt).update(_qt_names())
        sys.modules["qt"] = qt
        _install_standins()
    return sys.modules["qt"]


def _install_standins() -> None:
    import slicer

    from . import qmrml, standins

    ctk = types.ModuleType("ctk", "The widgets of the Common Toolkit that the module uses, in PySide6.")
    for cls in standins.WIDGETS:
        setattr(ctk, cls.__name__, strict(cls))
    for cls in qmrml.WIDGETS:
        setattr(slicer, cls.__name__, strict(cls))
    sys.modules["ctk"] = ctk
