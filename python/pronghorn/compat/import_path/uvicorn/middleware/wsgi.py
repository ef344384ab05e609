"""WSGI applications."""

from pronghorn.interfaces import wsgi_middleware as WSGIMiddleware  # noqa: N812 (Uvicorn's name)

__all__ = ["WSGIMiddleware"]
