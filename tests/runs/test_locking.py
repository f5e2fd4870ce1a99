"""One process at a time writes a run folder."""

from pathlib import Path

import pytest

from gpt.base.errors import UnavailableError
from gpt.runs.folder import RunFolder
from tests.conftest import empty_run


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    other = RunFolder(run.path)
    assert not other.lock.is_taken()
    with run.locked():
        assert (run.lock.is_taken(), other.lock.is_taken()) == (False, True)
        with pytest.raises(UnavailableError, match=str(run.path)), other.locked():
            pass
    assert not other.lock.is_taken()
    with other.locked():
        pass
