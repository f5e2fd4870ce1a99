"""Scripts run in processes that are forked from one with the libraries already imported, which saves seconds each."""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

_LIBRARIES = (
    "torch torch.distributed hydra._internal.hydra matplotlib.figure matplotlib.backends.backend_agg safetensors.torch "
    "pydantic tabulate tqdm yaml filelock tokenizers sacrebleu.metrics"
)

_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload([__name__, *_LIBRARIES.split()])


class Forked:
    """`python SCRIPT ARGUMENTS` in a process of its own."""

    def __init__(
        self, command: list[str], cwd: Path, environment: dict[str, str] | None = None, standard_input: bytes = b""
    ) -> None:
        self._command, self._folder = command, tempfile.TemporaryDirectory()
        Path(self._folder.name, "in").write_bytes(standard_input)
        settings = environment or dict(os.environ)
        self._process = _FORKSERVER.Process(target=_execute, args=(command, str(cwd), self._folder.name, settings))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def finished(self, timeout: float = 600) -> subprocess.CompletedProcess:
        """Wait for its end. Raises TimeoutExpired, and kills it, if that does not come."""
        self._process.join(timeout)
        with self._folder:
            if self._process.is_alive():
                self._process.kill()
                raise subprocess.TimeoutExpired(self._command, timeout)
            out, err = (Path(self._folder.name, name).read_text(encoding="utf-8") for name in ("out", "err"))
            return subprocess.CompletedProcess(self._command, self._process.exitcode or 0, out, err)


def _execute(command: list[str], cwd: str, folder: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, name in enumerate(("in", "out", "err")):
        os.dup2(os.open(Path(folder, name), os.O_RDWR | os.O_CREAT), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
