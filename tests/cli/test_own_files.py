"""A YAML of one's own is taken as if its keys had been typed; the configuration of a run repeats it."""

from pathlib import Path

import yaml

from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.runs.folder import RunFolder
from tests.conftest import Script, refused, succeeded

MINE = "model: v4\ntraining:\n  max_iters: 7\n  learning_rate: 1e-2\ntags: [a, b]\nname: null\ncompile: false\n"


def test_later_keys_win_whether_nested_or_dotted(called: Script, tmp_path: Path) -> None:
    def shown(*arguments: str) -> dict:
        return yaml.safe_load(called("train.py", *arguments, "--cfg", "job", "--resolve", cwd=tmp_path).stdout)

    (tmp_path / "mine.yaml").write_text(MINE)
    config = shown("mine.yaml", "training.max_iters=8")
    assert (config["stage"], config["training"]["max_iters"]) == ("v4", 8)
    assert config["tags"] in (["a", "b"], "[a,b]")  # a text until it is checked
    (tmp_path / "later.yml").write_text("model: v5\ntraining.max_iters: 9")
    config = shown("mine.yaml", "later.yml")
    assert (config["stage"], config["training"]["max_iters"], config["training"]["learning_rate"]) == ("v5", 9, 0.01)


def test_a_wrong_file_of_keys_is_one_line(called: Script, tmp_path: Path) -> None:
    for content, word in {
        "trainin:\n  max_iters: 3": "training.max_iters",
        "defaults:\n  - override /model: v5": "defaults",
        "a: [": '"mine.yaml", line 1',
        "caf\udce9: 1": "mine.yaml",
        "seed: 1\nseed: 2": "seed",
        "training:\n  seconds: 1\n  seconds: 2": "seconds",
        "training.seconds: 1\ntraining: {seconds: 2}": "training.seconds",
        "": "mine.yaml",
    }.items():
        (tmp_path / "mine.yaml").write_bytes(content.encode(errors="surrogateescape"))
        refused(called("train.py", "mine.yaml", cwd=tmp_path), word)


TEXTS = ["\\newpage", "a\\\\n", "\n\n", '"', "'", "'quoted'", "null", 'it\'s, "so"', "[a]", " ${x} ", "\\",
         "\"a' b\"", "'a\" b'", "${x}'\"", "it\\'s \"", "a'\n\"[1], 2"]  # fmt: skip


def test_a_text_in_it_is_taken_as_yaml_has_it(tmp_path: Path) -> None:
    for text in TEXTS:
        content = {"model": "v1", "data": "documents", "data.path": text, "data.separator": text}
        (tmp_path / "mine.yaml").write_text(yaml.dump(content))
        found = compose(read("train", [str(tmp_path / "mine.yaml")])).data.hyperparameters
        assert found["separator"] == found["path"] == text


def test_the_configuration_of_a_run_repeats_it(called: Script, corpus_file: Path, tmp_path: Path) -> None:
    typed = [
        "v6",
        "optimizer=muon",
        "schedule=cosine",
        "schedule.final=0.2",
        "logger=csv",
        "data=text",
        f"data.path={corpus_file}",
        "training.max_iters=3",
        "training.eval_iters=1",
        "model.n_layer=1",
        "name=one",
    ]
    for arguments in ([*typed, "hydra.run.dir=a"], ["a/config.yaml", "hydra.run.dir=b"]):
        succeeded(called("train.py", *arguments, cwd=tmp_path))
    first, second = (RunFolder(tmp_path / name) for name in "ab")
    assert first.config() == second.config()
    assert first.evaluations() == second.evaluations()
