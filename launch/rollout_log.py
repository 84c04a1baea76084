"""What a run keeps of its rollouts: a file of records for every generation batch, and a few episodes to be read."""

from collections.abc import Sequence
from pathlib import Path

from configs.schema import RunConfig
from retriever.catalogue import Catalogue
from rollout.batch_files import FOLDER, Played, batch_file, keep_newest
from rollout.records import write_records
from train.objectives import ScoredGroup
from train.recorded import scored_records
from train.source import batch_seed
from train.tracking import EpisodeLog

SAMPLE_EPISODES = 3


class RolloutLog:
    """The listener of a source: `RolloutLog(…)(batch index, groups, hash of the weights that played)`."""

    def __init__(self, folder: Path, config: RunConfig, catalogue: Catalogue) -> None:
        self._folder, self._config, self._catalogue = folder, config, catalogue
        self._episodes = EpisodeLog(folder / "episodes.log", every=config.tracking.episodes_logged_every)

    def __call__(self, batch: int, groups: Sequence[ScoredGroup], weights: str) -> None:
        """Every rollout of a batch to its own file; a few, now and then, as readable text."""
        config, folder = self._config, self._folder / FOLDER
        played = Played(
            batch=batch + 1,
            seed=batch_seed(config.seed, batch),
            temperature=config.rollout.temperature,
            weights=weights,
            catalogue=self._catalogue.content_hash,
        )
        write_records(batch_file(folder, batch + 1), scored_records(groups, played))
        keep_newest(folder, config.tracking.keep_rollouts)
        if self._episodes.due(batch):
            executed = [r for r in scored_records(groups, None) if r.trajectory.executed]
            for record in executed[:SAMPLE_EPISODES]:
                self._episodes.write("rl", batch + 1, record.trajectory, record.extra["reward"])
