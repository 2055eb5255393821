"""The innermost message of wrapped errors, and long texts that are shortened."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from torch._utils import ExceptionWrapper

from bench.errors import innermost, shortened

DATALOADER = """Caught SourceError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "decode.py", line 9, in read
    raise UnidentifiedImageError
PIL.UnidentifiedImageError: cannot identify image file

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "worker.py", line 1, in fetch
    data = fetcher.fetch(index)
           ^^^^^^^^^^^^^^^^^^^^
pipelines.sources.errors.SourceError: bee/7.png cannot be read: it is not an image
"""
DALI = """Critical error in pipeline:
Critical error in pipeline:
Error in CPU operator `nvidia.dali.fn.slice`,
which was used in the pipeline definition with the following traceback:

  File "mine.py", line 8, in <module>

encountered:

Slice can't be placed out of bounds with current policy.
C++ context: [/opt/dali/dali/operators/generic/slice/out_of_bounds_policy.h:106]
Current pipeline object is no longer valid.
Current pipeline object is no longer valid."""
DALI_THREAD = """Critical error in pipeline:
Error when executing Mixed operator decoders__Image encountered:
Error in thread 3: [/opt/dali/dali/image/image_factory.cc:102] Unrecognized image format.
Stacktrace (8 entries):
[frame 0]: /lib/libdali.so
Current pipeline object is no longer valid."""
REMOTE = '''
"""
Traceback (most recent call last):
  File "pool.py", line 125, in worker
    result = (True, func(*args, **kwds))
ValueError: 3 classes, not 4
"""'''
RAY = """\x1b[36mray::run_job()\x1b[39m (pid=7, ip=127.0.0.1)
  File "mine.py", line 4, in run_job
    raise ValueError("the node has no data")
ValueError: the node has no data"""


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (DATALOADER, "SourceError", "bee/7.png cannot be read: it is not an image"),
        (DALI, "RuntimeError", "Slice can't be placed out of bounds with current policy."),
        (DALI_THREAD, "RuntimeError", "Unrecognized image format."),
        (REMOTE, "ValueError", "3 classes, not 4"),
        (RAY, "ValueError", "the node has no data"),
        ("two\nlines", "RuntimeError", "two\nlines"),
        ("  \n\nlate", "RuntimeError", "late"),
        ("", "RuntimeError", "RuntimeError"),
        (f"Caught RuntimeError in DataLoader worker process 1.\nOriginal Traceback (most recent "
         f"call last):\n  File \"a.py\", line 1\nRuntimeError: {DALI}", "RuntimeError",
         "Slice can't be placed out of bounds with current policy."),
    ],
)  # fmt: skip
def test_the_innermost_error_is_found_in_a_message(text: str, kind: str, message: str) -> None:
    assert innermost(RuntimeError(text)) == (kind, message)


@pytest.mark.parametrize("error", [ValueError("one\ntwo"), KeyError("a name"), OSError(2, "gone")])
def test_wrappers_of_torch_are_removed(error: Exception) -> None:
    try:
        raise error
    except Exception:  # noqa: BLE001 - the wrapper takes the current one
        wrapper = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(type(error)) as raised:
        wrapper.reraise()
    assert innermost(raised.value) == (type(error).__name__, str(error))


class Wrapper(RuntimeError):
    """Like Ray's RayTaskError and torch's BackendCompilerFailed."""


@pytest.mark.parametrize("attribute", ["cause", "inner_exception"])
def test_errors_that_hold_another_are_removed(attribute: str) -> None:
    outer, middle = Wrapper("the outer one"), Wrapper("the middle one")
    setattr(outer, attribute, middle)
    setattr(middle, attribute, ValueError("the inner one"))
    assert innermost(outer) == ("ValueError", "the inner one")
    group = ExceptionGroup("several", [outer, KeyError("b")])
    assert innermost(group) == ("ValueError", "the inner one")


def fail(number: int) -> None:
    raise ValueError(f"number {number}")


def test_errors_of_other_processes_are_unchanged() -> None:
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool, pytest.raises(ValueError) as raised:  # noqa: PT011
        pool.submit(fail, 3).result()
    assert innermost(raised.value) == ("ValueError", "number 3")
    assert innermost(raised.value.__cause__) == ("ValueError", "number 3")


@pytest.mark.parametrize("length", [0, 4_000, 4_001, 40_000_000])
def test_long_texts_keep_their_ends(length: int) -> None:
    text = "a" * (length // 2) + "b" * (length - length // 2)
    short = shortened(text)
    if length <= 4_000:
        assert short == text
    else:
        assert short.startswith("a" * 2_000)
        assert short.endswith("b" * 2_000)
        assert f"… {length - 4_000:,} characters left out, see the log" in short
        assert len(short) < 4_100
