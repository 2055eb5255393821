"""TensorBoard's server in this process, until it is stopped.

What is added to TensorBoard's own page: a short address, and a script that sets two fields.

TensorBoard's hparams show a hundred runs a page, in the table and in the parallel coordinates, and
its charts cut off what it takes for outliers, such as the fastest run. No option of it changes
either, so the script sets the fields that a person would.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.process import signals_raise

ENTRY = "/view"  # leads to the page that people are to see first
SCRIPT = "/bench.js"
ROWS = 1000  # runs a page of hparams; parallel coordinates of so many are still drawn in seconds
# where a later TensorBoard has no such field its page stays as it is
CONTENT = f"""
const outliers = "_ignoreYOutliers";  // kept by the browser: what a person chose later stays
if (localStorage.getItem(outliers) === null) localStorage.setItem(outliers, "false");
customElements.whenDefined("tf-hparams-query-pane").then((pane) => {{
  const ready = pane.prototype.ready;
  pane.prototype.ready = function () {{
    ready.call(this);
    this.set("_pageSizeInput", {{ value: "{ROWS}", invalid: false }});
  }};
}});
"""

Application = Callable[..., Iterable[bytes]]


def entered(app: Application, page: str) -> Application:
    """The WSGI application with `ENTRY` as the short address of a page of it, and our script."""
    from werkzeug.wrappers import Response

    answers = {
        ENTRY: Response(status=302, headers={"Location": f"/#{page}"}),
        SCRIPT: Response(CONTENT, mimetype="text/javascript"),
    }

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path in answers:
            return answers[path](environ, start_response)
        if path not in ("/", "/index.html"):
            return app(environ, start_response)
        shown = Response.from_app(app, environ)
        tag = f'<script src="{SCRIPT[1:]}"></script></head>'
        shown.set_data(shown.get_data().replace(b"</head>", tag.encode(), 1))
        return shown(environ, start_response)

    return answer


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
    with signals_raise():
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
