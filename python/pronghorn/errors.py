"""What can go wrong outside the protocols, as exceptions that say who erred.

A `ConfigurationError` is the user's: its text is one line that names the option, what is wrong
and what to do, and the command line prints it without a stack trace. Raised by `Config` and the
modules below it; caught by the command line and by tests.
"""

STARTUP_FAILURE = 3
"""The exit code of a server that could not start."""


class PronghornError(Exception):
    """The base of every exception that Pronghorn defines."""


class ConfigurationError(PronghornError, ValueError):
    """An option has a value that cannot be used.

    `option` is the option's name as `Config` spells it, or the name of an environment variable;
    `complaint` is the rest of the sentence.
    """

    def __init__(self, option: str, complaint: str) -> None:
        super().__init__(option, complaint)
        self.option = option
        self.complaint = "".join(
            each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
            for each in complaint
        )

    def __str__(self) -> str:
        return f"`{self.option}` {self.complaint}"


class ImportFromStringError(PronghornError):
    """An import string such as `main:app` does not lead to an object."""


class TLSError(PronghornError):
    """A certificate, a key or another TLS setting cannot be used; the text is one line."""


class ClientDisconnected(PronghornError, OSError):  # noqa: N818 (the name under Uvicorn)
    """The application sent something to a client that has gone away."""
