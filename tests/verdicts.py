"""The three answers of the gate, each checked for what it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braindiffusion.errors import Refused
from braindiffusion.imaging.gate import admit, inspect
from braindiffusion.imaging.volume import Volume


def refusal(source: str | Path | Volume, **options: object) -> str:
    """The reason for refusing, which is one sentence; nothing of the image is let in."""
    verdict = inspect(source, **options)  # type: ignore[arg-type]
    assert verdict.status == "refused" and verdict.volume is None, verdict
    assert verdict.reason and verdict.reason.endswith(".") and "\n" not in verdict.reason
    with pytest.raises(Refused) as error:
        admit(source, **options)  # type: ignore[arg-type]
    assert str(error.value) == verdict.reason
    return verdict.reason


def repair(source: str | Path | Volume, **options: object) -> tuple[Volume, str]:
    verdict = inspect(source, **options)  # type: ignore[arg-type]
    assert verdict.status == "repaired" and verdict.volume is not None and verdict.reason is None, verdict
    assert verdict.volume.data.dtype == np.float32 and np.isfinite(verdict.volume.data).all()
    assert verdict.volume.meta["notes"] == list(verdict.notes)
    return verdict.volume, " ".join(verdict.notes)


def passing(source: str | Path | Volume, **options: object) -> tuple[Volume, str]:
    verdict = inspect(source, **options)  # type: ignore[arg-type]
    assert verdict.status == "passed" and verdict.volume is not None, verdict
    return verdict.volume, " ".join(verdict.notes)
