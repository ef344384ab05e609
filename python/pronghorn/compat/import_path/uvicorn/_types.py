"""The shapes of ASGI."""

from pronghorn.types import *  # noqa: F403
from pronghorn.types import Application as ASGIApplication
from pronghorn.types import WSGIApplication as WSGIApp
from pronghorn.types import WSGIEnvironment as Environ

__all__ = ["ASGIApplication", "Environ", "WSGIApp"]
