"""`import pronghorn.compat.uvicorn`: from here on `import uvicorn` gives Pronghorn."""

from pronghorn import Config, Server, main, run
from pronghorn.compat import install

__all__ = ["Config", "Server", "main", "run"]

install()
