"""Search for hyperparameters: python search.py experiment=search_v6. See python search.py --help."""

import logging
import os
import runpy
import shlex
from functools import partial
from pathlib import Path

from gpt import cli
from gpt.config import DATA_PATHS, StudyConfig

VERBATIM = (*DATA_PATHS, "init")  # of train.py's keys

log = logging.getLogger("gpt")


def main(config: StudyConfig) -> None:
    """Run trials until the study has n_trials of them; each is a run of train.py."""
    from gpt.console import command
    from gpt.errors import RequestError, printable, requiring
    from gpt.files import attempt
    from gpt.stopping import Stopped

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RequestError("torchrun is for train.py: to search with several processes, start search.py several times")
    with requiring("search"):
        from gpt.searching import report
        from gpt.searching.study import Search

        base = cli.search_base(VERBATIM)
    train = runpy.run_path(str(Path(__file__).with_name("train.py")))["main"]
    folder = Path(config.study or Path(base.config.runs, base.name))
    search = Search(folder, base.space, base.config.content(), seed=config.sampling_seed, prune=config.prune)

    for trial in search.trials(config.n_trials):
        values = [f"{key}={value}" for key, value in trial.params.items()]
        log.info(f"trial {trial.number}: {' '.join(values)}")
        overrides = [*values, "resume=auto", f"hydra.run.dir={search.run_folder(trial)}"]
        try:
            search.run(trial, partial(cli.run_trial, train, base, overrides, VERBATIM))
        except Stopped as stopped:
            raise Stopped(stopped.number, f"stopped in trial {trial.number}; repeat the command to continue") from None
        attempt("the picture", lambda: report.draw(search.study, folder / "search.png"), (Exception,))

    best = report.best_trial(search.study)
    log.info(f"{report.counts(search.study)}, in {folder}")
    if best is None:
        raise RequestError("no trial is complete: raise n_trials, or turn pruning off with prune=false")
    shares = ", ".join(f"{key} {share:.2f}" for key, share in report.importances(search.study).items())
    log.info(f"importances: {shares or 'too few trials yet'} (picture: {folder / 'search.png'})")
    log.info(f"best: trial {best.number}, exact validation loss {best.value:.4f} (nats per token)")
    values = [f"{key}={value}" for key, value in best.params.items()]
    log.info("train the winner:")
    print(printable(f"{command('train')} {shlex.join([*base.options, *base.overrides, *values])}"))


if __name__ == "__main__":
    cli.main(main, StudyConfig, "search", verbatim=("study",))
