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
from gpt.base.errors import RequestError, report
from gpt.playground.trainings import Trainings
from gpt.runs.finding import started_runs
from gpt.runs.folder import RunState
from tests.conftest import REPOSITORY
from tests.playground.browsing import Visit, visit
from tests.playground.conftest import serving, started

SHORT = "training.max_iters=40 training.eval_interval=20 training.eval_iters=2 training.batch_size=8"
LONG = SHORT.replace("max_iters=40", "max_iters=100000") + " training.log_interval=20"
ABC = "abc" * 200


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    folder = tmp_path / "a,b (1) [c]"
    made = Trainings(folder / "runs", folder / "data")
    yield made
    for training in made._own.values():
        made.pause(training.id)
    waiting(lambda: all(training.process is None for training in made._own.values()))


def row(trainings: Trainings, name: str) -> dict[str, Any]:
    return next(row for row in trainings.listed() if row["id"] == name)


def waiting(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_it_trains_an_ordinary_run_on_a_given_text(trainings: Trainings) -> None:
    name = trainings.start("v1", f"{SHORT} seed=7", ABC, "../my poems (1).txt")
    waiting(lambda: row(trainings, name)["state"] == "finished")
    found = row(trainings, name)
    assert (found["stage"], found["iteration"], found["iterations"]) == ("v1", 40, 40)
    assert re.fullmatch(r"my_poems_1-\w{8}\.txt", found["corpus"])
    assert [point["iteration"] for point in found["curve"]] == [0, 20, 40]
    trained = gpt.load(found["folder"], device="cpu")
    assert trained.tokenizer.vocabulary == "abc"
    assert trained.run.summary().seed == 7


def test_one_trains_at_a_time_and_a_paused_one_continues(trainings: Trainings) -> None:
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


def test_a_training_is_saved_when_its_server_is_killed(trainings: Trainings, tmp_path: Path) -> None:
    program = f"""if True:
        import os, pathlib, signal, time
        from gpt.playground.trainings import Trainings
        trainings = Trainings(pathlib.Path("{trainings.root}"), pathlib.Path("data"))
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
    (run,) = started_runs(trainings.root, is_finished=False)
    assert RunState.of(run).iteration > 0


@pytest.mark.parametrize(
    ("stage", "settings", "word"),
    [
        ("v1", "training.learning_rate=-1", "training.learning_rate"),
        ("v1", "data.path=/etc/passwd", "'data.path=/etc/passwd'"),
        ("v1", "name='${oc.env:HOME}'", "oc.env:HOME"),
        ("v1", "hydra.run.dir=/tmp/x", "hydra.run.dir"),
        ("v1", "training.lerning_rate=1", "training.learning_rate"),
        ("v1", "name='", "settings"),
    ],
)
def test_settings_are_checked_as_on_the_command_line(
    trainings: Trainings, stage: str, settings: str, word: str
) -> None:
    with pytest.raises((RequestError, pydantic.ValidationError)) as refused:
        trainings.start(stage, settings, None)
    told, code = report(refused.value) or ("", 0)
    assert code == RequestError.exit_code
    assert word in told
    assert "\n" not in told
    assert trainings.listed() == []


def test_a_killed_training_is_told_and_can_be_resumed(trainings: Trainings) -> None:
    name = trainings.start("v1", LONG, ABC)
    waiting(lambda: row(trainings, name)["iteration"] > 0)
    process = trainings._own[name].process
    assert process is not None
    process.kill()
    waiting(lambda: row(trainings, name)["state"] == "killed")
    assert "killed" in row(trainings, name)["failure"]
    reached = row(trainings, name)["iteration"]
    trainings.resume(name)
    waiting(lambda: row(trainings, name)["iteration"] > reached + 100)


def test_an_earlier_servers_training_is_found_and_resumed(trainings: Trainings) -> None:
    name = trainings.start("v1", LONG, ABC)
    waiting(lambda: row(trainings, name)["iteration"] > 0)
    trainings.pause(name)
    waiting(lambda: row(trainings, name)["state"] == "paused")
    reached = row(trainings, name)["iteration"]
    earlier, trainings._own = trainings._own, {}  # as after a restart
    assert earlier.keys() == {name}
    assert not row(trainings, name)["is_own"]
    assert "training.max_iters=100000" in row(trainings, name)["changed"]
    trainings.resume(name)
    waiting(lambda: row(trainings, name)["iteration"] > reached)


CLOSED_TERMINAL = pytest.param(
    signal.SIGHUP,
    marks=pytest.mark.skipif(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, reason="ignored, as under nohup"),
)


@pytest.mark.parametrize("sent", [signal.SIGINT, CLOSED_TERMINAL])
def test_a_stopped_server_pauses_its_training(trained: Path, tmp_path: Path, sent: signal.Signals) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(next((trained / "runs").glob("*/*")), runs / "finished")
    with started(tmp_path, f"runs={runs}", f"data.dir={tmp_path}") as (served, process):
        for seed in (1, 2):
            asked = {"stage": "v1", "settings": f"{LONG} seed={seed}", "text": ABC}
            assert served.post("/api/trainings", asked)[0] == 200
        with contextlib.closing(served.connection()) as connection:
            connection.request("GET", "/api/trainings")  # as an open page does
            answer = connection.getresponse()
            while b'"iteration": 20' not in answer.fp.readline():
                pass
            process.send_signal(sent)
            process.wait(timeout=60)
    waiting(lambda: [found["state"] for found in Trainings(runs, tmp_path).listed()] == ["paused"])
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


MORE = "training.eval_interval=50 training.eval_iters=2"


def train(page: Any, more: str, iterations: int = 100_000) -> None:
    """Press Train with these settings."""
    page.locator("#training .foot details").evaluate("settings => settings.setAttribute('open', '')")
    page.get_by_role("spinbutton", name="Iterations").fill(str(iterations))
    page.get_by_label("More settings").fill(more)
    page.get_by_role("button", name="Train", exact=True).click()


def test_the_first_run_is_trained_and_then_shown(browser: Any, tmp_path: Path) -> None:
    with (
        started(tmp_path, f"runs={tmp_path / 'runs'}", f"data.dir={tmp_path}") as (served, _),
        visit(browser, served.address) as visited,
    ):
        visited.page.wait_for_selector("#training .progress:has-text('played back')")
        assert not visited.page.locator("#prompt").is_visible()
        train(visited.page, "training.eval_iters=2 training.batch_size=8 name=mine", iterations=40)
        visited.page.wait_for_selector(".writing figcaption:has-text('40 iterations')")
        visited.page.wait_for_selector(".panel.a .heading h2:has-text('v5') :text('mine')")


@pytest.fixture(scope="module")
def training(browser: Any, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Visit, str]]:
    """The page while one of its trainings is going on, and its address."""
    folder = tmp_path_factory.mktemp("training")
    shutil.copytree(next((trained / "runs").glob("*/*")), folder / "runs" / "finished")
    with (
        started(folder, f"runs={folder / 'runs'}", f"data.dir={folder}") as (served, _),
        visit(browser, served.address, width=390) as visited,
    ):
        train(visited.page, MORE)
        visited.page.wait_for_selector("li[data-state=training]")
        yield visited, served.address


def test_a_training_is_paused_and_resumed(training: tuple[Visit, str]) -> None:
    page = training[0].page
    page.get_by_role("button", name="Pause").click()
    page.wait_for_selector("li[data-state=paused]")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector("li[data-state=training]")


def test_a_second_training_waits_for_its_turn(training: tuple[Visit, str]) -> None:
    page = training[0].page
    train(page, MORE)
    page.locator("li[data-state=queued]").get_by_role("button", name="Pause").click()
    page.wait_for_selector("li[data-state=queued]", state="detached")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_training_survives_a_closed_tab(browser: Any, training: tuple[Visit, str]) -> None:
    with visit(browser, training[1]) as visited:
        visited.page.wait_for_selector("li[data-state=training]")


def test_wrong_settings_are_told_in_the_page(training: tuple[Visit, str]) -> None:
    visited, _ = training
    train(visited.page, "training.dropout=1")
    visited.page.wait_for_selector("#training .failure:has-text('training.dropout')")
    visited.errors.clear()  # the browser's own about the refused request
