"""The faults. A scenario inflicts one up to `count` times, and reports how often and what went wrong."""

import contextlib
import hashlib
import itertools
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gpt.base.errors import UserError
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model
from tests.conftest import REPOSITORY, small_corpus
from tests.forked import FORKSERVER, Forked

RESULTS = ("metrics.jsonl", "best.safetensors", "last.safetensors", "sample.txt")
STAGES = {
    "v1": ["model=v1"],
    "v5": ["model=v5"],
    "v7": ["model=v7", "model.block_size=16", "model.n_embd=32", "model.n_head=4", "model.n_layer=2"],
}
_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
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


def in_processes(work: Callable[[int], list[str]], count: int, prepare: Callable[[], None]) -> list[str]:
    """Everything that went wrong in `count` trials in two processes, each of which prepares itself."""
    with ProcessPoolExecutor(2, FORKSERVER, prepare) as pool:
        return list(itertools.chain.from_iterable(pool.map(work, range(count), chunksize=-(-count // 2))))


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: what it is, and the digest of a file's content."""

    def described(path: Path) -> str:
        if path.is_symlink():
            return f"link to {path.readlink()}"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"

    return {str(path.relative_to(folder)): described(path) for path in sorted(folder.rglob("*"))}


def interruptions(count: int, folder: Path, iterations: int = 400, most: int = 4) -> Outcome:
    """SIGKILL, SIGTERM, SIGINT or SIGUSR1 at random moments, up to four times per run: a run that hears a signal saves
    and ends with one line, and the resumed run ends with the files of the uninterrupted one.
    """
    settings = [*short(iterations), "training.eval_iters=20"]
    stages = list(STAGES)[:count]
    wholes = {stage: whole_run(folder / f"whole_{stage}", *STAGES[stage], *settings) for stage in stages}

    def trial(number: int) -> list[str]:
        draw = random.Random(number)
        stage = stages[number % len(stages)]
        whole, seconds = wholes[stage]
        place = folder / f"interrupted_{number}"
        place.mkdir()
        arguments, run, wrong = [*STAGES[stage], *settings], None, []
        for _ in range(draw.randint(1, most)):
            process = start(*arguments, cwd=place)
            time.sleep(draw.uniform(0.1, 1.2) * seconds)
            sent = signal.SIGKILL if draw.random() < 0.5 else draw.choice(_HEARD)
            process.send_signal(sent)
            code, _, err = finish(process)
            run = the_run(place)
            if run is None:  # before anything of ours was there to listen
                wrong += [] if "Traceback" not in err or sent == signal.SIGINT else [err[-300:]]
                continue
            if sent != signal.SIGKILL and code != 0 and not RunFolder(run).is_finished():
                wrong += one_line(code, err, 130 if sent == signal.SIGINT else 143)
            arguments = [f"resume={run}"]
        code, _, err = finish(start(*arguments, cwd=place))
        run = the_run(place)
        wrong += [err[-300:]] if code or run is None else differences(whole, run)
        shutil.rmtree(place)
        return [f"{stage}, trial {number}: {what}" for what in wrong]

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
