"""The tables of the documentation are what their commands measure."""

import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from docs.quoting import numbers, table
from gpt.runs.finding import finished_runs
from tests.conftest import REPOSITORY, Script, shell_commands, succeeded


@pytest.mark.parametrize(
    ("after", "key", "command"),
    [
        ("by the number of heads:", "n_head", "experiment=heads model.n_head=1"),
        ("by the number of blocks:", "n_layer", "experiment=first_weights model=v4_with_scaled_init model.n_layer=3"),
        ("The exact losses:", "learning_rate", shell_commands("course/schedules.md")[0].partition(".py ")[2]),
    ],
)
def test_the_means_of_a_table_are_what_its_command_measures(
    after: str, key: str, command: str, script: Script, tmp_path: Path
) -> None:
    """Or a part of it, as 0.03 is less than half of the differences that the pages discuss."""
    page = "lab/sweeps.md" if "experiment=" in command else "course/schedules.md"
    columns, rows = table(REPOSITORY / "docs" / page, after)
    unread = ["training.eval_interval=5000", "training.eval_iters=1"]  # estimates do not change the exact losses
    succeeded(script("train.py", *command.split(), *unread, "hydra.sweep.dir=sweep", cwd=tmp_path))
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for folder, summary in finished_runs(tmp_path / "sweep"):
        content = folder.config().content()
        column = next(
            name for name in columns if name in (summary.stage, content["schedule"]["_target_"].split(".")[-1])
        )
        found[str((content["model"] | content["training"])[key]), column].append(summary.exact.nats)
    assert {len(losses) for losses in found.values()} == {3}
    means = {cell: statistics.mean(losses) for cell, losses in found.items()}
    stated = {(row, column): numbers(rows[row][columns.index(column)])[0] for row, column in means}
    assert means == pytest.approx(stated, abs=0.03)
