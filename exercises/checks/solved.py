"""Training a solved exercise as the stage that it builds."""

import importlib
from typing import Any

from torch import nn

import gpt
from exercises.checks import EXERCISES
from gpt.base.errors import RequestError
from gpt.config.composing import compose
from gpt.config.conf import settings_of
from gpt.config.reading import read


def train(name: str, *overrides: str) -> str:
    """Train the GPT of an exercise's file like its stage, and return its loss beside the documented one.

    `overrides` are those of `gpt.train`. Raises RequestError if the exercise builds no stage, and for wrong keys.
    """
    stage = EXERCISES[name].stage
    if stage is None:
        raise RequestError(f"{name} is not a model of its own, so there is nothing to train")
    config = compose(read("train", [f"model={stage}", *overrides]))
    others = [word for word in (*settings_of(stage), *overrides) if not word.startswith("model.")]
    made = importlib.import_module(f"exercises.{name}").GPT

    def exercise(vocab_size: int) -> nn.Module:
        model: nn.Module = made(vocab_size, **config.model.hyperparameters)
        return model

    run: Any = gpt.train(*others, module=exercise)
    documented = "none" if config.documented.val is None else f"{config.documented.val:.4f}"
    return (
        f"estimated validation loss, nats per character: {run.summary.estimated.val.nats:.4f}   "
        f"(documented: {documented})\n"
        f"exact: {run.summary.exact.nats:.4f}\n\n{run.generate(tokens=200)}"
    )
