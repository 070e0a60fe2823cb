"""The classifier over HTTP: `tasrih serve`, or `create_app` in an ASGI server of your own.

limits.py     what a server takes on, in numbers
problems.py   the one shape of every error
schemas.py    what comes in and what goes out
batcher.py    requests that are there together share a batch
gate.py       bodies and clients, held to the limits before anything is parsed
metrics.py    what happened, as Prometheus reads it
web.py        the page at /
app.py        the routes
run.py        sockets and slow clients
"""

try:
    from tasrih.server.app import create_app
    from tasrih.server.limits import Limits
    from tasrih.server.run import serve
except ModuleNotFoundError as error:
    if (error.name or "").startswith("tasrih"):
        raise
    raise ImportError(
        f'{error.name} is not installed; the server needs: pip install "tasrih[serve]"'
    ) from error

__all__ = ["Limits", "create_app", "serve"]
