"""Contents that no run writes, under checksums that are right: a stranger can compute those, too."""

import contextlib
import copy
import json
import logging
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors_torch

from gpt import models, tasks
from gpt.base.errors import UserError
from gpt.base.files import PLACE, seal, sealed
from gpt.base.request import Destination, Request
from gpt.base.runtime import Runtime
from gpt.base.stopping import Stop
from gpt.reports import tables
from gpt.reports.documented import as_record, compare, table
from gpt.reports.ranking import rankings
from gpt.reports.run import closing_lines
from gpt.runs import tensors as tensor_files
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model, save_weights
from gpt.session.start import starting
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE
from gpt.training.state import TrainingState

_MEMORY = 8 * 2**30  # of address space; PyTorch's libraries alone map two thirds of it
_SECONDS = 3.0  # of processor time for all that is ever read of a run
# Scalars as they would stand in YAML: tags with absurd values, numbers beyond any type, what YAML 1.1 takes for times.
_YAML = (
    "!!timestamp ''", "!!timestamp x", "2001-13-45", "2001-01-01 99:99:99", "!!int ''", "!!int 0x", "!!int '1:2:99'",
    "!!float ''", "!!float x", "!!bool ''", "!!bool maybe", "!!binary '='", "!!binary é", "!!null x", "!!set {a, b}",
    "!!omap [a]", "!!pairs [[1]]", "!!map []", "!!seq {}", "!!str {}", "!!x y", "!<x> y", "!!python/name:os.system ''",
    ".nan", ".inf", "-.inf", "1e999", "-1", "0", "9" * 5000, "-" + "9" * 400, "0x" + "f" * 9000, "1" + ":59" * 99,
    '"\\ud800"', '"\\uD83D"', '"\\0"', '"\\x1b[2J"', "''", "~", "yes", "[]", "{}", "{? {}}", "{? []}", "{<<: {}}",
    "{<<: [{}]}", "{<<: x}", "{<<: 1, a: 2}", "[" * 400 + "]" * 400, "{a: " * 300 + "}" * 300, "{1: 2}", "{null: 1}",
    "{1.5: x, .nan: y}", "&a b", "*a", "|\n    x", "'" + "x" * 70_000 + "'", "${oc.env:HOME}", "???", "<<", "=",
)  # fmt: skip
_JSON: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**63, -(2**63), 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), float("-inf"), "",
    "x", "NaN", "\ud800", "\0", "\x1b[2J\n", "x" * 70_000, [], [[]], {}, {"": None}, ["a"] * 3, [1, "a", None],
    {"a": {"b": {}}}, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "../../etc/passwd",
)  # fmt: skip
_RECORDS = ("tokenizer.json", "summary.json", "metrics.jsonl", "clock.jsonl", "commands.jsonl", "checkpoint.json")


def main(source: str, first: int, count: int) -> None:
    """Read `count` altered copies of a run and print a line for each that does harm."""
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    run = RunFolder(Path(source))
    _read_all(run)  # imports what is imported where it is used
    for number in range(first, first + count):
        with _altered(run.path, random.Random(number)) as (file, what):
            started = time.process_time()
            try:
                said = _read_all(run)
            except Exception as error:
                print(f"{number}: {file}, {what}: {error!r:.300}", flush=True)
            else:
                unnamed = [line for line in said if file.name not in line and "\n" in line]
                if unnamed:
                    print(f"{number}: {file}, {what}: {unnamed}", flush=True)
            if (seconds := time.process_time() - started) > _SECONDS:
                print(f"{number}: {file}, {what}: {seconds:.1f} s", flush=True)


def _read_all(run: RunFolder) -> list[str]:
    """What is said against a run by everything that reads one, up to the first step of a resumed training."""

    def respond() -> None:
        task = tasks.restored(run.config().data, run.vocabulary())
        task.refuse_others([])
        load_model(run, "best")
        load_model(run, "last")

    def shown() -> None:
        runs = finished_runs(run.path)
        table(compare(runs, tolerance=0.03), "github")
        as_record(compare(runs, tolerance=0.03))
        run.steps()
        run.clock()
        run.parent()
        for ranking in rankings(runs, "exact"):
            tables.table(ranking, "exact", "github")
        closing_lines(runs[-1][1], run)

    def resumed() -> None:
        wanted = run.config()
        place = Destination(run.path, run.path)
        given = ("resume", "data.path", "device")
        request = Request(given, "", place, resume=str(run.path))
        with starting(wanted, request, Stop()) as start:
            config, vocabulary = start.config, start.vocabulary
            assert vocabulary is not None
            task = tasks.restored(config.data, vocabulary)
            model = models.build(config.model, task.vocab_size)
            optimizer = OPTIMIZER.build(config.optimizer, model=model, learning_rate=config.training.learning_rate)
            state = TrainingState(model, optimizer, Runtime(torch.device("cpu")))
            SCHEDULE.partial(config.schedule)(0, 10, 1e-3)
            if isinstance(start.weights, Checkpoint):
                state.restore(start.weights.progress, start.weights.tensors())

    said = []
    for read in (respond, shown, resumed, lambda: Checkpoints(run, 2).newest()):
        try:
            read()
        except UserError as error:
            said.append(str(error))
    return said


@contextlib.contextmanager
def _altered(run: Path, draw: random.Random) -> Iterator[tuple[Path, str]]:
    """One file of the run with another content and the right checksums; restored at the end."""
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    files = {name: run / name for name in (*_RECORDS[:3], "config.yaml", "last.safetensors")}
    files |= {"checkpoint.json": checkpoint / "checkpoint.json", "state.safetensors": checkpoint / "state.safetensors"}
    name = draw.choice(list(files))
    touched = {path: path.read_bytes() for path in (*files.values(), run / "best.safetensors")}
    changes: dict[str, Callable[[Path, random.Random], str]] = {
        "config.yaml": _change_config, "last.safetensors": _change_weights, "state.safetensors": _change_state,
    }  # fmt: skip
    try:
        yield files[name], changes.get(name, _change_record)(files[name], draw)
    finally:
        for path, content in touched.items():
            path.unlink()
            path.write_bytes(content)


def _change_config(path: Path, draw: random.Random) -> str:
    lines = path.read_text().rpartition("checksum")[0].splitlines()
    number, scalar = draw.randrange(len(lines)), draw.choice(_YAML)
    key, colon, _ = lines[number].partition(":")
    what = draw.choice(["value", "key", "deleted", "twice", "added"])
    changed = {
        "value": [f"{key}{colon} {scalar}"],
        "key": [f"{' ' * (len(key) - len(key.lstrip()))}? {scalar}\n{' ' * (len(key) - len(key.lstrip()))}: 1"],
        "deleted": [],
        "twice": [lines[number]] * 2,
        "added": [lines[number], f"{' ' * (len(key) - len(key.lstrip()))}added: {scalar}"],
    }[what]
    content = "\n".join([*lines[:number], *changed, *lines[number + 1 :]]) + "\n"
    path.write_bytes(sealed(f"{content}checksum: '{PLACE}'\n").encode(errors="surrogatepass"))
    return f"{what} {lines[number].strip()!r:.40} {scalar!r:.60}"


def _change_record(path: Path, draw: random.Random) -> str:
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = draw.randrange(len(lines))
    record = json.loads(lines[number])
    record.pop("checksum")
    what = _change_tree(record, draw)
    lines[number] = seal(record)
    path.write_bytes("".join(line + "\n" for line in lines).encode(errors="surrogatepass"))
    return what


def _change_tree(tree: Any, draw: random.Random) -> str:
    """Change one place of a tree of dictionaries and lists."""
    places = list(_places(tree))
    parent, key = draw.choice(places)
    value = copy.deepcopy(draw.choice(_JSON))
    what = draw.choice(["value", "value", "value", "deleted", "added", "nested"])
    if what == "deleted":
        del parent[key]
    elif what == "added" and isinstance(parent, dict):
        parent[draw.choice(["x", "", "\ud800", "checksum", "__class__", "a\nb"])] = value
    else:
        for _ in range(400 if what == "nested" else 0):
            value = [value]
        parent[key] = value
    return f"{what} {key!r:.40} {value!r:.60}"


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _change_tensors(tensors: dict[str, torch.Tensor], draw: random.Random) -> str:
    name = draw.choice(list(tensors))
    tensor = tensors[name]
    what = draw.choice(["nan", "inf", "dtype", "shape", "deleted", "added", "renamed", "empty"])
    if what in ("nan", "inf"):
        dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
        tensors[name] = torch.full(tensor.shape, float(what), dtype=dtype)
    elif what == "dtype":
        tensors[name] = tensor.to(draw.choice([torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8]))
    elif what == "shape":
        tensors[name] = draw.choice([tensor.flatten(), tensor[None], tensor.new_zeros(0), tensor.new_zeros(3, 3)])
    elif what in ("deleted", "renamed"):
        del tensors[name]
    elif what == "empty":
        tensors.clear()
    if what in ("added", "renamed"):
        tensors[draw.choice(["x", "", "a\nb", "random.cpu", "random.cuda", "model.x", "__metadata__x"])] = (
            tensor.clone()
        )
    return f"{what} {name}"


def _change_weights(path: Path, draw: random.Random) -> str:
    tensors = safetensors_torch.load_file(path)
    what = _change_tensors(tensors, draw)
    holder = torch.nn.Module()
    for number, tensor in enumerate(tensors.values()):
        holder.register_buffer(str(number), tensor)
    named = dict(zip(tensors, holder.buffers(), strict=True))
    holder.state_dict = lambda: named  # type: ignore[assignment, method-assign]
    save_weights(RunFolder(path.parent), holder.state_dict(), "last", 0)
    return what


def _change_state(path: Path, draw: random.Random) -> str:
    tensors = safetensors_torch.load_file(path)
    what = _change_tensors(tensors, draw)
    path.write_bytes(b"".join(tensor_files.sealed(tensors, 0)))
    record = json.loads((path.parent / "checkpoint.json").read_text())
    record.pop("checksum")
    record["files"]["state.safetensors"] = tensor_files.entry(path).checksum
    (path.parent / "checkpoint.json").write_text(seal(record, indent=2))
    return what


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
