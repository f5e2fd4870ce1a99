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


def test_a_folder_whose_run_never_started_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with created(path) as killed, killed.logging():
        (path / "config.yaml").touch()
        (path / ".tokenizer.json.0123abcd").touch()
        with created(path) as meanwhile:
            assert meanwhile.path == tmp_path / "new_2"
    with created(path) as again:
        assert again.path == path
        assert not list(path.glob(".tokenizer*"))


@pytest.mark.parametrize("name", ["notes.txt", "summary.json", "checkpoints/mine"])
def test_a_folder_with_anything_in_it_is_not_written_to(name: str, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    (place / name).parent.mkdir(parents=True)
    (place / name).write_text("mine")
    with pytest.raises(RequestError, match=re.escape(str(place))), created_at(place):
        pass
    assert [path.name for path in place.iterdir()] == [name.partition("/")[0]]
    with created(place) as other:
        assert other.path == tmp_path / "mine_2"


def test_a_folder_whose_run_has_started_is_not_reused(tmp_path: Path) -> None:
    with created_at(tmp_path) as run:
        (tmp_path / "config.yaml").touch()
        run.mark_training()
    with pytest.raises(RequestError, match=re.escape(str(tmp_path))), created_at(tmp_path):
        pass


def test_a_given_folder_is_used_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there", "new/and/deep"):
        with created_at(tmp_path / name) as created:
            assert created.path == tmp_path / name
