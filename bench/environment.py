"""What the measurements need: the peers, Pronghorn, the C programs, wrk, and file descriptors.

Comes in: what `run.py` was asked for. Goes out: paths, versions and a description of the machine.
Called by `run.py` before the first measurement.

The rule it keeps: whatever is missing is said in one line, with what to do about it.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from cases import MEGABYTES_100
from servers import TLSFiles

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent
VENV = FOLDER / ".venv"
BUILD = FOLDER / ".build"
REQUIREMENTS = FOLDER / "requirements.txt"
C_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
COMMAND_WAIT_S = 1800.0  # the release build of Pronghorn is the slowest
DESCRIPTORS_MIN = 6000


class SetupError(Exception):
    """Something that has to be there before anything can be measured is not."""


def compile_c(name: str) -> Path:
    """Compiles `name`.c and returns the program."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SetupError("no C compiler found: install one, e.g. `apt-get install gcc libc6-dev`")
    BUILD.mkdir(exist_ok=True)
    program = BUILD / name
    run_quietly([compiler, *C_FLAGS, "-o", str(program), str(FOLDER / f"{name}.c")])
    return program


def make_files() -> Path:
    """Writes the files that are served, and returns their folder."""
    folder = BUILD / "static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1k.bin").write_bytes(b"x" * 1024)
    large = folder / "100m.bin"
    if not large.exists() or large.stat().st_size != MEGABYTES_100:
        large.write_bytes(b"x" * MEGABYTES_100)
    return folder


def tls_files() -> TLSFiles:
    """A certificate for this machine, ECDSA on P-256, made once."""
    files = TLSFiles(BUILD / "certificate.pem", BUILD / "key.pem")
    if not files.certificate.exists():
        if shutil.which("openssl") is None:
            raise SetupError("no openssl found: install it, e.g. `apt-get install openssl`")
        BUILD.mkdir(exist_ok=True)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "3650"]
        command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
        run_quietly([*command, "-keyout", str(files.key), "-out", str(files.certificate)])
    return files


def install_peers() -> Path:
    """Builds the environment of the peers unless it is up to date; returns its script folder."""
    scripts = VENV / "bin"
    stamp = VENV / "installed.txt"
    wanted = f"Python {platform.python_version()}\n{REQUIREMENTS.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return scripts
    say("installing the peers into bench/.venv")
    venv.create(VENV, clear=True, with_pip=True)
    run_quietly([str(scripts / "python"), "-m", "pip", "install", "-q", "-r", str(REQUIREMENTS)])
    stamp.write_text(wanted)
    return scripts


def install_pronghorn(scripts: Path) -> Path:
    """Builds Pronghorn from the repository into the peers' environment."""
    say("building Pronghorn (release) into bench/.venv")
    run_quietly([str(scripts / "python"), "-m", "pip", "install", "-q", str(REPOSITORY)])
    return scripts / "pronghorn"


def require_load_generators() -> None:
    for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(tool) is None:
            raise SetupError(f"{tool} not found: install it, e.g. `apt-get install {package}`")


def raise_descriptor_limit() -> None:
    """Lets this process and the servers it starts open as many files as they may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_MIN:
        raise SetupError(f"`ulimit -Hn` is {hard}: raise it to {DESCRIPTORS_MIN} or more")


def cores() -> tuple[int, int]:
    """The core of the server and that of the load generator."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        say("only one core: the load generator takes its time from the server")
    return usable[0], usable[min(1, len(usable) - 1)]


def package_versions(scripts: Path) -> dict[str, str]:
    """Versions of what is installed beside the peers, by lower-case name."""
    output = run_quietly([str(scripts / "python"), "-m", "pip", "list", "--format", "json"])
    return {entry["name"].lower(): entry["version"] for entry in json.loads(output)}


def program_version(program: Path) -> str:
    """The version that `program --version` prints."""
    try:
        output = run_quietly([str(program), "--version"])
    except SetupError:
        return "unknown"
    found = re.search(r"\d+\.\d+\S*", output)
    return found[0] if found else "unknown"


def machine(versions: dict[str, str]) -> dict[str, str]:
    """What the figures were measured on; nothing that names the machine or its folders."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d"),
        "cpu": cpu_model(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "uvloop": versions.get("uvloop", "none"),
        "wrk": wrk_version(),
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def wrk_version() -> str:
    result = subprocess.run(
        ["wrk", "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    found = re.search(r"wrk \S*?(\d+\.\d+\.\d+)|/(\d+\.\d+\.\d+)", result.stdout)
    return (found[1] or found[2]) if found else "unknown"


def run_quietly(command: list[str]) -> str:
    """Runs `command` and returns its output; a failure is told by the last lines of it."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"`{Path(command[0]).name}` did not run: {error}") from error
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise SetupError(f"`{shown}` failed:\n" + "\n".join(lines[-15:]))
    return result.stdout


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output is the report."""
    print(text, file=sys.stderr, flush=True)
