"""Reads the signatures that `generate` writes: where they split, and what has a default."""

from __future__ import annotations


def split_parameters(signature: str) -> list[str]:
    """The parameters of a signature, split at the commas outside of brackets and strings."""
    parts, depth, quote, start = [], 0, "", 0
    for index, letter in enumerate(signature):
        if quote:
            quote = "" if letter == quote and signature[index - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(signature[start:index].strip())
            start = index + 1
    parts.append(signature[start:].strip())
    return [part for part in parts if part]


def argument_name(parameter: str) -> str:
    return parameter.partition(":")[0].partition("=")[0].strip()


def has_default(parameter: str) -> bool:
    """Whether a parameter has a default of Python's (outside of brackets)."""
    depth = 0
    for letter in parameter:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "=" and depth == 0:
            return True
    return False
