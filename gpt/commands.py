"""The console commands gpt-train, gpt-generate, gpt-evaluate and gpt-compare: the scripts, without a clone."""

import os
import runpy

from gpt.cli.composing import CONF


def train() -> None:
    """Run train.py."""
    _run("train")


def generate() -> None:
    """Run generate.py."""
    _run("generate")


def evaluate() -> None:
    """Run evaluate.py."""
    _run("evaluate")


def compare() -> None:
    """Run compare.py."""
    _run("compare")


def _run(name: str) -> None:
    os.environ["GPT_COMMANDS"] = "1"  # for messages that name a command; joblib's workers inherit it
    runpy.run_path(str(CONF.parent / f"{name}.py"), run_name="__main__")  # as a script: joblib pickles it by value
