"""What a task gives back: artifacts and where they came from, in memory and as a folder with a `result.json`.

`result.json` is what the presenter, the command line and the other writers read:

    {"format": "braindiffusion result 1", "task": ..., "plausible": true, "verdict": ..., "notes": [...],
     "artifacts": [{"role", "kind", "path", "display", "of", "synthetic", "rows" or "matrix"}],
     "provenance": {...}, "files": [...]}

Paths are relative to the folder. The file is written last, so a folder that has one is complete.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from .errors import BrainDiffusionError
from .result_folder import FORMAT, MADE, MANIFEST, check_folder, exchange, read_manifest, writing

if TYPE_CHECKING:
    import numpy as np

    from .imaging.volume import Volume

RESEARCH_USE = "SYNTHETIC – research use only, not for diagnosis"

Kind = Literal["volume", "labels", "segmentation", "transform", "table", "sequence", "plot"]
Row = dict[str, Any]

_VOXELS = ("volume", "labels", "segmentation", "sequence")
_SUFFIX = dict.fromkeys(_VOXELS, ".nii.gz") | {"table": ".csv", "plot": ".png"}


@dataclass
class Artifact:
    """One product of a task.

    `role` is its name in the result, `of` the input or artifact that it describes, `display` how to show it:
    for a volume `{"window": [low, high], "colors": name, "unit": unit}`, for labels `{"names": {value: name},
    "codes": {value: [scheme, value, meaning, side]}}`, for a table `{"columns": {key: heading}}`, for a
    sequence as for a volume and `{"index": what one image is}`. `synthetic` says that made-up voxels are
    in it or led to it.

    The content is `volume` (volume, labels, segmentation), `volumes` (sequence: images on one grid;
    transform: displacements in mm to the right, the front and up), `matrix` (transform: (4, 4), RAS mm),
    `rows` (table) or `draw`, which writes a PNG to a path (plot). A transform says where the tissue at a
    place came from (`imaging.transforms`).
    """

    role: str
    kind: Kind
    volume: Volume | None = None
    volumes: list[Volume] | None = None
    matrix: np.ndarray | None = None
    rows: list[Row] | None = None
    draw: Callable[[Path], None] | None = None
    display: dict[str, Any] = field(default_factory=dict)
    of: str | None = None
    synthetic: bool = True
    path: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"an artifact's kind is one of {get_args(Kind)}, not {self.kind!r}")

    def file_name(self) -> str:
        """Name of the artifact's file; made-up voxels say so in it."""
        if self.kind == "transform":
            return f"{self.role}{'.nrrd' if self.matrix is None else '.tfm'}"
        marked = self.synthetic and self.kind in _VOXELS
        return f"{self.role}{'_synthetic' if marked else ''}{_SUFFIX[self.kind]}"

    def parts(self) -> dict[str, Volume]:
        """The volumes of the artifact by name: its role, and with a number from 1 where there are several."""
        if self.volume is not None:
            return {self.role: self.volume}
        return {f"{self.role}.{n}": volume for n, volume in enumerate(self.volumes or [], 1)}

    def entry(self) -> dict[str, Any]:
        """The artifact's entry in `result.json`."""
        keys = ["role", "kind", "path", "display", "of", "synthetic"]
        keys += [key for key in ("rows", "matrix") if getattr(self, key) is not None]
        return {key: getattr(self, key) for key in keys}


@dataclass
class Result(Mapping[str, Artifact]):
    """Artifacts by role (`result["heatmap"].volume`), the verdict on them, and their provenance.

    `plausible` and `verdict` (one sentence) say whether the whole result can be believed; `notes` are further
    sentences for a clinician. `inputs` are the admitted volumes that the task saw; they are not saved.
    """

    task: str
    artifacts: list[Artifact] = field(default_factory=list)
    plausible: bool = True
    verdict: str = ""
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Volume] = field(default_factory=dict, repr=False)
    folder: Path | None = None

    def __getitem__(self, role: str) -> Artifact:
        for artifact in self.artifacts:
            if artifact.role == role:
                return artifact
        raise KeyError(role)

    def __iter__(self) -> Iterator[str]:
        return (artifact.role for artifact in self.artifacts)

    def __len__(self) -> int:
        return len(self.artifacts)

    @property
    def findings(self) -> list[Row]:
        """Rows of the table of findings; empty where the task makes none."""
        return (self["findings"].rows or []) if "findings" in self else []

    def manifest(self) -> dict[str, Any]:
        """The content of `result.json`, without the list of files."""
        return {
            "format": FORMAT,
            "notice": RESEARCH_USE,
            "task": self.task,
            "plausible": self.plausible,
            "verdict": self.verdict,
            "notes": self.notes,
            "artifacts": [artifact.entry() for artifact in self.artifacts],
            "provenance": self.provenance,
        }

    def save(self, folder: str | Path) -> Path:
        """Write every artifact and `result.json` into `folder`, replacing an earlier result there.

        All or nothing: files are made in a hidden folder and moved when all are there. Raises
        BrainDiffusionError where the folder holds anything else, cannot be written to, or the disk is full.
        """
        folder = Path(folder).expanduser().absolute()
        earlier = check_folder(folder)
        with writing(folder) as workshop:
            made = workshop / MADE
            for artifact in self.artifacts:
                artifact.path = artifact.file_name()
                _write(artifact, self, made / artifact.path)
            names = sorted(file.name for file in made.iterdir())
            text = to_json(self.manifest() | {"files": names}, indent=2)
            (made / MANIFEST).write_text(text + "\n", encoding="utf-8")
            exchange(folder, workshop, earlier, names)
        self.folder = folder
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, voxels: bool = True) -> Result:
        """Read a saved result; `voxels=False` leaves the volumes on disk.

        Raises BrainDiffusionError where there is no result, or not a whole one.
        """
        folder = Path(folder).expanduser().absolute()
        folder = folder.parent if folder.name == MANIFEST else folder
        manifest = read_manifest(folder)
        artifacts = [_artifact(entry, folder, voxels) for entry in manifest["artifacts"]]
        kept = {key: manifest[key] for key in ("task", "plausible", "verdict", "notes", "provenance")}
        return cls(artifacts=artifacts, folder=folder, **kept)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text of plain values, paths, NumPy's numbers and arrays; a NaN is a ValueError, JSON has none.

    A byte of a file's name that is not UTF-8 becomes its number, such as \\xfc.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=_plain)
    return re.sub("[\udc80-\udcff]", lambda byte: rf"\\x{ord(byte[0]) - 0xDC00:02x}", text)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _write(artifact: Artifact, result: Result, path: Path) -> None:
    if artifact.rows is not None:
        write_table(artifact.rows, path, artifact.display.get("columns"))
    elif artifact.draw is not None:
        artifact.draw(path)
    elif artifact.kind == "transform" and artifact.matrix is not None:
        from .imaging.transforms import write_matrix

        write_matrix(artifact.matrix, path)
    elif artifact.kind == "transform" and artifact.volumes:
        from .imaging.transforms import write_displacements

        write_displacements(artifact.volumes, path, synthetic=artifact.synthetic)
    elif artifact.parts():
        _write_voxels(artifact, result, path)
    else:
        raise ValueError(f"the artifact '{artifact.role}' has no content")


def _write_voxels(artifact: Artifact, result: Result, path: Path) -> None:
    from .imaging.io import write_nifti

    description = (
        f"{'SYNTHETIC research use only: ' if artifact.synthetic else ''}{result.task} {artifact.role}"
    )
    version = result.provenance.get("versions", {}).get("braindiffusion")
    sidecar = {
        "Description": RESEARCH_USE if artifact.synthetic else "Research use only, not for diagnosis",
        "Synthetic": artifact.synthetic,
        "GeneratedBy": [{"Name": "BrainDiffusion", "Version": version}],
        "Role": artifact.role,
        "Of": artifact.of,
        "Display": artifact.display,
        "Provenance": result.provenance,
    }
    plain = json.loads(to_json(sidecar))
    volume = artifact.volume or _stacked(artifact.volumes or [])
    write_nifti(volume, path, synthetic=artifact.synthetic, description=description, sidecar=plain)


def _stacked(volumes: list[Volume]) -> Volume:
    """Images on the first one's grid as one, [X, Y, Z, N]; raises ValueError where a grid differs."""
    import numpy as np

    from .imaging.volume import Volume

    first = volumes[0]
    if any(not np.array_equal(each.affine, first.affine) for each in volumes):
        raise ValueError("the images of a sequence lie on one grid")
    return Volume(np.stack([each.data for each in volumes], -1), first.affine, dict(first.meta))


def write_table(rows: list[Row], path: Path, columns: Mapping[str, str] | None = None) -> None:
    """Write rows as CSV (UTF-8, decimal points in every locale); `columns` is {key: heading}."""
    keys = list(columns) if columns else list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([columns[key] if columns else key for key in keys])
        writer.writerows([[row.get(key, "") for key in keys] for row in rows])


def _artifact(entry: dict[str, Any], folder: Path, voxels: bool) -> Artifact:
    artifact = Artifact(**entry)
    if artifact.matrix is not None:
        import numpy as np

        artifact.matrix = np.asarray(artifact.matrix, float)
    if Path(entry["path"]).name != entry["path"] or not (folder / entry["path"]).is_file():
        raise BrainDiffusionError(f"The result in '{folder}' is not whole: '{entry['path']}' is missing.")
    if voxels:
        _read(artifact, folder / entry["path"])
    return artifact


def _read(artifact: Artifact, path: Path) -> None:
    """Read what an artifact holds beside its entry. Raises BrainDiffusionError where its file is damaged."""
    if artifact.kind == "transform" and artifact.matrix is None:
        from .imaging.transforms import read_displacements

        try:
            artifact.volumes = read_displacements(path)
        except RuntimeError:
            raise BrainDiffusionError(f"'{path}' cannot be read; the result is damaged.") from None
    elif artifact.kind == "sequence":
        artifact.volumes = _voxels(path, artifact.kind)
    elif artifact.kind in _VOXELS:
        artifact.volume = _voxels(path, artifact.kind)[0]


def _voxels(path: Path, kind: str) -> list[Volume]:
    # Not through the gate: a heat map of zeros or a label map is no scan, and the gate refuses both.
    import nibabel
    import numpy as np

    from .imaging.volume import Volume

    try:
        image: Any = nibabel.load(path)
        whole = kind in ("labels", "segmentation")
        data = np.asarray(image.dataobj) if whole else image.get_fdata(dtype=np.float32)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
        raise BrainDiffusionError(f"'{path}' cannot be read; the result is damaged.") from None
    affine = np.asarray(image.affine, dtype=np.float64)
    frames = np.moveaxis(data, -1, 0) if kind == "sequence" else data[None]
    return [Volume(frame, affine, {"source": str(path)}) for frame in frames]
