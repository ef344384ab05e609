"""Trust in proxies."""

from pronghorn.proxy_headers import ProxyHeadersMiddleware

__all__ = ["ProxyHeadersMiddleware"]
