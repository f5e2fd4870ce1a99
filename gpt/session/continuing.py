"""What a run keeps when it continues: its settings, apart from what a request changes, and its corpus."""

import contextlib
import os
from collections.abc import Iterable
from typing import Any

from gpt import tasks
from gpt.base.choices import Choice
from gpt.base.errors import RequestError, UnavailableError, UserError
from gpt.base.keys import (
    compared,
    completed,
    declared,
    differences,
    fixed_by,
    flat,
    having,
    identifying,
    shown,
    superseded,
)
from gpt.base.schema import SETTING_FILES, TrainConfig
from gpt.data.corpus import Corpus
from gpt.data.download import nothing_downloaded
from gpt.runs.folder import RunFolder
from gpt.runs.records import Parent


def with_changes(kept: TrainConfig, wanted: TrainConfig, given: Iterable[str] | None) -> tuple[TrainConfig, list[str]]:
    """The configuration of a run with the `given` keys replaced, or all that may change, and the resulting changes.

    Raises RequestError for a change that a resumed run does not allow.
    """
    given = _all_keys(wanted) if given is None else list(given)
    for group in SETTING_FILES.keys() & {*given}:
        raise RequestError(f"{group}= is for new runs; to resume one, give the values that should change")
    before, other, merged = completed(kept.content()), wanted.content(), kept.content()
    for key in given:
        for name in identifying(key):
            old, new = _get(before, name), _get(other, name)
            if old != new:
                was, is_now = shown(name, old), shown(name, new)
                raise RequestError(f"a run with {was} cannot be resumed with {is_now}: start a new run for that")
        if declared(key).resumable and key != "data":  # a corpus keeps its own values: give these by name
            _set(merged, key, _get(other, key))
    for key in superseded(given):
        _set(merged, key, None)
    changed = differences(before, merged)
    _check_evaluations(kept, merged, changed)
    return TrainConfig.model_validate(merged), changed


def same_corpus(run: RunFolder, stage: tasks.Stage, data: Choice, given: Iterable[str] = ()) -> tuple[Choice, Corpus]:
    """The corpus of a run, for its stage, and its loader with the paths where it was found: its digest decides.

    `data` is the run's loader, with the paths that the user has `given`, as keys such as data.path. To a folder that
    only the run names, nothing is downloaded: a stranger's could name any. Raises RequestError if the corpus is not
    there, or has other content than the one that the run was trained on.
    """
    values = data.hyperparameters
    names, places = [name for name in values if declared(f"data.{name}").is_path and values[name] is not None], [data]
    if "dir" in names and "data.dir" not in given:
        usual = {"dir": os.environ.get("GPT_DATA_DIR", "data")}
        places = [data, Choice.model_validate(data.model_dump(by_alias=True) | usual)]
    for place in places:
        is_last = place is places[-1]
        try:
            with contextlib.nullcontext() if is_last else nothing_downloaded():
                corpus = tasks.load_corpus(place, stage)
        except UserError as error:
            if is_last and not isinstance(error, UnavailableError):
                raise
            problem = str(error)
        else:
            if corpus.digest == run.vocabulary().corpus:
                return place, corpus
            problem = f"the corpus is not the one that {run.path} was trained on"
    loader = data.target.rpartition(".")[2]
    advice = f"; if it is elsewhere, add data.{names[0]}=PATH (for train.py, with data={loader})" if names else ""
    raise RequestError(f"{problem}{advice}")


def check_settings(run: RunFolder, before: TrainConfig, wanted: TrainConfig, *, is_finished: bool) -> None:
    """Raise RequestError if the run has other settings than the request wants.

    A finished run cannot take new settings; with resume=auto, an unfinished one takes only those that extend it, and
    those that are not compared with the documented run.
    """

    def counts(change: str) -> bool:
        key = change.partition("=")[0]
        own = declared(key)
        return own.matched if is_finished else compared(key, settings) and not own.extends

    old, new = completed(before.content()), completed(wanted.content())
    settings = flat(new)
    asked = [change for change in differences(old, new) if counts(change)]
    if asked:
        has = ", ".join(change for change in differences(new, old) if counts(change))
        kind = "a finished run" if is_finished else "a run"
        advice = "training.max_iters=N extends it" if is_finished else f"resume={run.path} changes it"
        raise RequestError(
            f"{run.path} is {kind} with {has}, not with {', '.join(asked)}: choose another folder; {advice}"
        )


def check_restart(run: RunFolder, before: TrainConfig, parent: Parent | None, edited: list[str]) -> None:
    """Raise UserError if restarting a run that has no checkpoint is impossible or would overwrite results.

    A run that was killed before its first checkpoint has evaluations, which a restart repeats unless settings change.
    """
    stored = run.parent()
    if before.init is not None and (parent is None or stored is None or stored.sha256 != parent.sha256):
        raise UserError(f"{run.path} has no usable checkpoint: start over with init={before.init}")
    names = ("summary.json", "last.safetensors", "averaged.safetensors")
    if run.checkpoints() or any((run.path / name).exists() for name in names):
        raise UserError(
            f"{run.path} has no usable checkpoint, and restarting it would overwrite its results: "
            "start a new run elsewhere"
        )
    others = [change for change in edited if compared(change.partition("=")[0])]
    if others and (run.path / "metrics.jsonl").exists() and run.evaluations()[-1].iteration > 0:
        raise UserError(
            f"{run.path} has no checkpoint yet, and {', '.join(others)} would change its evaluations: "
            "resume it without that, or start a new run"
        )


def _check_evaluations(kept: TrainConfig, merged: dict[str, Any], changed: list[str]) -> None:
    """Raise RequestError for a change of evaluations that, with those so far, decide when the run ends."""
    settings = flat(merged)
    for change in changed:
        key = change.partition("=")[0]
        if deciding := fixed_by(key, settings):
            raise RequestError(
                f"with {shown(deciding, settings[deciding])}, the evaluations so far count in when the run ends, and "
                "they had "
                f"{shown(key, flat(kept.content())[key])}, not {change}: start a new run"
            )


def _all_keys(config: TrainConfig) -> list[str]:
    """Every key of a configuration, with those groups that are replaced as a whole; without undecided ones."""
    whole, undecided = having("is_whole"), {f"training.{key}" for key in config.training.undecided}
    single = flat({key: value for key, value in config.content().items() if key not in whole})
    return [*whole, *(key for key in single if key not in undecided)]


def _get(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        content = content.setdefault(group, {})
    content[name] = value
