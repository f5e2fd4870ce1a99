"""The console commands gpt-train, gpt-generate and so on: the scripts, without a clone."""

import os
import runpy
from functools import partial

from gpt.cli.composing import CONF


def _run(script: str) -> None:
    os.environ["GPT_COMMANDS"] = "1"  # for messages that name a command; joblib's workers inherit it
    path = CONF.parent / f"{script}.py"
    runpy.run_path(str(path), run_name="__main__")  # as a script: joblib pickles it by value


train = partial(_run, "train")
generate = partial(_run, "generate")
evaluate = partial(_run, "evaluate")
compare = partial(_run, "compare")
export = partial(_run, "export")
search = partial(_run, "search")
play = partial(_run, "play")
