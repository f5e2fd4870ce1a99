"""Environments that a training meets on other people's machines: it completes its run, or says in one line why not."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY, small_corpus
from tests.faults.scenarios import Outcome, in_parallel, one_line

_TRAINING = (
    f"{sys.executable} {REPOSITORY / 'train.py'} model=v1 training.max_iters=4 training.eval_interval=2 "
    "training.eval_iters=1 training.batch_size=2 device=cpu data=text data.path={corpus}"
)
# What surrounds the training in a shell, and whether its run is complete at the end.
_CASES = {
    "all streams closed": ("{} <&- >&- 2>&-", True),
    "both outputs full": ("{} >/dev/full 2>&1", True),
    "standard output closed": ("{} >&-", True),
    "standard error closed": ("{} 2>&-", True),
    "standard output full": ("{} >/dev/full", True),
    "standard error full": ("{} 2>/dev/full", True),
    "C locale": ("LC_ALL=C LANG= PYTHONIOENCODING=ascii {}", True),
    "no home": ("env -u HOME {}", True),
    "a home that cannot be written": ("HOME=/proc {}", True),
    "20 open files": ("ulimit -n 20; {}", True),
    "an odd time zone": ("TZ=:/nowhere/é {}", True),
    "a time zone of more than a day": ("TZ=AAA-24:59:59 {}", True),
    "no temporary folder": ("TMPDIR=/nowhere {}", True),
    "no columns": ("COLUMNS=0 TERM=dumb {}", True),
    "an unknown backend of matplotlib": ("MPLBACKEND=bogus {}", True),
    "a matplotlibrc that is not text": ("head -c 99 /dev/zero | tr '\\0' '\\377' >matplotlibrc; {}", True),
    "a folder that is not UTF-8": ('d=$(printf \'w\\377\'); mkdir "$d"; cd "$d"; {}', True),
    "warnings as errors": ("PYTHONWARNINGS=error {}", True),
    "a deleted folder": ("mkdir x; cd x; rmdir ../x; {}", False),
    "files of a kilobyte": ("ulimit -f 1; {}", False),
    "WORLD_SIZE alone": ("WORLD_SIZE=2 {}", False),
    "no processes": ("WORLD_SIZE=0 RANK=0 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=1 {}", False),
    "a file in place of the runs": ("touch runs; {}", False),
}


def environments(count: int, folder: Path) -> Outcome:
    """Streams, locales, folders and limits that are missing, odd or full: the run is complete, or one line says why."""
    cases = list(_CASES.items())[:count]
    corpus = folder / "corpus.txt"
    corpus.write_text(small_corpus())

    # Unbuffered output, which the environment may ask for, hides what a stream cannot write at the end.
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def trial(number: int) -> list[str]:
        name, (around, completes) = cases[number]
        place = folder / str(number)
        place.mkdir()
        command = around.replace("{}", _TRAINING.format(corpus=corpus))
        done = subprocess.run(
            command, shell=True, cwd=place, env=usual, capture_output=True, text=True, errors="replace"
        )
        names = [path.name for path in place.rglob("*")]
        is_complete = all(names.count(name) == 1 for name in ("summary.json", "last.safetensors", "train.log"))
        wrong = [] if is_complete == completes else [f"complete: {is_complete}, {done.stderr[-300:]!r}"]
        if completes:
            wrong += [f"exit code {done.returncode}"] if done.returncode else []
        else:
            wrong += one_line(done.returncode, done.stderr, 1, 2)
        return [f"{name}: {what}" for what in wrong]

    return Outcome(len(cases), in_parallel(trial, len(cases)))
