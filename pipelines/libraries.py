"""Libraries that a pipeline needs: looked for when it is listed, imported when it is built.

Importing them takes seconds, which a command that only plans need not spend.
"""

from importlib.util import find_spec

from pipelines import importing
from pipelines.catalog import Unavailable


def lack(library: str) -> str:
    """What keeps a library from being found; "" when it is there, whether it works or not."""
    if find_spec(library) is None:
        return f"{library} is not installed: pip install {library}"
    return ""


def require(library: str, module: str) -> None:
    """Imports a module of ours that imports a library.

    Raises:
        Unavailable: It cannot be imported, whatever the library does.
    """
    try:
        importing.load(module)
    except importing.Broken as problem:
        raise Unavailable(f"{library} cannot be used here: {problem}") from problem
