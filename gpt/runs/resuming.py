"""Planning: whether to start a new run or resume one, with which configuration and from which checkpoint.

Planning changes nothing in a run; `Plan.opened` does.
"""

import contextlib
import logging
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpt.config import IDENTIFYING, RESUMABLE, Request, TrainConfig, changes, flat, shown
from gpt.console import command
from gpt.data.corpora import fingerprints, located
from gpt.errors import DivergedError, RequestError, UserError
from gpt.runs.checkpoints import Checkpoint, Checkpoints, largest_state
from gpt.runs.creation import created, created_at
from gpt.runs.finding import newest_like
from gpt.runs.folder import RunFolder
from gpt.runs.forking import Fork
from gpt.runs.records import Summary, Vocabulary
from gpt.runs.weights import planned_model
from gpt.stopping import Stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to train and where."""

    config: TrainConfig
    request: Request
    fork: Fork | None = None  # where the weights come from, if neither from a checkpoint nor random
    before: TrainConfig | None = None  # the run's configuration so far, if it is resumed
    run: RunFolder | None = None  # the one to resume; None: a new one
    checkpoint: Checkpoint | None = None  # None: start from the beginning
    changed: list[str] = field(default_factory=list)  # as key=value: what `config` changes for the run

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary of the run to resume or to fork."""
        run = self.run or (self.fork and self.fork.run)
        return run.vocabulary() if run else None

    @property
    def finished(self) -> Summary | None:
        """The summary of the run to resume, if it has finished and is not to be extended."""
        if self.run is None or not self.run.is_finished():
            return None
        summary = self.run.summary()
        return summary if summary.iterations == self.config.training.max_iters else None

    @property
    def is_extension(self) -> bool:
        """Whether the number of iterations changes, and the schedule does not."""
        before, now = self.before, self.config
        if before is None or before.training.max_iters == now.training.max_iters:
            return False
        return before.schedule == now.schedule

    def check(self, corpus_digest: str) -> None:
        """Raises RequestError if the run cannot be resumed with this corpus or for this many iterations."""
        if self.run is not None:
            self.run.check_corpus(corpus_digest)
        if self.checkpoint is not None and self.checkpoint.progress.iteration > self.config.training.max_iters:
            raise RequestError(f"training.max_iters={self.config.training.max_iters} is before {self.checkpoint.path}")

    @contextlib.contextmanager
    def opened(self, vocabulary: Vocabulary) -> Iterator[tuple[RunFolder, Callable[[], None]]]:
        """The run folder, created if it is a new one; and what restores a resumed one to the checkpoint.

        Until that is called, nothing in a resumed run changes.
        """
        vocabulary = vocabulary.model_copy(update={"files": fingerprints(self.config.data)})
        if self.run is None:
            create = created_at if self.request.folder and not self.request.sweep else created
            with create(self.request.new_folder(self.config)) as run, run.logging() as start_log:
                start_log()
                run.write_config(self.config)
                if self.fork is not None:
                    run.write_parent(self.fork.record)
                    log.info(f"starting from {self.fork.record.description}")
                run.write_vocabulary(vocabulary)  # as of now it can be resumed
                run.write_command(self.request.command, 0)
                yield run, lambda: None
            return
        run, iteration = self.run, self.checkpoint.progress.iteration if self.checkpoint else 0
        with run.logging() as start_log:

            def reopen() -> None:
                start_log()
                run.reopen(keep_average=self.config.training.average_last > 0)
                run.write_config(self.config)
                run.write_vocabulary(vocabulary)
                run.write_command(self.request.command, iteration)
                Checkpoints(run, self.config.checkpoint.keep).remove_after(iteration)
                if self.checkpoint is not None:
                    self.checkpoint.restore_best(run.weights("best"))

            log.info(f"resuming {run.path} from iteration {iteration}")
            later = [name for name in Checkpoints(run, 1).names() if int(name) > iteration]
            if later:
                log.warning(f"what came after iteration {iteration} is replaced: checkpoint {', '.join(later)}")
            if self.changed:
                log.info(f"changed for the rest of the run: {', '.join(self.changed)}")
            yield run, reopen


@contextlib.contextmanager
def planned(config: TrainConfig, request: Request) -> Iterator[Plan]:
    """Plan what a request asks for; a run to resume stays locked inside the context.

    Raises RequestError for a change that would make it another run, UserError if the run is damaged.
    """
    fork = None
    if config.init is not None and config.resume in (None, "auto"):
        fork = Fork.of(Path(config.init))
        config = fork.config(config, request.given)
    run = _run_to_resume(config, request)
    if run is None:
        yield Plan(config, request, fork)
        return
    with run.locked():
        is_auto = config.resume == "auto"
        before = run.config()
        merged, changed = _merged(before, config, _all_keys(config) if is_auto else request.given)
        named = None if is_auto else Path(str(config.resume))
        model = planned_model(run)
        if not is_auto and ("runs" in request.given or request.folder not in (None, run.path)):
            place = f"runs={config.runs}" if "runs" in request.given else f"hydra.run.dir={request.folder}"
            raise RequestError(f"{place} is where new runs go, but resume={config.resume} names a run: omit one")
        if named is not None and _is_checkpoint(named):
            checkpoint: Checkpoint | None = Checkpoint.read(named, largest_state(model))
        else:
            checkpoint = Checkpoints(run, merged.checkpoint.keep, largest_state(model)).newest()
        if checkpoint is not None:
            checkpoint.check_model(model)
        elif before.init is not None and (fork is None or fork.record != run.parent()):
            raise UserError(f"no checkpoint of {run.path} is intact: start it again, with init={before.init}")
        plan = Plan(merged, request, None if checkpoint else fork, before, run, checkpoint, changed)
        if plan.finished is None:
            given = _all_keys(config) if is_auto else request.given
            data = located(merged.data, run.vocabulary().files, config.data.hyperparameters, given)
            plan = replace(plan, config=merged.model_copy(update={"data": data}))
        yield plan


@contextlib.contextmanager
def explaining_how_to_resume(run: RunFolder, is_saved: Callable[[], bool]) -> Iterator[None]:
    """Add to an error how to resume the run; `is_saved` tells whether the last step was saved."""
    try:
        yield
    except Stopped as stopped:
        if run.is_finished():
            raise
        unsaved = "" if is_saved() else "; the last iterations were not saved"
        raise Stopped(
            stopped.number, f"{stopped}{unsaved}; resume with: {command('train')} resume={shlex.quote(str(run.path))}"
        ) from None
    except DivergedError as error:
        checkpoints = Checkpoints(run, keep=1)
        newest = checkpoints.names()[-1:]
        again = f"try resume={shlex.quote(str(checkpoints.folder / newest[0]))}" if newest else "try again"
        raise DivergedError(
            f"{error}: {again} with a smaller training.learning_rate or training.grad_clip=1.0"
        ) from None


def _run_to_resume(config: TrainConfig, request: Request) -> RunFolder | None:
    if config.resume is None:
        return None
    if config.resume != "auto":
        return _run_of(Path(config.resume))
    if request.sweep is not None:
        return newest_like(config, request.sweep, is_finished=None, compared=request.swept)
    if request.folder is not None:
        run = RunFolder(request.folder)
        return run if run.is_started() else None
    return newest_like(config, Path(config.runs), is_finished=False)


def _run_of(path: Path) -> RunFolder:
    """The run at `path`, which is its folder or one of its checkpoints. Raises RequestError if it is neither."""
    folder = path.parent.parent if _is_checkpoint(path) else path
    if not path.is_dir():
        raise RequestError(f"resume={path}: no such folder")
    if not (folder / "config.yaml").exists():
        raise RequestError(f"resume={path}: neither a run folder nor a checkpoint in one")
    return RunFolder(folder)


def _is_checkpoint(path: Path) -> bool:
    return path.parent.name == "checkpoints" and not (path / "config.yaml").exists()


def _all_keys(config: TrainConfig) -> list[str]:
    """Every key of a configuration. Schedules and loggers have keys of their own, so each is replaced as a whole."""
    replaced = {"schedule", "logger"}
    return [*replaced, *flat({key: value for key, value in config.content().items() if key not in replaced})]


def _merged(kept: TrainConfig, wanted: TrainConfig, given: Iterable[str]) -> tuple[TrainConfig, list[str]]:
    """The configuration of a run with the `given` keys of another, and what that changes.

    Raises RequestError for a change that would make it another run.
    """
    for group, noun in (("experiment", "an experiment"), ("debug", "debug=")):
        if group in given:
            raise RequestError(f"{noun} is for new runs; to resume one, give the values that should change")
    before, other, merged = kept.content(), wanted.content(), kept.content()
    for key in given:
        for identifying in _identifying(key):
            old, new = _get(before, identifying), _get(other, identifying)
            if old != new:
                was, is_now = shown(identifying, old), shown(identifying, new)
                raise RequestError(f"a run with {was} cannot be resumed with {is_now}: start a new run for that")
        if key.partition(".")[0] in RESUMABLE and key != "data":  # a corpus keeps its own values: give those by name
            _set(merged, key, _get(other, key))
    return TrainConfig.model_validate(merged), changes(before, merged)


def _identifying(key: str) -> list[str]:
    """The keys that identify the run among `key` and, if it is a group, the keys in it."""
    if key in ("resume", "runs"):
        return []  # of the command, not of the run
    if key == "model":
        return ["stage"]
    if key.partition(".")[0] in RESUMABLE:
        return [name for name in IDENTIFYING if name == key or name.startswith(f"{key}.")]
    return [key]


def _get(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        content = content.setdefault(group, {})
    content[name] = value
