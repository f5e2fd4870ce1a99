"""Starts with values that no one should give: they are valid, or one line says why not."""

import contextlib
import io
import logging
import os
import random
import sys
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import yaml

from gpt import cli, models
from gpt.base.choices import Choice
from gpt.base.keys import flat
from gpt.base.request import Request
from gpt.base.schema import TrainConfig
from gpt.data.corpora import LOADER
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE, check_warmup
from tests.conftest import REPOSITORY
from tests.faults.trials import check, repeated

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


@cache
def _cases() -> list[tuple[str, str, str]]:
    """Script, key, value: all combinations, in an order that mixes them."""
    found = []
    for script in ("train", "generate", "evaluate", "compare"):
        tree = yaml.safe_load((REPOSITORY / "conf" / f"{script}.yaml").read_text())
        keys = [key for key in flat(tree) if not key.startswith(("hydra.", "defaults"))]
        if script == "train":
            keys += ["model", "data", "optimizer", "schedule", "logger", "experiment", "+new"]
            for group, name in _CHOSEN.items():
                content = yaml.safe_load((REPOSITORY / "conf" / group / f"{name}.yaml").read_text())
                keys += [f"{group}={name} {group}.{key}" for key in content.get(group, content)]
        found += [(script, key, value) for key in keys for value in _VALUES]
    random.Random(0).shuffle(found)
    return found


def _trial(number: int, place: Path) -> Iterator[str]:
    """Start a script with one of these cases, up to the point where a run would begin."""
    script, key, value = _cases()[number]
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
        yield f"{what}: {error!r:.200}"
    lines = [line for line in said.getvalue().splitlines() if not line.startswith("usage: ")]
    if code not in (0, None) and (code not in (1, 2) or len(lines) != 1 or not lines[0].startswith("error: ")):
        yield f"{what}: exit code {code}, {said.getvalue()[-200:]!r}"
    if (seconds := time.process_time() - started) > _SECONDS:
        yield f"{what}: {seconds:.1f} s"


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


def _prepare(folder: Path) -> None:
    logging.disable()
    os.chdir(folder)


@repeated(0, 250, 10_000)
def test_an_odd_value_of_any_key_is_valid_or_refused_in_one_line(count: int, tmp_path: Path) -> None:
    """Some sixty values, within 5 s each, and with the exit code 1 or 2."""
    check(_trial, min(count, len(_cases())), tmp_path, partial(_prepare, tmp_path))
