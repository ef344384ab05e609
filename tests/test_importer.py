"""Import strings: what they lead to, and what is said when they lead nowhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pronghorn.errors import ConfigurationError, ImportFromStringError
from pronghorn.importer import import_from_string, optional_module


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "importer_good.py").write_text("class Site:\n    app = 'it'\n")
    (tmp_path / "importer_broken.py").write_text("import importer_missing_dependency\n")
    (tmp_path / "importer_raises.py").write_text("raise AttributeError('inside')\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("main", 'Import string "main" must be in format "<module>:<attribute>".'),
        ("main:", 'Import string "main:" must be in format "<module>:<attribute>".'),
        (":app", 'Import string ":app" must be in format "<module>:<attribute>".'),
        ("importer_nowhere:app", 'Could not import module "importer_nowhere".'),
        ("importer_nowhere.sub:app", 'Could not import module "importer_nowhere.sub".'),
        ("importer_good.sub:app", 'Could not import module "importer_good.sub".'),
        ("importer_good:nope", 'Attribute "nope" not found in module "importer_good".'),
        ("importer_good:Site.nope", 'Attribute "Site.nope" not found in module "importer_good".'),
    ],
)
def test_string_that_leads_nowhere_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(text)
    assert str(caught.value) == complaint


def test_follows_dotted_attributes() -> None:
    assert import_from_string("importer_good:Site.app") == "it"


def test_returns_anything_but_a_string_unchanged() -> None:
    assert import_from_string(sys) is sys


def test_error_of_the_module_itself_passes_through() -> None:
    with pytest.raises(ModuleNotFoundError, match="importer_missing_dependency"):
        import_from_string("importer_broken:app")
    with pytest.raises(AttributeError, match="inside"):
        import_from_string("importer_raises:app")


def test_missing_optional_package_is_a_complaint_about_the_option() -> None:
    with pytest.raises(ConfigurationError, match=r"^`interface` needs it\.$"):
        optional_module("importer_nowhere", option="interface", remedy="needs it.")
