"""Stop signals end a grid as Ctrl-C does, wait where they must, and leave no trace."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from bench.signals import STOPS, stops_held, stops_raise

Context = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_raises_as_ctrl_c_does(stop: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stops_raise():
        os.kill(os.getpid(), stop)


@pytest.mark.parametrize("stop", STOPS)
def test_handlers_are_put_back_after_an_error(stop: signal.Signals) -> None:
    before = signal.getsignal(stop)
    for context in (stops_raise, stops_held):
        with suppress(RuntimeError), context():
            assert signal.getsignal(stop) is not before
            raise RuntimeError
        assert signal.getsignal(stop) is before


@pytest.mark.parametrize("context", [stops_raise, stops_held])
def test_what_nohup_ignores_stays_ignored(context: Context) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with context():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_is_held_until_the_block_is_through_also_where_threads_run() -> None:
    done: list[str] = []
    over = threading.Event()
    idle = [threading.Thread(target=over.wait) for _ in range(4)]
    for thread in idle:
        thread.start()
    try:
        for stop in STOPS * 5:
            done.clear()
            with suppress(KeyboardInterrupt), stops_raise():
                with stops_held():
                    os.kill(os.getpid(), stop)
                    time.sleep(0.001)
                    done.append("written")
                done.append("went on")
            assert done == ["written"]
    finally:
        over.set()


def test_holding_inside_a_hold_is_released_at_the_outer_end() -> None:
    done: list[str] = []
    with suppress(KeyboardInterrupt), stops_raise():
        with stops_held():
            with stops_held():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("went on")
    assert done == ["inner", "outer"]


def test_a_held_stop_does_not_hide_the_error_of_the_block() -> None:
    def fail() -> None:
        with stops_raise(), stops_held():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("the disk is full")

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert isinstance(caught.value.__context__, RuntimeError)
