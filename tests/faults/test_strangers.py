"""A stranger's run folder, made to execute code or to exhaust memory."""

import contextlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from gpt.base.errors import UserError
from gpt.data.corpora import LOADER
from gpt.runs import formats
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE
from gpt.watching.loggers import LOGGER
from tests.conftest import TrainedOnce

_NO_CHOICES = ("os.system", "builtins.eval", "gpt.base.files.write_atomically", "../../etc/passwd")


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.marker}",))


def _readers(run: RunFolder) -> Iterator[Callable[[], object]]:
    """All that reads a run."""
    yield from (run.config, run.vocabulary, run.evaluations, run.steps, run.summary, run.clock)
    yield Checkpoints(run, 2).newest
    yield from (partial(load_model, run, which) for which in ("best", "last"))
    with contextlib.suppress(UserError):
        config, model = run.config(), torch.nn.Linear(2, 2)
        yield partial(LOADER.build, config.data)
        yield partial(OPTIMIZER.build, config.optimizer, model=model, learning_rate=1e-3)
        yield partial(SCHEDULE.partial, config.schedule)
        yield from (partial(LOGGER.build, choice, run=run) for choice in config.logger.values())


def _errors(run: RunFolder) -> list[str]:
    """What reading the run says against it. Anything but a UserError of one line fails the test."""
    found = []
    for read in _readers(run):
        try:
            read()
        except UserError as error:
            found.append(str(error))
    assert not any("\n" in line for line in found)
    return found


def _safetensors(shape: list[int], end: int) -> bytes:
    """The header of a tensor."""
    header = {"__metadata__": {"iteration": "20"}, "x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
    content = json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content


def _hostile_files(whole: Path, marker: Path) -> dict[str, tuple[str, bytes]]:
    """What a careless reader would execute or choke on: what it is -> the name of a file, its content."""
    pickled, as_zip = pickle.dumps(_Payload(marker)), marker.with_name("payload.pt")
    torch.save({"model": _Payload(marker)}, as_zip)
    text = (whole / "config.yaml").read_text().partition("\n")[2]
    content = yaml.safe_load(text)
    configs = {
        "interpolation": text.replace("stage: v7", "stage: ${oc.env:HOME}"),
        "a tag of Python": text.replace("stage: v7", f"stage: !!python/object/apply:os.system ['touch {marker}']"),
        "aliases": f"a: &a [x]\nb: [*a, *a]\n{text}",
        **{f"{n} channels": _changed(content, "model", n_embd=n) for n in (64, 10**9)},
        **{
            f"{kind}: {target}": _changed(content, kind, _target_=target)
            for kind in ("model", "data", "optimizer", "schedule")
            for target in _NO_CHOICES
        },
    }
    weights = {
        "a header of terabytes": (2**42).to_bytes(8, "little") + b"{}",
        "no header": b"",
        "a tensor of terabytes": _safetensors([2**40], 2**42),
        "a tensor beyond the end": _safetensors([4], 16),
        "torch.save": as_zip.read_bytes(),
    }
    records = ("config.yaml", "tokenizer.json", "metrics.jsonl", "summary.json", "best.safetensors")
    return {
        **{f"a pickle as {name}": (name, pickled) for name in records},
        **{f"{name} nested deeply": (name, b"[" * 1_000_000) for name in records[:-1]},
        **{what: ("best.safetensors", written) for what, written in weights.items()},
        **{what: ("config.yaml", _with_format(config)) for what, config in configs.items()},
    }


def _changed(content: dict[str, Any], group: str, **values: object) -> str:
    return yaml.safe_dump(content | {group: content[group] | values}, sort_keys=False)


def _with_format(config: str) -> bytes:
    """A configuration with its format, without which nothing else is read."""
    return f"format: {formats.FORMAT}\n{config}".encode()


def test_nothing_of_a_strangers_run_is_executed(trained_run: TrainedOnce, tmp_path: Path) -> None:
    whole, marker = trained_run("v7"), tmp_path / "executed"
    run = RunFolder(shutil.copytree(whole, tmp_path / "run"))
    assert _errors(run) == []
    for what, (name, content) in _hostile_files(whole, marker).items():
        (run.path / name).unlink()
        (run.path / name).write_bytes(content)
        assert _errors(run), what
        assert not marker.exists(), what
        shutil.copy(whole / name, run.path / name)
