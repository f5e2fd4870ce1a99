"""Values that no one should give: a key takes them, or one line says why not."""

import contextlib
import io
import random
import sys
from pathlib import Path

import pytest
import yaml

from gpt.base.commands import COMMANDS, CommandSpec
from gpt.cli import main as command_line
from gpt.config.fields import fields_of
from gpt.config.keys import flat
from tests.conftest import REPOSITORY

_VALUES = (
    "", "null", "true", "-1", "0.5", "1e400", "nan", "1" * 400, "x", '"1"', "a b", "é", "\ud800", "\x1b[2J", "a\nb",
    "x" * 9000, "../..", "~", "???", "[a,b]", "[[1]]", "{a:{b:2}}", "1,2", "${nope}", "${", "}", "a=b", "#",
    "!!python/name:os.system", "range(1,3)",
)  # fmt: skip
_CHOSEN = {"model": "v7", "data": "text", "optimizer": "muon", "schedule": "cosine"}  # whose keys are tried


def _keys(script: str) -> list[str]:
    if script != "train":
        return [*fields_of(COMMANDS[script].load_schema())]
    keys = [*flat(yaml.safe_load((REPOSITORY / "conf" / "train.yaml").read_text()))]
    for group, name in _CHOSEN.items():
        content = yaml.safe_load((REPOSITORY / "conf" / group / f"{name}.yaml").read_text())
        keys += [group, *(f"{group}.{key}" for key in content.get(group, content))]
    return [key for key in keys if not key.startswith(("hydra.", "defaults"))]


@pytest.mark.parametrize("script", ["train", "generate", "evaluate", "compare"])
def test_an_odd_value_is_taken_or_refused_in_one_line(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command up to the point where its work would begin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CommandSpec, "load", lambda _: lambda *_: None)
    chosen = [f"{group}={name}" for group, name in _CHOSEN.items()] if script == "train" else []
    draw = random.Random(script)
    for key in draw.sample(keys := _keys(script), min(len(keys), 8)):
        said, value = io.StringIO(), draw.choice(_VALUES)
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *chosen, f"{key}={value}"])
        with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
            command_line.main(script)
        assert "Traceback" not in said.getvalue()
        assert all(line.startswith(("error: ", "usage: ")) for line in said.getvalue().splitlines()), (key, value)
        assert said.getvalue().count("error: ") <= 1
