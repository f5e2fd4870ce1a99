"""Run folders with damaged files, of somebody else, asked for what cannot be, or with links in place of their files."""

import logging
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gpt.base.errors import UserError
from gpt.runs.checkpoints import Checkpoints
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model
from tests.conftest import REPOSITORY, TrainedOnce
from tests.faults.trials import PUT, STAGES, check, differences, finish, one_line, put, repeated, short, start, tree
from tests.forked import Forked

_OWN = {"notes.txt": "mine", "config.yaml": "mine: true\n", "last.safetensors": "mine", "loss.png": "mine"}


def _read_all(path: Path) -> dict[str, object]:
    """All that the project ever reads of a run folder, or what it says against it."""
    run = RunFolder(path)

    def checkpoint() -> object:
        newest = Checkpoints(run, 2).newest()
        return newest and (newest.progress, {name: tensor.tolist() for name, tensor in newest.tensors().items()})

    def weights(which: str) -> list:
        return [tensor.tolist() for tensor in load_model(run, which).state_dict().values()]  # type: ignore[arg-type]

    readers: dict[str, Callable[[], object]] = {
        "config": run.config, "vocabulary": run.vocabulary, "summary": run.summary, "checkpoint": checkpoint,
        "metrics": lambda: (run.summary(), run.evaluations(), run.clock()),  # as whoever compares runs reads them
        "best": partial(weights, "best"), "last": partial(weights, "last"),
    }  # fmt: skip
    found: dict[str, object] = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except UserError as error:
            found[name] = error
    return found


@repeated(45, 90, 1000)
def test_damage_is_noticed(count: int, trained_run: TrainedOnce, tmp_path: Path) -> None:
    """A flipped bit or a truncation in any file: reading gives an error, the checkpoint before, or the same content."""
    whole = trained_run("v7")
    logging.disable(logging.WARNING)  # what is passed over is not our subject here
    expected = _read_all(whole)
    older = shutil.copytree(whole, tmp_path / "older")
    shutil.rmtree(sorted((older / "checkpoints").iterdir())[-1])
    fallback = _read_all(older)["checkpoint"]
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)

    def trial(number: int, place: Path) -> Iterator[str]:
        draw = random.Random(number)
        copy, name = shutil.copytree(whole, place / "run"), files[number % len(files)]
        content = bytearray((copy / name).read_bytes())
        position = draw.randrange(len(content))
        what = draw.choice(["bit flip", "cut"])
        if what == "cut":
            del content[position:]
        else:
            content[position] ^= 1 << draw.randrange(8)
        (copy / name).unlink()  # the best weights are linked with those of a checkpoint
        (copy / name).write_bytes(content)
        for part, value in _read_all(copy).items():
            is_older = part == "checkpoint" and value == fallback
            if not (isinstance(value, UserError) or value == expected[part] or is_older):
                yield f"{what} at {position} of {name}: another {part}"

    check(trial, count, tmp_path)
    logging.disable(logging.NOTSET)


@repeated(0, 30, 500)
def test_a_run_in_a_folder_with_other_files_changes_none_of_them(
    count: int, trained_run: TrainedOnce, corpus_file: Path, tmp_path: Path
) -> None:
    """With any files of another run and of the user's: it is refused and every byte stays, or it adds its files, or it
    continues the run to the results of the uninterrupted one. A finished run stays as it is.
    """
    arguments = [*short(20), *STAGES["v5"], "training.eval_interval=10", "training.average_last=0.5", "logger=csv"]
    arguments += [f"data.path={corpus_file}"]
    whole = trained_run("v5", "training.average_last=0.5", "logger=csv")
    names, final = sorted(path.name for path in whole.iterdir()), _visible(whole)["averaged.safetensors"]

    def trial(number: int, place: Path) -> Iterator[str]:
        draw, run = random.Random(number), place / "run"
        run.mkdir()
        taken = draw.sample(names, draw.choice([0, 1, 2, len(names) - 2, len(names) - 1, draw.randint(0, len(names))]))
        seed, resume = draw.choice([[], [], ["seed=7"]]), draw.choice([[], ["resume=auto"]])
        if number < len(names):  # each file is once the only one that is lost
            taken, seed, resume = [name for name in names if name != names[number]], [], ["resume=auto"]
        for name in taken:
            (shutil.copytree if (whole / name).is_dir() else shutil.copy)(whole / name, run / name)
        own = {name: content for name, content in _OWN.items() if name not in taken and draw.random() < 0.2}
        for name, content in own.items():
            (run / name).write_text(content)
        before = _visible(run)
        code, out, err = finish(start(*arguments, *seed, *resume, f"hydra.run.dir={run}", cwd=place))
        after = _visible(run)
        changed = {name for name, what in before.items() if after.get(name) != what}
        wrong = one_line(code, err, 1, 2) if code else []
        if code or "is finished" in out:
            wrong += [f"it left {name}" for name in after.keys() - before.keys()]
            wrong += [] if code or after.get("averaged.safetensors") == final else ["it lacks its results"]
        elif not seed:
            wrong += differences(whole, run)
            changed -= {*names} - own.keys()  # of the run that was continued
        wrong += [f"{name} changed" for name in changed]
        yield from (f"{taken}, own {[*own]}, {seed} {resume}: {what}" for what in wrong)

    check(trial, count, tmp_path)


def _visible(run: Path) -> dict[str, str]:
    return {name: what for name, what in tree(run).items() if not name.startswith(".")}


@repeated(0, 12, 1000)
def test_nothing_behind_a_link_changes_and_nothing_hangs(count: int, trained_run: TrainedOnce, tmp_path: Path) -> None:
    """Links, pipes, devices and folders in place of each file and folder of a run."""
    whole = trained_run("v5", "training.average_last=0.5", "logger=csv")
    names = [path.relative_to(whole) for path in sorted(whole.rglob("*"))]
    cases = [(name, kind) for name in names for kind in PUT
             if not ((whole / name).is_dir() and kind in ("hard link", "folder"))]  # fmt: skip
    random.Random(0).shuffle(cases)

    def trial(number: int, place: Path) -> Iterator[str]:
        name, kind = cases[number]
        run, victims = shutil.copytree(whole, place / "run"), place / "victims"
        victims.mkdir()
        (run / name).rename(victims / "victim")
        put(kind, run / name, victims / "victim")
        before = tree(victims)
        for script, *arguments in (
            ["generate.py", f"run={run}", "tokens=5"], ["evaluate.py", f"run={run}"],
            ["train.py", f"resume={run}", "training.max_iters=40"],
        ):  # fmt: skip
            try:
                done = Forked([str(REPOSITORY / script), *arguments], place).finished(timeout=120)
            except subprocess.TimeoutExpired:
                yield f"{kind} as {name}: {script} hangs"
            else:
                wrong = one_line(done.returncode, done.stderr, 1, 2) if done.returncode else []
                yield from (f"{kind} as {name}, {script}: {what}" for what in wrong)
        yield from [] if tree(victims) == before else [f"{kind} as {name}: what is behind it changed"]

    check(trial, min(count, len(cases)), tmp_path)
