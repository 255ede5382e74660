"""Cohorts: one brain for each row of a table of covariates, as a BIDS derivative that can be gone on with.

A brain is made in a hidden folder and renamed into place, so that nothing half-written looks done; a row
whose brain is there already is left alone, and one that cannot be made is told while the others are.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from . import __version__, faults
from .errors import BrainDiffusionError, Cancelled, WrongParameters
from .plan import usable_cores
from .result import RESEARCH_USE, to_json
from .result_folder import cannot_write
from .tasks import base
from .tasks.generate import DETAIL_MODEL

FORMAT = "braindiffusion cohort 1"
TASK = "generate"
COLUMNS = ("participant_id", "age", "sex", "ventricles", "brain", "seed")
"""What a table may have, in any order; a cell that is empty or n/a is unknown."""
DESCRIPTION, PEOPLE, MANIFEST = "dataset_description.json", "participants.tsv", "manifest.json"
BYTES = {2: 3_000_000, 1: 24_000_000}
"""Of one brain on disk, at most, by its voxel size in mm."""
_UNFINISHED = ".unfinished-"
_UNKNOWN = ("", "n/a", "na", "nan")
_SEXES = {"f": "female", "m": "male"}
_MEASURED = ("ventricles_ml", "ventricles_dark_ml", "brain_ml", "intracranial_ml")


@dataclass(frozen=True)
class Row:
    """A row of the table. parameters: those of the task `generate`. problem: why it cannot be made."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a row. message: a sentence where it failed."""

    name: str
    status: Literal["made", "kept", "failed"]
    message: str = ""


OnOutcome = Callable[[Outcome], None]


def read_table(path: str | Path, given: Mapping[str, Any] | None = None) -> list[Row]:
    """The rows of a CSV or TSV table with some of `COLUMNS`; `given` are parameters for all of them.

    The seed of a row without one belongs to its name and the seed that is given, so that rows can be added
    and moved. Raises WrongParameters for what is no such table.
    """
    path, given = Path(path), dict(given or {})
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongParameters(
            f"The table '{path}' cannot be read ({error}); give a CSV or TSV file."
        ) from None
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise WrongParameters(
            f"The table '{path}' has no rows; give a line of headings and one for each brain."
        )
    table = csv.DictReader(lines, delimiter=max("\t;,", key=lines[0].count), skipinitialspace=True)
    headings = [heading.strip().lower() for heading in table.fieldnames or []]
    strangers = [heading for heading in headings if heading not in COLUMNS]
    if strangers or len(set(headings)) < len(headings):
        wrong = f"a column '{strangers[0]}' that is not known" if strangers else "two columns of one name"
        raise WrongParameters(f"The table '{path}' has {wrong}; its columns may be {', '.join(COLUMNS)}.")
    table.fieldnames = headings
    rows: list[Row] = []
    for number, cells in enumerate(table, 1):
        row = _row(number, cells, given)
        if any(row.name == other.name for other in rows):
            row = Row(f"{row.name} (row {number})", problem=f"The name {row.name} is there twice.")
        rows.append(row)
    return rows


def _row(number: int, cells: dict[Any, Any], given: Mapping[str, Any]) -> Row:
    name = f"sub-{(cells.get('participant_id') or f'{number:04d}').strip().removeprefix('sub-')}"
    if None in cells or None in cells.values():
        return Row(name, problem=f"Row {number} has not as many values as the table has columns.")
    if not re.fullmatch(r"sub-[A-Za-z0-9]+", name):
        return Row(f"row {number}", problem=f"'{name}' is no name of a participant; take letters and digits.")
    values = {key: value.strip() for key, value in cells.items() if key != "participant_id"}
    told = {key: value for key, value in values.items() if value.lower() not in _UNKNOWN}
    if "sex" in told:
        told["sex"] = _SEXES.get(told["sex"].lower(), told["sex"].lower())
    drawn = hashlib.sha256(f"{given.get('seed', 0)} {name}".encode()).digest()
    wanted = {**given, "seed": int.from_bytes(drawn[:4], "big"), **told, "samples": 1}
    try:
        return Row(name, base.get(TASK).parameters.parse(wanted).model_dump())
    except WrongParameters as error:
        return Row(name, problem=str(error))


def make(
    table: str | Path,
    folder: str | Path,
    given: Mapping[str, Any] | None = None,
    *,
    jobs: int = 1,
    on_outcome: OnOutcome | None = None,
    **machine: Any,
) -> list[Outcome]:
    """Make the brains of `table` in `folder`, in `jobs` processes; what became of each row.

    `given` are parameters of the task `generate` for all rows, `machine` device, precision, threads and batch
    of `engine.run`. Raises WrongParameters, BrainDiffusionError where the folder holds anything else or the
    disk has no room for all, and Cancelled for Ctrl-C: what is finished then stays.
    """
    if jobs < 1:
        raise WrongParameters("The number of jobs is 1 or more.")
    folder, rows = Path(folder).expanduser().absolute(), read_table(table, given)
    _claim(folder)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    waiting: list[Row] = []
    for row in rows:
        known = Outcome(row.name, "failed", row.problem) if row.problem else _there(row, folder)
        if known is None:
            waiting.append(row)
        else:
            tell(known)
    _must_have_room(folder, waiting)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / DESCRIPTION, _description())
        threads = machine.pop("threads", None) or max(1, usable_cores() // jobs)
        for outcome in _carried_out(waiting, folder, jobs, machine | {"threads": threads}):
            tell(outcome)
    except KeyboardInterrupt:
        raise Cancelled("Stopped; the brains that are finished stay, and the same command goes on.") from None
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        if folder.is_dir():
            _sum_up(folder, Path(table), rows, outcomes)
    return outcomes


def _carried_out(rows: Sequence[Row], folder: Path, jobs: int, machine: dict[str, Any]) -> Iterator[Outcome]:
    if jobs == 1 or len(rows) < 2:
        yield from (make_one(row, folder, machine) for row in rows)
        return
    with ProcessPoolExecutor(min(jobs, len(rows)), mp_context=get_context("spawn")) as pool:
        names: dict[Future[Outcome], str] = {}
        try:
            names = {pool.submit(make_one, row, folder, machine): row.name for row in rows}
            for future in as_completed(names):
                yield _outcome(future, names[future])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(future: Future[Outcome], name: str) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        ended = "A process ended before this brain was made, most likely because memory ran out"
        return Outcome(name, "failed", f"{ended}; run the same command again with fewer jobs.")


def make_one(row: Row, folder: Path, machine: Mapping[str, Any]) -> Outcome:
    """Make the brain of a row and put it into its place in `folder`."""
    from . import engine

    try:
        result = engine.run(TASK, {}, row.parameters, **machine)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as workshop:
            _write_brain(result, row, Path(workshop) / row.name / "anat")
            os.replace(Path(workshop) / row.name, folder / row.name)
    except BrainDiffusionError as error:
        return Outcome(row.name, "failed", str(error))
    except OSError as error:
        return Outcome(row.name, "failed", str(cannot_write(folder, error)))
    except Exception as error:  # one row's fault is no reason to lose the others
        report = faults.write_report(error, f"braindiffusion {__version__}, {row}")
        return Outcome(row.name, "failed", f"{faults.told(error)}; the details are in '{report}'.")
    return Outcome(row.name, "made")


def _write_brain(result: Any, row: Row, place: Path) -> None:
    from .imaging.io import write_nifti

    (brain,), (measured,) = result["brains"].volumes, result["volumes"].rows
    sidecar = {
        "Description": RESEARCH_USE,
        "SkullStripped": True,
        "GeneratedBy": _generated_by(),
        "Request": _request(row),
        "SampleSeed": measured["seed"],
        "Measured": {key: measured[key] for key in _MEASURED},
        "Plausible": result.plausible,
        "Verdict": result.verdict,
        "Notes": result.notes,
        "Provenance": result.provenance,
    }
    place.mkdir(parents=True)
    path = place / f"{row.name}_desc-synthetic_T1w.nii.gz"
    write_nifti(brain, path, synthetic=True, description=f"generate {row.name}", sidecar=sidecar)


def _request(row: Row) -> dict[str, Any]:
    """All that the voxels depend on."""
    from .models.card import folder_of, read_card

    models = {"sha256": row.parameters["model"]}
    if row.parameters["voxel_size"] == 1:
        models["detail_sha256"] = DETAIL_MODEL
    return {**row.parameters, **{key: read_card(folder_of(name)).sha256 for key, name in models.items()}}


def _there(row: Row, folder: Path) -> Outcome | None:
    """That the row is done, or that its place is taken; None where it has to be made."""
    if not (folder / row.name).exists():
        return None
    sidecar = folder / row.name / "anat" / f"{row.name}_desc-synthetic_T1w.json"
    try:
        made = json.loads(sidecar.read_text(encoding="utf-8"))["Request"]
        wanted = json.loads(to_json(_request(row)))
    except (OSError, ValueError, KeyError):
        return Outcome(row.name, "failed", f"'{folder / row.name}' is there and no brain of this cohort.")
    except BrainDiffusionError as error:
        return Outcome(row.name, "failed", str(error))
    if made == wanted:
        return Outcome(row.name, "kept")
    other = next(key for key in wanted if made.get(key) != wanted[key])
    named = "model" if other.endswith("sha256") else other.replace("_", " ")
    sentence = f"{row.name} is there, made with another {named}; remove its folder or give a new one for all."
    return Outcome(row.name, "failed", sentence)


def _claim(folder: Path) -> None:
    """See that `folder` is new, empty or an earlier cohort; what a killed run left unfinished is removed."""
    if folder.exists() and not folder.is_dir():
        raise BrainDiffusionError(f"'{folder}' is a file; give a folder for the cohort.")
    if not folder.exists():
        return
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    if not any(folder.iterdir()):
        return
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        said = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if said["GeneratedBy"][0]["Name"] == "BrainDiffusion":
            return
    raise BrainDiffusionError(f"'{folder}' holds files that are no cohort; give an empty or a new folder.")


def _must_have_room(folder: Path, rows: Sequence[Row]) -> None:
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    free, need = shutil.disk_usage(standing).free, sum(BYTES[row.parameters["voxel_size"]] for row in rows)
    if need > free:
        raise BrainDiffusionError(
            f"The disk of '{standing}' has {free / 1e9:.2f} GB free, and {len(rows)} brains need up to "
            f"{need / 1e9:.2f} GB; free some or give another folder."
        )


def _generated_by() -> list[dict[str, str]]:
    return [{"Name": "BrainDiffusion", "Version": __version__, "Description": RESEARCH_USE}]


def _description() -> dict[str, Any]:
    return {
        "Name": "Synthetic T1-weighted brains",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": _generated_by(),
        "Synthetic": True,
    }


def _sum_up(folder: Path, table: Path, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
    """Write the table of all people that the folder holds, and the manifest of this run."""
    people = []
    for file in sorted(folder.glob("sub-*/anat/sub-*_desc-synthetic_T1w.json")):
        said = json.loads(file.read_text(encoding="utf-8"))
        asked = {key: said["Request"][key] for key in COLUMNS[1:]}
        people.append({"participant_id": file.parts[-3], **asked, **said["Measured"]})
    keys = (*COLUMNS, *_MEASURED)
    lines = ["\t".join(keys)]
    for person in people:
        lines.append("\t".join("n/a" if person[key] is None else str(person[key]) for key in keys))
    _write(folder / PEOPLE, "\n".join(lines) + "\n")
    _write_json(folder / "participants.json", _columns())
    told = {outcome.name: outcome for outcome in outcomes}
    entries = []
    for row in rows:
        outcome = told.get(row.name)
        file = folder / row.name / "anat" / f"{row.name}_desc-synthetic_T1w.nii.gz"
        # A brain that another process finished after Ctrl-C has no outcome, but is there.
        done = file.is_file() if outcome is None else outcome.status != "failed"
        entries.append(
            {
                "participant_id": row.name,
                "status": outcome.status if outcome is not None else "made" if done else "waiting",
                "message": outcome.message if outcome is not None else "",
                "seed": row.parameters.get("seed"),
                "file": file.relative_to(folder).as_posix() if done else None,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest() if done else None,
            }
        )
    source = {"table": table.name, "table_sha256": hashlib.sha256(table.read_bytes()).hexdigest()}
    _write_json(folder / MANIFEST, {"format": FORMAT, "notice": RESEARCH_USE, **source, "rows": entries})


def _columns() -> dict[str, Any]:
    """What participants.tsv says, as BIDS wants it described."""
    described = base.schema(base.get(TASK))["properties"]
    told = {
        key: {"Description": f"{described[key]['title']}, asked for"}
        | ({"Units": described[key]["unit"]} if described[key].get("unit") else {})
        for key in COLUMNS[1:]
    }
    found = {key: f"Measured: {key.removesuffix('_ml').replace('_', ' ')}" for key in _MEASURED}
    return told | {key: {"Description": said, "Units": "ml"} for key, said in found.items()}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write(path, to_json(content, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    from .imaging.io import whole_file

    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
