"""Train records in turn, seed by seed: counted seconds, exact validation loss, and the gain over the previous record.

    python benchmarks/records.py 03_v8 12_shuffled
    python benchmarks/records.py 12_shuffled --seeds 4,5,6,7 --out runs/check

docs/lab/records.md has the rules. Seconds on different machines are not comparable, and a machine's speed drifts, so
the figure to read is the ratio to the previous record of the same track, seed by seed. Nothing else may run meanwhile.
On a processor where bfloat16 is slower than float32, records that use it are trained in float32.
`--out` keeps the run folders, writes the figures of each run to records.csv, and draws the losses of each track, as
network.png and counts.png. Finished runs in it are not trained again, and an interrupted one is resumed, so records
that take hours can be stopped and continued with the same command.
"""

import gpt  # before torch, as in the scripts: it sets how threads wait

# isort: split
import itertools
import json
import statistics
from functools import partial
from pathlib import Path

import torch
import yaml
from harness import QUICK_TRAINING, REPOSITORY, kept, machine, markdown, mean_of, parser, seconds_of, trained
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from torch import Tensor

from gpt.base.files import write_atomically
from gpt.base.runtime import has_fast_bfloat16
from gpt.runs.folder import RunFolder
from gpt.runs.records import Summary

_FOLDER = REPOSITORY / "conf" / "experiment" / "records"
_RECORDS = sorted(path.stem for path in _FOLDER.glob("*.yaml"))
_TARGET: float = yaml.safe_load((_FOLDER / "01_v7.yaml").read_text())["target"]  # of all records

Track = dict[str, dict[int, RunFolder]]  # of each record, its runs by seed


def main() -> None:
    """Train what is not there yet, and print and keep the figures of all that is."""
    options = parser(__doc__, names=_RECORDS, keeps="the runs, their figures and pictures, of all records there")
    options.add_argument("--seeds", default="1,2,3", help="of each record (default 1,2,3)")
    given = options.parse_args()
    changes = ["device=cpu", *([] if has_fast_bfloat16(torch.device("cpu")) else ["dtype=float32"])]
    changes += ["training.short_window=null", *QUICK_TRAINING] if given.quick else []
    with kept(given.out) as out:
        file = out / "waited.json"  # of each command that was not interrupted, its seconds from start to end
        waited: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
        for seed, record in itertools.product([1] if given.quick else given.seeds.split(","), given.names or _RECORDS):
            folder, settings = out / f"{record}_seed{seed}", [f"experiment=records/{record}", f"seed={seed}", *changes]
            is_new = not RunFolder(folder).is_started()
            seconds = seconds_of(partial(trained, folder, *settings))
            if is_new:
                waited[folder.name] = seconds
                write_atomically(file, json.dumps(waited, indent=2))
        print(machine())
        tracks = _finished(out)
        for name, track in tracks.items():
            print("", name, "", leaderboard(track, waited), sep="\n")
            if given.out:
                picture(track).savefig(out / f"{name}.png", dpi=120)
        write_atomically(out / "records.csv", each(tracks))


def _finished(out: Path) -> dict[str, Track]:
    """The finished runs below `out`: of records that train a network alone, and of those with counts of the text."""
    tracks: dict[str, Track] = {"network": {}, "counts": {}}
    for record in _RECORDS:
        for path in sorted(out.glob(f"{record}_seed*")):
            run = RunFolder(path)
            if run.is_finished():
                track = tracks["counts" if run.config().stage == "v9" else "network"]
                track.setdefault(record, {})[run.config().seed] = run
    return {name: track for name, track in tracks.items() if track}


def leaderboard(track: Track, waited: dict[str, float]) -> str:
    """One row per record of a track."""
    lines: list[list[str]] = []
    before: dict[int, float] = {}
    for record, runs in track.items():
        summaries = [run.summary() for run in runs.values()]
        seconds = dict(zip(runs, map(_counted, summaries), strict=True))
        ratios = [before[seed] / seconds[seed] for seed in seconds if seed in before]
        faster = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"
        first = next(iter(runs.values()))
        known = [waited[run.path.name] for run in runs.values() if run.path.name in waited]
        lines.append(
            [
                record,
                mean_of([*seconds.values()], 1),
                faster,
                mean_of([s.exact.nats for s in summaries], 4),
                f"{sum(s.reached is True for s in summaries)} of {len(summaries)}",
                mean_of(known, 1) if known else "-",
                f"{summaries[0].parameters:,}",
                f"{megabytes(first):,.1f}",
                f"{first.evaluations()[-1].tokens:,}",
            ]
        )
        before = seconds
    headers = ["record", "counted seconds", "times faster", "exact val", "reached", "seconds waited"]
    headers += ["parameters", "MB in use", "characters"]
    return markdown(headers, lines)


def megabytes(run: RunFolder) -> float:
    """All tensors of the model of a run once it is in use: weights, and what v9 remembers and counts."""
    model = gpt.load(run.path, device="cpu").model
    with torch.no_grad():
        model(torch.zeros(1, 1, dtype=torch.int64))  # v9 counts when it is first used
    plain = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    tensors = {tensor.data_ptr(): tensor for tensor in [*model.parameters(), *model.buffers(), *plain]}
    return sum(tensor.nbytes for tensor in tensors.values()) / 1e6


def each(tracks: dict[str, Track]) -> str:
    """The figures of each run from its summary, as docs/lab/records.csv has them."""
    lines = ["record,seed,counted seconds,exact val,estimated train,estimated val,iterations,characters/s,commit"]
    for record, runs in sorted(itertools.chain.from_iterable(track.items() for track in tracks.values())):
        for seed, run in runs.items():
            s = run.summary()
            losses = ",".join(f"{loss.nats:.4f}" for loss in (s.exact, s.estimated.train, s.estimated.val))
            speed, commit = f"{s.tokens_per_second:.0f}", (s.git_commit or "")[:7]
            lines.append(f"{record},{seed},{_counted(s):.2f},{losses},{s.iterations},{speed},{commit}")
    return "\n".join(lines) + "\n"


def picture(track: Track) -> Figure:
    """Draw the estimated validation loss of each run against its counted seconds, which include preparation."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (record, runs) in enumerate(track.items()):
        for run in runs.values():
            summary, clock = run.summary(), run.clock()
            preparing = _counted(summary) - clock[summary.iterations]
            points = [(preparing + clock[e.iteration], e.val) for e in run.evaluations() if e.iteration]
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


if __name__ == "__main__":
    main()
