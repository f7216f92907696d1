"""Processes that tests start: read line by line, waited for by what they say, and stopped with their children."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / "target/real"
SERVICES = ROOT / "tests/real/services"

# Two busy cores make everything slow; what does not come in this time does not come.
PATIENCE_S = 240


def python(environment="main"):
    """Python of `tests/real/python/ENVIRONMENT.txt`."""
    return INSTALLED / environment / "bin/python"


class Process:
    """Runs `command` in an environment of its own: `env` and a `PATH`."""

    def __init__(self, command, env=None, cwd=ROOT):
        self.name = Path(str(command[0])).name
        self._lines = []
        self._changed = threading.Condition()
        self._ended = False
        path = f"{INSTALLED / 'main/bin'}:{os.environ['PATH']}"
        self.child = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={"PATH": path, "HOME": os.environ.get("HOME", "/"), "PYTHONUNBUFFERED": "1"} | (env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def lines(self):
        """All that it said so far."""
        with self._changed:
            return list(self._lines)

    def wait_for(self, what, found, since=0):
        """Waits until `found(line)` is something, for a line after the first `since`; returns that."""
        deadline = time.monotonic() + PATIENCE_S
        seen = since
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    seen += 1
                    value = found(line)
                    if value is not None:
                        return value
                if self._ended or not self._changed.wait(deadline - time.monotonic()):
                    how = "ended" if self._ended else "is silent"
                    raise AssertionError(f"{self.name} {how} before {what}:\n" + "\n".join(self._lines[-50:]))

    def says(self, pattern, since=0):
        """Waits for a line that has this; returns the match."""
        return self.wait_for(pattern, re.compile(pattern).search, since)

    def tell(self, line):
        """Says this to it; returns the number of lines that it had said before."""
        before = len(self.lines)
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return before

    def stop(self):
        """Asks it to end, makes it end, and returns its exit code."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            code = self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        # What it started and left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def service(name, *arguments, **options):
    """One of `tests/real/services`: it serves on a free port of loopback, and says `listening on PORT`."""
    runner = "node" if name.endswith(".mjs") else python()
    process = Process([runner, SERVICES / name, *arguments], **options)
    try:
        process.port = int(process.says(r"listening on (\d+)$")[1])
    except BaseException:
        process.stop()
        raise
    process.url = f"http://127.0.0.1:{process.port}"
    return process


def eventually(what, found):
    """Asks again until `found()` is something, for what nobody is told of; returns that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = found()
        if value is not None and value is not False:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.05)
