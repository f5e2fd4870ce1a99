"""Every key of four scripts with values that no one should give it: accepted, or refused in one line.

python tests/faults/odd_values.py FIRST COUNT tries some of them in this process, up to the point where a run would
begin, and prints a line for each that does harm.
"""

import contextlib
import io
import logging
import random
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from gpt import cli, models
from gpt.base.choices import Choice
from gpt.base.keys import flat
from gpt.base.request import Request
from gpt.base.schema import TrainConfig
from gpt.data.corpora import LOADER
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE, check_warmup
from tests.conftest import REPOSITORY
from tests.faults.scenarios import Outcome, in_parallel

_VALUES = (
    "", "null", "true", "False", "0", "1", "-1", "-0", "0.0", "0.5", "1.5", "1e-30", "1e30", "1e400", "nan", "inf",
    "-inf", "2147483647", "2147483648", "9223372036854775808", "1" * 400, "1_000", "0x10", "1e3", "x", "'x'", '"1"',
    "a b", "é", "日本", "\ud800", "\x1b[2J", "a\nb", "a\0b", "x" * 9000, "../..", "/dev/null", "~", "*", "?", "???",
    "[]", "[1]", "[a,b]", "[[1]]", "{}", "{a:1}", "{a:{b:2}}", "[{a:1}]", "a,b", "1,2", "${seed}", "${nope}",
    "${oc.env:HOME}", "$", "${", "}", "=", "a=b", "#", "!!python/name:os.system", "&x", "0 1", "range(1,3)",
    "choice(1,2)", "interval(0,1)", "None",
)  # fmt: skip
_SECONDS = 5
_CHOSEN = {"model": "v7", "data": "shakespeare", "optimizer": "muon", "schedule": "cosine"}  # whose keys are tried
_SCRIPTS = ("train", "generate", "evaluate", "compare")


@cache
def cases() -> list[tuple[str, str, str]]:
    """Script, key, value: all combinations, in an order that mixes them."""
    found = []
    for script in _SCRIPTS:
        tree = yaml.safe_load((REPOSITORY / "conf" / f"{script}.yaml").read_text())
        keys = [key for key in flat(tree) if not key.startswith(("hydra.", "defaults"))]
        if script == "train":
            keys += ["model", "data", "optimizer", "schedule", "logger", "experiment", "+new"]
            for group, name in (
                ("model", "v7"),
                ("data", "shakespeare"),
                ("optimizer", "muon"),
                ("schedule", "cosine"),
            ):
                content = yaml.safe_load((REPOSITORY / "conf" / group / f"{name}.yaml").read_text())
                chosen = f"{group}={name} {group}."
                keys += [f"{chosen}{key}" for key in content.get(group, content)]
        found += [(script, key, value) for key in keys for value in _VALUES]
    random.Random(0).shuffle(found)
    return found


def main(first: int, count: int) -> None:
    """Try these cases."""
    logging.disable()
    for script, key, value in cases()[first : first + count]:
        *chosen, key = key.split(" ")
        said, started, what = io.StringIO(), time.process_time(), f"{script}.py {' '.join(chosen)} {key}={value[:60]!r}"
        sys.argv = [f"{script}.py", *chosen, f"{key}={value}"]
        code: Any = 0
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                cli.main(_built, script)
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            print(f"{what}: {error!r:.200}", flush=True)
            continue
        lines = [line for line in said.getvalue().splitlines() if not line.startswith("usage: ")]
        if code not in (0, None) and (code not in (1, 2) or len(lines) != 1 or not lines[0].startswith("error: ")):
            print(f"{what}: exit code {code}, {said.getvalue()[-200:]!r}", flush=True)
        if (seconds := time.process_time() - started) > _SECONDS:
            print(f"{what}: {seconds:.1f} s", flush=True)


def _built(config: Any, _: Request) -> None:
    """What train.py builds of a configuration, without memory for the model and without the corpus."""
    if not isinstance(config, TrainConfig):
        return
    LOADER.partial(config.data)
    schedule = SCHEDULE.partial(config.schedule)
    check_warmup(config.schedule, config.training.max_iters)
    schedule(0, config.training.max_iters, config.training.learning_rate)
    with torch.device("meta"):
        models.build(config.model, 65)
    small = Choice.model_validate({"_target_": "gpt.models.v1_bigram.Bigram", "block_size": 8})
    OPTIMIZER.build(config.optimizer, model=models.build(small, 65), learning_rate=config.training.learning_rate)


def odd_values(count: int, folder: Path) -> Outcome:
    """Every key with some sixty odd values: one error line and exit code 1 or 2, within 5 s, or the value is valid."""
    count = min(count, len(cases()))
    parts = 1 if count < 100 else 4  # each imports torch anew
    part = -(-count // parts)

    def trial(number: int) -> list[str]:
        command = [sys.executable, __file__, str(number * part), str(min(part, count - number * part))]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        return [*done.stdout.splitlines(), *([done.stderr[-300:]] if done.returncode else [])]

    return Outcome(count, in_parallel(trial, parts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
