"""What model=NAME sets besides the model, in --help and for the first line of a run."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gpt.base.installation import CONF
from gpt.base.ladder import LADDER, is_ablation, rank
from gpt.cli import help as help_
from gpt.config.composing import content_of
from gpt.config.conf import settings_of
from gpt.config.keys import flat
from gpt.config.reading import read
from tests.conftest import REPOSITORY, check_config

STAGES = sorted((path.stem for path in (REPOSITORY / "conf" / "model").glob("*.yaml")), key=rank)


def test_the_settings_of_a_stage_are_shown_as_typed() -> None:
    assert settings_of("v6") == []
    assert settings_of("v1") == ["training.max_iters=16000"]
    assert settings_of("v7") == ["training.batch_size=64", "training.learning_rate=3e-4"]
    assert settings_of("transformer")[:3] == ["data=multi30k", "optimizer=adamw_transformer", "schedule=inverse_sqrt"]
    assert settings_of("transformer")[-1] == "schedule.warmup_iters=1000"


@pytest.mark.parametrize("stage", [stage for stage in STAGES if settings_of(stage) and not is_ablation(stage)])
def test_without_what_a_stage_sets_only_the_model_differs(stage: str) -> None:
    """v6 sets nothing else, so that its composition with what a stage sets has all but the model of that stage's."""
    config = content_of(read("train", [f"model={stage}"]))
    same = content_of(read("train", ["model=v6", *settings_of(stage)]))
    for tree in (config, same):
        for key in ("stage", "adds", "model", "documented"):
            tree.pop(key)
    assert flat(config) == flat(same)


def test_a_stage_that_changes_another_sets_what_that_one_does(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    training = {"batch_size": 8, "max_iters": 3}
    first = {"defaults": [{"override /optimizer": "muon"}], "training": training, "model": {"a": 1}}
    second = {"defaults": ["first", "_self_"], "adds": "", "model": {"a": 2}, "training": {"max_iters": 4}}
    OmegaConf.save(first, tmp_path / "model" / "first.yaml")
    OmegaConf.save(second, tmp_path / "model" / "second.yaml")
    assert settings_of("second", [tmp_path]) == ["optimizer=muon", "training.batch_size=8", "training.max_iters=4"]
    OmegaConf.save({"defaults": ["v1", "_self_"], "adds": ""}, tmp_path / "model" / "third.yaml")
    assert settings_of("third", [CONF, tmp_path]) == settings_of("v1")


def test_help_lists_stages_in_order_with_what_they_set() -> None:
    text = help_.text(read("train", ["model=v7"])).partition("\n\ndata=NAME")[0].partition("model=NAME")[2]
    ladder, beside = text.split("\n  beside the ladder, to compare:\n")
    listed = [stage for stage in STAGES if stage in LADDER]
    assert re.findall(r"^  [* ] (\w+)", ladder, re.MULTILINE) == listed
    named = re.findall(r"\w+", re.sub(r"^ +(?:like \w+|other) ", "", beside, flags=re.MULTILINE))
    assert sorted(named) == sorted({*STAGES} - {*listed})
    assert "\n  * v7 " in text
    for stage in listed:
        assert "also sets " + " ".join(settings_of(stage)) in " ".join(text.split()) or not settings_of(stage)


def test_the_line_that_describes_a_choice_is_a_sentence() -> None:
    for path in (REPOSITORY / "conf").glob("*/**/*.yaml"):
        lines = [line for line in path.read_text().splitlines() if line.startswith("#") and "@package" not in line]
        assert len(lines) < 2 or path.parent.name == "launcher" or lines[0].endswith("."), path


@pytest.mark.slow
def test_an_experiment_has_only_what_the_program_accepts() -> None:
    for group in ("experiment", "debug"):
        for path in sorted((REPOSITORY / "conf" / group).rglob("*.yaml")):
            name = path.relative_to(REPOSITORY / "conf" / group).with_suffix("").as_posix()
            tree = content_of(read("train", [f"{group}={name}"]))
            check_config(tree | {"stage": "v1"})
