"""Continuing a run: the settings that a request changes, and whether the run is the one that it means."""

from collections.abc import Iterable
from typing import Any

from gpt.base.errors import RequestError, UserError
from gpt.base.keys import compared, differences, flat, identifying, matched, resumable, shown
from gpt.base.schema import TrainConfig
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.session.forking import Fork


def all_keys(config: TrainConfig) -> list[str]:
    """Every key of a configuration.

    Schedules, loggers and metrics have their own keys, so each is replaced as a whole.
    """
    replaced = {"schedule", "logger", "metrics"}
    return [*replaced, *flat({key: value for key, value in config.content().items() if key not in replaced})]


def with_changes(kept: TrainConfig, wanted: TrainConfig, given: Iterable[str]) -> tuple[TrainConfig, list[str]]:
    """The configuration of a run with the `given` keys replaced, and the resulting changes.

    Raises RequestError for a change that a resumed run does not allow.
    """
    for group, noun in (("experiment", "an experiment"), ("debug", "debug=")):
        if group in given:
            raise RequestError(f"{noun} is for new runs; to resume one, give the values that should change")
    before, other, merged = kept.content(), wanted.content(), kept.content()
    for key in given:
        for name in _identifying(key):
            old, new = _get(before, name), _get(other, name)
            if old != new:
                was, is_now = shown(name, old), shown(name, new)
                raise RequestError(f"a run with {was} cannot be resumed with {is_now}: start a new run for that")
        if resumable(key) and key != "data":  # a corpus keeps its own values: give these by name
            _set(merged, key, _get(other, key))
    return TrainConfig.model_validate(merged), differences(before, merged)


def check_settings(run: RunFolder, before: TrainConfig, wanted: TrainConfig, *, is_finished: bool) -> None:
    """Raise RequestError if the run has other settings than the request wants.

    A finished run cannot take new settings; with resume=auto, an unfinished one takes only those that extend it, and
    those that are not compared with the documented run.
    """

    def counts(change: str) -> bool:
        key = change.partition("=")[0]
        extends = key == "training.max_iters" or key.partition(".")[0] == "schedule"
        return matched(key) if is_finished else compared(key) and not extends

    old, new = before.content(), wanted.content()
    asked = [change for change in differences(old, new) if counts(change)]
    if asked:
        has = ", ".join(change for change in differences(new, old) if counts(change))
        kind = "a finished run" if is_finished else "a run"
        advice = "training.max_iters=N extends it" if is_finished else f"resume={run.path} changes it"
        raise RequestError(
            f"{run.path} is {kind} with {has}, not with {', '.join(asked)}: choose another folder; {advice}"
        )


def check_restart(run: RunFolder, before: TrainConfig, fork: Fork | None, edited: list[str]) -> None:
    """Raise UserError if restarting a run that has no checkpoint is impossible or would overwrite results.

    A run that was killed before its first checkpoint has evaluations, which a restart repeats unless settings change.
    """
    if before.init is not None and (fork is None or fork.record != run.parent()):
        raise UserError(f"{run.path} has no usable checkpoint: start over with init={before.init}")
    names = ("summary.json", "last.safetensors", "averaged.safetensors")
    if Checkpoints(run, keep=1).names() or any((run.path / name).exists() for name in names):
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


def _identifying(key: str) -> list[str]:
    """The keys at or below `key` that identify the run."""
    if key in ("resume", "runs"):
        return []  # of the command, not of the run
    return ["stage"] if key == "model" else identifying(key)


def _get(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        content = content.setdefault(group, {})
    content[name] = value
