"""Export a trained run for other programs: python export.py format=onnx. See python export.py --help."""

import importlib
from pathlib import Path

from gpt.base.errors import RequestError, printable, require_extra
from gpt.base.losses import in_words
from gpt.config.command import Command
from gpt.config.command_schemas import ExportConfig, ExportFormat, RunConfig
from gpt.exporting.model_card import in_terminal
from gpt.exporting.staging import staged
from gpt.reports.listing import Line, table
from gpt.runs.naming import chosen_run
from gpt.session.trained import TrainedRun, load_run

_MODULES = {"transformers": "as_gpt2", "onnx": "graphs"}  # not named like the format


def main(config: ExportConfig, _: Command) -> None:
    """Export the run to a new folder, after checking that the two agree."""
    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device="cpu")
    if trained.config.model.is_user_code and config.format != "onnx":
        raise RequestError(
            f"format={config.format} needs the code of this package, and this is a stage of your own file"
        )
    out = Path(config.out) if config.out else trained.run.path / config.format
    with staged(out) as folder:
        checked = export(trained, config.format, folder, license=config.license)
    print(printable(f"{trained.config.stage}, {in_words(trained.which)} of {trained.run.path}\n{checked}", keep="\n"))
    print(printable(f"written: {out}"))


def show(config: RunConfig, _: Command) -> None:
    """Print what a run is: its model card, or its line in the list of runs if it has not finished."""
    run = chosen_run(config.run, config.runs, config.stage)
    print(in_terminal(load_run(str(run.path), device="cpu")) if run.is_finished() else table([Line.of(run)]))


def export(trained: "TrainedRun", format: ExportFormat, folder: Path, *, license: str) -> str:
    """Write the run to the empty `folder`, and return a description of what was checked.

    Raises RequestError if the run cannot be exported in this format or a library is missing, UserError if the export
    and the run differ.
    """
    with require_extra(format):
        module = importlib.import_module(f"gpt.exporting.{_MODULES.get(format, format)}")
    checked: str = module.export(trained, folder, **({"license": license} if format == "hub" else {}))
    return checked
