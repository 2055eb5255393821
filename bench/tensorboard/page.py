"""What is added to TensorBoard's own page: a short address, and a script that sets two fields.

TensorBoard's hparams show a hundred runs a page, in the table and in the parallel coordinates, and
its charts cut off what it takes for outliers, such as the fastest run. No option of it changes
either, so the script sets the fields that a person would.
"""

from collections.abc import Callable, Iterable
from typing import Any

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
