"""A stranger's run folder: made to execute code, altered under valid checksums, or of a model of any size.

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
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import torch as safetensors_torch

import gpt
from gpt import models, tasks
from gpt.base.choices import Choice
from gpt.base.errors import UserError, report
from gpt.base.files import PLACE, seal, sealed
from gpt.base.request import Destination, Request
from gpt.base.runtime import Runtime
from gpt.base.stopping import Stop
from gpt.data.corpora import LOADER
from gpt.data.vocabulary import Vocabulary
from gpt.exporting.model_card import body
from gpt.models.ngrams import Remembering
from gpt.playground.describing import in_full
from gpt.playground.looking import logits
from gpt.reports.comparison import ComparisonReport
from gpt.reports.run import closing_lines
from gpt.runs import formats
from gpt.runs import tensors as tensor_files
from gpt.runs.checkpoints import Checkpoint, Checkpoints
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model, save_weights
from gpt.session.start import starting
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE
from gpt.training.state import TrainingState
from gpt.watching.loggers import LOGGER
from tests.conftest import compare_config
from tests.faults.scenarios import STAGES, Outcome, in_processes, short, whole_run

_V9 = ["model=v9", "model.block_size=16", "model.n_embd=16", "model.n_head=2", "model.n_layer=1", "model.ngrams=3",
       "model.memory=30000", "training.average_last=0.5"]  # fmt: skip
_SECONDS, _MEGABYTES, _ADDRESSES = 3.0, 200, 12 * 2**30  # of processor time, of memory, and bytes of address space
_TIMES_THE_FILE = 30  # megabytes for each one of the weights

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
    with starting(wanted.model_copy(update={"training": longer}), request, Stop()) as start:
        config, vocabulary = start.config, start.vocabulary
        assert vocabulary is not None
        task = tasks.restored(config.data, vocabulary)
        task.refuse_others([])
        model = models.build(config.model, task.vocab_size)
        optimizer = OPTIMIZER.build(config.optimizer, model=model, learning_rate=config.training.learning_rate)
        state = TrainingState(model, optimizer, Runtime(torch.device("cpu")))
        if isinstance(start.weights, Checkpoint):
            state.restore(start.weights.progress, start.weights.tensors())


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


def _tried(uses: Iterator[Use], seconds: float, megabytes: float = _MEGABYTES) -> tuple[int, list[str]]:
    """Do all of this: how often it ended in a line for users, and what is wrong with how it ended."""
    said, wrong = 0, []
    processor, clock, before = time.process_time(), time.perf_counter(), _megabytes("VmRSS", reset=True)
    while True:
        try:
            use = next(uses, None)
            if use is None:
                break
            use()
        except Exception as error:
            said += 1  # a RuntimeError may be PyTorch's for too little memory
            told = report(error) if isinstance(error, UserError | MemoryError | RuntimeError) else None
            wrong += [f"{error!r:.300}"] if told is None or "\n" in told[0] else []
    # A process that waits, say for a pipe, uses no processor; but on a busy machine all wait.
    taken = max(time.process_time() - processor, (time.perf_counter() - clock) / 10)
    wrong += [f"{taken:.1f} s"] if taken > seconds else []
    grown = _megabytes("VmHWM") - before
    return said, wrong + ([f"{grown:.0f} MB"] if grown > megabytes else [])


def _megabytes(which: str, *, reset: bool = False) -> float:
    """The memory of this process, VmRSS, or its largest since the last reset, VmHWM."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024


def _prepare(run: RunFolder, folder: Path) -> None:
    """In a new process, do all of it with the run as it was, which imports what is imported where it is used."""
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    copy = RunFolder(shutil.copytree(run.path, folder / f"first_{os.getpid()}" / "run"))
    said, wrong = _tried(itertools.chain(_read(copy), _use(copy, copy.path.parent / "out")), 60, 1000)
    assert (said, wrong) == (0, [])


def _write_config(run: RunFolder, content: str | dict[str, Any]) -> None:
    """Another configuration, sealed."""
    if isinstance(content, dict):
        content = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    content = f"format: {formats.FORMAT}\n{content}checksum: '{PLACE}'\n"  # without a format, nothing else is read
    (run.path / "config.yaml").write_bytes(sealed(content).encode(errors="surrogatepass"))


def _config_text(run: RunFolder) -> str:
    return (run.path / "config.yaml").read_text().rpartition("checksum")[0].partition("\n")[2]


# Made to execute code or to exhaust memory.

# Targets of choices that a careless reader would call, and for each choice some that are not meant for it.
_NO_CHOICES = ("os.system", "subprocess.Popen", "builtins.eval", "gpt.cli.main", "gpt.training.loop.train",
               "gpt.base.files.write_atomically", "gpt.runs.creation.created", "shutil.rmtree", "",
               "a\nb")  # fmt: skip
_NOT_FOR = {
    "model": ("torch.load", "gpt.models.build", "gpt.models.v7_dropout.nn.Module", "gpt.models.kv_cache.KVCache", "...",
              "../../etc/passwd", "gpt.models.v7_dropout", "__main__.x", "gpt.models..v7_dropout.GPT",
              "gpt.models.v7_dropout.GPT\n", "gpt.models.v7_dropout.Block", "gpt.models.v2_attention_head.Head"),
    "data": ("gpt.data.corpora.tiny_shakespeare", "gpt.data.sources.read_text", "gpt.data.corpora.TextCorpus",
             "gpt.data.corpora._synthetic", "gpt.data.corpora._split", "gpt.data.text.TextData"),
    "optimizer": ("torch.optim.AdamW", "gpt.training.optimizers.Optimizer", "gpt.training.optimizers.AdamWGroup",
                  "gpt.training.schedules.cosine", "gpt.training.state.TrainingState"),
    "schedule": ("gpt.training.optimizers.SGD", "gpt.training.schedules._warmup", "gpt.training.schedules._progress",
                 "gpt.training.schedules.math.cos"),
    "logger": ("gpt.training.watchers.Watcher", "gpt.watching.recorders.CheckpointWriter", "gpt.data.corpora.text",
               "gpt.watching.recorders.RunWriter", "gpt.training.watchers.WeightAverage"),
}  # fmt: skip
_FILES: dict[str, Callable[[], str]] = {
    "nesting": lambda: "[" * 1_000_000, "a number of a million digits": lambda: "1" * 1_000_000,
    "keys": lambda: '{"a":' * 100_000, "megabytes": lambda: '"' + "x" * 20_000_000 + '"',
    "a list": lambda: seal({"vocabulary": "ab", "corpus": "x"})[:-1],
    "lists": lambda: "[" + "[]," * 10_000_000 + "[]]", "line ends": lambda: "\n" * 30_000_000,
}  # fmt: skip
_HARMLESS = {"train.log", "sample.txt", "loss.png", ".lock", "commands.jsonl"}


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.marker}",))


def _safetensors(header: dict) -> bytes:
    """A file with this header, and a valid checksum."""
    entry = {"__metadata__": {"checksum": f"{'0' * 64} format 1 iteration 20"}}
    content = json.dumps(entry | header, separators=(",", ":")).encode()
    before, _, after = content.partition(b"0" * 64)
    return len(content).to_bytes(8, "little") + before + hashlib.sha256(after).hexdigest().encode() + after


_WEIGHTS = {
    "a header of terabytes": (2**42).to_bytes(8, "little") + b"{}",
    "a negative header": b"\xff" * 8 + b"{}",
    "no header": b"",
    "a tensor of terabytes": _safetensors({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    "a tensor beyond the end": _safetensors({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "a path as name": _safetensors({"../../x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}),
}


def _hostile(whole: Path, marker: Path) -> Iterator[tuple[str, Callable[[RunFolder], object]]]:
    """What a careless reader would execute, follow or choke on, and how to put it into a copy of a run."""

    def replace(name: str, put: Callable[[Path], object]) -> Callable[[RunFolder], object]:
        def change(run: RunFolder) -> None:
            (run.path / name).unlink()
            put(run.path / name)

        return change

    def choose(key: str, values: dict, *, alone: bool = False) -> Callable[[RunFolder], object]:
        """Other values of a choice, or none but these; a logger is called `hostile`."""

        def change(run: RunFolder) -> None:
            content = yaml.safe_load(_config_text(run))
            before = {} if alone or key == "logger" else content[key]
            _write_config(run, content | {key: {"hostile": values} if key == "logger" else before | values})

        return change

    def edit(change: Callable[[str], str]) -> Callable[[RunFolder], object]:
        return lambda run: _write_config(run, change(_config_text(run)))

    payload = pickle.dumps(_Payload(marker))
    for name in [path.name for path in whole.iterdir() if path.is_file()]:
        yield f"pickle as {name}", replace(name, lambda path: path.write_bytes(payload))
        yield f"pipe as {name}", replace(name, os.mkfifo)
        yield f"link round as {name}", replace(name, lambda path: path.symlink_to(path.name))
        yield f"folder as {name}", replace(name, Path.mkdir)
    for name in ("best.safetensors", "last.safetensors"):
        yield f"torch.save as {name}", replace(name, lambda path: torch.save({"model": _Payload(marker)}, path))
    for what, content in _WEIGHTS.items():
        yield what, replace("best.safetensors", lambda path, content=content: path.write_bytes(content))
    for (what, text), name in itertools.product(_FILES.items(), ("tokenizer.json", "summary.json", "metrics.jsonl")):
        yield f"{what} in {name}", replace(name, lambda path, text=text: path.write_text(text()))
    for key, targets in _NOT_FOR.items():
        yield f"{key} alone", choose(key, {"_target_": "os.system"}, alone=True)
        for other in (*(_NO_CHOICES if key == "model" else _NO_CHOICES[:3]), *targets):
            yield f"{key} {other!r}", choose(key, {"_target_": other})
    for name, value in (("block_size", 10**9), ("n_embd", 10**9), ("n_layer", 256), ("n_layer", 10**12)):
        yield f"{name} {value}", choose("model", {name: value})
    yield "a line end in a key", choose("model", {"n_embd\nerror: x": 1})
    yield "interpolation", edit(lambda text: text.replace("stage: v7", "stage: ${oc.env:HOME}"))
    tag = f"stage: !!python/object/apply:os.system ['touch {marker}']"
    yield "python tag", edit(lambda text: text.replace("stage: v7", tag))
    aliases = [f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")]
    yield "aliases", edit(lambda text: "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(aliases) + text)
    yield "nesting", edit(lambda _: "[" * 100_000)
    yield "less nesting", edit(lambda _: "[" * 8_000)


def _cases(whole: Path, marker: Path) -> list[tuple[str, Callable[[RunFolder], object]]]:
    cases = list(_hostile(whole, marker))
    random.Random(0).shuffle(cases)
    return cases


def _hostile_trial(number: int, *, whole: Path, folder: Path) -> list[str]:
    place = folder / str(number)
    what, change = _cases(whole, place / "executed")[number]
    run = RunFolder(shutil.copytree(whole, place / "run"))
    change(run)
    said, wrong = _tried(_read(run), _SECONDS)
    wrong += [] if said or what.rpartition(" ")[2] in _HARMLESS else ["no error"]
    wrong += [f"it made {path.name}" for path in place.iterdir() if path != run.path]
    shutil.rmtree(place)
    return [f"{what}: {line}" for line in wrong]


def hostile(count: int, folder: Path) -> Outcome:
    """Run folders made to execute code or to exhaust memory: nothing is executed; an error within 3 s and 200 MB."""
    whole, _ = whole_run(folder / "whole", *STAGES["v7"], *short(20))
    count = min(count, len(_cases(whole, folder)))
    trial = partial(_hostile_trial, whole=whole, folder=folder)
    return Outcome(count, in_processes(trial, count, partial(_prepare, RunFolder(whole), folder)))


# Contents that no run writes, under valid checksums.

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
    changes: dict[str, Callable[[], str]] = {
        "config.yaml": lambda: draw.choice([_alter_yaml, _alter_config])(run, draw),
        "best": lambda: _enlarge_weights(run, draw),
        "averaged": lambda: _alter_weights(run, draw),
        "state.safetensors": lambda: _alter_state(checkpoint, draw),
    }
    records = ("tokenizer.json", "summary.json", "metrics.jsonl", f"checkpoints/{checkpoint.name}/checkpoint.json")
    changes |= {name: partial(_alter_record, run.path / name, draw) for name in records}
    name = draw.choice([*changes, "config.yaml", "config.yaml", "summary.json", "summary.json"])
    return f"{name}, {changes[name]()}"


def _alter_yaml(run: RunFolder, draw: random.Random) -> str:
    lines = _config_text(run).splitlines()
    number, scalar = draw.randrange(len(lines)), draw.choice(_YAML)
    key, colon, _ = lines[number].partition(":")
    indented = " " * (len(key) - len(key.lstrip()))
    what = draw.choice(["value", "key", "deleted", "twice", "added"])
    changed = {
        "value": [f"{key}{colon} {scalar}"],
        "key": [f"{indented}? {scalar}\n{indented}: 1"],
        "deleted": [],
        "twice": [lines[number]] * 2,
        "added": [lines[number], f"{indented}added: {scalar}"],
    }[what]
    _write_config(run, "\n".join([*lines[:number], *changed, *lines[number + 1 :]]) + "\n")
    return f"{what} {lines[number].strip()!r:.40} {scalar!r:.60}"


def _alter_config(run: RunFolder, draw: random.Random) -> str:
    content = run.config().content()
    what = _replace_alike(content, draw)
    _write_config(run, content)
    return what


def _alter_record(path: Path, draw: random.Random) -> str:
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = draw.randrange(len(lines))
    record = json.loads(lines[number])
    record.pop("checksum")
    what = draw.choice([_replace_alike, _change_tree])(record, draw)
    lines[number] = seal(record)
    path.write_bytes("".join(line + "\n" for line in lines).encode(errors="surrogatepass"))
    return what


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _replace_alike(tree: Any, draw: random.Random) -> str:
    """Another value of the same kind somewhere in a tree."""
    parent, key = draw.choice([(at, key) for at, key in _places(tree) if not isinstance(at[key], bool | dict | list)])
    is_number = isinstance(parent[key], int | float)
    value = draw.choice(_NUMBERS if is_number or (parent[key] is None and draw.random() < 0.5) else _TEXTS)
    before, parent[key] = parent[key], value
    return f"{key}: {before!r:.40} -> {value!r:.40}"


def _change_tree(tree: Any, draw: random.Random) -> str:
    """Change one place of a tree of dictionaries and lists."""
    parent, key = draw.choice(list(_places(tree)))
    value = draw.choice(_JSON)
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


def _enlarge_weights(run: RunFolder, draw: random.Random) -> str:
    model = load_model(run, "best")
    tensor = draw.choice(list(model.state_dict().values()))
    value = draw.choice([1e38, -1e38, 3e38, 1e30, 1e-38, 1e19, 32767, -3, 65])
    with torch.no_grad():
        if tensor.is_floating_point():
            tensor.mul_(value).clamp_(-3e38, 3e38)
        else:
            tensor[: draw.choice([1, len(tensor)])] = int(max(-3, min(value, 32767)))
    save_weights(run, model.state_dict(), "best", 0)
    return f"weights of {tuple(tensor.shape)} times {value}"


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
        new = draw.choice(["x", "", "a\nb", "random.cpu", "random.cuda", "model.x", "__metadata__x"])
        tensors[new] = tensor.clone()
    return f"{what} {name}"


def _alter_weights(run: RunFolder, draw: random.Random) -> str:
    tensors = safetensors_torch.load_file(run.weights("averaged"))
    what = _change_tensors(tensors, draw)
    save_weights(run, tensors, "averaged", 0)
    return what


def _alter_state(checkpoint: Path, draw: random.Random) -> str:
    tensors = safetensors_torch.load_file(checkpoint / "state.safetensors")
    what = _change_tensors(tensors, draw)
    (checkpoint / "state.safetensors").write_bytes(b"".join(tensor_files.sealed(tensors, 0)))
    record = json.loads((checkpoint / "checkpoint.json").read_text())
    record.pop("checksum")
    record["files"]["state.safetensors"] = tensor_files.entry(checkpoint / "state.safetensors").checksum
    (checkpoint / "checkpoint.json").write_text(seal(record, indent=2))
    return what


def _contents_trial(number: int, *, whole: Path, folder: Path) -> list[str]:
    place = folder / str(number)
    run = RunFolder(shutil.copytree(whole, place / "run"))
    what = _altered(run, random.Random(number))
    _, wrong = _tried(itertools.chain(_read(run), _use(run, place / "out")), 3 * _SECONDS, 1000)
    shutil.rmtree(place)
    return [f"{number}: {what}: {line}" for line in wrong]


def contents(count: int, folder: Path) -> Outcome:
    """Malformed contents, extreme numbers, hostile text and huge weights under valid checksums: every use of the run
    succeeds or ends in one line, and every document made from it is harmless.
    """
    whole, _ = whole_run(folder / "whole", *_V9, *short(20))
    trial = partial(_contents_trial, whole=whole, folder=folder)
    return Outcome(count, in_processes(trial, count, partial(_prepare, RunFolder(whole), folder)))


# Models of any size.


def _resize(run: RunFolder, draw: random.Random) -> str:
    """Give the run another model, which its weights fit, large in one way or another."""
    content, V = run.config().content(), draw.choice([65, 300, 1000, 5000, 20_000, 50_000])
    stage = draw.choice(["v9_counts.GPT"] * 4 + ["v8_modern.GPT", "v7_dropout.GPT", "v1_bigram.Bigram"])
    own: dict[str, Any] = {"block_size": draw.choice([1, 16, 256, 4096, 2**20])}
    if stage.startswith("v1"):
        V = min(V, 1000)
    else:
        width = draw.choice([2, 16])
        own |= {"n_embd": width, "n_head": width // 2, "n_layer": draw.choice([1, 8]), "dropout": 0.0}
    if stage.startswith("v7"):
        own["block_size"] = min(own["block_size"], 4096)
    if stage.startswith("v9"):
        own |= {"ngrams": draw.choice([1, 2, 3, 4, 5, 9, 12]), "memory": draw.choice([100, 10_000, 300_000])}
    content["model"] = {"_target_": f"gpt.models.{stage}", **own}
    _write_config(run, content)
    old = run.vocabulary()
    characters = "".join(map(chr, range(0x100, 0x100 + V)))
    run.write_vocabulary(Vocabulary(kind="characters", vocabulary=characters, corpus=old.corpus))
    with contextlib.suppress(UserError):  # which reading it says, too
        model = models.build(Choice.model_validate(content["model"]), V)
        if isinstance(model, Remembering):
            torch.manual_seed(draw.randrange(100))
            model.ngrams.memory.copy_(torch.randint(V, model.ngrams.memory.shape))
        save_weights(run, model.state_dict(), "averaged", 0)
    return f"V={V}, {stage}, {own}"


def _sizes_trial(number: int, *, whole: Path, folder: Path) -> list[str]:
    place = folder / str(number)
    run = RunFolder(shutil.copytree(whole, place / "run"))
    what = _resize(run, random.Random(number))
    megabytes = _MEGABYTES + _TIMES_THE_FILE * run.weights("averaged").stat().st_size / 2**20
    _, wrong = _tried(_use(run, place / "out"), 3 * _SECONDS, megabytes)
    shutil.rmtree(place)
    return [f"{number}: {what}: {line}" for line in wrong]


def sizes(count: int, folder: Path) -> Outcome:
    """Models with large vocabularies, memories and windows: using them takes memory in proportion to the file (200 MB
    and 30 times its size), or an error says why not.
    """
    whole, _ = whole_run(folder / "whole", *_V9, *short(20))
    trial = partial(_sizes_trial, whole=whole, folder=folder)
    return Outcome(count, in_processes(trial, count, partial(_prepare, RunFolder(whole), folder)))
