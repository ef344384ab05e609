"""What can be wrong with an option's value beyond its type and bounds.

Each function takes a value of the right type and returns the rest of a sentence that begins with
the option's name, or None. Used by the rows of `settings.py`.
"""

from typing import Any

from pronghorn.addresses import parse_address
from pronghorn.logging import LOG_LEVELS
from pronghorn.memory import can_measure


def header_complaint(headers: Any) -> str | None:
    """Names and values of header fields."""
    for header in headers:
        if isinstance(header, str) or len(header) != 2:
            return f"needs a name and a value as in `name:value`, got `{header}`."
        name, value = header
        if not name or not name.isascii() or not _is_token(name):
            return f"has a name that is no HTTP field name, `{name}`; use letters, digits and `-`."
        if not all(" " <= character <= "\xff" and character != "\x7f" for character in value):
            return f"has a value with a character that HTTP does not allow, `{value!a}`."
    return None


def _is_token(name: str) -> bool:
    # RFC 9110, section 5.6.2.
    return all(character.isalnum() or character in "!#$%&'*+-.^_`|~" for character in name)


def log_level_complaint(level: Any) -> str | None:
    """A name or a number of a level."""
    if isinstance(level, int) or (isinstance(level, str) and level.lower() in LOG_LEVELS):
        return None
    return f"must be one of {', '.join(LOG_LEVELS)}, got `{level}`."


def root_path_complaint(root_path: Any) -> str | None:
    """A path as it stands in a URL."""
    if isinstance(root_path, str) and root_path.isascii() and root_path.isprintable():
        return None
    return f"must be printable ASCII, got `{root_path!a}`; percent-encode the rest."


def bind_complaint(bind: Any) -> str | None:
    """Addresses to listen on."""
    for text in [bind] if isinstance(bind, str) else bind:
        try:
            parse_address(text)
        except ValueError as error:
            return f"{error}, got `{text}`."
    return None


def exempt_complaint(paths: Any) -> str | None:
    """Paths of requests."""
    wrong = next((path for path in paths if not path.startswith("/")), None)
    return wrong and f"must be paths that begin with `/`, got `{wrong}`."


def path_complaint(path: Any) -> str | None:
    """The path of requests."""
    if isinstance(path, str) and path.startswith("/"):
        return None
    return f"must start with `/`, got `{path}`."


def memory_complaint(limit: Any) -> str | None:
    """A limit that can be watched here."""
    return None if can_measure() else "cannot be measured on this platform; leave it out."
