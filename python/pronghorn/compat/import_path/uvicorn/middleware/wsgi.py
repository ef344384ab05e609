"""WSGI applications."""

from pronghorn import interfaces

try:
    # The class itself: programs derive from it.
    from a2wsgi import WSGIMiddleware
except ImportError:
    WSGIMiddleware = interfaces.wsgi_middleware  # type: ignore[assignment, misc]

__all__ = ["WSGIMiddleware"]
