"""Plans: whether a training run starts from scratch, another run's weights or a checkpoint, and its configuration.

Planning changes nothing on disk; `NewRun.opened` and `Resumption.opened` do.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from gpt.base.errors import RequestError
from gpt.base.request import Request
from gpt.base.schema import TrainConfig
from gpt.data.vocabulary import Vocabulary
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.corpus_files import fingerprints
from gpt.runs.creation import created, created_at, started
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary
from gpt.runs.snapshots import remove_snapshots_after
from gpt.session.forking import Fork
from gpt.training.progress import Segment
from gpt.training.schedules import Schedule
from gpt.training.state import TrainingState, check_extension

log = logging.getLogger(__name__)

Opened = tuple[RunFolder, Callable[[], None]]  # the folder, and what restores a resumed one to its checkpoint


@dataclass(frozen=True)
class Plan:
    """The plan of a training run on ranks other than 0, or without a run folder: it writes nothing.

    The subclasses add what rank 0 does.
    """

    config: TrainConfig  # as it will be
    changed: list[str]  # as key=value: what differs from the documented run
    vocabulary: Vocabulary | None = None  # of the run to continue; None: built from the corpus
    finished: Summary | None = None  # of a run that has nothing left to train
    fork: Fork | None = None  # the source of the weights, unless they are random or from a checkpoint

    def check(self, corpus_digest: str) -> None:
        """Raise RequestError if the run cannot continue with this corpus."""

    def initialise(self, model: nn.Module, vocabulary: Vocabulary) -> None:
        """Load the weights of the fork, if it is one, into a model of this vocabulary, which has that of the fork.

        Raises UserError if they are damaged or of another shape.
        """
        if self.fork is not None:
            self.fork.load(model, vocabulary)

    def begin(self, state: TrainingState, schedule: Schedule) -> None:
        """Restore the checkpoint, if there is one. Raises UserError if it is damaged."""


@dataclass(frozen=True)
class NewRun(Plan):
    """A new run in its own folder, from random weights or those of `fork`."""

    request: Request = field(kw_only=True)

    @contextlib.contextmanager
    def opened(self, vocabulary: Vocabulary) -> Iterator[Opened]:
        """The folder, created."""
        destination = self.request.destination
        create = created_at if destination.folder and not destination.sweep else created
        with create(destination.of(self.config)) as run, run.logging() as start_log:
            start_log()
            run.write_config(self.config)
            if self.fork is not None:
                run.write_parent(self.fork.record)
                log.info(f"starting from {self.fork.record.description}")
                if new := [token for token in vocabulary.vocabulary if token not in self.fork.tokens]:
                    log.info(f"the vocabulary grows by {len(new):,}: {''.join(new)[:40]!r}")
            run.write_vocabulary(_with_fingerprints(vocabulary, self.config))  # from here on, it can be resumed
            run.write_command(self.request.command, 0)
            started(run)
            yield run, lambda: None


@dataclass(frozen=True)
class Resumption(Plan):
    """A run that continues in its folder, from an intact checkpoint, or from the beginning if it never had one."""

    request: Request = field(kw_only=True)
    run: RunFolder = field(kw_only=True)
    before: TrainConfig = field(kw_only=True)  # its configuration so far
    changed_before: list[str] = field(kw_only=True)  # what that changed from the documented run
    edited: list[str] = field(kw_only=True)  # as key=value: what `config` changes for the rest of the run
    checkpoint: Checkpoint | None = None

    @property
    def iteration(self) -> int:
        """Where it continues."""
        return self.checkpoint.progress.iteration if self.checkpoint else 0

    def check(self, corpus_digest: str) -> None:
        """Raise RequestError if the run cannot be resumed with this corpus or for this many iterations."""
        self.run.check_corpus(corpus_digest)
        if self.iteration > self.config.training.max_iters and self.checkpoint is not None:
            raise RequestError(f"training.max_iters={self.config.training.max_iters} is before {self.checkpoint.path}")

    def begin(self, state: TrainingState, schedule: Schedule) -> None:
        """Restore the checkpoint, and record the settings used up to it if they change."""
        if self.checkpoint is None:
            return
        state.restore(self.checkpoint.progress, self.checkpoint.tensors())
        before, after = self.before.training.max_iters, self.config.training.max_iters
        if before != after and self.before.schedule == self.config.schedule:
            check_extension(schedule, state.progress.iteration, before, after)
        if self.changed_before != self.changed:
            state.progress.history.append(Segment(until=state.progress.iteration, changed=self.changed_before))

    @contextlib.contextmanager
    def opened(self, vocabulary: Vocabulary) -> Iterator[Opened]:
        """Yield the folder, which stays unchanged until the returned function is called."""
        run, iteration = self.run, self.iteration
        with run.logging() as start_log:

            def reopen() -> None:
                start_log()
                run.reopen()
                started(run)
                run.write_config(self.config)
                run.write_vocabulary(_with_fingerprints(vocabulary, self.config))
                run.write_command(self.request.command, iteration)
                Checkpoints(run, self.config.checkpoint.keep).remove_after(iteration)
                remove_snapshots_after(run, iteration)
                if self.checkpoint is not None:
                    self.checkpoint.restore_best(run.weights("best"))
                    run.write_metrics(self.checkpoint.progress)

            log.info(f"resuming {run.path} from iteration {iteration}")
            later = [name for name in Checkpoints(run, 1).names() if int(name) > iteration]
            if later:
                log.warning(f"everything after iteration {iteration} will be replaced: checkpoint {', '.join(later)}")
            if self.edited:
                log.info(f"changed for the rest of the run: {', '.join(self.edited)}")
            yield run, reopen


def _with_fingerprints(vocabulary: Vocabulary, config: TrainConfig) -> Vocabulary:
    """The vocabulary with the fingerprints of the corpus's files."""
    return vocabulary.model_copy(update={"files": fingerprints(config.data)})


def is_checkpoint(path: Path) -> bool:
    """Whether a path that resume= names is a checkpoint rather than a run folder."""
    return path.parent.name == "checkpoints" and not (path / "config.yaml").exists()
