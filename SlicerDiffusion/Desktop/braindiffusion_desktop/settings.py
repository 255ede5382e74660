"""What the window remembers between two starts, in one JSON file."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

_MOST_RECENT = 12


def default_path() -> Path:
    """The settings file of this user; BRAINDIFFUSION_SETTINGS names another."""
    stated = os.environ.get("BRAINDIFFUSION_SETTINGS")
    if stated:
        return Path(stated)
    from PySide6.QtCore import QStandardPaths

    folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericConfigLocation)
    return Path(folder) / "BrainDiffusion" / "desktop.json"


class Settings:
    """Keys and values as QSettings has them, but numbers stay numbers and a list of one stays a list.

    A file that cannot be read counts as empty, one that cannot be written is logged; the window goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values: dict[str, Any] = {}
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            self._values = stored if isinstance(stored, dict) else {}
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            logging.warning("The settings in %s cannot be read and start anew: %s", path, error)

    def value(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        """Keep a value that JSON can hold, and write the file at once."""
        if self._values.get(key) != value or key not in self._values:
            self._values[key] = value
            self.sync()

    def contains(self, key: str) -> bool:
        return key in self._values

    def remove(self, key: str) -> None:
        if self._values.pop(key, None) is not None:
            self.sync()

    def allKeys(self) -> list[str]:
        return sorted(self._values)

    def sync(self) -> None:
        part = self.path.with_name(f".{self.path.name}-{uuid4().hex}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(self._values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(part, self.path)
        except OSError as error:
            logging.warning("The settings cannot be written to %s: %s", self.path, error)

    def recent_files(self) -> list[str]:
        """Paths that were opened last, the newest first."""
        return [path for path in self.value("recent files", []) if isinstance(path, str)]

    def add_recent_file(self, path: str | Path) -> None:
        path = str(path)
        others = [other for other in self.recent_files() if other != path]
        self.setValue("recent files", [path, *others][:_MOST_RECENT])
