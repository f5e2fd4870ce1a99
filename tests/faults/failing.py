"""python failing.py FOLDER NUMBER ERROR SCRIPT ARGUMENTS: a script whose operation NUMBER on FOLDER fails once.

With an ERROR of 0, the process is killed before the operation instead. FOLDER.journal gets a line for each operation:
those that Python reports to audit hooks (open, rename, link, mkdir ...), and fsync.
"""

import os
import runpy
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

_TWO_PATHS = ("os.rename", "os.link", "os.symlink")  # the second is the one that appears
_OPERATIONS = (*_TWO_PATHS, "open", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.listdir", "os.scandir",
               "os.fsync")  # fmt: skip

if __name__ == "__main__":
    _, folder, chosen, error, *sys.argv = sys.argv
    journal = os.open(f"{folder}.journal", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    numbers, flush = count(1), os.fsync

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _OPERATIONS:
            return
        what = arguments[event in _TWO_PATHS]
        path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else Path(os.fsdecode(what or "."))
        path = Path.cwd() / path
        if not path.is_relative_to(folder):
            return
        is_chosen = next(numbers) == int(chosen)
        if is_chosen and error == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(journal, f"{event} {path}\n".encode())
        if is_chosen:
            raise OSError(int(error), os.strerror(int(error)), str(path))

    def fsync(file: int) -> None:  # of which Python reports nothing
        hook("os.fsync", (file,))
        flush(file)

    os.fsync = fsync
    sys.addaudithook(hook)
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
