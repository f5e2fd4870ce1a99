"""Large texts: whatever happens while one is prepared, the next start uses the token ids of a fresh preparation."""

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import small_corpus
from tests.faults.scenarios import Outcome, finish, in_parallel, one_line, start
from tests.forked import Forked

_TRAINING = [
    "model=v5", "model.block_size=8", "model.n_embd=8", "model.n_head=1", "model.n_layer=1", "training.batch_size=2",
    "training.max_iters=1", "training.eval_interval=1", "training.eval_iters=1", "training.exact_tokens=1000",
    "device=cpu", "data.vocab_size=300",
]  # fmt: skip
_KINDS = ("characters", "bytes", "characters", "bytes", "subwords")  # subwords take many times as long
_REPEATS = 850  # of the small corpus: 17 MB, which is too large for memory


def preparing(count: int, folder: Path) -> Outcome:
    """SIGKILL while a large text is prepared, a full disk, several starts at once, changed and damaged files: an error
    is one line, the next start has the token ids of a fresh preparation, and nothing is prepared twice.
    """
    kinds = set(_KINDS[:count])
    small = small_corpus()
    # Of the same size in bytes, so that only the time tells them apart.
    texts = ["".join(f"{small}{i} {c}€😀\n" for i in range(_REPEATS)) for c in "éè"]
    fresh = [{kind: _fresh(folder / f"{kind}_{i}", kind, text) for kind in kinds} for i, text in enumerate(texts)]

    def trial(number: int) -> list[str]:
        draw, place, kind = random.Random(number), folder / str(number), _KINDS[number % len(_KINDS)]
        wrong: list[str] = []
        expected, seconds = fresh[0][kind]
        _write(place, texts[0])

        def in_time(act: Callable[[Forked], None], starts: int) -> None:
            """Start, and do something to the first process before all is prepared."""
            processes = [_start(place, kind) for _ in range(starts)]
            time.sleep(draw.uniform(0.1, 1.1) * seconds)
            act(processes[0])
            for process in processes:
                code, _, err = finish(process)
                wrong.extend([] if code in (0, -signal.SIGKILL) else one_line(code, err, 1))

        def check(after: str, starts: int = 1) -> None:
            """Start as if nothing had happened."""
            for process in [_start(place, kind) for _ in range(starts)]:
                code, _, err = finish(process)
                wrong.extend([f"after {after}: {err[-300:]}"] if code else [])
            found = _prepared(place)
            different = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            wrong.extend([f"after {after}: {different} differ"] if different else [])

        in_time(lambda process: process.send_signal(signal.SIGKILL), starts=draw.choice([1, 1, 2]))
        second = draw.choice(["a kill", "a full disk", "a change"])
        if second == "a full disk":
            limit = draw.choice([0, 100, 100_000, 10_000_000])
            in_time(lambda process: _limit(process, limit), starts=1)
        elif second == "a change":
            in_time(lambda _: _write(place, texts[1]), starts=1)
            expected, _ = fresh[1][kind]
        check(second, starts=draw.choice([1, 1, 2]))
        before = _times(place)
        check("all was prepared")
        wrong += [] if _times(place) == before else ["it was prepared twice"]
        damage = _damage(draw.choice(_files(place)), draw)
        check(damage, starts=draw.choice([1, 1, 2]))
        shutil.rmtree(place)
        return [f"{kind}, trial {number}: {what}" for what in wrong]

    return Outcome(count, in_parallel(trial, count))


def _start(place: Path, kind: str) -> Forked:
    environment = os.environ | {"GPT_DATA_DIR": str(place / "data"), "OMP_NUM_THREADS": "1"}
    return start(*_TRAINING, f"data.tokenizer={kind}", cwd=place, environment=environment)


def _write(place: Path, text: str) -> None:
    place.mkdir(exist_ok=True)
    (place / "corpus.txt").write_text(text)


def _fresh(place: Path, kind: str, text: str) -> tuple[dict[str, object], float]:
    """What an undisturbed start prepares, and its seconds."""
    _write(place, text)
    started = time.perf_counter()
    code, _, err = finish(_start(place, kind))
    assert code == 0, err
    return _prepared(place), time.perf_counter() - started


def _files(place: Path) -> list[Path]:
    """All that is prepared, and whatever a killed process left."""
    return sorted(path for path in (place / "data" / "prepared").glob("*/*") if path.name != ".lock")


def _prepared(place: Path) -> dict[str, object]:
    """The content of these files, without what differs between two preparations of the same text."""
    found: dict[str, object] = {}
    for path in _files(place):
        content = path.read_bytes()
        if path.suffix == ".json":
            record = json.loads(content)
            found[path.name] = {key: record[key] for key in record.keys() - {"source", "written", "checksum"}}
        else:
            found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def _times(place: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in _files(place)}


def _limit(process: Forked, size: int) -> None:
    """Let no file of a process grow beyond this many bytes."""
    with contextlib.suppress(ProcessLookupError):  # it was quicker
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _damage(path: Path, draw: random.Random) -> str:
    """Truncate a file or flip one bit of it, also without a trace in its time of modification."""
    content, state = bytearray(path.read_bytes()), path.stat()
    position = draw.randrange(len(content))
    what = draw.choice(["a truncation", "a bit flip", "a bit flip with its time restored"])
    if what == "a truncation":
        del content[position:]
    else:
        content[position] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    if what.endswith("restored"):
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return f"{what} at {position} of {path.name}"
