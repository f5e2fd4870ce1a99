"""Text that is in both splits is said: its loss says little about new text."""

import random
from pathlib import Path

import pytest

import gpt


@pytest.mark.parametrize(("repeated", "is_said"), [(True, True), (False, False)])
def test_a_validation_split_that_stands_in_the_training_split_is_a_warning(
    repeated: bool, is_said: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    draw = random.Random(1)
    part = "".join(draw.choices("abcdefgh ", k=2000))
    other = "".join(draw.choices("abcdefgh ", k=20_000))
    (tmp_path / "text.txt").write_text((part if repeated else part[::-1]) + other + part)
    short = ["v1", "data=text", f"data.path={tmp_path / 'text.txt'}", "training.eval_iters=1"]
    gpt.train(*short, max_iters=1, folder=tmp_path / "run")
    said = capsys.readouterr().err
    assert ("to validate on stand in the training split, too" in said) == is_said
    assert ("2,000 of the 2,400 characters" in said) == is_said
