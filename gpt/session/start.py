"""How a run starts: as a new one, as a fork (`init=`) or where it was interrupted (`resume=`)."""

import contextlib
from collections.abc import Iterator
from typing import cast

from gpt.base.errors import RequestError
from gpt.config.command import Command
from gpt.config.schema import TrainConfig
from gpt.runs.records import Summary
from gpt.session.forking import forked
from gpt.session.plan import Plan
from gpt.session.resuming import resumed, run_to_resume
from gpt.training.processes import ALONE, World


@contextlib.contextmanager
def planned(config: TrainConfig, command: Command, world: World = ALONE) -> Iterator[Plan | Summary]:
    """The plan of the requested run, the same on every rank; or the results of a run that has finished.

    A resumed run stays locked inside the context. Raises RequestError for a request that cannot be trained, UserError
    if a corpus is missing or a run is damaged.
    """
    if not world.is_first:
        follower: Plan | Summary | None = world.broadcast(None)
        assert follower is not None
        yield follower
        return
    for key in ("runs", "hydra.run.dir"):
        if not command.writes and key in command.given:
            raise RequestError(f"{key}= is about run folders, but without folder= there is none: add folder=")
    new = None
    if config.resume in (None, "auto"):
        new = Plan(config, command) if config.init is None else forked(config, command)
    run = run_to_resume(config, command, new)
    with run.locked() if run else contextlib.nullcontext():
        plan = resumed(new.config if new else config, command, run, new) if run else cast(Plan, new)
        world.broadcast(plan.for_others() if isinstance(plan, Plan) else plan)
        yield plan
