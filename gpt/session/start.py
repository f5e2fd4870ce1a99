"""How a run begins: with random weights, with another run's (a fork), or from a checkpoint; and its folder."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from gpt.config.command import Command
from gpt.config.schema import TrainConfig
from gpt.data.corpus import Corpus
from gpt.data.vocabulary import Vocabulary
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.creation import created, created_at, own_folder, usual_folder
from gpt.runs.folder import RunFolder
from gpt.runs.records import Parent
from gpt.runs.weights import load_weights, remove_snapshots_after
from gpt.training.state import State
from gpt.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class New:
    """A run that begins with random weights."""

    config: TrainConfig  # final, apart from numbers that the corpus decides
    vocabulary: Vocabulary | None = None  # None: built from the corpus
    corpus: Corpus | None = None  # if it has been read already
    parent: Parent | None = None  # the run whose weights it begins with, if there is one

    @property
    def state(self) -> State:
        """The state from which it begins."""
        return State()

    def load_into(self, trainer: Trainer) -> None:
        """Give the trainer of a new run its first weights; by default, it keeps those that it was built with."""

    @contextlib.contextmanager
    def opened(self, trainer: Trainer, command: Command) -> Iterator[RunFolder]:
        """The run's folder, locked, with its final configuration: from now on, it can be resumed."""
        folder = own_folder(command)
        create = created_at if folder and not command.job else created
        with create(folder or usual_folder(self.config, command)) as run, run.logging():
            if self.parent is not None:
                run.update(parent=self.parent)
                log.info(f"starting from {self.parent.description}")
            _record(run, trainer, command)
            run.mark_training()
            yield run


@dataclass(frozen=True)
class Fork(New):
    """A run that begins with the weights of another."""

    def load_into(self, trainer: Trainer) -> None:
        """Load the parent's weights. Raises UserError if they are damaged."""
        assert self.parent is not None
        load_weights(RunFolder(self.parent.folder), trainer.model, self.parent.weights)


@dataclass(frozen=True, kw_only=True)
class Resume(Fork):
    """A run that continues from its newest checkpoint or, without one, begins again."""

    run: RunFolder  # locked
    checkpoint: Checkpoint | None

    @property
    def state(self) -> State:
        """The state of the checkpoint."""
        return self.checkpoint.state if self.checkpoint else State()

    def load_into(self, trainer: Trainer) -> None:
        """Restore the checkpoint. Raises UserError if it is damaged."""
        if self.checkpoint is not None:
            trainer.restore(self.checkpoint.state, self.checkpoint.tensors())
            trainer.state.planned = None
        elif self.parent is not None:
            super().load_into(trainer)

    @contextlib.contextmanager
    def opened(self, trainer: Trainer, command: Command) -> Iterator[RunFolder]:
        """The run's folder, without what was written after the checkpoint."""
        run, iteration = self.run, self.state.iteration
        with run.logging():
            log.info(f"resuming {run.path} from iteration {iteration}")
            run.mark_training()
            _record(run, trainer, command)
            Checkpoints(run, trainer.config.checkpoint.keep).remove_after(iteration)
            remove_snapshots_after(run, iteration)
            if self.checkpoint is not None:
                self.checkpoint.restore_best(run.weights("best"))
                run.write_metrics(self.checkpoint.state)
            yield run


Start = New | Fork | Resume


def _record(run: RunFolder, trainer: Trainer, command: Command) -> None:
    """Write what a run needs to be resumed; the vocabulary comes last, because its file marks a run as started."""
    run.write_config(trainer.config)
    run.add_command(command.line, trainer.state.iteration)
    run.write_vocabulary(trainer.task.vocabulary(trainer.corpus))
