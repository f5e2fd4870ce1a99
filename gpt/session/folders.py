"""Where a run is recorded: in a new folder, or in that of the run that it continues."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gpt.base.keys import differences
from gpt.base.losses import Seen
from gpt.base.request import Destination
from gpt.base.schema import TrainConfig
from gpt.data.vocabulary import Vocabulary
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.creation import created, created_at
from gpt.runs.folder import RunFolder
from gpt.runs.snapshots import remove_snapshots_after
from gpt.session.forking import Fork
from gpt.watching.recorders import Reopening

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewFolder:
    """The folder of a new run."""

    destination: Destination
    fork: Fork | None = None  # the source of its weights

    @contextlib.contextmanager
    def open(
        self, config: TrainConfig, vocabulary: Vocabulary, command: str, seen: Seen | None
    ) -> Iterator[tuple[RunFolder, Sequence[Reopening]]]:
        """Create the folder, and yield it; there is nothing to reopen."""
        create = created_at if self.destination.folder and not self.destination.sweep else created
        with create(self.destination.of(config)) as run, run.logging() as start_log:
            start_log()
            run.write_config(config)
            if self.fork is not None:
                run.write_parent(self.fork.parent.model_copy(update={"seen": seen}))
                log.info(f"starting from {self.fork.parent.description}")
            run.write_vocabulary(vocabulary)  # from here on, it can be resumed
            run.write_command(command, 0)
            run.mark_training()
            yield run, []


@dataclass(frozen=True)
class ContinuedFolder:
    """The folder of a run that continues, from a checkpoint or, if it never had one, from the beginning."""

    run: RunFolder
    before: TrainConfig  # its configuration so far
    checkpoint: Checkpoint | None

    @property
    def _iteration(self) -> int:
        return self.checkpoint.progress.iteration if self.checkpoint else 0

    @contextlib.contextmanager
    def open(
        self, config: TrainConfig, vocabulary: Vocabulary, command: str, seen: Seen | None
    ) -> Iterator[tuple[RunFolder, Sequence[Reopening]]]:
        """Yield the folder, and what reopens it; until then it stays unchanged."""
        del seen  # which is in parent.json already
        run, iteration = self.run, self._iteration
        with run.logging() as start_log:
            log.info(f"resuming {run.path} from iteration {iteration}")
            if later := [f"{saved:08d}" for saved in run.checkpoints() if saved > iteration]:
                log.warning(f"everything after iteration {iteration} will be replaced: checkpoint {', '.join(later)}")
            if edited := differences(self.before.content(), config.content()):
                log.info(f"changed for the rest of the run: {', '.join(edited)}")
            yield run, [Reopening(partial(self._reopen, start_log, config, vocabulary, command))]

    def _reopen(self, start_log: Callable[[], None], config: TrainConfig, vocabulary: Vocabulary, command: str) -> None:
        """Undo what came after the checkpoint, and write what the run has now."""
        start_log()
        run, iteration = self.run, self._iteration
        run.mark_training()
        run.write_config(config)
        run.write_vocabulary(vocabulary)
        run.write_command(command, iteration)
        Checkpoints(run, config.checkpoint.keep).remove_after(iteration)
        remove_snapshots_after(run, iteration)
        if self.checkpoint is not None:
            self.checkpoint.restore_best(run.weights("best"))
            run.write_metrics(self.checkpoint.progress)
