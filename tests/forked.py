"""Scripts run in processes that are forked from one which has imported everything, which saves seconds each."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path

_REPOSITORY = Path(__file__).parents[1]

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__, "tests.preloaded"])

# Starting a process polls all others. Of two threads that poll one at its end, the later finds 255 as its exit code.
_POLLING = threading.Lock()


class Forked:
    """`python SCRIPT ARGUMENTS` in a process of its own."""

    def __init__(
        self, command: list[str], cwd: Path, environment: dict[str, str] | None = None, standard_input: bytes = b""
    ) -> None:
        self._command = command
        outputs = [FORKSERVER.Pipe(duplex=False) for _ in range(2)]
        writers = [writer for _, writer in outputs]
        settings = dict(os.environ) if environment is None else environment
        self._process = FORKSERVER.Process(target=_execute, args=(command, cwd, settings, standard_input, writers))
        with _POLLING:
            self._process.start()
        for writer in writers:
            writer.close()
        self._readers = ThreadPoolExecutor(2)
        self._outputs = [self._readers.submit(_read_all, reader) for reader, _ in outputs]
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def is_running(self) -> bool:
        with _POLLING:
            return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        """Send a signal, if it is still running."""
        if self.is_running:
            os.kill(self.pid, number)

    def finished(self, timeout: float = 1200) -> subprocess.CompletedProcess:
        """Wait for its end. Raises TimeoutExpired, and kills it, if that does not come."""
        wait([self._process.sentinel], timeout)
        if self.is_running:
            self.send_signal(signal.SIGKILL)
            raise subprocess.TimeoutExpired(self._command, timeout)
        out, err = (output.result(timeout) for output in self._outputs)
        self._readers.shutdown()
        code = self._process.exitcode
        assert code is not None
        return subprocess.CompletedProcess(self._command, code, out, err)


def _read_all(reader: Connection) -> str:
    with reader, os.fdopen(os.dup(reader.fileno()), encoding="utf-8") as file:
        return file.read()


def _execute(
    command: list[str], cwd: Path, environment: dict[str, str], standard_input: bytes, writers: list[Connection]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.dont_write_bytecode = True  # a full disk would leave half of a module for everybody
    read, write = os.pipe()
    os.write(write, standard_input)
    os.close(write)
    for number, source in enumerate((read, *(writer.fileno() for writer in writers))):
        os.dup2(source, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    if _REPOSITORY not in Path(command[0]).parents:  # of a copy, which has a package of its own
        for name in [name for name in sys.modules if name.partition(".")[0] == "gpt"]:
            del sys.modules[name]
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
