"""The load: wrk over CONNECTIONS kept-alive connections, pinned beside the upstream, and a crowd of idle connections for memory."""

import json
import os
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from needs import Stop, find
from proxies import BODY, LOAD_CORE

HERE = Path(__file__).resolve().parent
CONNECTIONS = 64
CROWD = 1000
WARM_UP = 1  # seconds


@dataclass(frozen=True)
class Measured:
    """One run. Times in microseconds, memory in MiB."""

    requests_per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    rss_mib: float


def measure(server, case, tokens, seconds):
    """Warms the server up with the repeated token, then loads it for `seconds` (fewer, if the fresh tokens run out)."""
    wrk(server, tokens, WARM_UP)
    before = server.cpu_seconds()
    told = wrk(server, tokens, seconds, fresh=case == "fresh")
    cpu = server.cpu_seconds() - before
    return Measured(
        requests_per_second=told["requests"] / told["seconds"],
        cpu_us=cpu / told["requests"] * 1e6,
        p50_us=told["p50_us"],
        p99_us=told["p99_us"],
        rss_mib=server.rss_mib(),
    )


def wrk(server, tokens, seconds, fresh=False):
    """One run of wrk; what `report.lua` says of it. Any failed request ends the comparison."""
    script = "fresh.lua" if fresh else "report.lua"
    credential = [] if fresh else ["-H", f"Authorization: Bearer {tokens.repeated}"]
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), find("wrk"), "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", *credential,
         "-s", HERE / script, f"http://127.0.0.1:{server.port}/"],
        cwd=HERE, env={**os.environ, "FRESH_TOKENS": str(tokens.fresh)}, capture_output=True, text=True,
    )
    reports = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not reports:
        raise Stop(f"wrk failed against {server.name}:\n{done.stdout}{done.stderr}")
    told = json.loads(reports[-1])
    if told["failed"] or not told["requests"]:
        raise Stop(f"{server.name}: {told['failed']} of {told['requests']} requests failed under load\n{done.stdout}{server.tail()}")
    return told


def rss_of_a_crowd(server, tokens):
    """Resident memory while CROWD connections are open that have all just been used, at once. MiB."""
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {tokens.repeated}\r\n\r\n".encode()
    with ExitStack() as crowd:
        connections = []
        for _ in range(CROWD):
            connections.append(crowd.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10)))
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            answer = b""
            while not answer.endswith(BODY.encode()):
                chunk = connection.recv(4096)
                if not chunk:
                    raise Stop(f"{server.name} closed one of {CROWD} connections: {answer[:200]}\n{server.tail()}")
                answer += chunk
        return server.rss_mib()
