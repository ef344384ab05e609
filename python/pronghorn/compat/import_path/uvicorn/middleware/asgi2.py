"""ASGI 2 applications."""

from pronghorn.interfaces import ASGI2Middleware

__all__ = ["ASGI2Middleware"]
