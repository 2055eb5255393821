"""TensorBoard's server in this process, until it is stopped."""

import time
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.signals import stops_raise
from bench.tensorboard.page import ENTRY, entered

RELOAD_S = 5


def serve(
    folder: Path,
    *,
    host: str,
    port: int | None,
    page: str,
    ready: Callable[[str], None],
    update: Callable[[], None],
) -> None:
    """Shows a folder until SIGINT (Ctrl-C), SIGTERM or SIGHUP come; no process is left then.

    Args:
        folder: With a folder of event files for each run.
        host: Address to listen on.
        port: To listen on; 0 for any that is free, None for 6006 or the next that is free.
        page: Of TensorBoard, to be shown first: what stands behind "#" in its address.
        ready: Is told the address of that page once the server answers.
        update: Is called every few seconds.

    Raises:
        UsageError: The port is taken, or the address is not this machine's.
    """
    with stops_raise():
        try:
            ready(_launch(folder, host, port, page).rstrip("/") + ENTRY)
            while True:
                time.sleep(RELOAD_S)
                update()
        except KeyboardInterrupt:
            return


def _launch(folder: Path, host: str, port: int | None, page: str) -> str:
    from tensorboard import program

    def listening(app: Any, flags: Any) -> Any:
        return program.create_port_scanning_werkzeug_server(entered(app, page), flags)

    flags = ["--logdir", str(folder), "--host", host, "--reload_interval", str(RELOAD_S)]
    flags += [] if port is None else ["--port", str(port)]
    server = program.TensorBoard(server_class=listening)
    try:
        with redirect_stderr(said := StringIO()):  # advice on how it loads, of no use here
            server.configure(["tensorboard", *flags, "--window_title", "pipeline-bench"])
            return str(server.launch())
    except program.TensorBoardPortInUseError as error:
        taken = f"port {port} is taken" if port else "ports from 6006 on are taken"
        raise UsageError(f"{taken}: name another with --port") from error
    except (program.TensorBoardServerException, OSError) as error:
        raise UsageError(f"TensorBoard cannot listen on {host}: {error}") from error
    except SystemExit as error:  # the HTTP library's way, with the reason on standard error
        reason = said.getvalue().strip().rpartition("\n")[2]
        raise UsageError(f"TensorBoard cannot listen on {host}: {reason}") from error
