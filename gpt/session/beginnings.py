"""What a run begins with: random weights, those of another run (gpt/session/forking.py), or a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpt.base.losses import Seen
from gpt.base.schema import TrainConfig
from gpt.data.corpus import Corpus
from gpt.runs.checkpoints import Checkpoint
from gpt.runs.records import Parent
from gpt.tasks import Stage, Task
from gpt.training.progress import Segment
from gpt.training.recipe import Recipe
from gpt.training.state import TrainingState, check_extension


class Beginning:
    """Random weights; on ranks other than 0, what rank 0 sends them."""

    parent: Parent | None = None  # the run that the weights are from, which may be gone when this one is resumed

    def seen(self, task: Task, corpus: Corpus, stage: Stage) -> Seen | None:  # noqa: ARG002
        """What of the validation split the weights were trained on, as far as that is known."""
        return None

    def begin(self, state: TrainingState, recipe: Recipe, changed: Sequence[str]) -> None:
        """Put into a state with random weights what the run begins with.

        `changed` is what differs from the documented run. Raises UserError for damaged weights.
        """


@dataclass(frozen=True)
class Resumed(Beginning):
    """The state of a checkpoint."""

    checkpoint: Checkpoint
    before: TrainConfig  # the configuration of the run so far
    changed: Sequence[str]  # as key=value: what that changed from the documented run
    keeps_schedule: bool  # for the rest of the run

    def seen(self, task: Task, corpus: Corpus, stage: Stage) -> Seen | None:  # noqa: ARG002
        """As its evaluations say."""
        evaluations = self.checkpoint.progress.evaluations
        return evaluations[-1].val.over.seen if evaluations else None

    def begin(self, state: TrainingState, recipe: Recipe, changed: Sequence[str]) -> None:
        """Restore the checkpoint.

        Raises UserError if it is damaged, RequestError if the run cannot be extended with this schedule.
        """
        state.restore(self.checkpoint.progress, self.checkpoint.tensors())
        progress, before = state.progress, self.before
        length = recipe.settings.max_iters
        newest = progress.evaluations[-1] if progress.evaluations else None
        if newest is not None and newest.iteration == progress.iteration < length:
            # The last evaluation of a shorter run has the learning rates of the next update from now on.
            rates = recipe.rates(newest.iteration, state.optimizer.peaks)
            progress.evaluations[-1] = newest.model_copy(update={"learning_rates": rates})
        if before.training.max_iters != length and self.keeps_schedule:
            check_extension(recipe.schedule, progress.iteration, before.training.max_iters, length)
        if [*self.changed] != [*changed]:
            progress.history.append(Segment(until=progress.iteration, changed=list(self.changed)))
