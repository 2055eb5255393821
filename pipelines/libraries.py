"""Libraries of pipelines: only looked up when a pipeline is listed, as importing takes seconds."""

from importlib.util import find_spec

from pipelines import importing
from pipelines.catalog import Unavailable


def missing(library: str, wanted: str = "") -> str:
    """Why a library isn't found; "" if it is installed, whether it works or not.

    Args:
        wanted: What pip is to install, if not just the library's name.
    """
    if find_spec(library) is None:
        return f"{library} is not installed: pip install {wanted or library}"
    return ""


def require(library: str, module: str) -> None:
    """Imports a module of a library.

    Raises:
        Unavailable: It can't be imported.
    """
    try:
        importing.load(module)
    except importing.Broken as problem:
        raise Unavailable(f"{library} cannot be used here: {problem}") from problem
