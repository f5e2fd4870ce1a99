"""Train records in turn, seed by seed: counted seconds, exact validation loss, and the gain over the previous record.

    python benchmarks/records.py 03_v8 12_shuffled
    python benchmarks/records.py 12_shuffled --seeds 4,5,6,7 --out runs/check

docs/lab/records.md has the rules. Seconds on different machines are not comparable, and a machine's speed drifts, so
the figure to read is the ratio to the previous record of the same track, seed by seed. Nothing else may run meanwhile.
On a processor without instructions for bfloat16, records that use it are trained in float32.
`--out` keeps the run folders, writes the figures of each run to records.csv, and draws the losses of each track, as
network.png and counts.png. Finished runs in it are not trained again, and an interrupted one is resumed, so records
that take hours can be stopped and continued with the same command.
"""

import gpt  # before torch, as in the scripts: it sets how threads wait

# isort: split
import itertools
import json
import statistics
import time
from pathlib import Path

import torch
import yaml
from harness import QUICK_TRAINING, REPOSITORY, arguments, kept, machine, markdown, seeds, trained
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from torch import Tensor

from gpt.base.files import write_atomically
from gpt.base.runtime import has_bfloat16
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary

_FOLDER = REPOSITORY / "conf" / "experiment" / "records"
_RECORDS = sorted(path.stem for path in _FOLDER.glob("*.yaml"))
_TARGET: float = yaml.safe_load((_FOLDER / "01_v7.yaml").read_text())["target"]  # of all records

Trained = dict[str, dict[int, RunFolder]]  # of each record, its runs by seed
_WAITED = "waited.json"  # beside the runs: how long the command of each took


def train(records: list[str], seeds: list[int], out: Path, *, quick: bool) -> None:
    """Train each record with each seed, each in its own folder below `out`."""
    changes = [*QUICK_TRAINING, "training.short_window=null"] if quick else []
    changes.append("device=cpu")
    if not has_bfloat16(torch.device("cpu")):
        changes.append("dtype=float32")
    for seed, record in itertools.product(seeds, records):
        folder = out / f"{record}_seed{seed}"
        is_new, started = not RunFolder(folder).is_started(), time.perf_counter()
        trained(folder, f"experiment=records/{record}", f"seed={seed}", *changes)
        if is_new:
            waited = waits(out) | {folder.name: time.perf_counter() - started}
            write_atomically(out / _WAITED, json.dumps(waited, indent=2).encode())


def waits(out: Path) -> dict[str, float]:
    """The seconds from the start to the end of the command of each run that was not interrupted."""
    return json.loads((out / _WAITED).read_text()) if (out / _WAITED).is_file() else {}


def finished(out: Path) -> Trained:
    """The finished runs below `out`."""
    found: Trained = {}
    for record in _RECORDS:
        runs = {int(path.name.rpartition("_seed")[2]): RunFolder(path) for path in out.glob(f"{record}_seed*")}
        if by_seed := {seed: runs[seed] for seed in sorted(runs) if runs[seed].is_finished()}:
            found[record] = by_seed
    return found


def tracks(runs: Trained) -> dict[str, Trained]:
    """The records that train a network alone, and those with counts of the training text, each in order."""
    found: dict[str, Trained] = {"network": {}, "counts": {}}
    for record, by_seed in runs.items():
        has_counts = next(iter(by_seed.values())).config().stage == "v9"
        found["counts" if has_counts else "network"][record] = by_seed
    return {track: records for track, records in found.items() if records}


def leaderboard(runs: Trained, waited: dict[str, float]) -> str:
    """One row per record of a track."""
    lines: list[list[str]] = []
    before: dict[int, float] = {}
    for record, by_seed in runs.items():
        summaries = [run.summary() for run in by_seed.values()]
        losses, seconds = [s.exact.nats for s in summaries], dict(zip(by_seed, map(_counted, summaries), strict=True))
        reached = sum(s.reached is True for s in summaries)
        ratios = [before[seed] / seconds[seed] for seed in seconds if seed in before]
        faster = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"
        first = next(iter(by_seed.values()))
        known = [waited[run.path.name] for run in by_seed.values() if run.path.name in waited]
        lines.append([
            record, _mean([*seconds.values()], 1), faster, _mean(losses, 4), f"{reached} of {len(summaries)}",
            _mean(known, 1) if known else "-", f"{summaries[0].parameters:,}", f"{megabytes(first):,.1f}",
            f"{first.evaluations()[-1].tokens:,}",
        ])  # fmt: skip
        before = seconds
    headers = ["record", "counted seconds", "times faster", "exact val", "reached", "seconds waited"]
    headers += ["parameters", "MB in use", "characters"]
    return markdown(headers, lines)


def megabytes(run: RunFolder) -> float:
    """All tensors of the model of a run once it is in use: weights, and what v9 remembers and counts."""
    model = gpt.load(run.path, device="cpu").model
    with torch.no_grad():
        model(torch.zeros(1, 1, dtype=torch.int64))  # v9 counts when it is first used
    kept = [
        value for module in model.modules() for part in _parts(module) for value in part if isinstance(value, Tensor)
    ]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in kept}.values()) / 1e6


def _parts(module: torch.nn.Module) -> list[list[object]]:
    return [[*module.parameters(recurse=False)], [*module.buffers(recurse=False)], [*vars(module).values()]]


def each(runs: Trained) -> str:
    """The figures of each run from its summary, as docs/lab/records.csv has them."""
    lines = ["record,seed,counted seconds,exact val,estimated train,estimated val,iterations,characters/s,commit"]
    for record, by_seed in runs.items():
        for seed, s in ((seed, run.summary()) for seed, run in by_seed.items()):
            losses = ",".join(f"{loss:.4f}" for loss in (s.exact.nats, s.estimated.train.nats, s.estimated.val.nats))
            speed, commit = f"{s.tokens_per_second:.0f}", (s.git_commit or "")[:7]
            lines.append(f"{record},{seed},{_counted(s):.2f},{losses},{s.iterations},{speed},{commit}")
    return "\n".join(lines) + "\n"


def picture(runs: Trained) -> Figure:
    """Draw the estimated validation loss of each run against its counted seconds, which include preparation."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (record, by_seed) in enumerate(runs.items()):
        for run in by_seed.values():
            summary, clock = run.summary(), run.clock()
            preparing = _counted(summary) - clock[summary.iterations]
            points = [(preparing + clock[e.iteration], e.val.nats) for e in run.evaluations() if e.iteration]
            axes.plot(*zip(*points, strict=True), color=f"C{number}", linewidth=0.8, alpha=0.7)
            axes.plot(_counted(summary), summary.exact.nats, "o", color=f"C{number}")
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
    out_help = "where to keep the run folders and the picture, of all records there"
    of_each = (seeds, [1, 2, 3], "the seeds of each")
    given = arguments(__doc__, names=_RECORDS, out=(Path, None, out_help), seeds=of_each)
    with kept(given.out) as out:
        train(given.names, [1] if given.quick else given.seeds, out, quick=given.quick)
        print(machine())
        found = finished(out)
        for track, runs in tracks(found).items():
            print(f"\n{track}", leaderboard(runs, waits(out)), sep="\n\n")
            if given.out:
                picture(runs).savefig(out / f"{track}.png", dpi=120)
        write_atomically(out / "records.csv", each(found))
