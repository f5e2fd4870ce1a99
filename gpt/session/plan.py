"""The plan of a run: how it begins, decided before its corpus is read, by functions that only read."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gpt.config.command import Command
from gpt.config.schema import TrainConfig
from gpt.data.corpus import Corpus
from gpt.data.vocabulary import Vocabulary
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.creation import created, created_at, own_folder, usual_folder
from gpt.runs.folder import RunFolder
from gpt.runs.records import Parent
from gpt.runs.weights import load_weights, remove_snapshots_after
from gpt.training.state import TrainingState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a run begins, from random weights, another run's weights (a fork) or a checkpoint; and its folder."""

    config: TrainConfig  # final, apart from numbers that the corpus decides
    command: Command
    parent: Parent | None = None  # the run whose weights it begins with, if it is a fork without a checkpoint
    run: RunFolder | None = None  # the run to resume, locked
    checkpoint: Checkpoint | None = None  # where it is resumed; None: at its beginning
    vocabulary: Vocabulary | None = None  # None: built from the corpus
    corpus: Corpus | None = None  # if it has been read already

    def for_others(self) -> "Plan":
        """The plan for ranks other than 0: rank 0 writes, and sends them the state."""
        command = replace(self.command, writes=False)
        return replace(self, command=command, parent=None, run=None, corpus=None)

    def begin(self, state: TrainingState) -> None:
        """Load the checkpoint or the parent's weights into a new state. Raises UserError if they are damaged."""
        if self.run is not None and self.checkpoint is not None:
            state.restore(self.checkpoint.progress, self.checkpoint.tensors())
            state.progress.planned = None
        elif self.parent is not None:
            load_weights(RunFolder(self.parent.folder), state.model, self.parent.weights)

    @contextlib.contextmanager
    def opened(self, config: TrainConfig, vocabulary: Vocabulary) -> Iterator[RunFolder]:
        """The run's folder, locked, with its final configuration: from now on, it can be resumed."""
        if self.run is None:
            folder = own_folder(self.command)
            create = created_at if folder and not self.command.job else created
            with create(folder or usual_folder(config, self.command)) as run, run.logging():
                self._begin_in(run, config, vocabulary)
                yield run
        else:
            with self.run.logging():
                self._go_on_in(self.run, config, vocabulary)
                yield self.run

    def _begin_in(self, run: RunFolder, config: TrainConfig, vocabulary: Vocabulary) -> None:
        run.write_config(config)
        if self.parent is not None:
            run.update(parent=self.parent)
            log.info(f"starting from {self.parent.description}")
        run.add_command(self.command.line, 0)
        run.write_vocabulary(vocabulary)
        run.mark_training()

    def _go_on_in(self, run: RunFolder, config: TrainConfig, vocabulary: Vocabulary) -> None:
        """Undo what a resumed run wrote after its checkpoint, and write its current configuration."""
        iteration = self.checkpoint.progress.iteration if self.checkpoint else 0
        log.info(f"resuming {run.path} from iteration {iteration}")
        run.mark_training()
        run.write_config(config)
        run.write_vocabulary(vocabulary)
        run.add_command(self.command.line, iteration)
        Checkpoints(run, config.checkpoint.keep).remove_after(iteration)
        remove_snapshots_after(run, iteration)
        if self.checkpoint is not None:
            self.checkpoint.restore_best(run.weights("best"))
            run.write_metrics(self.checkpoint.progress)
