"""Import strings."""

from pronghorn.errors import ImportFromStringError
from pronghorn.importer import import_from_string

__all__ = ["ImportFromStringError", "import_from_string"]
