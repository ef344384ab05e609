"""Files, as Starlette answers with them: the `pathsend100m` and `static1k` cases.

The servers import it as `file_app:app` from this directory. Servers with static files of their own
take `/static` before it.
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

FILES = Path(__file__).parent / ".build" / "static"


async def hello(request: Request) -> Response:
    """The answer that tells that the server is there."""
    return PlainTextResponse("Hello, world!")


async def large(request: Request) -> Response:
    """100 MB: by path where the server offers it, else in pieces."""
    return FileResponse(FILES / "100m.bin")


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/large", large),
        Mount("/static", StaticFiles(directory=FILES)),
    ]
)
