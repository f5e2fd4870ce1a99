"""Export a trained run for other programs: python export.py format=onnx. See python export.py --help."""

from pathlib import Path

from gpt import cli
from gpt.config import ExportConfig


def main(config: ExportConfig) -> None:
    """Write the export in a new folder, once it has been found equal to the run."""
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.errors import printable
    from gpt.exporting import export
    from gpt.exporting.staging import staged
    from gpt.stopping import Stop
    from gpt.trained import load_run

    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device="cpu")
    out = Path(config.out) if config.out else trained.run.path / config.format
    with Stop().listening(), staged(out) as folder:
        checked = export(trained, config.format, folder, license=config.license)
    print(printable(f"{trained.config.stage}, {trained.which} weights of {trained.run.path}\n{checked}", keep="\n"))
    print(printable(f"written: {out}"))


if __name__ == "__main__":
    cli.main(main, ExportConfig, "export", verbatim=("run", "out"))
