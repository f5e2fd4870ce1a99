"""Write down how a model learns to write: the README's moving picture, and what the page's first screen plays back.

    python docs/learning.py

This trains v8 with the recipe of record 12, once, in docs/_generated/learning, and draws a frame for each snapshot: the
loss over the validation split, and a text that is sampled with the same random numbers every time. The first screen
plays back the texts after every fourth of them, and the losses.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE / "_ext")]  # pictures and what they import, as in conf.py

from course_runs import corpus  # noqa: E402
from pictures.theme import THEMES  # noqa: E402

import gpt  # noqa: E402
from gpt.playground.describe import curve_of  # noqa: E402

_PICTURE = _HERE / "images" / "learning.webp"
_STORED = _HERE.parent / "gpt" / "playground" / "page" / "texts" / "v8.json"
# The record is evaluated at its end alone, in bfloat16, which is slow on many processors.
_SETTINGS = ["dtype=float32", "training.eval_interval=50", "training.eval_iters=10"]
_COLUMNS, _LINES = 46, 13  # of the text
_FRAME, _END = 400, 4000  # milliseconds
_PAPER, _KNOWN, _OTHER = "#0d1117", "#f0f3f6", "#7d8590"


def main() -> None:
    """Train v8 if it has not been trained, and replace the picture and the stored training."""
    description = "Write down how v8 learns to write, for the README and for the page's first screen."
    argparse.ArgumentParser(description=description).parse_args()
    run = _trained("learning", ["experiment=records/12_shuffled", "checkpoint.snapshots=36", *_SETTINGS])
    _STORED.write_text(json.dumps(stored(run)) + "\n", encoding="utf-8")
    first, *others = frames(run)
    duration = [3 * _FRAME, *[_FRAME] * (len(others) - 1), _END]
    first.save(_PICTURE, save_all=True, append_images=others, lossless=True, method=6, loop=0, duration=duration)


def _trained(name: str, settings: list[str]) -> Path:
    """The run with these settings, trained if it has not been."""
    run = _HERE / "_generated" / name
    command = [sys.executable, "train.py", *settings, "device=cpu", f"hydra.run.dir={run}", "resume=auto"]
    subprocess.run(command, cwd=_HERE.parent, check=True)
    return run


def stored(run: Path) -> dict[str, Any]:
    """What the page needs to play back a training: the losses, and a text after every fourth snapshot."""
    opened = gpt.load(run, device="cpu")
    *earlier, last = opened.run.snapshots()
    moments = ((iteration, gpt.load(run, weights=iteration, device="cpu")) for iteration in [*earlier[::4], last])
    return {
        "stage": opened.config.stage,
        "iterations": last,
        "documented": None,
        "changed": [],
        "curve": curve_of(opened.run.evaluations()),
        "texts": [{"iteration": at, "text": trained.generate("\n", tokens=200, seed=1)} for at, trained in moments],
    }


def frames(run: Path) -> list[Image.Image]:
    """A picture of the run at each of its snapshots."""
    text = corpus()
    words = set(map(_bare, text.train.split()))
    pictures: list[Image.Image] = []
    losses: dict[int, float] = {}  # by iteration
    opened = gpt.load(run, device="cpu")
    for iteration in opened.run.snapshots():
        trained = gpt.load(run, weights=iteration, device="cpu")
        losses[iteration] = trained.loss(text.val)
        written = "ROMEO:" + trained.generate("ROMEO:", tokens=_COLUMNS * _LINES, temperature=0.8)
        with mpl.rc_context(THEMES["dark"]):
            figure = _drawn(opened.config.stage, losses, opened.config.training.max_iters, written, words)
            content = io.BytesIO()
            figure.savefig(content, dpi=100, facecolor=_PAPER)
        drawn = Image.open(content).convert("RGB")
        pictures.append(drawn.quantize(24, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).convert("RGB"))
    return pictures


def _drawn(stage: str, losses: dict[int, float], max_iters: int, text: str, words: set[str]) -> Figure:
    """The text, in which the words of the training text are white, beside the losses until then."""
    figure = Figure(figsize=(7.2, 3.6))
    figure.set_layout_engine("none")
    wrap = textwrap.TextWrapper(_COLUMNS, break_on_hyphens=False).wrap
    lines = [part for line in text.split("\n") for part in wrap(line) or [""]]
    for number, line in enumerate(lines[:_LINES]):
        known = re.sub(r"\S+", lambda word: word[0] if _bare(word[0]) in words else " " * len(word[0]), line)
        other = re.sub(r"\S+", lambda word: " " * len(word[0]) if _bare(word[0]) in words else word[0], line)
        for part, colour in ((known, _KNOWN), (other, _OTHER)):
            y = 0.8 - 0.058 * number
            figure.text(0.03, y, part, color=colour, parse_math=False, family="monospace", fontsize=11)
    iteration, loss = list(losses.items())[-1]
    heading: dict[str, Any] = {"y": 0.91, "fontsize": 14, "weight": "bold"}
    figure.text(0.03, s=f"{stage}, iteration {iteration:,}", color=_KNOWN, **heading)
    figure.text(0.97, s=f"loss {loss:.2f}", color="C0", ha="right", **heading)
    axes = figure.add_axes((0.71, 0.15, 0.26, 0.69), facecolor="none")
    axes.plot(list(losses), list(losses.values()), linewidth=2)
    axes.plot(iteration, loss, "o", color="C0")
    axes.set_xscale("symlog", linthresh=10)
    axes.set(xlim=(0, 1.2 * max_iters), ylim=(1, 5), xlabel="iteration", yticks=range(1, 6))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid()
    return figure


def _bare(word: str) -> str:
    return word.strip(".,;:!?'&-").lower()


if __name__ == "__main__":
    main()
