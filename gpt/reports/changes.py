"""How a run differs from the documented run of its stage, in words."""

from gpt.runs.records import Summary

# An earlier value of these leaves no trace in the weights; an average that depended on the interval is not continued.
_TRACELESS = {"training.max_iters", "training.eval_iters", "training.eval_interval"}


def changes(summary: Summary) -> list[str]:
    """What differs from the documented run, at the end or in an earlier part; empty for a documented run."""
    left_out = [] if summary.left_out is None else [f"{summary.left_out} left out"]
    return [*summary.changed, *left_out, *earlier_changes(summary)]


def earlier_changes(summary: Summary) -> list[str]:
    """What was different in earlier parts of the run: either another value or the documented one."""
    now_changed = [key for change in summary.changed if (key := _key(change)) not in _TRACELESS]
    found = []
    for segment in summary.earlier:
        keys = {_key(change) for change in segment.changed}
        differing = [c for c in segment.changed if c not in summary.changed and _key(c) not in _TRACELESS]
        differing += [f"{key} as documented" for key in now_changed if key not in keys]
        found += [f"{change} until iteration {segment.until}" for change in differing]
    return found


def _key(change: str) -> str:
    return change.partition("=")[0]
