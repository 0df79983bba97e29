#!/usr/bin/env python3
"""Measures what large values and many pipelines cost: how long small calls take beside them, and memory.

`bench/run` puts the figures on its page; alone, it prints them: bench/large.py PROGRAM, a dbx-gateway. Fails if a bound does
not hold that the project promises.

  LARGE_ROUNDS=5 LARGE_SECONDS=5 LARGE_MB=100 bench/large.py target/release/dbx-gateway
"""

import os
import re
import socket
import statistics
import sys
import tempfile
import threading
from pathlib import Path

from common import Servers, accepts, answers, die, free_port, microseconds, most_resident_bytes, output, post, resident_bytes, say

ROUNDS = int(os.environ.get("LARGE_ROUNDS", "5"))
SECONDS = int(os.environ.get("LARGE_SECONDS", "5"))
SIZE = int(os.environ.get("LARGE_MB", "100")) * 1_000_000
PIPELINES, CALLS = 10_000, 100

# What has to hold.
MOST_SLOWER, MOST_MEMORY, MOST_RESIDENT = 2, 3, 64 << 20


class Client:
    """Reads and writes one large value, which it does not keep."""

    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port))
        self.stream.settimeout(60)
        self.room = bytearray(1 << 20)
        self.done = 0

    def line(self, end):
        line = b""
        while not line.endswith(end):
            line += self.stream.recv(1) or die("the server closed the connection")
        return line

    def skip(self, length):
        while length > 0:
            length -= self.stream.recv_into(self.room, min(length, len(self.room))) or die("the server closed the connection")


class Http(Client):
    """Through the gateway, as octets."""

    def head(self):
        head = self.line(b"\r\n\r\n")
        if not re.match(rb"HTTP/1\.1 20", head):
            die(head.decode())
        return int(re.search(rb"content-length: (\d+)", head, re.I).group(1))

    def put(self, value):
        request = "PUT /api/v1/redis/strings/large HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        self.stream.sendall(f"{request}Content-Length: {len(value)}\r\n\r\n".encode())
        self.stream.sendall(value)
        self.skip(self.head())
        self.done += 1

    def get(self):
        request = "GET /api/v1/redis/strings/large HTTP/1.1\r\nHost: localhost\r\nAccept: application/octet-stream\r\n\r\n"
        self.stream.sendall(request.encode())
        self.skip(self.head())
        self.done += 1


class Straight(Client):
    """To Redis, with no gateway in between."""

    def put(self, value):
        self.stream.sendall(f"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n${len(value)}\r\n".encode())
        self.stream.sendall(value)
        self.stream.sendall(b"\r\n")
        self.line(b"+OK\r\n")
        self.done += 1

    def get(self):
        self.stream.sendall(b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n")
        self.skip(int(self.line(b"\r\n")[1:]) + 2)
        self.done += 1


def waits(url):
    """Median and 99 % of one client's small calls."""
    report = output("wrk", "-t1", "-c1", f"-d{SECONDS}s", "--latency", url)
    return [microseconds(re.search(rf"^\s+{share}%\s+(\S+)", report, re.M).group(1)) for share in (50, 99)]


def beside(url, clients, value):
    """Small calls alone, and beside each client's reading and writing, in turn."""
    rows, done = [[] for _ in range(1 + len(clients))], [0] * len(clients)
    for _ in range(ROUNDS):
        rows[0].append(waits(url))
        for at, connect in enumerate(clients):
            client, stop = connect(), threading.Event()

            def work(client=client, stop=stop):
                while not stop.is_set():
                    client.put(value)
                    client.get()

            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            rows[1 + at].append(waits(url))
            stop.set()
            thread.join()
            done[at] += client.done
    return [[statistics.median(column) for column in zip(*times)] for times in rows], done


def start(servers, folder, program, redis, settings=()):
    data, operations = free_port(), free_port()
    command = [program, "--database", f"redis=redis://127.0.0.1:{redis}", "--set", f"listen.data=127.0.0.1:{data}"]
    for setting in (f"listen.operations=127.0.0.1:{operations}", "workers=2", "drain.propagation=0s", "log.level=warn", *settings):
        command += ["--set", setting]
    gateway, _ = servers.start_and_wait(f"gateway-{data}", command, answers(f"http://127.0.0.1:{operations}/readyz"))
    return gateway, data


def measure(folder, program, servers):
    """Rows of a table, and what does not hold."""
    redis = free_port()
    command = ["redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    servers.start_and_wait("redis-large", command, accepts(redis))
    output("redis-cli", "-p", str(redis), "SET", "a", "1")
    limits = [f"limits.{name}={SIZE + (1 << 20)}B" for name in ("maxBodyBytes", "maxValueBytes", "maxResultBytes")]
    rows, broken = [], []

    def hold(name, figure, most, text):
        rows.append((name, text))
        if figure > most:
            broken.append(f"{name}: {text}")

    value, size = bytes(SIZE), f"{SIZE / 1e6:.0f} MB"
    limits.append("limits.callTimeout=30s")
    for name, call in (("PUT", lambda client: client.put(value)), ("GET", Http.get)):
        # What one has used before may be used again by the other.
        gateway, port = start(servers, folder, program, redis, limits)
        before = resident_bytes(gateway.pid)
        call(Http(port))
        times = (most_resident_bytes(gateway.pid) - before) / SIZE
        hold(f"memory for a raw {name} of {size}", times, MOST_MEMORY, f"{times:.2f} × its size")
    gateway, port = start(servers, folder, program, redis, limits)
    url = f"http://127.0.0.1:{port}/api/v1/redis/strings/a"
    (alone, ours, straight), done = beside(url, [lambda: Http(port), lambda: Straight(redis)], value)
    text = lambda times: f"{times[0]:.0f} µs, {times[1]:.0f} µs"  # noqa: E731
    rows.append(("small GETs with nothing beside them, median and 99 %", text(alone)))
    # Redis serves nobody while it copies such a value, so this is as good as it gets.
    rows.append((f"beside raw values of {size} that go straight to Redis ({done[1]} of them)", text(straight)))
    most = MOST_SLOWER * max(alone[1], straight[1])
    hold(f"beside raw values of {size} through the gateway ({done[0]})", ours[1], most, text(ours))

    script = Path(folder) / "pipelines.lua"
    script.write_text(post("/api/v1/redis/pipeline", {"calls": [{"op": "get", "args": {"key": "a"}}] * CALLS}), encoding="utf-8")
    for connections in (16, 64):
        gateway, port = start(servers, folder, program, redis)
        served = 0
        while served < PIPELINES:
            report = output("wrk", "-t1", f"-c{connections}", "-d2s", "-s", str(script), f"http://127.0.0.1:{port}/api/v1/redis")
            count = re.search(r"(\d+) requests in", report)
            if not count or "Non-2xx" in report or int(count.group(1)) == 0:
                die(f"pipelines failed:\n{report}")
            served += int(count.group(1))
        most = most_resident_bytes(gateway.pid)
        name = f"most resident memory, {served:,} pipelines of {CALLS} over {connections} connections"
        hold(name, most, MOST_RESIDENT, f"{most / 2**20:.1f} MiB")
    return rows, broken


def main():
    if len(sys.argv) != 2:
        die("usage: bench/large.py PROGRAM")
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="dbx-large-") as name, Servers(Path(name)) as servers:
        rows, broken = measure(name, program, servers)
    for row in rows:
        print(": ".join(row))
    if broken:
        die("does not hold: " + "; ".join(broken))


if __name__ == "__main__":
    main()
