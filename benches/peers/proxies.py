"""The rows of the table and the processes behind them: started from a template in `configs/`, pinned to a core, watched, stopped."""

import hashlib
import http.client
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from needs import Stop, find

CONFIGS = Path(__file__).resolve().parent / "configs"
PROXY_CORE = 0  # the proxy's alone; load and upstream share the other
LOAD_CORE = 1
BODY = "x" * 150
PATIENCE = 15.0  # seconds that a server may take to answer
NO_LIMIT = 1_000_000  # requests a second and user: far beyond what a run can reach

JWT_CACHE = "jwt_cache_config: { jwt_cache_size: 1000 }"


@dataclass(frozen=True)
class Row:
    """One proxy in one manner of configuration."""

    name: str
    program: str
    cases: tuple
    values: dict = field(default_factory=dict)
    binary: str = ""  # as `needs` names it; empty: the program's only one


ROWS = (
    Row("nginx", "nginx", ("plain",)),
    Row("HAProxy", "haproxy", ("plain", "auth", "fresh")),
    Row("Envoy", "envoy", ("plain",)),
    Row("Envoy, JWT cache on", "envoy", ("auth", "fresh"), {"JWT_CACHE": JWT_CACHE}),
    Row("Envoy, JWT cache off", "envoy", ("auth", "fresh"), {"JWT_CACHE": ""}),
    Row("gateway", "gateway", ("plain", "auth", "fresh"), {"HEADER_CASE": "preserve"}),
    # As HAProxy and Envoy do: they write header names in lower case.
    Row("gateway, lower case", "gateway", ("plain", "auth", "fresh"), {"HEADER_CASE": "lower"}),
    Row("gateway, unprofiled", "gateway", ("plain", "auth", "fresh"), {"HEADER_CASE": "preserve"}, "gateway-unprofiled"),
)


class Server:
    """A server process and its children, alone in a session of their own, by which they are found and ended. A context manager."""

    def __init__(self, name, command, port, core, folder, ready):
        self.name, self.port, self.folder, self.ready = name, port, folder, ready
        self.log = folder / "output.log"
        self.command = ["taskset", "-c", str(core), *map(str, command)]

    def __enter__(self):
        # No variable of the caller's may configure a server: the file does.
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, env={"PATH": os.environ["PATH"]}, start_new_session=True
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_ready(self):
        port, path = self.ready
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Stop(f"{self.name} ended with {self.process.returncode} as it started:\n{self.tail()}")
            try:
                if get(port, path)[0] < 500:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise Stop(f"{self.name} does not answer {path} after {PATIENCE:.0f} s:\n{self.tail()}")

    def stop(self):
        # The second signal is also for children that outlive their parent.
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass
            try:
                self.process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                continue

    def tail(self):
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-20:])

    def cpu_seconds(self):
        """User and system time of all its processes and threads so far (proc(5): fields 14 and 15, in clock ticks)."""
        return sum(int(stat[11]) + int(stat[12]) for _, stat in self.members()) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self):
        """Resident memory, summed over its processes; what they share is counted once for each."""
        pages = sum(int(stat[21]) for _, stat in self.members())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def members(self):
        """(pid, fields of its stat from the third on) of each process of the session."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    # The second field is the command in brackets, and may hold anything.
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(stat[3]) == self.process.pid:
                    yield int(entry.name), stat


def upstream(work):
    """The upstream, not started yet."""
    port = free_port()
    folder, config = written(work, "upstream", "upstream", {"PORT": port, "BODY": BODY})
    return Server("the upstream", [find("nginx"), "-e", "stderr", "-c", config], port, LOAD_CORE, folder, (port, "/"))


def proxy(row, case, binary, upstream_port, tokens, work, limit=NO_LIMIT):
    """The proxy of `row` configured for `case`, not started yet. `limit` is in requests a second and user."""
    kind = "plain" if case == "plain" else "auth"
    port, admin = free_port(), free_port()
    folder, config = written(work, row.program, f"{row.program}-{kind}", {
        "PORT": port,
        "ADMIN": admin,
        "UPSTREAM": upstream_port,
        "LIMIT": limit,
        "ISSUER": tokens.issuer,
        "AUDIENCE": tokens.audience,
        "JWKS": tokens.jwks,
        "PUBLIC_KEY": tokens.public_key,
        "API_KEY_HASH": hashlib.sha256(secrets.token_bytes(32)).hexdigest(),
        "INTERNAL_KEY": secrets.token_hex(32),
        **row.values,
    })
    command = {
        "nginx": [binary, "-e", "stderr", "-c", config],
        "haproxy": [binary, "-db", "-f", config],
        "envoy": [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"],
        "gateway": [binary, "run", "--config", config],
    }[row.program]
    ready = (admin, "/readyz") if row.program == "gateway" else (port, "/")
    return Server(row.name, command, port, PROXY_CORE, folder, ready)


def written(work, name, template, values):
    """Fills in `configs/template.*.in`; returns the server's empty folder and the config in it."""
    folder = work / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = next(CONFIGS.glob(f"{template}.*.in"))
    values = {**values, "DIR": folder}
    config = folder / source.name.removesuffix(".in")
    config.write_text(re.sub(r"@([A-Z_]+)@", lambda found: str(values[found[1]]), source.read_text()))
    return folder, config


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path, headers=None):
    """(status, body) of one GET on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()
