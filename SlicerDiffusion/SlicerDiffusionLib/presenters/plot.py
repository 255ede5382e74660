"""A plot: a picture in the run's folder, opened on request; it has no node."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

KIND = "plot"


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, None]:
    """Nothing in the scene: the record of every node of the run says where the picture is."""
    yield
