"""Draw the figures of docs/translation.md from a trained run.

python docs/figures.py RUN_FOLDER
"""

import argparse
import sys
from pathlib import Path

from matplotlib.figure import Figure

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE / "_ext")]  # pictures and what they import, as in conf.py

from pictures.sequences import attention_to_source  # noqa: E402

import gpt  # noqa: E402
from gpt.base.errors import UserError  # noqa: E402
from gpt.session.trained import TrainedRun  # noqa: E402
from gpt.tasks.translation import Translation  # noqa: E402

_REFERENCE = [4.60, 3.64, 3.18, 2.93, 2.90, 2.53, 2.52, 2.35, 2.3151]  # after each of its epochs
_SENTENCE = "Ein Mann mit einem Hut spielt Gitarre."


def main() -> None:
    """Write both of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run of model=transformer")
    parser.add_argument(
        "--out", type=Path, default=_HERE / "images", help="where to write the figures (default docs/images)"
    )
    given = parser.parse_args()
    try:
        run = gpt.load(given.run, device="cpu")
        Translation.required(run.task, "docs/figures.py")
    except UserError as error:
        sys.exit(f"error: {error}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {"attention": _attention(run), "translation": _curve(run)}.items():
        figure.savefig(given.out / f"{name}.png", dpi=120)


def _attention(run: TrainedRun) -> Figure:
    """What the last decoder block attends to while it writes a translation: the mean over its heads."""
    weights, source, written = attention_to_source(run, _SENTENCE)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(weights, cmap="Blues")
    axes.set_xticks(range(len(source)), source, rotation=60)
    axes.set_yticks(range(len(written)), written)
    axes.set(title="the last block's attention to the source", xlabel="source", ylabel="written")
    return figure


def _curve(run: TrainedRun) -> Figure:
    """The run's losses after each epoch, beside those of the reference, which has other data and another vocabulary."""
    _, *evaluations = run.run.evaluations()
    epochs = [m.iteration / evaluations[0].iteration for m in evaluations]  # it was evaluated after each
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, [m.val for m in evaluations], ".-", label="validation")
    axes.plot(epochs, [m.train for m in evaluations], ".-", label="train")
    axes.plot(range(1, len(_REFERENCE) + 1), _REFERENCE, ":", color="grey", label="the reference, other data")
    axes.set(title="loss", xlabel="epoch", ylabel="nats per subword")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
