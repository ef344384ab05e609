"""What supervisors see of their workers and these of them: deaths, silences, limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import Start
from pronghorn import Config
from pronghorn.supervision import Board
from pronghorn.supervisors.process import Process
from support.processes import (
    descendants,
    is_running,
    started_pids,
    wait_for_answers,
    wait_for_started,
    wait_until,
    wait_until_gone,
    worker_pids,
)
from support.server import TESTS, command
from support.tls import Certificates

APP = "support.apps:app"
PROCESSES = "support.apps_processes"


def run(app: str, *options: str) -> tuple[int, str]:
    """The exit code and the log of a server that ends by itself."""
    done = subprocess.run(
        [*command(), app, "--app-dir", str(TESTS), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stderr


# --- Signs of life -----------------------------------------------------------------------------


def test_worker_that_holds_the_gil_is_left_alone_and_reported(start: Start) -> None:
    server = start(f"{PROCESSES}:holds_gil", "--workers", "2", "--timeout-worker-healthcheck", "1")
    wait_for_answers(server, 2)
    before = worker_pids(server)
    with server.connect() as wire:
        wire.send_request("GET", "/hold/4")
        line = server.stderr.wait_for("The event loop of child process")
        assert "the application blocks it" in line
        assert wire.response().body == b"held"
    assert worker_pids(server) == before
    assert "died" not in server.stderr.text()


def test_worker_that_is_stopped_is_replaced(start: Start) -> None:
    server = start(APP, "--workers", "2", "--timeout-worker-healthcheck", "1")
    wait_for_started(server, 2)
    victim = worker_pids(server)[0]
    since = server.stderr.count()
    os.kill(victim, signal.SIGSTOP)
    server.stderr.wait_for(rf"Child process \[{victim}\] has shown no sign of life", since=since)
    wait_for_started(server, 1, since)
    assert not is_running(victim)


@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)])
def test_process_that_is_stopped_does_not_hold_the_end(
    start: Start, options: tuple[str, ...]
) -> None:
    server = start(APP, *options, "--timeout-worker-healthcheck", "1")
    wait_for_started(server, 2 if "--workers" in options else 1)
    victim = started_pids(server)[0]
    os.kill(victim, signal.SIGSTOP)
    server.signal(signal.SIGTERM)
    server.stderr.wait_for(rf"Child process \[{victim}\] has shown no sign of life")
    assert server.wait() == 0
    assert not is_running(victim)


@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)])
def test_process_that_takes_long_to_shut_down_is_waited_for(
    start: Start, options: tuple[str, ...]
) -> None:
    server = start(f"{PROCESSES}:stops_slowly", *options, "--timeout-worker-healthcheck", "1")
    count = 2 if "--workers" in options else 1
    wait_for_started(server, count)
    server.signal(signal.SIGTERM)
    is_supervised = bool({"--workers", "--reload"} & {*options})
    assert server.wait() == (0 if is_supervised else -signal.SIGTERM)
    assert server.stdout.text().count("stopped") == count
    assert "no sign of life" not in server.stderr.text()


@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",), ()])
def test_graceful_timeout_is_for_requests_and_not_for_the_shutdown_of_the_application(
    start: Start, options: tuple[str, ...]
) -> None:
    graceful = ("--timeout-graceful-shutdown", "0.5")
    test_process_that_takes_long_to_shut_down_is_waited_for(start, (*options, *graceful))


def test_server_answers_while_one_worker_is_blocked(start: Start) -> None:
    server = start(f"{PROCESSES}:holds_gil", "--workers", "2")
    wait_for_answers(server, 2)
    with server.connect() as wire:
        wire.send_request("GET", "/block/3")
        began_at = time.monotonic()
        for _ in range(20):
            assert server.get("/") == b"hello"
        assert time.monotonic() - began_at < 2
        assert wire.response().body == b"blocked"


def test_killed_worker_is_replaced_within_a_second_and_its_start(start: Start) -> None:
    """`bench/recovery.py` measures it; here a busy machine may take twice its own start."""
    began_at = time.monotonic()
    server = start(APP, "--workers", "2", "--no-access-log")
    before = wait_for_answers(server, 2)
    start_s = time.monotonic() - began_at
    since = server.stderr.count()
    killed_at = time.monotonic()
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: int(server.get("/pid")) not in before, what="a new one answers")
    took_s = time.monotonic() - killed_at
    print(f"{took_s:.2f} s, the start of all took {start_s:.2f} s")
    assert took_s <= 1 + 2 * start_s
    assert server.stderr.text(since).count("Started server process") == 1


# --- Failures ----------------------------------------------------------------------------------


def test_worker_that_fails_to_start_stops_the_parent() -> None:
    code, said = run("support.apps:no_such_app", "--workers", "2")
    assert code == 3
    assert "failed to start, stopping the parent process." in said
    assert said.count("Error loading ASGI app") <= 2


def test_crash_loop_ends_with_a_message() -> None:
    code, said = run(f"{PROCESSES}:dies_soon", "--workers", "2")
    assert code == 3
    assert "in a row right after their start; giving up and stopping the parent process." in said
    assert "The next one is started in 0.2 s." in said
    assert said.count("Started server process") < 25


def test_roll_is_aborted_when_the_new_worker_is_not_ready(start: Start, tmp_path: Path) -> None:
    hang = tmp_path / "hang"
    server = start(
        f"{PROCESSES}:starts_or_not", "--workers", "2", "--timeout-worker-healthcheck", "1",
        environment={"HANG_IF": str(hang)},
    )  # fmt: skip
    before = wait_for_answers(server, 2)
    hang.touch()
    server.signal(signal.SIGHUP)
    line = server.stderr.wait_for("was not ready in time")
    assert f"keeping worker [{min(before)}] and aborting the restart." in line
    wait_until(lambda: set(worker_pids(server)) == before, what="the new one is gone")
    assert wait_for_answers(server, 2) == before


def test_roll_is_aborted_when_the_new_worker_fails_and_works_later(
    start: Start, tmp_path: Path
) -> None:
    fail = tmp_path / "fail"
    server = start(
        f"{PROCESSES}:starts_or_not", "--workers", "2", environment={"FAIL_IF": str(fail)}
    )
    before = wait_for_answers(server, 2)
    fail.touch()
    server.signal(signal.SIGHUP)
    line = server.stderr.wait_for("aborting the restart")
    assert f"keeping worker [{min(before)}]" in line
    assert wait_for_answers(server, 2) == before
    fail.unlink()
    server.signal(signal.SIGHUP)
    wait_until(lambda: not before & set(worker_pids(server)), what="both are replaced")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_group_of_a_process_that_has_gone_is_not_killed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process may have its number by then."""
    process = Process(Config(APP, log_config=None), [], dict, Board())
    process.start()
    wait_until(process.has_ended, what="the process ends")
    killed: list[int] = []
    monkeypatch.setattr("os.killpg", lambda group, _: killed.append(group))
    process.kill()
    assert not killed


FAULTY = {
    "workers": """
        class Faulty(Multiprocess):
            def keep_subprocess_alive(self):
                super().keep_subprocess_alive()
                if all(process.is_ready for process in self.processes):
                    raise RuntimeError("a fault")

        def supervisor():
            config = pronghorn.Config("program:app", port=0, workers=2)
            return Faulty(config, [config.bind_socket()])
    """,
    "reload": """
        class Faulty(BaseReload):
            def should_restart(self):
                self.pause()
                if self.process.is_ready:
                    raise RuntimeError("a fault")

        def supervisor():
            config = pronghorn.Config("program:app", port=0, reload=True)
            return Faulty(config, pronghorn.Server(config).run, [config.bind_socket()])
    """,
}


@pytest.mark.parametrize("kind", FAULTY)
def test_fault_of_the_parent_ends_its_processes(kind: str, tmp_path: Path) -> None:
    """Those that ran on would keep the pipe open that is read to its end here."""
    script = tmp_path / "program.py"
    script.write_text(
        "import pronghorn\n"
        "from pronghorn.supervisors import BaseReload, Multiprocess\n\n"
        "async def app(scope, receive, send): ...\n"
        f"{textwrap.dedent(FAULTY[kind])}\n"
        "if __name__ == '__main__':\n"
        "    supervisor().run()\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: a fault" in done.stderr


def test_failure_of_one_worker_does_not_stop_the_others(start: Start, tmp_path: Path) -> None:
    fail = tmp_path / "fail"
    server = start(
        f"{PROCESSES}:starts_or_not", "--workers", "2", environment={"FAIL_IF": str(fail)}
    )
    wait_for_answers(server, 2)
    fail.touch()
    since = server.stderr.count()
    os.kill(worker_pids(server)[0], signal.SIGKILL)
    server.stderr.wait_for("The next one is started in", since=since)
    assert server.get("/") == b"hello"
    fail.unlink()
    wait_for_answers(server, 2)


def test_failure_of_an_added_worker_does_not_stop_those_that_start(
    start: Start, tmp_path: Path
) -> None:
    fail, hang = tmp_path / "fail", tmp_path / "hang"
    hang.touch()
    server = start(
        f"{PROCESSES}:starts_or_not",
        "--workers",
        "2",
        environment={"FAIL_IF": str(fail), "HANG_IF": str(hang)},
    )
    wait_until(lambda: server.stdout.text().count("starting") == 2, what="both start")
    fail.touch()
    server.signal(signal.SIGTTIN)
    server.stderr.wait_for("The next one is started in")
    hang.unlink()
    wait_for_answers(server, 2)
    fail.unlink()
    wait_for_answers(server, 3)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)])
def test_process_that_cannot_be_started_is_started_later(
    start: Start, options: tuple[str, ...]
) -> None:
    server = start(APP, *options)
    count = 2 if "--workers" in options else 1
    wait_for_started(server, count)
    # One that dies before it answers may have failed to start: then files are waited for.
    victim = min(wait_for_answers(server, count))
    since = server.stderr.count()
    server.limit_descriptors(server.descriptor_count() - 4)  # fewer than it has
    os.kill(victim, signal.SIGKILL)
    server.stderr.wait_for("Cannot start a child process: .*Too many open files")
    server.limit_descriptors(1024)
    # Under reload it is the spare one that has been there before, and the next is a new one.
    for _ in range(2):
        [pid] = wait_for_started(server, 1, since)
        wait_until(lambda n=pid: int(server.get("/pid")) == n, what="it answers")  # type: ignore[misc]
        since = server.stderr.count()
        os.kill(pid, signal.SIGKILL)
    wait_for_started(server, 1, since)
    assert server.get("/") == b"hello"


# --- Limits ------------------------------------------------------------------------------------


def test_worker_is_replaced_after_its_requests(start: Start) -> None:
    server = start(APP, "--workers", "2", "--limit-max-requests", "20", "--no-access-log")
    with server.connect() as wire:
        answers = []

        def is_told_of_the_end() -> bool:
            wire.send_request("GET", "/pid")
            answers.append(wire.response())
            return answers[-1].closes

        wait_until(is_told_of_the_end, what="the last response says so")
        wire.assert_closed()
    assert len(answers) > 20
    [pid] = {answer.body.decode() for answer in answers}
    # The worker may act on it before the parent says so.
    server.stderr.wait_for(rf"Terminated child process \[{pid}\]")
    said = server.stderr.all()
    assert "INFO:     Maximum request limit of 20 exceeded. Terminating process." in said
    # The next one was ready before.
    end = said.index(f"INFO:     Terminated child process [{pid}]")
    assert sum("Application startup complete" in line for line in said[:end]) >= 3


def test_worker_is_replaced_at_its_memory_limit(start: Start) -> None:
    server = start(f"{PROCESSES}:grows", "--workers", "2", "--limit-max-memory", "120")
    wait_for_answers(server, 2)
    since = server.stderr.count()
    for _ in range(180):
        server.get("/grow")
    server.stderr.wait_for("Maximum memory of 120 MiB exceeded. Terminating process.", since=since)
    wait_for_started(server, 1, since)
    server.stderr.wait_for("Terminated child process", since=since)
    assert server.get("/") == b"hello"


def test_single_process_ends_at_its_memory_limit(start: Start) -> None:
    server = start(f"{PROCESSES}:grows", "--limit-max-memory", "100")
    for _ in range(80):
        server.get("/grow")
    assert server.wait() == 0
    said = server.stderr.all()
    assert "INFO:     Maximum memory of 100 MiB exceeded. Terminating process." in said


# --- Families ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)])
def test_killed_parent_leaves_nothing_of_an_application_with_processes(
    start: Start, options: tuple[str, ...]
) -> None:
    server = start(f"{PROCESSES}:with_pool", *options)
    wait_for_started(server, 2 if "--workers" in options else 1)
    family = descendants(server.pid)
    assert len(family) >= 4
    server.process.kill()
    wait_until_gone(family, within_s=2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_dead_worker_leaves_nothing_of_an_application_with_processes(
    start: Start, number: signal.Signals
) -> None:
    server = start(f"{PROCESSES}:with_pool", "--workers", "2")
    wait_for_started(server, 2)
    victim = worker_pids(server)[0]
    family = descendants(victim)
    assert len(family) >= 3
    os.kill(victim, number)
    wait_until_gone(family)


def test_stopped_worker_does_not_outlive_its_parent(start: Start) -> None:
    server = start(APP, "--workers", "2")
    wait_for_started(server, 2)
    pids = worker_pids(server)
    os.kill(pids[0], signal.SIGSTOP)
    server.process.kill()
    wait_until_gone(pids, within_s=2)


# --- Draining ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_serves_on_and_says_that_it_is_not_ready(start: Start, workers: str) -> None:
    server = start(
        APP, "--workers", workers, "--drain-delay", "1.5", "--readiness-path", "/pid",
    )  # fmt: skip
    wait_for_answers(server, int(workers))
    server.signal(signal.SIGTERM)
    server.stderr.wait_for("Serving on for 1.5 s before shutting down.")
    wait_until(lambda: status(server, "/pid") == 503, what="it says so")
    with server.connect() as wire:
        wire.send_request("GET", "/")
        assert wire.response().body == b"hello"
        assert "Shutting down" not in server.stderr.text()
        wire.assert_closed()
    assert server.wait() == (0 if workers == "2" else -signal.SIGTERM)


def status(server: object, target: str) -> int:
    with server.connect() as wire:  # type: ignore[attr-defined]
        wire.send_request("GET", target)
        found: int = wire.response().status
        return found


def test_interrupt_does_not_wait_for_the_drain_delay(start: Start) -> None:
    server = start(APP, "--drain-delay", "30")
    server.signal(signal.SIGINT)
    assert server.wait() == 0


# --- Preloading --------------------------------------------------------------------------------


def test_preloaded_application_is_imported_once(start: Start) -> None:
    server = start(f"{PROCESSES}:imported_in", "--workers", "2", "--preload")
    wait_for_answers(server, 2)
    assert server.get("/imported-in") == b"%d" % server.pid
    since = server.stderr.count()
    os.kill(worker_pids(server)[0], signal.SIGKILL)
    wait_for_started(server, 1, since)
    family = worker_pids(server)
    server.process.kill()
    wait_until_gone(family, within_s=2)


def test_preloaded_workers_are_rolled_and_end(start: Start) -> None:
    server = start(APP, "--workers", "2", "--preload")
    wait_for_started(server, 2)
    since = server.stderr.count()
    server.signal(signal.SIGHUP)
    wait_for_started(server, 2, since)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_application_that_starts_threads_is_not_forked(
    start: Start, tmp_path: Path, certificates: Certificates
) -> None:
    (tmp_path / "threaded.py").write_text(
        textwrap.dedent(
            """
            import threading
            from support.apps import app as everything

            threading.Thread(target=threading.Event().wait, daemon=True).start()
            lock = threading.Lock()

            async def app(scope, receive, send, lock=lock):
                return await everything(scope, receive, send)
            app = type("App", (), {"lock": lock, "__call__": staticmethod(app)})()
            """
        )
    )
    files = certificates.issue("localhost", file="threaded")
    server = start(
        "threaded:app", "--workers", "2", "--preload", *files.options,
        environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{TESTS}"},
        client_context=certificates.client(),
    )  # fmt: skip
    server.stderr.wait_for("The application starts threads when it is imported")
    wait_for_started(server, 2)
    assert server.get("/") == b"hello"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, 0)])
def test_parent_that_preloads_can_be_ended(
    start: Start, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "endless.py").write_text(
        "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(600)\n"
    )
    server = start(
        "endless:app", "--workers", "2", "--preload", environment={"PYTHONPATH": str(tmp_path)}
    )
    server.stderr.wait_for("importing")
    server.signal(number)
    assert server.wait() == code
