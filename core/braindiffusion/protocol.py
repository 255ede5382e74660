"""The words between a viewer and its worker, version 1: one JSON object a line (docs/worker.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import __version__, faults
from .errors import BrainDiffusionError, Cancelled, Refused, WrongParameters
from .plan import failure_kind

VERSION = 1
VERBS = ("ping", "describe", "run", "cancel", "quit")
KINDS = ("refused", "parameters", "cancelled", "memory", "missing", "fault")

Row = tuple[float, float, float, float]


@dataclass(frozen=True)
class Handed:
    """An image that a viewer hands over: voxels in the NRRD file `path`, and where they lie.

    affine: voxel index -> RAS millimetre. name: what the viewer calls it. source: the file that the viewer
    read it from. sha256: of that file, where the viewer knows it. synthetic: made-up voxels are in it. frame,
    orientation: what the user stated when the viewer read the file, which left it open. names: of labels, by
    value.
    """

    path: str
    affine: tuple[Row, Row, Row, Row]
    name: str = ""
    source: str | None = None
    sha256: str | None = None
    synthetic: bool = False
    frame: int | None = None
    orientation: str | None = None
    names: dict[int, str] | None = None

    __pydantic_config__ = {"extra": "forbid"}

    @property
    def meta(self) -> dict[str, Any]:
        """`Volume.meta` of it; the gate counts the bytes of a source that is a NIfTI file."""
        known = {"name": self.name, "format": "a viewer's", "units": "mm", "synthetic": self.synthetic}
        source = self.source or self.name
        told = {"source": source, "sha256": self.sha256, "orientation": self.orientation, "names": self.names}
        frame = {} if self.frame is None else {"frame": self.frame}
        return known | frame | {key: value for key, value in told.items() if value}


@dataclass(frozen=True)
class RunRequest:
    """What `run` asks for, as `engine.run`; `folder` is where the result shall be, new or empty."""

    id: str
    task: str
    inputs: dict[str, Handed]
    folder: str
    parameters: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    batch: int | None = None

    __pydantic_config__ = {"extra": "forbid"}

    @classmethod
    def of(cls, message: dict[str, Any]) -> RunRequest:
        """Check a request; raises WrongParameters with one sentence."""
        from pydantic import TypeAdapter, ValidationError

        content = {key: value for key, value in message.items() if key not in ("v", "do")}
        try:
            request = TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "run"
            raise WrongParameters(f"The request is wrong at '{where}': {first['msg'].rstrip('.')}.") from None
        if not Path(request.folder).is_absolute():
            raise WrongParameters(f"The folder '{request.folder}' must be given with its whole path.")
        return request


def decode(line: bytes) -> dict[str, Any]:
    """The JSON object of a line, whatever is in it; raises WrongParameters where it is none."""
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise WrongParameters("A request is one JSON object on one line, in UTF-8; this line is none.")
    return message


def check(message: dict[str, Any]) -> None:
    """See that version, verb and id can be answered; raises WrongParameters."""
    if message.get("v") != VERSION:
        raise WrongParameters(
            f"This engine speaks version {VERSION} of the protocol, not {message.get('v')!r}; install the "
            "viewer and the engine from the same release."
        )
    if message.get("do") not in VERBS:
        raise WrongParameters(f"There is no request {message.get('do')!r}; there are {', '.join(VERBS)}.")
    if message["do"] != "quit" and not isinstance(message.get("id"), str):
        raise WrongParameters(f"The request '{message['do']}' needs an id, a text that its answers carry.")


def encode(event: str, content: dict[str, Any]) -> bytes:
    """The line of an event: ASCII, so that no name of a file can break it, and without NaN."""
    return json.dumps({"v": VERSION, "event": event} | content, allow_nan=False).encode("ascii") + b"\n"


def failure(error: BaseException, doing: str) -> dict[str, Any]:
    """Kind, message and details of the event `failed`; `doing` is told to who mends a fault.

    details: the file with the traceback of a fault, None where the message says all there is to know. What is
    `missing` is also told as `package`.
    """
    kinds = {Refused: "refused", WrongParameters: "parameters", Cancelled: "cancelled"}
    kind = next((kind for known, kind in kinds.items() if isinstance(error, known)), "fault")
    if kind == "fault" and "memory" in (failure_kind(error), failure_kind(error.__cause__ or error)):
        kind = "memory"
    if isinstance(error, BrainDiffusionError):
        return {"kind": kind, "message": str(error), "details": None}
    if kind == "memory":
        message = "There is not enough memory for this run; close other programs or crop the scan."
        return {"kind": kind, "message": message, "details": None}
    package = faults.lacking(error)
    if package is not None:
        message = f"The package '{package}' that the engine needs is missing or broken; install it anew."
        return {"kind": "missing", "message": message, "details": None, "package": package}
    try:
        details = str(faults.write_report(error, f"braindiffusion {__version__}, worker: {doing}"))
    except OSError as refused:  # a full disk does not keep the user from hearing of the fault
        return {"kind": kind, "message": f"{faults.told(error)}, and {refused}.", "details": None}
    return {"kind": kind, "message": f"{faults.told(error)}.", "details": details}
