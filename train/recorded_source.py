"""Training batches from records in place of a pool: no engine, no environment, no Ray.

The rewards are computed again, with the config's weights. What the policy has moved since the tokens were sampled is in
the ratio against the recorded log-probs; a batch that the very weights of now played is held to the engine's gap.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from rewards.config import RewardConfig
from rollout.config import RolloutConfig
from rollout.renderer import Renderer
from rollout.weights import WeightUpdate
from train.config import GrpoConfig, check_enough
from train.recorded import RecordedBatch, check_scorable, check_tokenizer, read_batch
from train.rollout_metrics import gate_metrics, tool_metrics
from train.scoring import BatchScoring
from train.source import GenerationBatch, generation_batch, group_plan


class RecordedSource:
    """A `BatchSource` whose batch `index` is the file `files[index]`."""

    def __init__(
        self,
        files: Sequence[Path],
        *,
        renderer: Renderer,
        vocabulary: int,
        model: str,  # what the policy is called in errors
        rollout: RolloutConfig,
        rewards: RewardConfig,
        config: GrpoConfig,
        catalogue: Catalogue,
        say: Callable[[str], None],
    ) -> None:
        check_enough(files, config)
        self._files, self._renderer, self._vocabulary, self._model = files, renderer, vocabulary, model
        self._rollout, self._rewards, self._config, self._catalogue = rollout, rewards, config, catalogue
        self._say = say
        self._told: bool | None = None  # whether the last batch was the policy's own, once that was said

    def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
        """Read, score, and divide into updates. Raises UserError or DataError for what cannot be trained on."""
        started = perf_counter()
        found = read_batch(self._files[index])
        self._check(found)
        by_objective = BatchScoring(self._config, self._rewards, self._catalogue).by_objective(found.rollouts)
        own = found.played is not None and found.played.weights == weights.content_hash
        self._tell(found, own=own, hash=weights.content_hash)
        metrics = {
            **gate_metrics(found.rollouts, group_plan(self._config)),
            **tool_metrics(found.rollouts),
            "time/read_s": perf_counter() - started,
            "policy_version": float(min(found.policy_versions, default=0)),
        }
        return generation_batch(index, by_objective, self._config, metrics=metrics, foreign=not own)

    def _check(self, found: RecordedBatch) -> None:
        check_scorable(found, self._config, self._catalogue)
        check_tokenizer(found, self._renderer, vocabulary=self._vocabulary, model=self._model)
        wanted = self._rollout.temperature
        if found.played is not None and found.played.temperature != wanted:
            raise UserError(
                f"{found.path}: sampled at temperature {found.played.temperature:g}, and its log-probs are those at "
                f"that; rollout.temperature={wanted:g} is the trainer's: give rollout.temperature="
                f"{found.played.temperature:g}"
                + (", or training rollouts in place of greedy ones" if found.played.temperature == 0 else "")
            )

    def _tell(self, found: RecordedBatch, *, own: bool, hash: str) -> None:
        if own is self._told:
            return
        self._told = own
        if own:
            self._say(f"{found.path.name}: played by the very weights that it trains; the engine's gap is checked")
            return
        by = f"weights {found.played.weights[:12]}" if found.played is not None else "weights that it does not name"
        self._say(
            f"{found.path.name}: played by {by}, not by the policy as it is now ({hash[:12]}): the loss has the ratio "
            "of the two, policy/drift_* tells how far they are apart, and no engine's gap can be checked"
        )
