"""Run folders are created one for each run."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpt.base.errors import RequestError
from gpt.runs.creation import created, created_at


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    def start(_: int) -> Path:
        with created(tmp_path / "same") as run:
            for name in ("config.yaml", "tokenizer.json"):
                (run.path / name).touch()
        return run.path

    with ThreadPoolExecutor(16) as pool:
        paths = set(pool.map(start, range(64)))
    assert len(paths) == 64
    assert len(list(tmp_path.iterdir())) == 64


def test_a_folder_whose_run_never_started_is_taken_over_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with created(path) as killed, killed.logging() as start_log:
        start_log()
        (path / "config.yaml").touch()
        (path / "parent.json").touch()  # which the next run would claim for its own
        (path / ".tokenizer.json.0123abcd").touch()
        with created(path) as meanwhile:
            assert meanwhile.path == tmp_path / "new_2"
    with created(path) as again:
        assert again.path == path
        assert {file.name for file in path.iterdir()} == {".lock", "state.json"}
    (path / "notes.txt").write_text("mine")
    (tmp_path / "new_2" / "tokenizer.json").mkdir()
    (tmp_path / "new_3").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new_4").touch()
    with created(path) as other:
        assert other.path == tmp_path / "new_5"
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["summary.json", "checkpoints", ".lock"])
def test_nothing_that_has_the_name_of_a_runs_file_is_written_over(name: str, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    (place / "checkpoints" if name == "checkpoints" else place).mkdir(parents=True)
    (place / name if name != "checkpoints" else place / name / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(place, target_is_directory=True)
    for path in (place, tmp_path / "link"):
        before = {file: file.stat().st_mtime_ns for file in place.rglob("*")}
        message = f"^{re.escape(str(path))} holds {re.escape(name)}, which a new run would replace: choose another"
        with pytest.raises(RequestError, match=message), created_at(path):
            pass
        assert {file: file.stat().st_mtime_ns for file in place.rglob("*")} == before
    with created(place) as other:
        assert other.path == tmp_path / "mine_2"


def test_a_folder_is_not_taken_over_once_its_run_has_started(tmp_path: Path) -> None:
    """Whatever is deleted from it: what is left of a run is not what a run leaves that never started."""
    with created_at(tmp_path) as run:
        (tmp_path / "config.yaml").touch()
        run.mark_training()
    with pytest.raises(RequestError, match=r"holds config.yaml"), created_at(tmp_path):
        pass


def test_a_given_folder_is_used_under_its_own_name_whether_it_exists_or_not(tmp_path: Path) -> None:
    """What a killed run was about to write is removed from it, and nothing else."""
    (tmp_path / "there").mkdir()
    kept = {"notes.txt", ".notes.0123abcd", ".worker"}  # one looks temporary, and one is of a search's trial
    for file in (".config.yaml.0123abcd", *kept):
        (tmp_path / "there" / file).touch()
    for name, files in (("there", kept), ("new/and/deep", set())):
        with created_at(tmp_path / name) as created:
            assert created.path == tmp_path / name
            assert {file.name for file in created.path.iterdir()} == {".lock", "state.json", *files}
