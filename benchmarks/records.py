"""Train records in turn, seed by seed: counted seconds, exact validation loss, and the gain over the previous record.

    python benchmarks/records.py 07_one_layer 08_two_tokens
    python benchmarks/records.py 08_two_tokens --seeds 4,5,6,7 --out runs/check

docs/records.md has the rules. Seconds on different machines are not comparable, and a machine's speed drifts, so the
figure to read is the ratio to the previous record, seed by seed. Nothing else may run meanwhile. `--out` keeps the run
folders and draws their losses as records.png. Finished runs in it are not trained again, and an interrupted one is
resumed, so records that take hours can be stopped and continued with the same command.
"""

import itertools
import statistics
import tempfile
from pathlib import Path

import yaml
from harness import QUICK_TRAINING, REPOSITORY, machine, output, parser, seeds, train_command
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from tabulate import tabulate

from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary

_FOLDER = REPOSITORY / "conf" / "experiment" / "records"
_RECORDS = sorted(path.stem for path in _FOLDER.glob("*.yaml"))
_TARGET: float = yaml.safe_load((_FOLDER / "01_v7.yaml").read_text())["target"]  # of all records

Trained = dict[str, dict[int, RunFolder]]  # of each record, its runs by seed


def train(records: list[str], seeds: list[int], out: Path, *, quick: bool) -> None:
    """Train each record with each seed, each in its own folder below `out`."""
    changes = [*QUICK_TRAINING, "training.short_window=null"] if quick else []
    for seed, record in itertools.product(seeds, records):
        run = RunFolder(out / f"{record}_seed{seed}")
        if run.is_started() and not run.is_finished():
            output(train_command(f"resume={run.path}"), out)
        elif not run.is_finished():
            place = [f"hydra.run.dir={run.path}", "resume=null"]
            output(train_command(f"experiment=records/{record}", f"seed={seed}", *place, *changes), out)


def kept(out: Path) -> Trained:
    """The finished runs below `out`."""
    found: Trained = {}
    for record in _RECORDS:
        runs = {int(path.name.rpartition("_seed")[2]): RunFolder(path) for path in out.glob(f"{record}_seed*")}
        if finished := {seed: runs[seed] for seed in sorted(runs) if runs[seed].is_finished()}:
            found[record] = finished
    return found


def leaderboard(runs: Trained) -> str:
    """One row per record, under a line that names the machine."""
    lines: list[list[str]] = []
    before: dict[int, float] = {}
    for record, by_seed in runs.items():
        summaries = [run.summary() for run in by_seed.values()]
        losses, seconds = [s.exact.val for s in summaries], dict(zip(by_seed, map(_counted, summaries), strict=True))
        reached = sum(loss <= _TARGET for loss in losses)
        ratios = [before[seed] / seconds[seed] for seed in seconds if seed in before]
        faster = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"
        characters = next(iter(by_seed.values())).evaluations()[-1].tokens
        lines.append([
            record, _mean([*seconds.values()], 1), _mean(losses, 4), f"{reached} of {len(summaries)}",
            f"{summaries[0].parameters:,}", f"{characters:,}", faster,
        ])  # fmt: skip
        before = seconds
    headers = ["record", "counted seconds", "exact val", "reached", "parameters", "characters", "times faster"]
    return f"{machine()}\n\n{tabulate(lines, headers, tablefmt='github', disable_numparse=True)}"


def each(runs: Trained) -> str:
    """One row per run, from its summary."""
    lines = []
    for record, by_seed in runs.items():
        for seed, run in by_seed.items():
            s = run.summary()
            losses = [f"{loss:.4f}" for loss in (s.exact.val, s.estimated.train, s.estimated.val)]
            commit = (s.git_commit or "-")[:7]
            lines.append([record, seed, _counted(s), *losses, s.iterations, f"{s.tokens_per_second:,.0f}", commit])
    headers = ["record", "seed", "counted seconds", "exact val", "estimated train", "estimated val"]
    headers += ["iterations", "characters/s", "commit"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def picture(runs: Trained) -> Figure:
    """Draw the estimated validation loss of each run against its counted seconds, which include preparation."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (record, by_seed) in enumerate(runs.items()):
        for run in by_seed.values():
            summary, clock = run.summary(), run.clock()
            preparing = _counted(summary) - clock[summary.iterations]
            points = [(preparing + clock[e.iteration], e.val) for e in run.evaluations() if e.iteration]
            axes.plot(*zip(*points, strict=True), color=f"C{number}", linewidth=0.8, alpha=0.7)
            axes.plot(_counted(summary), summary.exact.val, "o", color=f"C{number}")
        axes.plot([], [], "o-", color=f"C{number}", label=record)
    axes.axhline(_TARGET, color="black", linestyle=":", label=f"documented for v7: {_TARGET}")
    axes.set(xlabel="counted seconds", ylabel="validation loss (nats per character)", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(LogFormatter())
    axes.set_title("lines: estimated while training; dots: exact, at the end", fontsize="medium")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    return figure


def _counted(summary: Summary) -> float:
    assert summary.counted_seconds is not None  # only runs of older versions lack it
    return summary.counted_seconds


def _mean(values: list[float], digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("records", nargs="+", metavar="RECORD", help=f"of {', '.join(_RECORDS)}")
    options.add_argument("--seeds", type=seeds, default=[1, 2, 3], help="the seeds of each (default 1,2,3)")
    options.add_argument("--out", type=Path, help="where to keep the run folders and the picture, of all records there")
    given = options.parse_args()
    if unknown := set(given.records) - set(_RECORDS):
        options.error(f"no records: {', '.join(sorted(unknown))}; there are {', '.join(_RECORDS)}")
    with tempfile.TemporaryDirectory() as temporary:
        out = (given.out or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        train(given.records, [1] if given.quick else given.seeds, out, quick=given.quick)
        runs = kept(out)
        print(leaderboard(runs), each(runs), sep="\n\n")
        if given.out:
            picture(runs).savefig(out / "records.png", dpi=120)
