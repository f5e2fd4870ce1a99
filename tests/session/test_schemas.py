"""JSON schemas for editors: the files of conf/ fit, and what the program refuses in a value, they refuse as well."""

import copy
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from omegaconf import OmegaConf
from pydantic import ValidationError

from gpt.base.errors import RequestError
from gpt.cli.composing import composed
from gpt.session.schemas import schemas, write
from tests.conftest import REPOSITORY, check_config

SCHEMAS = schemas()
FILES = [path for path in sorted((REPOSITORY / "conf").rglob("*.yaml")) if "hydra" not in path.parts]
ODD: tuple[Any, ...] = (-1, 0, 1, 0.5, 2**70, "x", "", True, None, [], ["x"], {}, {"x": 1})


def accepts(schema: dict, content: Any) -> bool:
    return Draft7Validator(schema).is_valid(content)


def schema_of(path: Path) -> dict:
    inside = path.relative_to(REPOSITORY)
    (schema,) = (schema for schema, patterns in SCHEMAS.values() if any(map(inside.match, patterns)))
    return schema


def content_of(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path))


def groups_in(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tree and what is below it, but for Hydra's own settings."""
    yield tree
    for key, value in tree.items():
        if isinstance(value, dict) and key != "hydra":
            yield from groups_in(value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY / "conf")))
def test_a_file_of_conf_fits_its_schema_and_a_misspelt_key_does_not(path: Path) -> None:
    schema, content = schema_of(path), content_of(path)
    Draft7Validator.check_schema(schema)
    assert list(Draft7Validator(schema).iter_errors(content)) == []
    for group in groups_in(content):
        if path.stem == "evaluate" and group is not content:
            continue  # of evaluate.py's `data`, the keys are those of any corpus
        if group is content.get("logger") and path.parent.name != "logger":
            continue  # a logger may have any name
        for key in list(group):
            group[f"{key}_"] = group.pop(key)
            assert not accepts(schema, content), key
            group[key] = group.pop(f"{key}_")


@pytest.mark.parametrize(
    ("changed", "is_valid"),
    [
        ({"_target_": "gpt.training.schedules.cosine", "final": 0.1}, True),
        ({"_target_": "gpt.training.schedules.cosine", "final": 1.5}, False),
        ({"_target_": "gpt.training.schedules.constant", "final": 0.1}, False),  # of other schedules
        ({"_target_": "os.system"}, False),
        ({"defaults": ["cosine"], "final": 0.1}, True),  # another choice with other values
        ({"final": "${training.label_smoothing}"}, True),
    ],
)
def test_a_choice_takes_what_its_signature_says(changed: dict, is_valid: bool) -> None:
    schema, _ = SCHEMAS["schedule"]
    assert accepts(schema, changed) == is_valid


def test_the_schema_and_the_program_agree_on_odd_values() -> None:
    tree, _ = composed("train", ["model=v8", "data=text", "data.path=x", "schedule=trapezoid"])
    tree["stage"] = "v8"
    validator, wrong, refused = Draft7Validator(SCHEMAS["train"][0]), [], 0
    for number, before in enumerate(groups_in(tree)):
        for key, odd in itertools.product(before, ODD):
            if isinstance(before[key], dict) and odd == {}:
                continue  # in a file, any key may be left out
            content = copy.deepcopy(tree)
            list(groups_in(content))[number][key] = odd
            is_refused = not is_accepted(content)
            if validator.is_valid(content) == is_refused:
                wrong.append((key, odd))
            refused += is_refused
    assert wrong == []
    assert refused > 200


def is_accepted(content: dict[str, Any]) -> bool:
    """By the program, before it builds anything."""
    try:
        check_config(content)
    except (ValidationError, RequestError):
        return False
    return True


def test_comments_of_conf_are_shown_beside_the_keys() -> None:
    schema, _ = SCHEMAS["train"]
    assert schema["properties"]["seed"]["description"].startswith("seed of the initial weights")
    assert schema["properties"]["training"]["properties"]["max_iters"]["description"] == "weight updates"


def test_the_command_of_the_page_writes_schemas_and_settings(tmp_path: Path) -> None:
    assert "`python -m gpt.session.schemas`" in (REPOSITORY / "docs" / "extending" / "index.md").read_text()
    done = subprocess.run([sys.executable, "-m", "gpt.session.schemas"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    settings = json.loads((tmp_path / ".vscode" / "settings.json").read_text())["yaml.schemas"]
    assert {name: json.loads((tmp_path / name).read_text()) for name in settings} == {
        f".schemas/{name}.json": schema for name, (schema, _) in SCHEMAS.items()
    }
    (tmp_path / ".schemas" / "train.json").write_text("{}")  # as of an earlier version
    write(tmp_path)
    assert (tmp_path / ".schemas" / "train.json").stat().st_size > 1000


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".schemas").write_text("a file")
    done = subprocess.run([sys.executable, "-m", "gpt.session.schemas"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: .schemas: File exists\n")


def test_settings_of_ones_own_are_kept(tmp_path: Path) -> None:
    settings = tmp_path / ".vscode" / "settings.json"
    settings.parent.mkdir()
    settings.write_text("{} // mine")
    assert '"conf/train.yaml"' in write(tmp_path)
    assert settings.read_text() == "{} // mine"
