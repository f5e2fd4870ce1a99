"""The faults. A scenario inflicts one up to `count` times, and reports how often and what went wrong."""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import random
import resource
import shutil
import signal
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from gpt.base.errors import UserError
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model
from tests.conftest import REPOSITORY, small_corpus
from tests.forked import Forked

RESULTS = ("metrics.jsonl", "best.safetensors", "last.safetensors", "sample.txt")
STAGES = {
    "v1": ["model=v1"],
    "v5": ["model=v5"],
    "v7": ["model=v7", "model.block_size=16", "model.n_embd=32", "model.n_head=4", "model.n_layer=2"],
}
# Checkpoints at every tenth iteration, so that most kills find one being written or just written.
SHORT = ["training.eval_interval=50", "training.eval_iters=2", "training.batch_size=8",
         "checkpoint.interval=10", "checkpoint.min_seconds=0", "device=cpu"]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How often a fault was inflicted, a line for each failure, and what prevented all trials, if anything did."""

    times: int
    wrong: list[str]
    missing: str = ""


def short(iterations: int) -> list[str]:
    """The arguments of a run of so many iterations."""
    return [*SHORT, f"training.max_iters={iterations}"]


def start(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> Forked:
    """python train.py with these arguments, on a small corpus in `cwd`."""
    corpus = cwd / "corpus.txt"
    if not corpus.exists():
        corpus.write_text(small_corpus())
    return Forked([str(REPOSITORY / "train.py"), *arguments, "data=text", f"data.path={corpus}"], cwd, environment)


def finish(process: Forked) -> tuple[int, str, str]:
    """Its exit code, output and errors."""
    done = process.finished()
    return done.returncode, done.stdout, done.stderr


def one_line(code: int, err: str, *codes: int) -> list[str]:
    """What is wrong with how a process failed or was stopped."""
    lines = [line for line in err.splitlines() if line.startswith(("error: ", "stopped"))]
    if code in codes and len(lines) == 1 and "Traceback" not in err:
        return []
    return [f"exit code {code}, {err[-300:]!r}"]


def the_run(folder: Path) -> Path | None:
    """The one run below `folder`, once it has started."""
    return next((path.parent for path in folder.rglob("tokenizer.json")), None)


def differences(whole: Path, other: Path) -> list[str]:
    """Which results of two runs are not the same bytes."""
    return [name for name in RESULTS if (whole / name).read_bytes() != (other / name).read_bytes()]


def whole_run(folder: Path, *arguments: str) -> tuple[Path, float]:
    """An uninterrupted run, and its seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    code, _, err = finish(start(*arguments, cwd=folder))
    assert code == 0, err
    run = the_run(folder)
    assert run is not None
    return run, time.perf_counter() - started


def in_parallel(work: Callable[[int], list[str]], count: int) -> list[str]:
    """Everything that went wrong in `count` trials, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(itertools.chain.from_iterable(pool.map(work, range(count))))


def kills(count: int, folder: Path, iterations: int = 400, most: int = 4) -> Outcome:
    """SIGKILL at random moments, up to four times per run: the resumed run ends with the files of the uninterrupted
    one.
    """
    stages = list(STAGES)[: count or 1]
    wholes = {stage: whole_run(folder / f"whole_{stage}", *STAGES[stage], *short(iterations)) for stage in stages}

    def trial(number: int) -> list[str]:
        draw = random.Random(number)
        stage = stages[number % len(stages)]
        whole, seconds = wholes[stage]
        place = folder / f"killed_{number}"
        place.mkdir()
        arguments = [*STAGES[stage], *short(iterations)]
        for _ in range(draw.randint(1, most)):
            process = start(*arguments, cwd=place)
            time.sleep(draw.uniform(0.3, 1.2) * seconds)
            process.send_signal(signal.SIGKILL)
            process.finished()
            run = the_run(place)
            if run is not None:
                arguments = [f"resume={run}"]
        code, _, err = finish(start(*arguments, cwd=place))
        run = the_run(place)
        if code or run is None:
            return [f"{stage}, trial {number}: {err[-300:]}"]
        wrong = differences(whole, run)
        shutil.rmtree(place)
        return [f"{stage}, trial {number}: {wrong} differ"] if wrong else []

    return Outcome(count, in_parallel(trial, count))


def _read_all(run: Path) -> dict[str, object]:
    """All that the project ever reads of a run folder, or what it says against it."""
    folder = RunFolder(run)

    def weights(which: str) -> list:
        return [tensor.tolist() for tensor in load_model(folder, which).state_dict().values()]  # type: ignore[arg-type]

    def checkpoint() -> object:
        logging.disable(logging.WARNING)  # what is passed over is not our subject here
        newest = Checkpoints(folder, 2).newest()
        logging.disable(logging.NOTSET)
        if newest is None:
            return None
        return newest.progress, {name: tensor.tolist() for name, tensor in newest.tensors().items()}

    readers: dict[str, Callable[[], object]] = {
        "config": folder.config,
        "vocabulary": folder.vocabulary,
        "metrics": lambda: (
            folder.summary(),
            folder.evaluations(),
            folder.clock(),
        ),  # as whoever compares runs reads them
        "summary": folder.summary,
        "best": lambda: weights("best"),
        "last": lambda: weights("last"),
        "checkpoint": checkpoint,
    }
    found: dict[str, object] = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except UserError as error:
            found[name] = error
    return found


def damage(count: int, folder: Path, iterations: int = 40) -> Outcome:
    """A flipped bit or a truncation in any file: reading gives an error, the one before, or the same content."""
    whole, _ = whole_run(folder / "whole", *STAGES["v7"], *short(iterations))
    expected = _read_all(whole)
    _, newest = Checkpoints(RunFolder(whole), 2).names()
    shutil.copytree(whole, folder / "previous")
    shutil.rmtree(folder / "previous" / "checkpoints" / newest)
    fallback = _read_all(folder / "previous")["checkpoint"]
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    draw, wrong = random.Random(0), []
    copy = folder / "damaged"
    for number in range(count):
        shutil.copytree(whole, copy)
        name = files[number % len(files)]
        content = bytearray((copy / name).read_bytes())
        position = draw.randrange(len(content))
        if draw.random() < 0.5:
            content[position] ^= 1 << draw.randrange(8)
            what = f"bit flip in byte {position} of {name}"
        else:
            del content[position:]
            what = f"{name} cut at {position}"
        (copy / name).unlink()  # the best weights are linked with those of a checkpoint
        (copy / name).write_bytes(content)
        try:
            found = _read_all(copy)
        except Exception as error:
            wrong.append(f"{what}: {error!r}")
        else:
            for part, value in found.items():
                is_older = part == "checkpoint" and value == fallback
                if not (isinstance(value, UserError) or value == expected[part] or is_older):
                    wrong.append(f"{what}: another {part}")
        shutil.rmtree(copy)
    return Outcome(count, wrong)


def full_disk(count: int, folder: Path, iterations: int = 400) -> Outcome:
    """From a random moment on, no file can grow beyond a random size: checkpoints survive, and the run resumes."""
    whole, seconds = whole_run(folder / "whole", *STAGES["v7"], *short(iterations))

    def trial(number: int) -> list[str]:
        draw = random.Random(number)
        place = folder / f"full_{number}"
        place.mkdir()
        process = start(*STAGES["v7"], *short(iterations), cwd=place)
        time.sleep(draw.uniform(0.5, 1.0) * seconds)
        limit, had_one = draw.choice([0, 100, 2_000, 40_000, 200_000]), _has_checkpoint(the_run(place))
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        code, _, err = finish(process)
        wrong = [] if code == 0 else one_line(code, err, 1)
        run = the_run(place)
        if run is not None:
            if had_one and not _has_checkpoint(run):
                wrong.append("no checkpoint is whole")
            code, _, err = finish(start(f"resume={run}", cwd=place))
            wrong += [err[-300:]] if code else differences(whole, run)
        shutil.rmtree(place)
        return [f"trial {number}, limit {limit}: {what}" for what in wrong]

    return Outcome(count, in_parallel(trial, count))


def _has_checkpoint(run: Path | None) -> bool:
    return run is not None and Checkpoints(RunFolder(run), 2).newest() is not None


def sweep(count: int, folder: Path, iterations: int = 200, interruptions: int = 5) -> Outcome:
    """A sweep of this many runs, killed repeatedly: every run finishes once, with the files of the uninterrupted
    sweep.
    """
    seeds = ",".join(map(str, range(1, count // 2 + 1)))
    arguments = ["-m", "model=v1,v5", f"seed={seeds}", *short(iterations)]
    seconds = {}
    for name in ("unbroken", "broken"):
        place = folder / name
        place.mkdir()
        command = [*arguments, "hydra.sweep.dir=sweep", "resume=auto"]
        started = time.perf_counter()
        for kill in range(interruptions if name == "broken" else 0):
            process = start(*command, cwd=place)
            if kill < interruptions - 1:
                time.sleep(seconds["unbroken"] * (0.15 + 0.1 * kill))
            while kill == interruptions - 1 and process.is_running and not list(place.glob("sweep/*/summary.json")):
                time.sleep(0.01)  # so that the last one leaves a finished run
            process.send_signal(signal.SIGKILL)
            process.finished()
        code, out, err = finish(start(*command, cwd=place))
        if code:
            return Outcome(count, [err[-500:]])
        seconds[name] = time.perf_counter() - started
    names = sorted(path.name for path in (folder / "unbroken" / "sweep").iterdir() if path.is_dir())
    wrong = [] if len(names) == count // 2 * 2 else [f"{len(names)} runs"]
    if sorted(path.name for path in (folder / "broken" / "sweep").iterdir() if path.is_dir()) != names:
        wrong.append("other runs than in the unbroken sweep")
    for name in names:
        different = differences(folder / "unbroken" / "sweep" / name, folder / "broken" / "sweep" / name)
        wrong += [f"{name}: {file} differs" for file in different]
    if "is finished" not in out:
        wrong.append("finished runs were not skipped")
    return Outcome(count, wrong)


def changed_sweeps(count: int, folder: Path, iterations: int = 60) -> Outcome:
    """A sweep repeated with other values and a damaged run: each configuration ends once, none is trained twice."""

    def trial(number: int) -> list[str]:
        draw, place = random.Random(number), folder / f"changed_{number}"
        place.mkdir()
        rates = draw.sample(["1e-4", "3e-4", "1e-3", "3e-3"], 4)

        def sweep_over(values: list[str]) -> Forked:
            swept = f"training.learning_rate={','.join(values)}"
            return start("-m", "model=v1", swept, *short(iterations), "hydra.sweep.dir=sweep", "resume=auto", cwd=place)

        code, _, err = finish(sweep_over(rates[:3]))
        if code:
            return [err[-300:]]
        runs = sorted((place / "sweep").glob("0*"))
        damaged = draw.choice([None, *runs])
        if damaged is not None:
            (damaged / "config.yaml").write_text("damaged")
        before = {run.name: (run / "summary.json").stat().st_mtime_ns for run in runs}
        wanted = draw.sample(rates, draw.randint(2, 4))
        code, _, err = finish(sweep_over(wanted))
        if code:
            return [f"trial {number}: {err[-300:]}"]
        wrong = [f"{run.name} was trained again" for run in runs
                 if (run / "summary.json").stat().st_mtime_ns != before[run.name]]  # fmt: skip
        intact = [path for path in (place / "sweep").glob("0*") if path != damaged]
        found = [RunFolder(path).config().training.learning_rate for path in intact]
        if not {float(rate) for rate in wanted} <= set(found) or len(found) != len(set(found)):
            wrong.append(f"wanted {wanted}, found {found}")
        if any(not RunFolder(path).is_finished() for path in intact):
            wrong.append("a run has not finished")
        shutil.rmtree(place)
        return [f"trial {number}: {what}" for what in wrong]

    return Outcome(count, in_parallel(trial, count))


def joblib_stops(count: int, folder: Path, iterations: int = 300) -> Outcome:
    """A signal to a parallel sweep or to its parent alone: no process is left, and the same command finishes it."""
    arguments = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "model=v1,v5", "seed=1,2"]
    arguments += [*short(iterations), "hydra.sweep.dir=sweep", "resume=auto"]
    started = time.perf_counter()
    _joblib_sweep(folder / "whole", arguments).wait()
    seconds = time.perf_counter() - started
    wrong = []
    for number in range(count):
        draw, place = random.Random(number), folder / f"stopped_{number}"
        process = _joblib_sweep(place, arguments)
        time.sleep(draw.uniform(0.3, 0.9) * seconds)
        sent, to_all = draw.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP]), draw.random() < 0.5
        what = f"trial {number}, signal {sent} to {'all' if to_all else 'the parent'}"
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if to_all else os.kill)(process.pid, sent)
        process.wait(timeout=120)
        deadline = time.perf_counter() + 45  # a worker has 30 s to save, which a busy machine may need
        while (left := _processes_of(process.pid)) and time.perf_counter() < deadline:
            time.sleep(0.2)
        wrong += [f"{what}: {len(left)} processes are left"] if left else []
        again = _joblib_sweep(place, arguments)
        if code := again.wait(timeout=600):
            wrong.append(f"{what}: the same command ends with {code}")
            continue
        for run in sorted((folder / "whole" / "sweep").glob("*_seed*")):
            wrong += [f"{what}: {run.name}: {name}" for name in differences(run, place / "sweep" / run.name)]
        shutil.rmtree(place)
    return Outcome(count, wrong)


def _joblib_sweep(place: Path, arguments: list[str]) -> subprocess.Popen:
    """The sweep in a process group of its own."""
    place.mkdir(exist_ok=True, parents=True)
    (place / "corpus.txt").write_text(small_corpus())
    corpus = f"data.path={place / 'corpus.txt'}"
    command = [sys.executable, str(REPOSITORY / "train.py"), *arguments, "data=text", corpus]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=place, stdout=quiet, stderr=quiet, start_new_session=True)


def _processes_of(session: int) -> list[int]:
    """The processes of a session that are not zombies."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(status.parent.name))
    return found


def stops(count: int, folder: Path, iterations: int = 400) -> Outcome:
    """SIGTERM, SIGINT or SIGUSR1 at random moments: the run is saved and can be resumed, or had not started."""
    whole, seconds = whole_run(folder / "whole", *STAGES["v7"], *short(iterations), "training.eval_iters=100")

    def trial(number: int) -> list[str]:
        draw = random.Random(number)
        place = folder / f"stopped_{number}"
        place.mkdir()
        process = start(*STAGES["v7"], *short(iterations), "training.eval_iters=100", cwd=place)
        time.sleep(draw.uniform(0.1, 1.0) * seconds)
        sent = draw.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
        process.send_signal(sent)
        code, _, err = finish(process)
        run = the_run(place)
        wrong = []
        if run is None:  # before anything of ours was there to listen
            wrong += [] if "Traceback" not in err or sent == signal.SIGINT else [err[-300:]]
        elif code != 0 and not (run / "summary.json").exists():  # when all is done, there is nobody to listen any more
            wrong += one_line(code, err, 130 if sent == signal.SIGINT else 143)
        if run is not None:
            code, _, err = finish(start(f"resume={run}", cwd=place))
            wrong += [err[-300:]] if code else differences(whole, run)
        shutil.rmtree(place)
        return [f"trial {number}, signal {sent}: {what}" for what in wrong]

    return Outcome(count, in_parallel(trial, count))


# Targets of choices that a careless reader would call, and for each choice those that are not meant for it.
_NO_CHOICES = ("os.system", "subprocess.Popen", "builtins.eval", "gpt.cli.main", "gpt.training.loop.train",
               "gpt.base.files.write_atomically", "gpt.runs.creation.created", "shutil.rmtree", "",
               "a\nb")  # fmt: skip
_NOT_FOR = {
    "data": ("gpt.data.corpora.tiny_shakespeare", "gpt.data.corpora.read_text", "gpt.data.corpora.TextCorpus",
             "gpt.data.corpora._synthetic", "gpt.data.corpora._split", "gpt.data.text.TextData"),
    "optimizer": ("torch.optim.AdamW", "gpt.training.optimizers.Optimizer", "gpt.training.optimizers.AdamWGroup",
                  "gpt.training.schedules.cosine", "gpt.training.state.TrainingState"),
    "schedule": ("gpt.training.optimizers.SGD", "gpt.training.schedules._warmup", "gpt.training.schedules._progress",
                 "gpt.training.schedules.math.cos"),
    "logger": ("gpt.training.watchers.Watcher", "gpt.watching.recording.CheckpointWriter", "gpt.data.corpora.text",
               "gpt.watching.recording.RunWriter", "gpt.training.watchers.WeightAverage"),
}  # fmt: skip


def _hostile_folders(run: Path, marker: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Copies of a run with something in them that a careless reader would execute, follow or choke on."""
    import pickle

    from gpt.base.files import PLACE, seal, sealed

    class Payload:
        def __reduce__(self) -> tuple:
            return (os.system, (f"touch {marker}",))

    number = itertools.count()

    def copy() -> Path:
        return Path(shutil.copytree(run, folder / f"hostile_{next(number)}"))

    def with_config(change: Callable[[str], str]) -> Path:
        path = copy()
        content = change((path / "config.yaml").read_text().rpartition("checksum")[0].partition("\n")[2])
        content = f"format: 1\n{content}"  # without which nothing else of it is read
        (path / "config.yaml").write_text(sealed(f"{content}checksum: '{PLACE}'\n"))
        return path

    def with_choice(key: str, values: dict, *, alone: bool = False) -> Path:
        """The configuration with other values of a choice, or with none but these; a logger is called `hostile`."""

        def change(text: str) -> str:
            content = yaml.safe_load(text)
            before = {} if alone or key == "logger" else content[key]
            content[key] = {"hostile": values} if key == "logger" else before | values
            return yaml.safe_dump(content, sort_keys=False)

        return with_config(change)

    for name in [path.name for path in run.iterdir() if path.is_file()]:
        path = copy()
        (path / name).unlink()
        (path / name).write_bytes(pickle.dumps(Payload()))
        yield f"pickle as {name}", path
        path = copy()
        (path / name).unlink()
        os.mkfifo(path / name)
        yield f"pipe as {name}", path
        path = copy()
        (path / name).unlink()
        (path / name).symlink_to(name)
        yield f"link round as {name}", path
        path = copy()
        (path / name).unlink()
        (path / name).mkdir()
        yield f"folder as {name}", path
    torch.save({"model": Payload()}, folder / "payload.pt")
    for name in ("best.safetensors", "last.safetensors"):
        path = copy()
        (path / name).unlink()
        shutil.copy(folder / "payload.pt", path / name)
        yield f"torch.save as {name}", path

    for other in ("os.system", "subprocess.Popen", "builtins.eval", "torch.load", "gpt.models.build", "gpt.cli.main",
                  "gpt.models.v7_dropout.nn.Module", "gpt.models.kv_cache.KVCache", "", "...", "../../etc/passwd",
                  "gpt.models.v7_dropout", "__main__.x", "gpt.models..v7_dropout.GPT", "gpt.models.v7_dropout.GPT\n",
                  "a\nb", "gpt.models.v7_dropout.Block", "gpt.models.v2_attention_head.Head"):  # fmt: skip
        yield f"model {other!r}", with_choice("model", {"_target_": other})
    for key, targets in _NOT_FOR.items():
        for other in (*_NO_CHOICES, *targets):
            yield f"{key} {other!r}", with_choice(key, {"_target_": other})
            yield f"{key} {other!r} alone", with_choice(key, {"_target_": other}, alone=True)
    for name, value in (("block_size", 10**9), ("n_embd", 10**9), ("n_layer", 256), ("n_layer", 10**12)):
        yield (
            f"{name} {value}",
            with_config(
                lambda text, name=name, value=value: "\n".join(
                    f"  {name}: {value}" if line.startswith(f"  {name}:") else line for line in text.split("\n")
                )
            ),
        )
    yield "interpolation", with_config(lambda text: text.replace("stage: v7", "stage: ${oc.env:HOME}"))
    yield (
        "python tag",
        with_config(
            lambda text: text.replace("stage: v7", f"stage: !!python/object/apply:os.system ['touch {marker}']")
        ),
    )
    yield (
        "aliases",
        with_config(
            lambda text: (
                "a: &a [x,x,x,x,x,x,x,x,x]\n"
                + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi"))
                + text
            )
        ),
    )
    yield "a line end in a key", with_choice("model", {"n_embd\nerror: x": 1})
    yield "nesting", with_config(lambda _: "[" * 100_000)
    yield "less nesting", with_config(lambda _: "[" * 8_000)

    for name, content in (
        ("nesting", "[" * 1_000_000), ("a number of a million digits", "1" * 1_000_000), ("keys", '{"a":' * 100_000),
        ("megabytes", '"' + "x" * 20_000_000 + '"'), ("a list", seal({"vocabulary": "ab", "corpus": "x"})[:-1]),
        ("lists", "[" + "[]," * 10_000_000 + "[]]"), ("line ends", "\n" * 30_000_000),
    ):  # fmt: skip
        for file in ("tokenizer.json", "summary.json", "metrics.jsonl"):
            path = copy()
            (path / file).write_text(content)
            yield f"{name} in {file}", path

    for name, header in (
        ("a header of terabytes", (2**42).to_bytes(8, "little") + b"{}"),
        ("a negative header", b"\xff" * 8 + b"{}"),
        ("no header", b""),
        ("a tensor of terabytes", _safetensors({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})),
        ("a tensor beyond the end", _safetensors({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})),
        ("a path as name", _safetensors({"../../x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})),
    ):
        path = copy()
        (path / "best.safetensors").unlink()
        (path / "best.safetensors").write_bytes(header)
        yield name, path


def _safetensors(header: dict) -> bytes:
    """A file with this header, and a valid checksum."""
    entry = {"__metadata__": {"checksum": f"{'0' * 64} format 1 iteration 20"}}
    content = json.dumps(entry | header, separators=(",", ":")).encode()
    before, _, after = content.partition(b"0" * 64)
    return len(content).to_bytes(8, "little") + before + hashlib.sha256(after).hexdigest().encode() + after


def hostile(count: int, folder: Path) -> Outcome:
    """Run folders made to execute code or to exhaust memory: nothing is executed; an error within 3 s and 200 MB."""
    whole, _ = whole_run(folder / "whole", *STAGES["v7"], *short(20))
    marker = folder / "executed"
    code = (
        "import logging, resource, sys, time, torch; from pathlib import Path; from gpt.runs.folder import RunFolder\n"
        "from gpt.data.corpora import LOADER; from gpt.base.errors import UserError\n"
        "from gpt.runs.checkpoints import Checkpoints\n"
        "from gpt.runs.weights import load_model; from gpt.watching.loggers import LOGGER\n"
        "from gpt.training.optimizers import OPTIMIZER; from gpt.training.schedules import SCHEDULE\n"
        "logging.disable()\n"
        "def chosen(run):\n"
        "    config, model = run.config(), torch.nn.Linear(2, 2)\n"
        "    yield lambda: LOADER.build(config.data)\n"
        "    yield lambda: OPTIMIZER.build(config.optimizer, model=model, learning_rate=1e-3)\n"
        "    yield lambda: SCHEDULE.partial(config.schedule)(0, 10, 1e-3)\n"
        "    for choice in config.logger.values(): yield lambda: LOGGER.build(choice, run=run)\n"
        "def readers(run):\n"
        "    yield from (run.config, run.vocabulary, run.evaluations, run.steps, run.summary, run.clock)\n"
        "    yield Checkpoints(run, 2).newest\n"
        "    yield from (lambda: load_model(run, 'best'), lambda: load_model(run, 'last'))\n"
        "    try: yield from chosen(run)\n"
        "    except UserError: pass\n"
        "for name in sys.argv[1:]:\n"
        "    started, begun, run = time.process_time(), time.perf_counter(), RunFolder(Path(name))\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    said, bugs = [], []\n"
        "    for read in readers(run):\n"
        "        try: read()\n"
        "        except UserError as error: said.append(str(error))\n"
        "        except Exception as error: bugs.append(type(error).__name__)\n"
        "    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024\n"
        "    seconds = max(time.process_time() - started, (time.perf_counter() - begun) / 10)\n"  # others work too
        "    lines = max((text.count(chr(10)) for text in said), default=0)\n"
        "    print(len(said), lines, round(seconds, 2), round(grown), *bugs)\n"
    )
    harmless = {"train.log", "sample.txt", "loss.png", ".lock", "commands.jsonl"}
    wrong = []
    cases = list(itertools.islice(_hostile_folders(whole, marker, folder), count))
    before = sorted(folder.iterdir())
    # The run as it was comes first, because the first reading also imports.
    command = [sys.executable, "-c", code, str(whole), *(str(path) for _, path in cases)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    if done.returncode:
        return Outcome(len(cases), [done.stderr[-500:]])
    for (name, _), line in zip(cases, done.stdout.splitlines()[1:], strict=True):
        *numbers, bugs = line.split(maxsplit=4) if line.count(" ") > 3 else (*line.split(), "")
        errors, newlines, seconds, megabytes = map(float, numbers)
        if bugs:
            wrong.append(f"{name}: {bugs}, which is not an error for users")
        if errors == 0 and name.rpartition(" ")[2] not in harmless:
            wrong.append(f"{name}: no error")
        if newlines or seconds > 3 or megabytes > 200:
            wrong.append(f"{name}: {newlines} line ends, {seconds} s, {megabytes} MB")
    if marker.exists():
        wrong.append("something was executed")
    if sorted(folder.iterdir()) != before:
        wrong.append("files outside of the run folder were touched")
    return Outcome(len(cases), wrong)


def contents(count: int, folder: Path) -> Outcome:
    """Contents that no run writes, under valid checksums: everything that reads a run ends in one line or succeeds."""
    average = "training.average_last=0.5"
    runs = [whole_run(folder / str(number), *STAGES["v7"], *short(40), average)[0] for number in range(2)]

    def trial(number: int) -> list[str]:
        half = -(-count // 2)
        first, last = number * half, min(count, (number + 1) * half)
        command = [sys.executable, "-m", "tests.faults.contents", str(runs[number]), str(first), str(last - first)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        return [*done.stdout.splitlines(), *([done.stderr[-500:]] if done.returncode else [])]

    return Outcome(count, in_parallel(trial, 2))


def _bad_arguments() -> Iterator[list[str]]:
    """Command lines of train.py that ask for what cannot be, first from a table, then made up."""
    yield from ([argument] for argument in (
        "model=v99", "modle=v5", "model.n_embed=32", "training.max_iters=-1", "training.max_iters=1.5", "seed=-1",
        "training.batch_size=0", "training.eval_iters=0", "training.learning_rate=nan", "optimizer.beta1=1",
        "schedule=exponential", "optimizer=adam", "logger=nothing", "schedule.final=0.1", "schedule.warmup_iters=-1",
        "optimizer.momentum=0.9", "optimizer.weight_decay=-1", "data._target_=gpt.data.corpora.read_text",
        "optimizer._target_=os.system", "schedule._target_=gpt.training.loop.train", "data._target_=os.system",
        "+logger.x._target_=os.system", "+logger.x._target_=gpt.training.loop.train", "+logger.x=1",
        "+optimizer.x=1",
        "training.schedule=cosine", "training.warmup_iters=10", "training.weight_decay=0.1", "training.beta1=0.9",
        "training.grad_clip=0", "training.on_nonfinite=maybe", "device=tpu",
        "dtype=float16", "compile=perhaps", "checkpoint.keep=0", "checkpoint.interval=0", "checkpoint.min_seconds=-1",
        "model.n_head=5", "model.block_size=100000", "model.n_layer=0", "model.n_layer=10000000", "data=nothing",
        "data.path=x", "data.train_fraction=1", "stage=v3", "resume=nowhere", "resume=corpus.txt", "a=b=c", "=", "a b",
        "training=[1]", "training.max_iters=", "training.batch_size=7 training.grad_accumulation=2",
        "model._target_=os.system", "hydra.job.nme=x", "+training.x=1", "~training", "training.max_iters=1e999",
    ))  # fmt: skip
    yield from (["data=text", f"data.path={name}"] for name in (
        "absent.txt", "empty.txt", "binary.bin", "one.txt", "short.txt", ".", "round", "corpus.txt/x",
    ))  # fmt: skip
    yield ["training.batch_size=7", "training.grad_accumulation=2"]
    yield ["schedule=cosine", "schedule.final=1"]
    yield ["schedule=trapezoid", "schedule.cooldown=-0.1"]
    yield ["optimizer=muon", "optimizer.matrix_learning_rate=-1"]
    yield ["model=transformer", "training.eval_iters=5", "data=copy"]
    draw = random.Random(0)
    keys = {
        "training.max_iters": "int", "training.batch_size": "int", "training.eval_interval": "int", "seed": "seed",
        "training.eval_iters": "int", "schedule.warmup_iters": "seed", "training.learning_rate": "float",
        "optimizer.weight_decay": "float", "optimizer.beta2": "float", "model.n_embd": "int", "model.n_layer": "int",
        "model.block_size": "int", "checkpoint.keep": "int", "device": "name", "dtype": "name", "deterministic": "name",
    }  # fmt: skip
    while True:
        key, kind = draw.choice(list(keys.items()))
        if draw.random() < 0.3:  # a misspelt key
            position = draw.randrange(1, len(key))
            yield [f"{key[:position]}{draw.choice(string.ascii_lowercase)}{key[position:]}=1"]
            continue
        bad = {
            "int": ["0", "-3", "0.5", "many", "null", "true", "[1]", "{a:1}", "9" * 30],
            "seed": ["-1", "0.5", "x", "null", "[1]", "9" * 30],
            "float": ["-1", "-1e-9", "inf", "nan", "x", "null", "[0.1]", "true"],
            "name": ["x", "7", "null", "[cpu]", "".join(draw.choices(string.ascii_letters, k=8))],
        }[kind]
        yield [f"{key}={draw.choice(bad)}"]


def bad_input(count: int, folder: Path) -> Outcome:
    """Impossible command lines: one error line, exit code 1 or 2, nothing written."""
    folder.mkdir(exist_ok=True)
    (folder / "empty.txt").write_text("")
    (folder / "one.txt").write_text("a" * 3)
    (folder / "short.txt").write_text("abcdefghijk")
    (folder / "binary.bin").write_bytes(bytes(range(256)))
    (folder / "round").symlink_to("round")
    finish(start("--help", cwd=folder))
    before = sorted(folder.rglob("*"))
    cases = list(itertools.islice(_bad_arguments(), count))

    def trial(number: int) -> list[str]:
        arguments = cases[number]
        command = [str(REPOSITORY / "train.py"), *arguments]
        if not any(argument.startswith("data") for argument in arguments):
            command += ["data=text", f"data.path={folder / 'corpus.txt'}"]
        done = Forked(command, folder).finished()
        return [f"{arguments}: {what}" for what in one_line(done.returncode, done.stderr, 1, 2)]

    wrong = in_parallel(trial, len(cases))
    if sorted(folder.rglob("*")) != before:
        wrong.append("something was written")
    return Outcome(len(cases), wrong)
