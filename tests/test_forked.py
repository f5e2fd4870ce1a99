"""The scripts that tests run in forked processes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.forked import Forked


def test_every_thread_gets_the_exit_codes_of_its_own_processes(tmp_path: Path) -> None:
    script = tmp_path / "exit.py"
    script.write_text("import sys; sys.exit(int(sys.argv[1]))")

    def exit_code(number: int) -> int:
        return Forked([str(script), str(number)], tmp_path).finished().returncode

    numbers = list(range(40))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(exit_code, numbers)) == numbers
