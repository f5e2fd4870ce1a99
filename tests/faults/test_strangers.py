"""A stranger's run folder: made to execute code, or altered under valid checksums.

Checksums protect from accidents, not from a stranger, who can compute them as well.
"""

import contextlib
import csv
import hashlib
import itertools
import json
import logging
import os
import pickle
import random
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import torch as safetensors_torch

import gpt
from gpt.base.errors import UserError, report
from gpt.base.files import PLACE, seal, sealed
from gpt.base.request import Destination, Request
from gpt.data.corpora import LOADER
from gpt.exporting.model_card import body
from gpt.playground.describing import in_full
from gpt.playground.looking import logits
from gpt.reports.comparison import ComparisonReport
from gpt.reports.run import closing_lines
from gpt.runs import formats
from gpt.runs import tensors as tensor_files
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model, save_weights
from gpt.session.job import Job
from gpt.session.plan import Plan
from gpt.session.start import planned
from gpt.training.optimizers import OPTIMIZER
from gpt.training.processes import ALONE
from gpt.training.schedules import SCHEDULE
from gpt.watching.loggers import LOGGER
from tests.conftest import TrainedOnce, compare_config
from tests.faults.trials import check, repeated

_V9 = ("v9", "model.n_embd=16", "model.n_head=2", "model.n_layer=1", "model.ngrams=3", "model.memory=30000",
       "training.average_last=0.5", "schedule=constant")  # fmt: skip
_ADDRESSES = 12 * 2**30  # bytes of address space

Use = Callable[[], object]


def _read(run: RunFolder) -> Iterator[Use]:
    """All that reads a run."""
    yield from (run.config, run.vocabulary, run.evaluations, run.steps, run.summary, run.clock, run.parent)
    yield Checkpoints(run, 2).newest
    yield from (partial(load_model, run, which) for which in ("best", "last"))
    with contextlib.suppress(UserError):
        config, model = run.config(), torch.nn.Linear(2, 2)
        yield lambda: LOADER.build(config.data)
        yield lambda: OPTIMIZER.build(config.optimizer, model=model, learning_rate=1e-3)
        yield lambda: SCHEDULE.partial(config.schedule)(0, 10, 1e-3)
        yield from (partial(LOGGER.build, choice, run=run) for choice in config.logger.values())


def _use(run: RunFolder, out: Path) -> Iterator[Use]:
    """Whatever somebody does with a run, up to the first step of a resumed training."""
    yield partial(_resume, run)
    yield lambda: _compare(run, out)
    trained = gpt.load(run.path, device="cpu")
    text = "".join(trained.tokenizer.vocabulary[:40]) * 2
    yield lambda: trained.generate(text[:5], tokens=3)
    yield lambda: trained.next_token(text[:5])
    yield lambda: trained.loss(text)
    yield lambda: logits(trained, trained.tokenizer.encode(text[:20]).tolist())
    yield lambda: in_full("0" * 12, run, run.summary())
    yield lambda: _check_document("card", body(trained))


def _resume(run: RunFolder) -> None:
    """Go on with a run, which is extended if it has finished, up to the first step."""
    wanted = run.config()
    longer = wanted.training.model_copy(update={"max_iters": 2 * wanted.training.max_iters})
    place = Destination(run.path, run.path)
    request = Request(("resume", "data.path", "device", "training.max_iters"), "", place, resume=str(run.path))
    with planned(wanted.model_copy(update={"training": longer}), request) as plan:
        assert isinstance(plan, Plan)
        Job.of(plan, ALONE).state()


def _compare(run: RunFolder, out: Path) -> None:
    closing_lines(run.summary(), run)
    config = compare_config(runs=str(run.path.parent), x="tokens")
    ComparisonReport.of(finished_runs(run.path.parent), [], config).write(out)
    for name in ("compare.md", "compare.csv"):
        _check_document(name, (out / name).read_text())


def _check_document(name: str, text: str) -> None:
    is_table = name.endswith("csv")
    for part in ("\x1b", "\0", "\u202e", *(() if is_table else ("<script", "](http", "\n# heading"))):
        assert part not in text, f"{part!r} in {name}"
    if is_table:
        formulas = [cell for row in csv.reader(text.splitlines()) for cell in row if cell.startswith(("=", "@"))]
        assert formulas == []


def _tried(uses: Iterator[Use]) -> tuple[int, list[str]]:
    """Do all of this: how often it ended in a line for users, and what else it ended in."""
    said, wrong = 0, []
    while True:
        try:
            use = next(uses, None)
            if use is None:
                return said, wrong
            use()
        except Exception as error:
            said += 1  # a RuntimeError may be PyTorch's for too little memory
            told = report(error) if isinstance(error, UserError | MemoryError | RuntimeError) else None
            wrong += [f"{error!r:.300}"] if told is None or "\n" in told[0] else []


def _prepare(whole: Path, folder: Path) -> None:
    """In a new process, do all of it with the run as it was, which imports what is imported where it is used."""
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    copy = RunFolder(shutil.copytree(whole, folder / f"first_{os.getpid()}" / "run"))
    assert _tried(itertools.chain(_read(copy), _use(copy, copy.path.parent / "out"))) == (0, [])


def _write_config(run: RunFolder, content: str | dict[str, Any]) -> None:
    """Another configuration, sealed."""
    if isinstance(content, dict):
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(10 * limit)  # to write values that are nested hundreds deep
        content = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        sys.setrecursionlimit(limit)
    content = f"format: {formats.FORMAT}\n{content}checksum: '{PLACE}'\n"  # without a format, nothing else is read
    (run.path / "config.yaml").write_bytes(sealed(content).encode(errors="surrogatepass"))


def _config_text(run: RunFolder) -> str:
    return (run.path / "config.yaml").read_text().rpartition("checksum")[0].partition("\n")[2]


# Made to execute code.

# Targets of choices that a careless reader would call, and some that are meant for another choice.
_NO_CHOICES = ("os.system", "builtins.eval", "gpt.base.files.write_atomically", "", "a\nb", "...", "../../etc/passwd")
_NOT_FOR = {
    "model": ("gpt.models.build", "gpt.models.v7_dropout.nn.Module", "gpt.models.v7_dropout",
              "gpt.models..v7_dropout.GPT", "gpt.models.v7_dropout.GPT\n", "gpt.models.v7_dropout.Block"),
    "data": ("gpt.data.sources.read_text", "gpt.data.corpora._synthetic", "gpt.data.text.TextData"),
    "optimizer": ("torch.optim.AdamW", "gpt.training.optimizers.Optimizer", "gpt.training.schedules.cosine"),
    "schedule": ("gpt.training.optimizers.SGD", "gpt.training.schedules._warmup", "gpt.training.schedules.math.cos"),
    "logger": ("gpt.training.watchers.Watcher", "gpt.watching.recorders.CheckpointWriter", "gpt.data.corpora.text"),
}  # fmt: skip
_HARMLESS = {"train.log", "sample.txt", "loss.png", ".lock", "run.json"}


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.marker}",))


def _safetensors(shape: list[int], end: int, name: str = "x") -> bytes:
    """The header of a tensor, with a valid checksum."""
    entry = {"__metadata__": {"checksum": f"{PLACE} format 1 iteration 20"}}
    header = entry | {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
    before, _, after = json.dumps(header, separators=(",", ":")).encode().partition(PLACE.encode())
    size = len(before) + len(PLACE) + len(after)
    return size.to_bytes(8, "little") + before + hashlib.sha256(after).hexdigest().encode() + after


def _hostile(whole: Path, marker: Path) -> list[tuple[str, str, Callable[[Path], object]]]:
    """What a careless reader would execute or choke on: what it is, of which file, and how to put it there."""
    text, payload = _config_text(RunFolder(whole)), pickle.dumps(_Payload(marker))
    content = yaml.safe_load(text)
    for_all: dict[str, Callable[[Path], object]] = {
        "pickle": lambda path: path.write_bytes(payload), "pipe": os.mkfifo, "folder": Path.mkdir,
        "nesting": lambda path: path.write_text("[" * 1_000_000),
    }  # fmt: skip
    weights = {
        "a header of terabytes": (2**42).to_bytes(8, "little") + b"{}", "no header": b"",
        "a negative header": b"\xff" * 8 + b"{}", "a tensor of terabytes": _safetensors([2**40], 2**42),
        "a tensor beyond the end": _safetensors([4], 16), "a path as name": _safetensors([0], 0, "../../x"),
    }  # fmt: skip
    aliases = [f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")]
    configs: dict[str, str | dict[str, Any]] = {
        "a line end in a key": content | {"model": content["model"] | {"n_embd\nerror: x": 1}},
        "interpolation": text.replace("stage: v7", "stage: ${oc.env:HOME}"),
        "python tag": text.replace("stage: v7", f"stage: !!python/object/apply:os.system ['touch {marker}']"),
        "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(aliases) + text,
    }  # fmt: skip
    for name, value in (("block_size", 10**9), ("n_embd", 10**9), ("n_layer", 256), ("n_layer", 10**12)):
        configs[f"{name} {value}"] = content | {"model": content["model"] | {name: value}}
    for key, targets in _NOT_FOR.items():
        for other in (*_NO_CHOICES, *targets):
            chosen = {"_target_": other}
            configs[f"{key} {other!r}"] = content | {key: {"x": chosen} if key == "logger" else content[key] | chosen}
    cases: list[tuple[str, str, Callable[[Path], object]]] = [
        (f"{what} as {path.name}", path.name, make)
        for path in whole.iterdir() if path.is_file() for what, make in for_all.items()
    ]  # fmt: skip
    for what, header in weights.items():
        cases.append((what, "best.safetensors", partial(Path.write_bytes, data=header)))
    for name in ("best.safetensors", "last.safetensors"):
        cases.append((f"torch.save as {name}", name, partial(torch.save, {"model": _Payload(marker)})))
    for what, config in configs.items():
        cases.append((what, "config.yaml", lambda path, c=config: _write_config(RunFolder(path.parent), c)))
    random.Random(0).shuffle(cases)
    return cases


def _hostile_trial(whole: Path, number: int, place: Path) -> Iterator[str]:
    what, name, put = _hostile(whole, place / "executed")[number]
    run = RunFolder(shutil.copytree(whole, place / "run"))
    (run.path / name).unlink()
    put(run.path / name)
    said, wrong = _tried(_read(run))
    wrong += [] if said or what.rpartition(" ")[2] in _HARMLESS else ["no error"]
    yield from (f"{what}: {line}" for line in [*wrong, *(p.name for p in place.iterdir() if p != run.path)])


@repeated(40, 1000, 1000)
def test_nothing_of_a_hostile_run_is_executed(count: int, trained_run: TrainedOnce, tmp_path: Path) -> None:
    whole = trained_run("v7")
    count = min(count, len(_hostile(whole, tmp_path)))
    check(partial(_hostile_trial, whole), count, tmp_path, partial(_prepare, whole, tmp_path))


# Contents that no run writes, under valid checksums.

# Scalars as they would stand in YAML: tags with absurd values, numbers beyond any type, what YAML 1.1 takes for times.
_YAML = (
    "!!timestamp x", "2001-13-45", "2001-01-01 99:99:99", "!!int ''", "!!int 0x", "!!int '1:2:99'", "!!float x",
    "!!bool maybe", "!!binary '='", "!!binary é", "!!set {a, b}", "!!omap [a]", "!!pairs [[1]]", "!!map []", "!!seq {}",
    "!!x y", "!<x> y", "!!python/name:os.system ''", ".nan", "-.inf", "1e999", "-1", "0", "9" * 5000, "-" + "9" * 400,
    "0x" + "f" * 9000, "1" + ":59" * 99, '"\\ud800"', '"\\0"', '"\\x1b[2J"', "''", "~", "yes", "[]", "{}", "{? {}}",
    "{? []}", "{<<: {}}", "{<<: [{}]}", "{<<: x}", "{<<: 1, a: 2}", "[" * 400 + "]" * 400, "{a: " * 300 + "}" * 300,
    "{1: 2}", "{1.5: x, .nan: y}", "&a b", "*a", "|\n    x", "'" + "x" * 70_000 + "'", "${oc.env:HOME}", "???", "=",
)  # fmt: skip
_JSON: tuple[Any, ...] = (
    None, True, [], [[]], {}, {"": None}, ["a"] * 3, [1, "a", None], {"a": {"b": {}}}, "NaN", "\ud800", "x" * 70_000,
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "../../etc/passwd", float("nan"), float("-inf"), -(2**63),
)  # fmt: skip
_NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 2**16, 2**20, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**400, 0.5, 1e-320, 1e-30, 1e30,
    1e38, 1e100, 1e101, 1e308, -1e308, -0.5, True,
)  # fmt: skip
_TEXTS = (
    "<script>alert(1)</script>", "[x](http://a.b/c)", "a\n# heading", "a | b", "`x`", "=1+1", "@SUM(A1)", "\x1b[2J",
    "\0", "\u202ex", "$\\frac$", "", "x" * 3000, "${oc.env:HOME}", "../../x", "-1", "+x", "0" * 64,
)  # fmt: skip


def _altered(run: RunFolder, draw: random.Random) -> str:
    """Another content of one file of the run, with the right checksums; returns what it is."""
    checkpoint = sorted((run.path / "checkpoints").iterdir())[-1]
    records = ["tokenizer.json", "summary.json", "metrics.jsonl", f"checkpoints/{checkpoint.name}/checkpoint.json"]
    changes: list[Callable[[random.Random], str]] = [partial(_alter_record, run.path / name) for name in records]
    changes += [partial(change, run) for change in (_alter_config, _alter_config, _alter_yaml, _alter_yaml)]
    changes += [partial(_alter_weights, run), partial(_alter_weights, run), partial(_alter_state, checkpoint)]
    return draw.choice(changes)(draw)


def _alter_yaml(run: RunFolder, draw: random.Random) -> str:
    lines = _config_text(run).splitlines()
    number, scalar = draw.randrange(len(lines)), draw.choice(_YAML)
    before = lines[number]
    key, _, _ = before.partition(":")
    indented = " " * (len(key) - len(key.lstrip()))
    changed = [[f"{key}: {scalar}"], [f"{indented}? {scalar}\n{indented}: 1"], [], [before, f"{indented}x: {scalar}"]]
    lines[number : number + 1] = draw.choice(changed)
    _write_config(run, "\n".join(lines) + "\n")
    return f"{before.strip()!r:.40} {scalar!r:.60}"


def _alter_config(run: RunFolder, draw: random.Random) -> str:
    content = run.config().content()
    what = _change(content, draw)
    _write_config(run, content)
    return what


def _alter_record(path: Path, draw: random.Random) -> str:
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = draw.randrange(len(lines))
    record = json.loads(lines[number])
    record.pop("checksum")
    what = _change(record, draw)
    lines[number] = seal(record)
    path.write_bytes("".join(line + "\n" for line in lines).encode(errors="surrogatepass"))
    return f"{path.name}: {what}"


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _change(tree: Any, draw: random.Random) -> str:
    """Change one place of a tree of dictionaries and lists; half of the time, to another value of the same kind."""
    parent, key = draw.choice([*_places(tree)])
    what, value = draw.choice(["value"] * 7 + ["deleted", "added", "nested"]), draw.choice(_JSON)
    if draw.random() < 0.6:
        value = draw.choice(_TEXTS if isinstance(parent[key], str) else _NUMBERS)
    if what == "deleted":
        del parent[key]
    elif what == "added" and isinstance(parent, dict):
        parent[draw.choice(["x", "", "\ud800", "checksum", "__class__", "a\nb"])] = value
    else:
        for _ in range(400 if what == "nested" else 0):
            value = [value]
        parent[key] = value
    return f"{what} {key!r:.40} {value!r:.60}"


def _changed(file: Path, draw: random.Random) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors of a file with one of them changed, and how."""
    tensors = safetensors_torch.load_file(file)
    name = draw.choice(list(tensors))
    tensor = tensors.pop(name)
    new = draw.choice(["x", "", "a\nb", "random.cpu", "random.cuda", "model.x", "__metadata__x"])
    dtype = draw.choice([torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
    filled = tensor.dtype if tensor.is_floating_point() else torch.float32
    factor = draw.choice([1e38, -1e38, 3e38, 1e30, 1e-38, 1e19, 32767, -3, 65])
    largest = 3e38 if tensor.is_floating_point() else 127  # what its type has room for
    times = (tensor.double() * factor).clamp(-largest, largest).to(tensor.dtype)
    what, changed = draw.choice([
        ("filled", {name: torch.full(tensor.shape, draw.choice([float("nan"), float("inf")]), dtype=filled)}),
        ("another type", {name: tensor.to(dtype)}), ("deleted", {}), ("renamed", {new: tensor}),
        ("flat", {name: tensor.flatten()}), ("empty", {name: tensor.new_zeros(0)}),
        ("larger", {name: tensor.new_zeros(3, 3)}), ("added", {name: tensor, new: tensor.clone()}),
        *[(f"times {factor}", {name: times})] * 6,
    ])  # fmt: skip
    return ({} if draw.random() < 0.1 else tensors) | changed, f"{what} {name} of {file.name}"


def _alter_weights(run: RunFolder, draw: random.Random) -> str:
    tensors, what = _changed(run.weights("averaged"), draw)
    save_weights(run, tensors, "averaged", 0)
    return what


def _alter_state(checkpoint: Path, draw: random.Random) -> str:
    state = checkpoint / "state.safetensors"
    tensors, what = _changed(state, draw)
    state.write_bytes(b"".join(tensor_files.sealed(tensors, 0)))
    record = json.loads((checkpoint / "checkpoint.json").read_text())
    record.pop("checksum")
    record["files"][state.name] = tensor_files.entry(state).checksum
    (checkpoint / "checkpoint.json").write_text(seal(record, indent=2))
    return what


def _altered_trial(whole: Path, number: int, place: Path) -> Iterator[str]:
    run = RunFolder(shutil.copytree(whole, place / "run"))
    what = _altered(run, random.Random(number))
    _, wrong = _tried(itertools.chain(_read(run), _use(run, place / "out")))
    yield from (f"{what}: {line}" for line in wrong)


@repeated(0, 250, 10_000)
def test_every_use_of_an_altered_run_succeeds_or_ends_in_one_line(
    count: int, trained_run: TrainedOnce, tmp_path: Path
) -> None:
    """Malformed contents, extreme numbers, hostile text: each document made of it is harmless."""
    whole = trained_run(*_V9)
    check(partial(_altered_trial, whole), count, tmp_path, partial(_prepare, whole, tmp_path))
