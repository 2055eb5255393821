"""Stop signals end a grid as Ctrl-C does, wait where they must, and leave no trace."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from bench.signals import STOPS, stops_held, stops_let_through, stops_raise

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


@pytest.mark.parametrize("stop", STOPS)
def test_a_hold_that_waits_lets_a_stop_through_once(stop: signal.Signals) -> None:
    heard: list[str] = []
    with stops_held():
        try:
            with stops_let_through():
                os.kill(os.getpid(), stop)
                heard.append("went on")
        except KeyboardInterrupt:
            heard.append("stopped")
        with stops_let_through():
            heard.append("waited again")
    heard.append("through")
    assert heard == ["stopped", "waited again", "through"]


@pytest.mark.parametrize("earlier", [True, False])
def test_a_stop_that_came_before_the_wait_is_heard_there_or_at_the_end(earlier: bool) -> None:
    heard: list[str] = []
    with suppress(KeyboardInterrupt), stops_raise(), stops_held():
        os.kill(os.getpid(), signal.SIGTERM)
        with suppress(KeyboardInterrupt), stops_let_through(earlier=earlier):
            heard.append("waited")
        heard.append("written")
    assert heard == (["written"] if earlier else ["waited", "written"])


def test_a_stop_after_the_one_that_was_heard_comes_at_the_end_of_the_hold() -> None:
    heard: list[str] = []
    try:
        with stops_raise(), stops_held():
            with suppress(KeyboardInterrupt), stops_let_through():
                os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            heard.append("written")
        heard.append("went on")
    except KeyboardInterrupt:
        heard.append("stopped")
    assert heard == ["written", "stopped"]


def test_without_a_hold_and_in_other_threads_nothing_changes() -> None:
    with stops_let_through():
        pass
    seen: list[bool] = []

    def wait() -> None:
        with stops_let_through():
            seen.append(True)

    with suppress(KeyboardInterrupt), stops_raise(), stops_held():
        os.kill(os.getpid(), signal.SIGTERM)
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert seen == [True]
