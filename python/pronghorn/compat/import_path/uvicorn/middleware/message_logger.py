"""The trace of all messages."""

from pronghorn.message_logger import MessageLoggerMiddleware

__all__ = ["MessageLoggerMiddleware"]
