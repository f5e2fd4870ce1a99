"""Large texts: whatever happens while one is prepared, the next start uses the token ids of a fresh preparation."""

import hashlib
import json
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.conftest import small_corpus
from tests.faults.trials import check, finish, one_line, repeated, start
from tests.forked import Forked

_TRAINING = [
    "model=v5", "model.block_size=8", "model.n_embd=8", "model.n_head=1", "model.n_layer=1", "training.batch_size=2",
    "training.max_iters=1", "training.eval_interval=1", "training.eval_iters=1", "training.exact_tokens=1000",
    "device=cpu", "data.vocab_size=300",
]  # fmt: skip
_KINDS = ("characters", "bytes", "characters", "bytes", "subwords")  # subwords take many times as long
_REPEATS = 850  # of the small corpus: 17 MB, which is too large for memory


@repeated(0, 2, 30)
def test_a_text_is_prepared_as_if_undisturbed(count: int, tmp_path: Path) -> None:
    """SIGKILL meanwhile, a limit of the size of files, several starts at once: an error is one line."""
    text = "".join(f"{small_corpus()}{i} é€😀\n" for i in range(_REPEATS))
    fresh = {kind: _fresh(tmp_path / kind, kind, text) for kind in {*_KINDS[:count]}}

    def trial(number: int, place: Path) -> Iterator[str]:
        draw, kind = random.Random(number), _KINDS[number % len(_KINDS)]
        (place / "corpus.txt").write_text(text)
        expected, seconds = fresh[kind]
        for _ in range(2):
            processes = [_start(place, kind) for _ in range(draw.choice([1, 1, 2]))]
            time.sleep(draw.uniform(0.1, 1.1) * seconds)
            if draw.random() < 0.5:
                processes[0].send_signal(signal.SIGKILL)
            else:
                limit = draw.choice([0, 100, 100_000, 10_000_000])
                with suppress(ProcessLookupError):  # it was quicker
                    resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            for code, _, err in map(finish, processes):
                yield from [] if code in (0, -signal.SIGKILL) else one_line(code, err, 1)
        for code, _, err in map(finish, [_start(place, kind) for _ in range(draw.choice([1, 1, 2]))]):
            yield from [err[-300:]] if code else []
        found = _prepared(place)
        different = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        yield from [f"{kind}: {different} differ"] if different else []

    check(trial, count, tmp_path)


def _start(place: Path, kind: str) -> Forked:
    environment = os.environ | {"GPT_DATA_DIR": str(place / "data"), "OMP_NUM_THREADS": "1"}
    return start(*_TRAINING, f"data.tokenizer={kind}", cwd=place, environment=environment)


def _fresh(place: Path, kind: str, text: str) -> tuple[dict[str, object], float]:
    """What an undisturbed start prepares, and its seconds."""
    place.mkdir()
    (place / "corpus.txt").write_text(text)
    started = time.perf_counter()
    code, _, err = finish(_start(place, kind))
    assert code == 0, err
    return _prepared(place), time.perf_counter() - started


def _prepared(place: Path) -> dict[str, object]:
    """The content of these files, without what differs between two preparations of the same text."""
    found: dict[str, object] = {}
    for path in (place / "data" / "prepared").glob("*/[!.]*"):
        if path.suffix == ".json":
            record = json.loads(path.read_bytes())
            found[path.name] = {key: record[key] for key in record.keys() - {"source"}}
        else:
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
