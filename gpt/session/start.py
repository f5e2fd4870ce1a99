"""A start: all that a run begins with, built once, with final numbers, by a function that only reads."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gpt.base.request import Request
from gpt.base.runtime import deterministic_algorithms, select_device
from gpt.base.schema import TrainConfig
from gpt.base.stopping import Stop
from gpt.cli.requesting import changed
from gpt.runs.records import Summary
from gpt.session.beginnings import Beginning
from gpt.session.folders import ContinuedFolder, NewFolder
from gpt.session.job import Job
from gpt.session.modules import Module
from gpt.session.plan import planned
from gpt.training.compilation import compiler_options
from gpt.training.processes import ALONE, World
from gpt.training.state import TrainingState
from gpt.training.watchers import Watcher
from gpt.watching.loggers import chosen_loggers


@dataclass(frozen=True)
class Start:
    """A run that can begin. On ranks other than 0: without what rank 0 sends them, says or writes."""

    job: Job
    request: Request
    beginning: Beginning
    folder: NewFolder | ContinuedFolder | None  # None: nothing is written
    changed: Sequence[str]  # as key=value: what differs from the documented run of the stage; known to rank 0
    loggers: Sequence[Callable[..., Watcher]]  # of the run folder

    def state(self) -> TrainingState:
        """The state from which training begins or continues, the same on every rank.

        Raises UserError for a damaged checkpoint, RequestError if the run cannot be extended with this schedule.
        """
        job = self.job
        state = TrainingState(job.model, job.optimizer, job.recipe.runtime)
        self.beginning.begin(state, job.recipe, self.changed)
        state.progress.preparing_seconds += job.preparing_seconds
        state.broadcast(job.recipe.world)
        return state


@contextlib.contextmanager
def starting(
    config: TrainConfig, request: Request, stop: Stop, world: World = ALONE, module: Module | None = None
) -> Iterator[Start | Summary]:
    """The start of the run that a request asks for, or the results of a finished one that has nothing left to train.

    A run that continues stays locked inside the context, and PyTorch has the settings of the run. Raises RequestError
    for what cannot be trained, or not in this folder; UserError if a corpus is missing, or a run damaged.
    """
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(planned(config, request, stop, world, module))
        if plan.finished is not None:
            yield plan.finished
            return
        loggers = chosen_loggers(plan.config.logger) if plan.folder is not None else []
        stack.enter_context(deterministic_algorithms(wanted=plan.config.deterministic))
        if plan.config.compile:
            stack.enter_context(compiler_options(select_device(plan.config.device)))
        job = Job.of(plan, world, module)
        stack.enter_context(job.recipe.runtime.settings())
        differing: list[str] = []
        if module is not None:
            differing = [f"model={job.config.model.target.rpartition('.')[2]} of the calling program"]
        elif world.is_first:
            with stop.deferred():  # Hydra would turn an exception into one of its own
                differing = changed(job.config, request)
            stop.check()
        yield Start(job, request, plan.beginning, plan.folder, differing, loggers)
