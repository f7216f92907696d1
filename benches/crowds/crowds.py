"""What many connections cost the gateway: memory of idle WebSockets, and what a crowd of slow senders does to everybody else.

Everything is on loopback, in three processes: the gateway, this one (the crowd and the upstream's side of the WebSockets), and wrk, which
asks for what the gateway answers by itself: the crowd's own process would be part of any other answer's time.
Standard library only, and wrk for the second table.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

BINARY = os.environ["GATEWAY_BIN"]
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PING = bytes([0x89, 0x80, 1, 2, 3, 4])
PONG = bytes([0x8A, 0x00])


class UpstreamSide(asyncio.Protocol):
    """Takes every upgrade, and answers each ping."""

    def connection_made(self, transport):
        self.transport = transport
        self.speaks_http = True
        self.text = b""

    def data_received(self, data):
        if not self.speaks_http:
            self.transport.write(PONG)
            return
        self.text += data
        if b"\r\n\r\n" in self.text:
            self.speaks_http = False
            self.transport.write(SWITCHING)


class Socket(asyncio.Protocol):
    """A WebSocket's client: `open` is done when it was let in, `answered` when a ping came back."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.open, self.answered, self.text = loop.create_future(), loop.create_future(), b""

    def connection_made(self, transport):
        self.transport = transport
        transport.write(UPGRADE)

    def data_received(self, data):
        if self.open.done():
            if not self.answered.done():
                self.answered.set_result(True)
            return
        self.text += data
        if b"\r\n\r\n" in self.text:
            assert b" 101 " in self.text.split(b"\r\n")[0], self.text
            self.open.set_result(True)

    def connection_lost(self, error):
        for future in (self.open, self.answered):
            if not future.done():
                future.set_exception(ConnectionError("closed"))


class Slow(asyncio.Protocol):
    """Sends a head byte by byte, and comes again when it is thrown out."""

    def __init__(self, crowd):
        self.crowd, self.sent = crowd, 0

    def connection_made(self, transport):
        self.transport = transport
        self.crowd.here.add(self)
        self.more()

    def more(self):
        line = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Slow: abcdefgh\r\n" * 1000
        self.transport.write(line[self.sent : self.sent + 1])
        self.sent += 1

    def connection_lost(self, error):
        self.crowd.here.discard(self)


class SlowCrowd:
    """Keeps so many slow senders connected."""

    def __init__(self, port, size):
        self.port, self.size, self.here = port, size, set()

    async def run(self):
        loop = asyncio.get_running_loop()
        while True:
            while len(self.here) < self.size:
                missing = min(self.size - len(self.here), 250)
                made = [loop.create_connection(lambda: Slow(self), "127.0.0.1", self.port) for _ in range(missing)]
                await asyncio.gather(*made, return_exceptions=True)
            slow = list(self.here)
            # Each sends a byte every five seconds.
            for part in range(5):
                for one in slow[part::5]:
                    if not one.transport.is_closing():
                        one.more()
                await asyncio.sleep(1)


class Gateway:
    """A gateway before this process's upstream, and what it costs."""

    def __init__(self, upstream_port):
        self.folder = tempfile.TemporaryDirectory()
        config = f"""
[admin]
address = "127.0.0.1:0"
[log]
access = false
[[listeners]]
name = "public"
address = "127.0.0.1:0"
header_timeout = "5m"
[upstreams.up]
urls = ["http://127.0.0.1:{upstream_port}"]
[[routes]]
name = "all"
paths = ["/*"]
upstream = "up"
auth = "none"
[[routes]]
name = "fixed"
paths = ["/fixed"]
respond = {{ status = 200, body = "{'x' * 150}", content_type = "text/plain" }}
auth = "none"
"""
        path = Path(self.folder.name) / "gateway.toml"
        path.write_text(config)
        self.process = subprocess.Popen([BINARY, "--config", path, "run"], stdout=subprocess.PIPE, text=True, env={})
        while True:
            line = json.loads(self.process.stdout.readline())
            if line["message"] == "listening":
                self.port = int(line["address"].rsplit(":", 1)[1])
            if line["message"] == "admin listening":
                self.admin = line["address"]
                return

    def rss(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def connections(self):
        metrics = urllib.request.urlopen(f"http://{self.admin}/metrics").read().decode()
        return int(re.search(r'gateway_connections\{listener="public"\} (\d+)', metrics)[1])

    def stop(self):
        self.process.kill()
        self.process.wait()


async def upstream():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(UpstreamSide, "127.0.0.1", 0, backlog=4096)
    return server.sockets[0].getsockname()[1]


async def sockets(count):
    """Opens so many WebSockets, lets each speak once, and tells what they hold when they are silent."""
    gateway = Gateway(await upstream())
    loop = asyncio.get_running_loop()
    # What the process needs once, it has from now on.
    await open_sockets(loop, gateway, 64)
    await asyncio.sleep(1)
    before = gateway.rss()
    began = time.monotonic()
    opened = []
    while len(opened) < count:
        opened += await open_sockets(loop, gateway, min(250, count - len(opened)))
    took = time.monotonic() - began
    await asyncio.sleep(3)
    held, there = gateway.rss() - before, gateway.connections()
    print(f"{count} idle WebSockets (opened in {took:.1f} s, {there} connections told): {held} KiB more RSS, {held / count:.2f} KiB each")
    gateway.stop()
    return held / count


async def open_sockets(loop, gateway, count):
    made = [loop.create_connection(Socket, "127.0.0.1", gateway.port) for _ in range(count)]
    opened = [protocol for _, protocol in await asyncio.gather(*made)]
    await asyncio.gather(*[one.open for one in opened])
    for one in opened:
        one.transport.write(PING)
    await asyncio.gather(*[one.answered for one in opened])
    return opened


async def slow(size, seconds, rounds=3):
    """The 99th percentile of everybody else's requests, with so many slow senders beside them and without."""
    gateway = Gateway(await upstream())
    without = [await others(gateway.port, seconds) for _ in range(rounds)]
    crowd = SlowCrowd(gateway.port, size)
    running = asyncio.create_task(crowd.run())
    while len(crowd.here) < size * 0.95:
        await asyncio.sleep(0.2)
    among = [await others(gateway.port, seconds) for _ in range(rounds)]
    there = len(crowd.here)
    running.cancel()
    gateway.stop()
    middle = [sorted(times)[len(times) // 2] for times in (without, among)]
    print(
        f"p99 of others: {middle[0]:.2f} ms without, {middle[1]:.2f} ms among {there} slow senders: x {middle[1] / middle[0]:.2f}"
        f" (rounds: {[f'{time:.2f}' for time in without]} {[f'{time:.2f}' for time in among]})"
    )


async def others(port, seconds):
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}/fixed"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    told, _ = await process.communicate()
    told = told.decode()
    if "Non-2xx" in told or "Socket errors" in told:
        print(told)
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", told).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=5_000)
    parser.add_argument("--seconds", type=int, default=10)
    asked = parser.parse_args()
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # Two descriptors a socket, in the gateway as well as here.
    most = (room - 500) // 2
    if asked.sockets > most:
        print(f"{room} descriptors are allowed here: {most} WebSockets instead of {asked.sockets}")
    if asked.sockets:
        asyncio.run(sockets(min(asked.sockets, most)))
    if asked.slow and not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    if asked.slow:
        asyncio.run(slow(asked.slow, asked.seconds))


main()
