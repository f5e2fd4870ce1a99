"""Forking: a new run that starts from the weights, vocabulary and settings of another run."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from gpt.base.errors import RequestError
from gpt.base.files import sha256
from gpt.config.command import Command
from gpt.config.keys import declared, differences
from gpt.config.schema import SETTING_FILES, TOKENIZER_KEYS, TrainConfig
from gpt.models import STAGE, build
from gpt.registry import Choice
from gpt.runs.folder import RunFolder, holds_run
from gpt.runs.naming import resolve_run
from gpt.runs.records import Parent
from gpt.runs.weights import default_weights, iteration_of, shapes_only
from gpt.session.start import Fork
from gpt.session.trained_on import same_corpus

_FREE = {"dropout", "block_size"}  # hyperparameters that may change with the same weights; a window, if none are of it


def parent_of(path: Path) -> Parent:
    """The run in the folder `path` as a parent, with its averaged weights if it has any, else the best."""
    if not holds_run(path):
        raise RequestError(f"init={path}: not a run folder")
    run = RunFolder(path)
    which = default_weights(run)
    weights = run.weights(which)
    if not weights.exists():
        raise RequestError(f"init={path}: the run has no weights yet")
    return Parent(
        run=str(path),
        stage=run.config().stage,
        iterations=iteration_of(run, which),
        weights=which,
        sha256=sha256(weights),
        corpus=run.vocabulary().corpus,
    )


def forked(wanted: TrainConfig, command: Command) -> Fork:
    """How a new run begins with the weights of the run that init= names, and with its settings except for given keys.

    Raises RequestError for another stage, or for hyperparameters that the weights do not fit.
    """
    given, parent = command.given, parent_of(resolve_run(str(wanted.init), wanted.runs))
    run = RunFolder(parent.folder)
    config, vocabulary = run.config(), run.vocabulary()
    for group in SETTING_FILES.keys() & {*given}:
        raise RequestError(
            f"init= takes its settings from another run, and {group}= sets its own: give only one of them"
        )
    if "model" in given and wanted.stage != config.stage:
        raise RequestError(f"init={parent.run} is a run of {config.stage}, not of {wanted.stage}: omit model=")
    content = wanted.content()
    for name, value in config.content().items():
        if _is_taken_over(name) and (name not in given or name == "model"):
            content[name] = value | _own(content, name, given) if isinstance(value, dict) else value
    content["data"] |= _tokenizer(config.data, wanted.data, given, parent)
    _check_model(config.model, Choice.model_validate(content["model"]), len(vocabulary.vocabulary), parent)
    corpus = None
    if "data" not in given:
        found, own = same_corpus(run, STAGE.find(config.model), config.data)
        content["data"] |= found.model_dump(by_alias=True) | _own(content, "data", given)
        corpus = own if found == Choice.model_validate(content["data"]) else None
    final = TrainConfig.model_validate(content | {"init": parent.run, "resume": wanted.resume})
    return Fork(final, vocabulary, corpus, parent)


def _tokenizer(old: Choice, new: Choice, given: Collection[str], parent: Parent) -> dict[str, Any]:
    """The parent's tokenizer keys, if the loader has them. Raises RequestError if a key is given another value."""
    before, after = old.hyperparameters, new.hyperparameters
    kept: dict[str, Any] = {key: before[key] for key in TOKENIZER_KEYS if key in before and key in after}
    for key, value in kept.items():
        if f"data.{key}" in given and after[key] != value:
            raise RequestError(f"init={parent.run} keeps its data.{key}={value}: omit data.{key}=")
    return kept


def _check_model(old: Choice, new: Choice, vocab_size: int, parent: Parent) -> None:
    """Raise RequestError if the new model would compute another function from the same weights."""
    changed = differences(old.hyperparameters, new.hyperparameters)
    if changed and not is_same_function(old, new, vocab_size):
        raise RequestError(
            f"init={parent.run}: with {', '.join(f'model.{change}' for change in changed)}, its weights would "
            "not fit, or would make another model: only model.dropout and a window without learned positions may change"
        )


def _is_taken_over(key: str) -> bool:
    return key != "init" and declared(key).role in ("setting", "measure", "stated")


def _own(content: dict[str, Any], group: str, given: Collection[str]) -> dict[str, Any]:
    """The given values in a group and, in training, the values that a fork does not take over, such as its length."""
    keys = {key: f"{group}.{key}" for key in content[group]}
    is_training = group == "training"
    return {
        key: content[group][key]
        for key, name in keys.items()
        if name in given or (is_training and not _is_taken_over(name))
    }


def is_same_function(old: Choice, new: Choice, vocab_size: int) -> bool:
    """Whether weights of one make the same model of the other: they differ in keys without effect, and in no shape."""
    before, after = old.hyperparameters, new.hyperparameters
    if any(before.get(key) != after.get(key) for key in (before | after).keys() - _FREE):
        return False
    with shapes_only(old):  # The models may be too large for the memory.
        states = [build(choice, vocab_size).state_dict() for choice in (old, new)]
    shapes, others = ({name: tensor.shape for name, tensor in state.items()} for state in states)
    return shapes == others
