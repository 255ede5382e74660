"""A segmentation: labels, shown as those are."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from . import labels

KIND = "segmentation"


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """A vtkMRMLSegmentationNode, not visible; surfaces are made when they are asked for."""
    return (yield from labels.present(artifact, context))
