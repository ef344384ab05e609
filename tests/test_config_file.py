"""The configuration file, `--check`, shell completion: what the command line does besides flags."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Start
from pronghorn.config_file import find_config_file, read_config_file
from pronghorn.errors import ConfigurationError
from test_cli import invoke

APP = """
import os
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["root_path"].encode()})

def broken():
    raise TypeError("no database")
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file_app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(directory: Path, text: str, name: str = "pronghorn.toml") -> None:
    (directory / name).write_text(text)


def complaint(directory: Path, text: str, name: str = "pronghorn.toml") -> str:
    """What the command line says about a file; it must be one line."""
    write(directory, text, name)
    done = invoke("file_app:app", "--check", cwd=directory)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_options_are_read_under_either_name(directory: Path) -> None:
    write(
        directory,
        'app = "file_app:app"\nport = 81\nlimit-concurrency = 5\ntimeout_keep_alive = 2.5\n'
        'reload-dir = ["src"]\nreload_includes = "*.html"\nheader = ["x-a: b", "x-c:d"]\n'
        'access-log = false\nbind = [":80", "unix:/run/s"]\n',
    )
    assert read_config_file("pronghorn.toml").options == {
        "app": "file_app:app",
        "port": 81,
        "limit_concurrency": 5,
        "timeout_keep_alive": 2.5,
        "reload_dirs": ["src"],
        "reload_includes": ["*.html"],
        "headers": [("x-a", " b"), ("x-c", "d")],
        "access_log": False,
        "bind": [":80", "unix:/run/s"],
    }


def test_headers_can_be_a_table(directory: Path) -> None:
    write(directory, '[headers]\nx-a = "b"\n')
    assert read_config_file("pronghorn.toml").options == {"headers": [("x-a", "b")]}


def test_file_in_the_working_directory_is_found(directory: Path) -> None:
    assert find_config_file() is None
    write(directory, "[tool.ruff]\n", "pyproject.toml")
    assert find_config_file() is None
    write(directory, "[tool.pronghorn]\nport = 1\n", "pyproject.toml")
    assert find_config_file() == "pyproject.toml"
    assert read_config_file("pyproject.toml").options == {"port": 1}
    write(directory, "port = 2")
    assert find_config_file() == "pronghorn.toml"


def test_server_is_configured_by_a_file_alone(directory: Path, start: Start) -> None:
    write(directory, '[tool.pronghorn]\nroot-path = "/api"\nport = 0\n', "pyproject.toml")
    server = start("file_app:app", "--app-dir", str(directory), listen=())
    assert server.get("/") == b"/api"


def test_flag_wins_over_environment_over_file_over_default(directory: Path, start: Start) -> None:
    write(directory, 'root-path = "/file"\n', "other.toml")
    app = ("file_app:app", "--app-dir", str(directory), "--config", "other.toml")
    environment = {"UVICORN_ROOT_PATH": "/environment"}
    assert start(*app[:3]).get("/") == b""
    assert start(*app).get("/") == b"/file"
    assert start(*app, environment=environment).get("/") == b"/environment"
    flagged = start(*app, "--root-path", "/flag", environment=environment)
    assert flagged.get("/") == b"/flag"


def test_file_can_be_named_by_the_environment(directory: Path, start: Start) -> None:
    write(directory, 'root-path = "/named"\n', "other.toml")
    server = start(
        "file_app:app",
        "--app-dir",
        str(directory),
        environment={"PRONGHORN_CONFIG": str(directory / "other.toml")},
    )
    assert server.get("/") == b"/named"


def test_application_of_the_file_is_loaded(directory: Path) -> None:
    write(directory, 'app = "file_app:nope"\n')
    done = invoke("--check", cwd=directory)
    assert done.returncode == 3
    assert 'Attribute "nope" not found in module "file_app"' in done.stderr
    done = invoke("file_app:app", "--check", cwd=directory)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port = 80\nprot = 80\n", "`pronghorn.toml, line 2: prot` is no option; did you mean `p"),
        ("zzz = 1", "`pronghorn.toml, line 1: zzz` is no option; `pronghorn --help` lists them."),
        ("[ssl]\nkey = 1", "`pronghorn.toml, line 1: ssl` is no option"),
        ("port = 99999", "`pronghorn.toml, line 1: port` must be between 0 and 65535, got `99999`"),
        ("# a\n\nport = true", "`pronghorn.toml, line 3: port` must be a whole number, got `True`"),
        ("host = 5", "`pronghorn.toml, line 1: host` must be a text, got `5`."),
        ("access-log = 'no'", "`pronghorn.toml, line 1: access-log` must be True or False"),
        ("reload = false\nlifespan = 'x'", "`pronghorn.toml, line 2: lifespan` must be one of"),
        ("bind = [\n':1',\n'x'\n]\n", "`pronghorn.toml, line 1: bind` needs the form `host:port`"),
        ("header = ['x']", "`pronghorn.toml, line 1: header` needs a name and a value"),
        ("env-file = '/nowhere'", "`pronghorn.toml, line 1: env-file` does not exist, `/nowhere`."),
        ("headers = 5", "`pronghorn.toml, line 1: headers` must be a list, got `5`."),
        ("a = '''\nport = 1\n'''\nport = 'x'", "`pronghorn.toml, line 1: a` is no option"),
        ("log-level = '''\nport = 1\n'''\n", "`pronghorn.toml, line 1: log-level` must be one of"),
        (
            "port = 1\nhost = \n",
            "`pronghorn.toml` is not TOML: Invalid value (at line 2, column 8).",
        ),
        ("limit-concurrency = 1\nlimit_concurrency = 2", "line 2: limit_concurrency` is given as"),
        ("reload_dirs = 'a'\nreload-dir = 'b'", "2: reload-dir` is given as `reload_dirs` already"),
        ("callback-notify = 'x'", "line 1: callback-notify` is no option"),
    ],
)
def test_mistake_is_told_with_its_place(text: str, line: str, directory: Path) -> None:
    assert line in complaint(directory, text)


def test_mistake_in_a_project_file_is_told_with_its_place(directory: Path) -> None:
    text = "[project]\nport = 1\n[tool.pronghorn]\nworkers = 1\nport = -1\n"
    said = complaint(directory, text, "pyproject.toml")
    assert "`pyproject.toml, line 5: port` must be between 0 and 65535, got `-1`" in said


def test_flag_that_replaces_a_mistake_of_the_file_is_used(directory: Path) -> None:
    write(directory, "port = 99999\n")
    done = invoke("file_app:app", "--check", "--port", "80", cwd=directory)
    assert (done.returncode, done.stderr) == (0, "")
    done = invoke("file_app:app", "--check", "--port", "65536", cwd=directory)
    assert done.stderr == "Error: `--port` must be between 0 and 65535, got `65536`.\n"


def test_file_that_cannot_be_read_is_named(directory: Path) -> None:
    done = invoke("file_app:app", "--config", "nowhere.toml", cwd=directory)
    assert done.returncode == 2
    assert "Invalid value for '--config': File 'nowhere.toml' does not exist." in done.stderr
    (directory / "latin.toml").write_bytes(b"host = '\xe9'")
    with pytest.raises(ConfigurationError, match=r"^`latin\.toml` cannot be read: it is not UTF-8"):
        read_config_file("latin.toml")
    write(directory, "[project]\n", "pyproject.toml")
    with pytest.raises(ConfigurationError, match=r"has no table `\[tool\.pronghorn\]`"):
        read_config_file("pyproject.toml")


def test_check_says_that_all_is_well_and_opens_nothing(directory: Path) -> None:
    write(directory, 'uds = "/nowhere/socket"\n')
    done = invoke("file_app:app", "--check", cwd=directory)
    assert done.stdout == "The configuration is valid. (Read pronghorn.toml.)\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("file_app:broken --factory", 3, "Error loading ASGI app factory: no database"),
        ("nowhere:app", 3, 'Could not import module "nowhere"'),
        ("file_app:app --loop nowhere:new", 3, "Error loading custom loop setup function."),
        ("file_app:app --log-config empty.json", 2, "`--log-config` cannot be parsed"),
        ("file_app:app --bind nowhere", 2, "`--bind` needs the form `host:port`"),
    ],
)
def test_check_finds_what_would_not_start(
    arguments: str, code: int, line: str, directory: Path
) -> None:
    write(directory, "", "empty.json")
    done = invoke(*arguments.split(), "--check", cwd=directory)
    assert (done.returncode, done.stdout) == (code, "")
    assert line in done.stderr


def completed(words: str, number: int) -> list[str]:
    """What a shell would offer for the word with this number."""
    program = shutil.which("pronghorn", path=str(Path(sys.executable).parent))
    assert program is not None
    done = subprocess.run(
        [program],
        env={
            **os.environ,
            "_PRONGHORN_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(number),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_shells_complete_flags_and_choices() -> None:
    assert completed("pronghorn --limit-req", 1)[:1] == ["--limit-request-headers"]
    assert completed("pronghorn --lifespan ", 2) == ["auto", "on", "off"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_for_a_shell_is_printed(shell: str) -> None:
    program = Path(sys.executable).parent / "pronghorn"
    done = subprocess.run(
        [program],
        env={**os.environ, "_PRONGHORN_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"_PRONGHORN_COMPLETE=[\"']?\w+_complete", done.stdout)
