"""Which models come out the same from JSON text as from the objects that it stands for.

Pydantic validates JSON text three times as fast as what `json.loads` makes of it. The two differ
where types are strict (JSON has no dates, so text is one there), in unions (whose members are tried
in the order of how well they fit), and wherever code of the user's looks on (validators are told
which of the two it is, and would be called twice). `is_same_from_json` names the few kinds of
schemas for which they do not differ, as long as the text is valid: what fails is parsed and
validated again, in the way that gives FastAPI's errors.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import CoreSchema

_PLAIN = frozenset(("str", "int", "float", "bool", "none"))
_CONSTRAINTS = frozenset(("ge", "gt", "le", "lt", "max_length", "min_length", "pattern"))
_ABOUT = frozenset(("metadata", "ref", "serialization", "type"))
_MODEL = frozenset(("cls", "config", "custom_init", "root_model", "schema"))
_FIELDS = frozenset(("computed_fields", "fields", "model_name"))
_FIELD = frozenset(("frozen", "schema", "serialization_exclude", "validation_alias"))
_CONFIG = frozenset(("title",))


def is_same_from_json(schema: CoreSchema | dict[str, Any]) -> bool:
    """Whether a schema has nothing but plain types, and models, lists and options of them."""
    given: Any = schema
    kind, keys = given["type"], given.keys() - _ABOUT
    if kind in _PLAIN:
        return bool(keys <= _CONSTRAINTS)
    if kind == "definition-ref":
        return bool(keys <= {"schema_ref"})
    if kind == "definitions":
        return all(map(is_same_from_json, (given["schema"], *given["definitions"])))
    if kind == "nullable":
        return keys <= {"schema"} and is_same_from_json(given["schema"])
    if kind == "default":
        return keys <= {"default", "schema"} and is_same_from_json(given["schema"])
    if kind == "list":
        return keys <= {"items_schema", "max_length", "min_length"} and is_same_from_json(
            given.get("items_schema", {"type": "any"})
        )
    if kind == "model":
        return (
            keys <= _MODEL
            and not given.get("custom_init")
            and not given.get("root_model")
            and given.get("config", {}).keys() <= _CONFIG
            and is_same_from_json(given["schema"])
        )
    if kind == "model-fields":
        return keys <= _FIELDS and all(map(_is_plain_field, given["fields"].values()))
    return False


def _is_plain_field(field: dict[str, Any]) -> bool:
    keys = field.keys() - _ABOUT - {"serialization_alias"}
    return (
        keys <= _FIELD
        and isinstance(field.get("validation_alias", ""), str)
        and is_same_from_json(field["schema"])
    )
