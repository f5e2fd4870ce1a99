"""A signal asks once to stop; a second one insists."""

import os
import signal
import time

import pytest

from gpt.stopping import Stop, Stopped


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs between two bytecodes


def test_a_deferred_signal_is_a_request() -> None:
    with Stop().listening() as stop, stop.deferred():
        send(signal.SIGTERM)
        assert stop.requested == signal.SIGTERM


def test_a_signal_is_raised_where_nothing_defers_it() -> None:
    with Stop().listening(), pytest.raises(Stopped) as stopped:
        send(signal.SIGINT)
    assert stopped.value.exit_code == 130


def test_a_signal_that_a_launcher_repeats_is_one_request() -> None:
    with Stop().listening() as stop, stop.deferred():
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert stop.requested == signal.SIGTERM


def test_a_second_signal_ends_the_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.stopping._REPEATS", 0.0)
    with Stop().listening() as stop, stop.deferred():
        send(signal.SIGTERM)
        with pytest.raises(Stopped):
            send(signal.SIGTERM)
