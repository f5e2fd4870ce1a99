"""Open a page about the runs in the browser: python play.py. See python play.py --help."""

from pathlib import Path

from gpt.base.errors import printable, require_extra
from gpt.config.command import Command
from gpt.config.command_schemas import PlayConfig
from gpt.playground.run_list import RunList
from gpt.runs.finding import finished_runs
from gpt.runs.folder import holds_run
from gpt.runs.naming import RUNS, chosen_run, run_dirs
from gpt.runs.weights import existing_weights, selected


def main(config: PlayConfig, _: Command) -> None:
    """Serve the page until Ctrl-C, or write it as static files."""
    folders = run_dirs(config.runs)
    if config.out is not None:
        with require_extra("onnx"):
            from gpt.playground.static import exactly, newest_of_each_stage, write
        if config.run is None and all(holds_run(folder) for folder in folders):
            runs = exactly(folders)
        elif config.run is None:
            runs = newest_of_each_stage(folders, config.stage)
        else:
            run = chosen_run(config.run, config.runs, config.stage)
            runs = {run.config().stage: run}
        print(printable(write(runs, Path(config.out), Path(config.data.dir), weights=config.weights), keep="\n"))
        return
    with require_extra("play"):
        from gpt.playground.server import serve
        from gpt.playground.trainings import Trainings
    chosen = None
    if config.run or config.stage or finished_runs(*folders, is_required=False):  # no run: the page trains the first
        chosen = chosen_run(config.run, config.runs, config.stage)
        # Report a run that cannot be shown here rather than on the page.
        chosen.summary(), chosen.vocabulary(), existing_weights(chosen, selected(chosen, config.weights))
    run_list = RunList(folders, chosen, config.weights, config.device)
    place = next((folder for folder in folders if not holds_run(folder)), Path(RUNS))
    trainings = Trainings(place, Path(config.data.dir))
    serve(run_list, trainings, host=config.host, port=config.port, names=config.names, opens=config.open)
