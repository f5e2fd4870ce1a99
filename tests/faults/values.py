"""Run folders with valid checksums whose numbers are extreme, whose text is hostile, or whose models are large.

python -m tests.faults.values {values,sizes} RUN FIRST COUNT tries some of them in this process, and prints a line for
each that does harm.
"""

import contextlib
import csv
import json
import logging
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

import gpt
from gpt import models
from gpt.base.choices import Choice
from gpt.base.errors import UserError, report
from gpt.base.files import PLACE, seal, sealed
from gpt.base.schema import CompareConfig
from gpt.data.vocabulary import Vocabulary
from gpt.exporting.card import body
from gpt.models.ngrams import Remembering
from gpt.playground.describing import in_full
from gpt.playground.looking import logits
from gpt.reports.comparison import ComparisonReport
from gpt.runs import formats
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model, save_weights
from tests.conftest import REPOSITORY
from tests.faults.scenarios import Outcome, in_parallel, short, whole_run

_V9 = ["model=v9", "model.block_size=16", "model.n_embd=16", "model.n_head=2", "model.n_layer=1", "model.ngrams=3",
       "model.memory=30000"]  # fmt: skip
_NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 2**16, 2**20, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**400, 0.5, 1e-320, 1e-30, 1e30,
    1e38, 1e100, 1e101, 1e308, -1e308, -0.5, True,
)  # fmt: skip
_TEXTS = (
    "<script>alert(1)</script>", "[x](http://a.b/c)", "a\n# heading", "a | b", "`x`", "=1+1", "@SUM(A1)", "\x1b[2J",
    "\0", "\u202ex", "$\\frac$", "", "x" * 3000, "${oc.env:HOME}", "../../x", "-1", "+x", "0" * 64,
)  # fmt: skip
_SECONDS, _MEGABYTES, _MEMORY = 3.0, 200, 12 * 2**30
_TIMES_THE_FILE = 30  # megabytes for each one of the weights
_CONTROL, _MARKUP = ("\x1b", "\0", "\u202e"), ("<script", "](http", "\n# heading")  # that a document must not have


def _uses(run: RunFolder, out: Path) -> Iterator[Callable[[], object]]:
    """Whatever somebody does with a stranger's run."""
    trained = gpt.load(run.path, device="cpu")
    text = "".join(trained.tokenizer.vocabulary[:40]) * 2
    yield lambda: trained.generate(text[:5], tokens=3)
    yield lambda: trained.next_token(text[:5])
    yield lambda: trained.loss(text)
    yield lambda: logits(trained, trained.tokenizer.encode(text[:20]).tolist())
    yield lambda: in_full("0" * 12, run, run.summary())
    yield lambda: _check_document("card", body(trained))
    yield lambda: _compared(run, out)


def _compared(run: RunFolder, out: Path) -> None:
    values = {"stage": None, "tags": [], "metric": "exact", "by": None, "out": None, "tolerance": 0.1}
    config = CompareConfig.model_validate(values | {"runs": str(run.path.parent), "x": "tokens"})
    ComparisonReport.of(finished_runs(run.path.parent), [], config).write(out)
    for name in ("compare.md", "compare.csv"):
        _check_document(name, (out / name).read_text())


def _check_document(name: str, text: str) -> None:
    for part in _CONTROL if name.endswith("csv") else (*_CONTROL, *_MARKUP):
        assert part not in text, f"{part!r} in {name}"
    if name.endswith("csv"):
        formulas = [cell for row in csv.reader(text.splitlines()) for cell in row if cell.startswith(("=", "@"))]
        assert formulas == []


def _tried(run: RunFolder, out: Path) -> list[str]:
    """What goes wrong when a run is used: an error that is no line for users, or too much time."""
    wrong = []
    started = time.process_time()
    uses = _uses(run, out)
    while True:
        try:
            use = next(uses, None)
            if use is None:
                break
            use()
        except Exception as error:
            said, _ = report(error) or ("\n", 1)
            if "\n" in said:
                wrong.append(f"{error!r:.300}")
    if (seconds := time.process_time() - started) > 2 * _SECONDS:
        wrong.append(f"{seconds:.1f} s")
    return wrong


def _leaves(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, dict | list):
            yield from _leaves(value)
        else:
            yield tree, key


def _replaced(tree: Any, draw: random.Random) -> str:
    """Another value of the same kind somewhere in a tree."""
    parent, key = draw.choice([place for place in _leaves(tree) if not isinstance(place[0][place[1]], bool)])
    is_number = isinstance(parent[key], int | float)
    value = draw.choice(_NUMBERS if is_number or (parent[key] is None and draw.random() < 0.5) else _TEXTS)
    before, parent[key] = parent[key], value
    return f"{key}: {before!r:.40} -> {value!r:.40}"


def _write_config(path: Path, tree: dict[str, Any]) -> None:
    fields = {"format": formats.FORMAT, **tree, "checksum": PLACE}
    path.write_text(sealed(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)))


def _altered(run: RunFolder, draw: random.Random) -> str:
    name = draw.choice(["config.yaml"] * 4 + ["summary.json"] * 4 + ["tokenizer.json", "metrics.jsonl", "best", "best"])
    path = run.path / name
    if name == "best":
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
    if name == "config.yaml":
        tree = run.config().content()
        what = _replaced(tree, draw)
        _write_config(path, tree)
        return f"{name}, {what}"
    lines = path.read_text().splitlines() if name.endswith("jsonl") else [path.read_text()]
    number = draw.randrange(len(lines))
    record = json.loads(lines[number])
    record.pop("checksum")
    what = _replaced(record, draw)
    lines[number] = seal(record)
    path.write_text("".join(line + "\n" for line in lines))
    return f"{name}, {what}"


def _values(run: RunFolder, first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    place = run.path.with_name(f"copy_{first}")
    for number in range(first, first + count):
        shutil.copytree(run.path, place / "run")
        what = _altered(RunFolder(place / "run"), random.Random(number))
        for line in _tried(RunFolder(place / "run"), place / "out"):
            print(f"{number}: {what}: {line}", flush=True)
        shutil.rmtree(place)


def _large(run: RunFolder, draw: random.Random) -> str:
    """Give the run another model, which its weights fit, large in one way or another."""
    tree, V = run.config().content(), draw.choice([65, 300, 1000, 5000, 20_000, 50_000])
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
    tree["model"] = {"_target_": f"gpt.models.{stage}", **own}
    _write_config(run.path / "config.yaml", tree)
    old = run.vocabulary()
    run.write_vocabulary(
        Vocabulary(kind="characters", vocabulary="".join(map(chr, range(0x100, 0x100 + V))), corpus=old.corpus)
    )
    what = f"V={V}, {stage}, {own}"
    try:
        model = models.build(Choice.model_validate(tree["model"]), V)
    except UserError:
        return what  # which reading it says, too
    if isinstance(model, Remembering):
        torch.manual_seed(draw.randrange(100))
        model.ngrams.memory.copy_(torch.randint(V, model.ngrams.memory.shape))
    save_weights(run, model.state_dict(), "best", 0)
    return what


def _sizes(run: RunFolder, first: int, count: int) -> None:
    place = run.path.with_name(f"copy_{first}")
    for number in range(first, first + count):
        shutil.copytree(run.path, place / "run")
        copied = RunFolder(place / "run")
        what = f"{number}: {_large(copied, random.Random(number))}"
        file = copied.weights("best").stat().st_size / 2**20
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                for line in _tried(copied, place / "out"):
                    print(f"{what}: {line}", flush=True)
                code = 0
            os._exit(code)
        _, status, used = os.wait4(child, 0)
        megabytes = used.ru_maxrss / 1024 - before
        if status or megabytes > _MEGABYTES + _TIMES_THE_FILE * file:
            print(f"{what}: status {status}, {megabytes:.0f} MB for a file of {file:.1f} MB", flush=True)
        shutil.rmtree(place)


def main(scenario: str, source: str, first: int, count: int) -> None:
    """Try `count` altered copies of a run."""
    logging.disable()
    run, out = RunFolder(Path(source)), Path(source).with_name(f"out_{first}")
    for line in _tried(run, out):  # imports what is imported where it is used
        print(f"the run as it was: {line}")
    {"values": _values, "sizes": _sizes}[scenario](run, first, count)


def _scenario(name: str, count: int, folder: Path) -> Outcome:
    runs = [whole_run(folder / str(number), *_V9, *short(20))[0] for number in range(2)]

    def trial(number: int) -> list[str]:
        half = -(-count // 2)
        first, last = number * half, min(count, (number + 1) * half)
        command = [sys.executable, "-m", "tests.faults.values", name, str(runs[number]), str(first), str(last - first)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, errors="replace")
        return [*done.stdout.splitlines(), *([done.stderr[-500:]] if done.returncode else [])]

    return Outcome(count, in_parallel(trial, 2))


def values(count: int, folder: Path) -> Outcome:
    """Extreme numbers, hostile text and huge weights under valid checksums: every use of the run succeeds or ends with
    one line, and every document made from it is harmless.
    """
    return _scenario("values", count, folder)


def sizes(count: int, folder: Path) -> Outcome:
    """Models with large vocabularies, memories and windows: using them takes memory in proportion to the file (200 MB
    and 30 times its size), or an error says why not.
    """
    return _scenario("sizes", count, folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
