"""Search for hyperparameters: python search.py experiment=search_v6. See python search.py --help."""

import logging
import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.base.request import Request
from gpt.base.schema import StudyConfig
from gpt.session import train

if TYPE_CHECKING:
    from gpt.training.watchers import Watcher

log = logging.getLogger("gpt")


def main(config: StudyConfig, request: Request) -> None:
    """Run trials until the study has n_trials of them; each is a run of train.py."""
    from gpt.base.console import command
    from gpt.base.errors import RequestError, printable, requiring
    from gpt.base.files import attempt
    from gpt.base.stopping import Stopped
    from gpt.cli.ranges import divided

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RequestError("torchrun is for train.py: to search with several processes, start search.py several times")
    with requiring("search"):
        from gpt.searching import report
        from gpt.searching.space import distributions
        from gpt.searching.study import Search

    base = divided(request.rest)
    folder = Path(config.study or Path(base.config.runs, base.name))
    space = distributions(base.ranges)
    search = Search(folder, space, base.config.content(), seed=config.sampling_seed, prune=config.prune)
    for trial in search.trials(config.n_trials):
        values = [f"{key}={value}" for key, value in trial.params.items()]
        log.info(f"trial {trial.number}: {' '.join(values)}")
        overrides = [*base.overrides, *values, "resume=auto", f"hydra.run.dir={search.run_folder(trial.number)}"]
        try:
            search.run(trial, partial(_train, overrides, request))
        except Stopped as stopped:
            raise Stopped(stopped.number, f"stopped in trial {trial.number}; repeat the command to continue") from None
        attempt("the picture", lambda: report.draw(search.study, search.picture), (Exception,))

    log.info(f"{report.counts(search.study)}, in {folder}")
    best = report.winner(search.study)
    shares = ", ".join(f"{key} {share:.2f}" for key, share in report.importances(search.study).items())
    log.info(f"importances: {shares or 'too few trials yet'} (picture: {search.picture})")
    for line in report.edges(best.params, base.ranges):
        log.info(line)
    log.info(f"best: trial {best.number}, exact validation loss {best.value:.4f} (nats per token)")
    log.info("train the winner:")
    values = [f"{key}={value}" for key, value in best.params.items()]
    print(printable(f"{command('train')} {shlex.join([*request.options, *base.overrides, *values])}"))


def _train(overrides: list[str], request: Request, watcher: "Watcher") -> float:
    """Do what `python train.py OVERRIDES` does, with one more watcher."""
    from gpt.cli.requests import of_overrides

    return train.main(*of_overrides(overrides, request.options), [watcher])
