"""Which recorded files a `rollouts` command reads, and the config that goes with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.load import to_dict
from configs.schema import RunConfig, load_run_config
from launch.run_folder import MANIFEST, changed_keys, read_run
from retriever.base.errors import UserError
from retriever.base.nearest import did_you_mean
from rollout.batch_files import batch_number, record_files
from rollout.records import read_records

_DEEP = 3  # folders between a run and its records: evaluation/<stage>/<file>


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user named."""

    files: tuple[Path, ...]
    config: RunConfig
    notes: tuple[str, ...] = ()  # what the user should be told of


def given_records(
    places: Sequence[str], overrides: Sequence[str], *, config: str | None = None, batch: int | None = None
) -> Given:
    """The files of `places` (runs, folders, files; with `batch`, that number alone) and their run's config.

    `config`, a preset or file, takes the place of the run's. Raises UserError.
    """
    files = files_of_batch(places, batch)
    if config is not None:
        return Given(files=tuple(files), config=load_run_config(config, list(overrides)))
    runs = {file: _run_of(file) for file in files}
    folders = list(dict.fromkeys(run for run in runs.values() if run is not None))
    if not folders:
        raise UserError(
            f"{files[0]}: it lies in no run's folder (none above it has a {MANIFEST}), so its config is not known; "
            "give --config with the preset or YAML file that it was made with"
        )
    chosen = read_run(folders[0], overrides).config
    notes = []
    for other in folders[1:]:
        changed = changed_keys(to_dict(read_run(folders[0]).config), to_dict(read_run(other).config))
        if changed:
            keys = ", ".join(list(changed)[:3])
            notes.append(f"{other} was run with another config than {folders[0]}, whose is used ({keys} …)")
    return Given(files=tuple(files), config=chosen, notes=tuple(notes))


def files_of_batch(places: Sequence[str], batch: int | None) -> list[Path]:
    """The files of `places`, those of one generation batch where `batch` is its number. Raises UserError for none."""
    files = list(dict.fromkeys(file for place in places for file in record_files(place)))
    if batch is not None:
        known = sorted({number for file in files if (number := batch_number(file)) is not None})
        files = [file for file in files if batch_number(file) == batch]
        if not files:
            told = f"{known[0]} to {known[-1]}" if known else "none"
            raise UserError(f"--batch {batch}: no such generation batch there; recorded are {told}")
    return files


def files_with_episode(files: Sequence[Path], wanted: str) -> list[Path]:
    """The files that hold an episode of that id. Raises UserError, naming the nearest, when there is none."""
    known: dict[str, list[Path]] = {}
    for file in files:
        for trajectory in read_records(file):
            known.setdefault(trajectory.id, []).append(file)
    if wanted not in known:
        where = ", ".join(file.name for file in files[:3]) + (" …" if len(files) > 3 else "")
        raise UserError(
            f"--episode {wanted}: no such episode in {where}{did_you_mean(wanted, known)}; toolscout rollouts show "
            "lists them"
        )
    return list(dict.fromkeys(known[wanted]))


def _run_of(file: Path) -> Path | None:
    """The folder of the run that a file lies in."""
    return next((folder for folder in list(file.absolute().parents)[:_DEEP] if (folder / MANIFEST).is_file()), None)
