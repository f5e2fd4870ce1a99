"""Training with play.py's server: train.py's own runs, started, paused, resumed and queued from the page."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

import gpt
from gpt.base.errors import RequestError, UserError, report
from gpt.playground.trainings import Trainings
from gpt.runs.finding import started_runs
from gpt.runs.folder import RunState
from tests.conftest import REPOSITORY
from tests.playground.browsing import visit
from tests.playground.conftest import serving, started

SHORT = "training.max_iters=40 training.eval_interval=20 training.eval_iters=2 training.batch_size=8"
LONG = SHORT.replace("max_iters=40", "max_iters=100000") + " training.log_interval=20"
ABC = "abc" * 200


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    made = Trainings(tmp_path / "runs", tmp_path / "data")
    yield made
    made.close()


def row(trainings: Trainings, name: str) -> dict[str, Any]:
    return next(row for row in trainings.listed() if row["id"] == name)


def waiting(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_it_trains_an_ordinary_run_on_a_text_of_ones_own(trainings: Trainings) -> None:
    name = trainings.start("v1", f"{SHORT} seed=7", ABC, "../my poems (1).txt")
    waiting(lambda: row(trainings, name)["state"] == "finished")
    found = row(trainings, name)
    assert (found["stage"], found["iteration"], found["iterations"]) == ("v1", 40, 40)
    assert re.fullmatch(r"my_poems_1-\w{8}\.txt", found["corpus"])
    assert [point["iteration"] for point in found["curve"]] == [0, 20, 40]
    trained = gpt.load(found["folder"], device="cpu")
    assert trained.tokenizer.vocabulary == "abc"
    assert trained.run.summary().seed == 7


def test_one_trains_at_a_time_and_a_paused_one_goes_on_where_it_was(trainings: Trainings) -> None:
    first, second = (trainings.start("v1", f"{LONG} seed={seed}", ABC) for seed in (1, 2))
    waiting(lambda: row(trainings, first)["iteration"] > 0)
    assert row(trainings, second)["state"] == "queued"
    trainings.pause(first)
    waiting(lambda: row(trainings, first)["state"] == "paused")
    waiting(lambda: row(trainings, second)["state"] == "training")
    reached = row(trainings, first)["iteration"]
    trainings.pause(second)
    trainings.resume(first)
    waiting(lambda: row(trainings, first)["iteration"] > reached)
    assert row(trainings, first)["curve"][0]["iteration"] == 0  # the run itself, and not a new one
    trainings.pause(first)
    waiting(lambda: row(trainings, first)["state"] == "paused")


def test_a_training_is_saved_and_ends_when_its_server_is_killed(trainings: Trainings, tmp_path: Path) -> None:
    program = f"""if True:
        import os, pathlib, signal, time
        from gpt.playground.trainings import Trainings
        trainings = Trainings(pathlib.Path("runs"), pathlib.Path("data"))
        trainings.start("v1", "{LONG}", "abc" * 200)
        while not trainings.listed()[0]["iteration"]:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    waiting(lambda: trainings.listed()[0]["state"] == "paused", 30)
    (run,) = started_runs(tmp_path / "runs", is_finished=False)
    assert RunState.of(run).iteration > 0


@pytest.mark.parametrize(
    ("stage", "settings", "line"),
    [
        ("v1", "training.learning_rate=-1", "training.learning_rate"),
        ("v77", "", "v77"),
        ("v1", "data.path=/etc/passwd", "'data.path=/etc/passwd' cannot be set here"),
        ("v1", "name='${oc.env:HOME}'", "cannot be set here"),
        ("v1", "model._target_=os.system", "cannot be set here"),
        ("v1", "hydra.run.dir=/tmp/x", "cannot be set here"),
        ("v1", "init=/tmp/x", "cannot be set here"),
        ("v1", "training.lerning_rate=1", "training.learning_rate"),
        ("v1", "name='", "the settings cannot be read"),
    ],
)
def test_settings_are_checked_as_those_of_the_command_line_are(
    trainings: Trainings, stage: str, settings: str, line: str
) -> None:
    with pytest.raises((RequestError, pydantic.ValidationError)) as refused:
        trainings.start(stage, settings, None)
    told, code = report(refused.value) or ("", 0)
    assert code == RequestError.exit_code
    assert line in told
    assert "\n" not in told
    assert trainings.listed() == []


def test_a_killed_training_and_a_moved_folder_are_told_in_one_line(trainings: Trainings, tmp_path: Path) -> None:
    killed = trainings.start("v1", LONG, ABC)
    waiting(lambda: row(trainings, killed)["iteration"] > 0)
    process = trainings._own[killed].process
    assert process is not None
    process.kill()
    waiting(lambda: row(trainings, killed)["state"] == "killed")
    assert row(trainings, killed)["failure"] == "it was killed"
    reached = row(trainings, killed)["iteration"]
    trainings.resume(killed)
    waiting(lambda: row(trainings, killed)["iteration"] > reached + 100)
    Path(row(trainings, killed)["folder"]).rename(tmp_path / "elsewhere")
    waiting(lambda: row(trainings, killed)["state"] == "failed")
    assert "was moved, replaced or removed" in row(trainings, killed)["failure"]


def test_no_more_than_eight_wait(trainings: Trainings) -> None:
    names = [trainings.start("v1", LONG, ABC) for _ in range(8)]
    with pytest.raises(UserError, match="8 trainings are waiting already"):
        trainings.start("v1", LONG, ABC)
    for name in reversed(names):
        trainings.pause(name)
    waiting(lambda: all(row(trainings, name)["state"] == "paused" for name in names))


def test_pause_and_resume_count_while_the_training_still_stops(trainings: Trainings) -> None:
    name, other = (trainings.start("v1", f"{LONG} seed={seed}", ABC) for seed in (1, 2))
    waiting(lambda: row(trainings, name)["iteration"] > 0)
    trainings.pause(other)
    for change in (trainings.pause, trainings.resume, trainings.pause, trainings.resume):
        change(name)
    reached = row(trainings, name)["iteration"]
    waiting(lambda: row(trainings, name)["iteration"] > reached + 1000)
    assert row(trainings, name)["failure"] == ""
    for change in (trainings.pause, trainings.resume, trainings.pause):
        change(name)
    waiting(lambda: row(trainings, name)["state"] == "paused")
    time.sleep(0.5)
    assert {found["state"] for found in trainings.listed()} == {"paused"}


def test_after_a_restart_a_run_is_found_and_resumed_by_its_folder_whose_name_another_may_have(
    trainings: Trainings,
) -> None:
    name = trainings.start("v1", LONG, ABC)
    waiting(lambda: row(trainings, name)["iteration"] > 0)
    trainings.close()
    for change in (lambda: trainings.resume(name), lambda: trainings.start("v1", LONG, ABC)):
        with pytest.raises(UserError, match="this server is stopping"):
            change()
    run = Path(row(trainings, name)["folder"])
    sweeps = [trainings.root / sweep / "000_v1_seed1337" for sweep in ("a", "b", "c")]
    for copy in sweeps:
        shutil.copytree(run, copy)
    shutil.rmtree(run)
    again = Trainings(trainings.root, trainings.data_dir)
    assert [(found["state"], found["is_own"]) for found in again.listed()] == 3 * [("paused", False)]
    assert all("training.max_iters=100000" in found["changed"] for found in again.listed())  # no line of the documented
    chosen = next(found["id"] for found in again.listed() if found["folder"] == str(sweeps[1]))
    again.resume(chosen)
    waiting(lambda: row(again, chosen)["state"] == "training")
    waiting(lambda: (sweeps[1] / "commands.jsonl").read_text().count("\n") == 2)
    again.close()
    assert [(copy / "commands.jsonl").read_text().count("\n") for copy in sweeps] == [1, 2, 1]


CLOSED_TERMINAL = pytest.param(
    (signal.SIGHUP,),
    marks=pytest.mark.skipif(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, reason="ignored, as under nohup"),
)


@pytest.mark.parametrize("sent", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), CLOSED_TERMINAL])
def test_a_stopped_server_pauses_its_training_and_begins_no_other(
    trained: Path, tmp_path: Path, sent: tuple[signal.Signals, ...]
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(next((trained / "runs").glob("*/*")), runs / "finished")
    with started(tmp_path, f"runs={runs}", f"data.dir={tmp_path}") as (served, process):
        for seed in (1, 2, 3):
            asked = {"stage": "v1", "settings": f"{LONG} seed={seed}", "text": ABC}
            assert served.post("/api/trainings", asked)[0] == 200
        with contextlib.closing(served.connection()) as connection:
            connection.request("GET", "/api/trainings")  # as an open page does
            answer = connection.getresponse()
            while b'"iteration": 20' not in answer.fp.readline():
                pass
            for number in sent:
                process.send_signal(number)
                time.sleep(0.2)
            process.wait(timeout=60)
    assert [found["state"] for found in Trainings(runs, tmp_path).listed()] == ["paused"]
    assert "Traceback" not in (tmp_path / "errors.txt").read_text()


def test_only_the_page_itself_may_begin_a_training(trained: Path) -> None:
    with serving(trained / "runs") as served:
        asked = {"stage": "v1", "settings": SHORT, "text": None}
        assert served.post("/api/trainings", asked, Origin="http://elsewhere.example")[0] == 403
        assert served.post("/api/trainings", asked, **{"Content-Type": "text/plain"})[0] == 415
        assert served.post("/api/trainings", asked | {"path": "x"})[0] == 422
        status, answer = served.post("/api/trainings", asked | {"settings": "training.lr=1"})
        assert (status, answer["error"].count("\n")) == (422, 0)
        assert served.post("/api/trainings/unknown", {"to": "pause"})[0] == 422


@pytest.mark.slow
def test_in_a_browser_the_first_run_is_trained_and_shown_and_trainings_pause_resume_wait_fail_and_survive_the_tab(
    browser: Any, tmp_path: Path
) -> None:
    with started(tmp_path, f"runs={tmp_path / 'runs'}", f"data.dir={tmp_path}") as (served, _):
        with visit(browser, served.address) as visited:
            page = visited.page
            page.wait_for_selector("#training .progress:has-text('played back')")
            assert not page.locator("#prompt").is_visible()
            page.get_by_text("Settings", exact=True).click()
            page.get_by_role("spinbutton", name="Iterations").fill("40")
            page.get_by_label("Batch size").fill("8")
            page.get_by_label("More settings").fill("training.eval_iters=2")
            page.get_by_role("button", name="Train", exact=True).click()
            page.wait_for_selector(".writing figcaption:has-text('40 iterations')")
            page.wait_for_selector(".panel.a .heading:has-text('v5')")
            page.get_by_role("spinbutton", name="Iterations").fill("100000")
            page.get_by_label("More settings").fill("training.eval_interval=50 training.eval_iters=2")
            page.get_by_role("button", name="Train", exact=True).click()
            page.wait_for_selector("li[data-state=training]")
            page.wait_for_selector(".writing figcaption:has-text('50 iterations')")
        with visit(browser, served.address, width=390) as visited:
            page = visited.page
            page.get_by_text("Settings", exact=True).click()
            page.get_by_role("button", name="Pause").click()
            page.wait_for_selector("li[data-state=paused]")
            page.get_by_role("button", name="Resume").click()
            page.wait_for_selector("li[data-state=training]")
            page.get_by_label("More settings").fill("training.eval_interval=50 training.eval_iters=2")
            page.get_by_role("button", name="Train", exact=True).click()
            page.wait_for_selector("li[data-state=queued]")
            subprocess.run(["pkill", "-KILL", "-f", rf"train\(\).*{tmp_path}"], check=True)
            # It is still paused if it was killed before it went on.
            page.wait_for_selector("li:is([data-state=killed], [data-state=paused]) .failure:has-text('it was killed')")
            page.wait_for_selector("li[data-state=training]")  # it was the next one's turn
            page.get_by_label("More settings").fill("training.dropout=1")
            page.get_by_role("button", name="Train", exact=True).click()
            page.wait_for_selector("#training .failure:has-text('training.dropout')")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            visited.errors.clear()  # the browser's own about the refused request
