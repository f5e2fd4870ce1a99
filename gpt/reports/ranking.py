"""Any runs, grouped by what differs between them and ranked by a loss or a metric."""

import logging
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gpt.base.losses import Loss, Unit, common_unit
from gpt.config.keys import completed, declared, flat, identity_settings
from gpt.reports.listing import corpus_name
from gpt.runs.finding import FinishedRun, skipping_damaged
from gpt.runs.folder import RunFolder, RunState
from gpt.runs.records import LOSSES, Metric, Summary
from gpt.training.metrics import is_higher_better

_FEWEST_SEEDS = 3  # with fewer, a difference is undecided rather than noise
WORSE_THAN_GUESSING = "worse than guessing"  # the standing of a group that diverged
_SIGNIFICANCE = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed."""

    values: dict[str, Any]  # of the keys that vary in the table
    runs: list[FinishedRun]  # the newest of each seed
    mean: float  # of the metric, over seeds; of a loss, in nats per unit of the ranking
    deviation: float | None  # the sample standard deviation over seeds; None for one seed
    standing: str  # "best", "within noise" of the best, "undecided with 2 seeds", WORSE_THAN_GUESSING, or ""


class Unfinished(NamedTuple):
    """A run without a result."""

    run: RunFolder
    values: dict[str, Any]  # of the keys that vary in the table
    seed: int
    state: RunState


@dataclass(frozen=True)
class Ranking:
    """The groups of the runs whose losses are over the same targets, the best first."""

    corpus: str  # in words
    keys: list[str]  # the keys that vary
    shared: list[str]  # as key=value: the differences from the documented run that all runs share
    groups: list[Group]
    unit: Unit  # what the losses are per
    has_characters: bool  # whether every run's tokens are characters, so that one unit is enough
    is_tested: bool  # whether there are enough seeds to tell what is within noise
    older: list[FinishedRun]  # not counted: there is a newer run of the same settings and seed
    unfinished: list[Unfinished]

    @property
    def runs(self) -> list[FinishedRun]:
        """The runs that are counted, in the order of their groups."""
        return [run for group in self.groups for run in group.runs]


class _Member(NamedTuple):
    """A run that is ranked."""

    run: FinishedRun
    settings: dict[str, Any]
    loss: Loss
    guess: Loss  # of a uniform guess among its tokens
    value: float | None  # of the metric, if it is not ranked by a loss
    is_higher_better: bool


def rankings(
    runs: Iterable[FinishedRun], metric: Metric, others: Iterable[RunFolder] = (), *, joined: bool = False
) -> list[Ranking]:
    """One ranking per set of targets, because losses over different targets are not comparable; skips damaged runs.

    `others` are unfinished runs, each in its future ranking. `joined` makes one ranking of all runs, to draw the loss
    against a key that changes the targets.
    """
    finished: dict[tuple[Any, ...], list[_Member]] = defaultdict(list)
    unfinished: dict[tuple[Any, ...], list[Unfinished]] = defaultdict(list)
    for run in runs:
        loss, value, is_higher = run.summary.loss(metric), None, False
        with skipping_damaged():
            values = _settings(*run, metric) | (_places(run.folder) if joined else {})
            guess = loss.guess(len(run.folder.vocabulary().vocabulary))
            if metric not in LOSSES:
                if (value := run.summary.metrics.get(metric)) is None:
                    log.warning(f"{run.folder.path} is not ranked: its {metric} was not recorded, or is NaN or Inf")
                    continue
                is_higher = is_higher_better(run.folder.config().metrics, metric)
            finished[() if joined else loss.key].append(_Member(run, values, loss, guess, value, is_higher))
    for other in others:
        with skipping_damaged():
            over = other.vocabulary().over("val")
            key = next((key for key, members in finished.items() if members[0].loss.is_of_text(over)), None)
            if key is None:
                log.warning(f"{other.path} is not ranked: no run on its corpus has finished")
            else:
                values, seed = _settings(other, None, metric), other.config().seed
                unfinished[key].append(Unfinished(other, values, seed, RunState.of(other)))
    return [_ranking(members, unfinished[key]) for key, members in finished.items()]


def _settings(run: RunFolder, summary: Summary | None, metric: Metric) -> dict[str, Any]:
    """The settings of a run that can affect the metric, by key: equal for repetitions.

    A fork is identified by its first weights, wherever they are. An unfinished run, whose `summary` is None, has no
    dtype yet.
    """
    content = flat(completed(run.config().content()))
    kept = identity_settings(content)
    if metric == "best":  # More or noisier evaluations have a lower minimum.
        kept |= {key: value for key, value in content.items() if declared(key).role == "measure"}
    if (parent := run.record().parent) is not None:
        other = ", trained on another text" if summary and parent.notices(summary.exact.over.corpus) else ""
        kept["init"] = f"{parent.stage}@{parent.sha256[:12]}{other}"
    if summary is None:
        return kept
    if sampled := summary.loss(metric).over.place:
        kept["exact_over"] = sampled
    return kept | {"dtype": summary.dtype}


def _places(run: RunFolder) -> dict[str, Any]:
    """The places of a run's corpus, which tell its text apart from another run's."""
    values = {f"data.{name}": value for name, value in run.config().data.hyperparameters.items()}
    return {key: value for key, value in values.items() if declared(key).role == "place" and key != "data.dir"}


def _ranking(members: list[_Member], unfinished: list[Unfinished]) -> Ranking:
    dtype = members[-1].settings["dtype"]  # an unfinished run does not have one yet
    unfinished = [other._replace(values={"dtype": dtype} | other.values) for other in unfinished]
    keys = _varying([*(member.settings for member in members), *(other.values for other in unfinished)])
    by_values: dict[tuple, dict[int, _Member]] = defaultdict(dict)
    older = []
    for member in members:  # The oldest first: the newest run of a seed remains.
        by_seed = by_values[tuple(_same(member.settings.get(key)) for key in keys)]
        seed = member.run.summary.seed
        older += [by_seed[seed].run] if seed in by_seed else []
        by_seed[seed] = member
    unit = common_unit(member.loss for member in members)
    groups = [_group([*by_seed.values()], keys, unit) for by_seed in by_values.values()]
    groups.sort(key=lambda group: group.mean, reverse=members[0].is_higher_better)
    standings, is_tested = _standings(groups)
    changed = [member.run.summary.changes for member in members]
    return Ranking(
        corpus=corpus_name(members[-1].run.folder),
        keys=keys,
        shared=[change for change in changed[0] if all(change in each for each in changed)],
        groups=[replace(group, standing=standing) for group, standing in zip(groups, standings, strict=True)],
        unit=unit,
        has_characters=all(member.loss.over.token == "character" for member in members),
        is_tested=is_tested,
        older=older,
        unfinished=[x._replace(values={key: x.values.get(key) for key in keys}) for x in unfinished],
    )


def _group(members: list[_Member], keys: list[str], unit: Unit) -> Group:
    first = members[0]
    in_unit = [member.loss.per(unit) if member.value is None else member.value for member in members]
    measured = [value for value in in_unit if value is not None]
    mean, deviation = statistics.mean(measured), statistics.stdev(measured) if len(measured) > 1 else None
    has_diverged = first.value is None and mean >= (first.guess.per(unit) or 0.0)
    values = {key: first.settings.get(key) for key in keys}
    runs = [member.run for member in members]
    return Group(values, runs, mean, deviation, WORSE_THAN_GUESSING if has_diverged else "")


def _varying(settings: list[dict[str, Any]]) -> list[str]:
    """The keys that distinguish the runs, choices first, without keys that follow from the choices."""
    keys = dict.fromkeys(key for values in settings for key in values)
    choices = sorted(filter(_is_choice, keys), key=lambda key: key != "stage")
    kept: list[str] = []
    chosen = [""] * len(settings)
    for key in [*choices, *(key for key in keys if key not in choices)]:
        finer = [f"{before}|{_same(values.get(key))}" for before, values in zip(chosen, settings, strict=True)]
        if len(set(finer)) > len(set(chosen)):
            kept.append(key)
            if key in choices:
                chosen = finer
    return kept


def _is_choice(key: str) -> bool:
    return key == "stage" or key.endswith("_target_")


def _same(value: Any) -> str:
    """A comparable form of a value: 0 and 0.0 are equal, 0 and false are not."""
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def names(keys: list[str]) -> dict[str, str]:
    """The shortest unambiguous name of each key: learning_rate for training.learning_rate."""
    short = {key: key.removesuffix("._target_") for key in keys}
    last = [name.rpartition(".")[2] for name in short.values()]
    return {key: (end if last.count(end) == 1 else short[key]) for key, end in zip(keys, last, strict=True)}


def label(values: Mapping[str, Any]) -> str:
    """The values of a group, as key=value; a stage, or another choice alone, by its bare name: gru."""
    short = names(list(values))
    bare = {key for key in values if key == "stage" or (len(values) == 1 and _is_choice(key))}
    parts = [("" if key in bare else f"{short[key]}=") + format_key(key, value) for key, value in values.items()]
    return ", ".join(parts) or "all runs"


def format_key(key: str, value: Any) -> str:
    """A value as shown in a table; for a choice of this package, its bare name: AdamW, but torch.optim.AdamW."""
    if value is None:
        return "-"
    is_bare = key.endswith("_target_") and str(value).startswith("gpt.")
    return str(value).rpartition(".")[2] if is_bare or "@python." in str(value) else str(value)


def _standings(groups: list[Group]) -> tuple[list[str], bool]:
    """Standings for groups ordered by mean: best, or not different from it; and whether there are enough seeds.

    Welch's t-test, two-sided, at 5%, without a correction for many comparisons. A group of one seed borrows the pooled
    standard deviation of the others, without groups that diverged: their deviations would swamp the rest.
    """
    best, sane = groups[0], [group for group in groups if group.standing != WORSE_THAN_GUESSING]
    degrees = sum(len(group.runs) - 1 for group in sane)
    squares = sum((len(group.runs) - 1) * group.deviation**2 for group in sane if group.deviation is not None)
    standings = ["best"]
    for group in groups[1:]:
        n, m = len(best.runs), len(group.runs)
        if best.deviation is not None and group.deviation is not None:
            a, b = best.deviation**2 / n, group.deviation**2 / m
            df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1)) if a + b else degrees
            error = math.sqrt(a + b)
        else:
            df, error = degrees, math.sqrt(squares / degrees * (1 / n + 1 / m)) if degrees else 0.0
        difference = group.mean - best.mean
        is_noise = degrees > 0 and (difference == 0 or (error > 0 and p_value(difference / error, df) >= _SIGNIFICANCE))
        fewest = min(n, m)
        undecided = f"undecided with {fewest} seed{'' if fewest == 1 else 's'}"
        standing = "" if not is_noise else "within noise" if fewest >= _FEWEST_SEEDS else undecided
        standings.append(group.standing or standing)
    return standings, degrees > 0


def p_value(t: float, degrees: float) -> float:
    """The two-sided p-value of a t statistic, by Student's distribution."""
    from mpmath import betainc  # slow to import

    return float(betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True))


def is_number(value: object) -> bool:
    """Whether a value is a number, not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool)
