"""The one list of the stages, beside what stands in conf/."""

import yaml

from gpt.base.ladder import BESIDE, LADDER, SMALL, is_ablation, rank
from tests.conftest import REPOSITORY

STAGES = {path.stem for path in (REPOSITORY / "conf" / "model").glob("*.yaml")}


def test_every_stage_of_conf_is_listed_or_an_ablation() -> None:
    listed = {*LADDER, *BESIDE}
    assert {stage for stage in STAGES if not is_ablation(stage)} == listed
    assert {stage.partition("_with")[0] for stage in STAGES} == listed


def test_stages_are_sorted_by_the_ladder_and_ablations_are_apart() -> None:
    names = ["v5_without_residuals", "mine", "v10", "transformer", "v6", "v3_ffn", "v4_with_a", "v4", "v3"]
    assert sorted(names, key=rank) == [
        "v3",
        "v3_ffn",
        "v4",
        "v6",
        "v10",
        "transformer",
        "mine",
        "v4_with_a",
        "v5_without_residuals",
    ]


def test_the_experiment_ladder_trains_the_small_stages_in_their_order() -> None:
    experiment = yaml.safe_load((REPOSITORY / "conf" / "experiment" / "ladder.yaml").read_text())
    assert experiment["hydra"]["sweeper"]["params"]["model"] == ",".join(SMALL)
    assert f"model={','.join(SMALL)} " in (REPOSITORY / "conf" / "train.yaml").read_text()
