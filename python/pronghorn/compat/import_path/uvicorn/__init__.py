"""Uvicorn's names for Pronghorn; see `pronghorn.compat`."""

from pronghorn.config import Config

# The submodule first: afterwards `uvicorn.main` is the command, as in Uvicorn.
from .main import Server, main, run

__version__ = "0.54.0"
"""The version of Uvicorn whose interface this is."""

__all__ = ["Config", "Server", "main", "run"]
