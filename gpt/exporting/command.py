"""Export a trained run for other programs: python export.py format=onnx. See python export.py --help."""

from pathlib import Path

from gpt.base.command_schemas import ExportConfig
from gpt.base.request import Request


def main(config: ExportConfig, request: Request) -> None:
    """Export the run to a new folder, after checking that the two agree."""
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.base.errors import printable
    from gpt.base.stopping import Stop
    from gpt.exporting.formats import export
    from gpt.exporting.staging import staged
    from gpt.runs.weights import in_words
    from gpt.session.trained import load_run

    del request
    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device="cpu")
    out = Path(config.out) if config.out else trained.run.path / config.format
    with Stop().listening(), staged(out) as folder:
        checked = export(trained, config.format, folder, license=config.license)
    print(printable(f"{trained.config.stage}, {in_words(trained.which)} of {trained.run.path}\n{checked}", keep="\n"))
    print(printable(f"written: {out}"))
