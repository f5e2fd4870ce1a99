"""Where a run is recorded: in a new folder, or in that of the run that it continues."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpt.base.losses import Seen
from gpt.base.request import Destination
from gpt.base.schema import TrainConfig
from gpt.data.vocabulary import Vocabulary
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.creation import created, created_at
from gpt.runs.folder import RunFolder
from gpt.runs.snapshots import remove_snapshots_after
from gpt.session.forking import Fork

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewFolder:
    """The folder of a new run."""

    destination: Destination
    fork: Fork | None = None  # the source of its weights

    @contextlib.contextmanager
    def open(
        self, config: TrainConfig, vocabulary: Vocabulary, command: str, seen: Seen | None
    ) -> Iterator[tuple[RunFolder, Callable[[], None] | None]]:
        """Create the folder, and yield it; there is nothing to reopen."""
        create = created_at if self.destination.folder and not self.destination.sweep else created
        with create(self.destination.of(config)) as run, run.logging() as start_log:
            start_log()
            run.write_config(config)
            if self.fork is not None:
                run.write_parent(self.fork.record.model_copy(update={"seen": seen}))
                log.info(f"starting from {self.fork.record.description}")
                if new := [token for token in vocabulary.vocabulary if token not in self.fork.tokens]:
                    log.info(f"the vocabulary grows by {len(new):,}: {''.join(new)[:40]!r}")
            run.write_vocabulary(vocabulary)  # from here on, it can be resumed
            run.write_command(command, 0)
            run.mark_training()
            yield run, None


@dataclass(frozen=True)
class ContinuedFolder:
    """The folder of a run that continues, from a checkpoint or, if it never had one, from the beginning."""

    run: RunFolder
    before: TrainConfig  # its configuration so far
    changed: list[str]  # as key=value: what that changed from the documented run
    edited: list[str]  # as key=value: what changes for the rest of the run
    checkpoint: Checkpoint | None

    @contextlib.contextmanager
    def open(
        self, config: TrainConfig, vocabulary: Vocabulary, command: str, seen: Seen | None
    ) -> Iterator[tuple[RunFolder, Callable[[], None] | None]]:
        """Yield the folder, which stays unchanged until the function is called that is yielded with it."""
        del seen  # which is in parent.json already
        run, iteration = self.run, self.checkpoint.progress.iteration if self.checkpoint else 0
        with run.logging() as start_log:

            def reopen() -> None:
                start_log()
                run.mark_training()
                run.write_config(config)
                run.write_vocabulary(vocabulary)
                run.write_command(command, iteration)
                Checkpoints(run, config.checkpoint.keep).remove_after(iteration)
                remove_snapshots_after(run, iteration)
                if self.checkpoint is not None:
                    self.checkpoint.restore_best(run.weights("best"))
                    run.write_metrics(self.checkpoint.progress)

            log.info(f"resuming {run.path} from iteration {iteration}")
            if later := [f"{saved:08d}" for saved in run.checkpoints() if saved > iteration]:
                log.warning(f"everything after iteration {iteration} will be replaced: checkpoint {', '.join(later)}")
            if self.edited:
                log.info(f"changed for the rest of the run: {', '.join(self.edited)}")
            yield run, reopen
