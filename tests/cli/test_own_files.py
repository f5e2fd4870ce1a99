"""A YAML of one's own is taken as if its keys had been typed; the configuration of a run repeats it."""

from pathlib import Path

import pytest
import yaml

from gpt.runs.folder import RunFolder
from tests.conftest import Script

MINE = """\
model: v4
training:
  max_iters: 7
  learning_rate: 1e-2
tags: [a, b]
name: null
compile: false
"""


def test_nested_and_dotted_keys_are_taken_and_replaced_by_later_ones(called: Script, tmp_path: Path) -> None:
    def shown(*arguments: str) -> dict:
        done = called("train.py", *arguments, "--cfg", "job", "--resolve", cwd=tmp_path)
        return yaml.safe_load(done.stdout)

    (tmp_path / "mine.yaml").write_text(MINE)
    config = shown("mine.yaml", "training.max_iters=8")
    assert (config["stage"], config["training"]["max_iters"]) == ("v4", 8)
    assert config["tags"] in (["a", "b"], "[a,b]")  # a text until it is checked
    (tmp_path / "later.yml").write_text("model: v5\ntraining.max_iters: 9")
    config = shown("mine.yaml", "later.yml")
    assert (config["stage"], config["training"]["max_iters"], config["training"]["learning_rate"]) == ("v5", 9, 0.01)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trainin:\n  max_iters: 3", "unknown key trainin.max_iters; did you mean training.max_iters?"),
        ("defaults:\n  - override /model: v5", "put it into DIR/experiment/"),
        ("a: [", '"mine.yaml", line 1'),
        ("caf\udce9: 1", "mine.yaml is not UTF-8 text"),
        ("", "mine.yaml must have keys with values, as in 'training.max_iters: 100'"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(content: str, message: str, called: Script, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(content.encode(errors="surrogateescape"))
    done = called("train.py", "mine.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_the_configuration_of_a_run_repeats_it(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    typed = [
        "v6", "optimizer=muon", "schedule=cosine", "schedule.final=0.2", "logger=csv", "data=text",
        f"data.path={corpus_file}", "training.max_iters=3", "training.eval_iters=1", "model.n_layer=1", "name=one",
    ]  # fmt: skip
    for arguments in ([*typed, "hydra.run.dir=a"], ["a/config.yaml", "hydra.run.dir=b"]):
        done = called("train.py", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    first, second = (RunFolder(tmp_path / name) for name in "ab")
    assert first.config() == second.config()
    assert first.evaluations() == second.evaluations()
