"""How a grid is stopped from outside, and the moments when it must not be."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def stops_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does; what nohup ignores stays so."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(stop):
        yield


@contextmanager
def stops_held() -> Iterator[None]:
    """Stop signals wait until the block is through: a record is written whole, a worker ended.

    A mask would not do: any thread of the process that lacks it may take the signal.
    """
    held = _Held()
    try:
        with _handled(held):
            yield
    finally:
        for number in held.came:
            signal.raise_signal(number)


@contextmanager
def stops_let_through(*, earlier: bool = True) -> Iterator[None]:
    """Inside `stops_held`, waits for something that may take long.

    A stop raises KeyboardInterrupt. It has then been heard: the hold does not raise it again at its
    end. Without a hold around it, and in any thread but the main one, this does nothing.

    Args:
        earlier: Whether one that came since the hold began raises at once.
    """
    handlers = (signal.getsignal(number) for number in STOPS)
    held = next((one for one in handlers if isinstance(one, _Held)), None)
    if held is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    held.raises = True
    try:
        if held.came and earlier:
            held.stop()
        yield
    finally:
        held.raises = False


@dataclass(kw_only=True)
class _Held:
    """A handler that notes what comes."""

    came: dict[int, None] = field(default_factory=dict)
    raises: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came[number] = None
        if self.raises:
            self.stop()

    def stop(self) -> None:
        """Stops now; from here on stops are held again."""
        self.raises = False
        self.came.clear()
        raise KeyboardInterrupt


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # which signals never reach
        return
    heard = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
