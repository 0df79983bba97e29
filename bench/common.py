"""What the measurements share: servers of their own, what those use, requests for wrk."""

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    say(f"error: {text}")
    sys.exit(1)


PAGE = Path(__file__).resolve().parent.parent / "docs/src/benchmarks.md"


def write_sections(text):
    """Puts sections into the page of figures, each in place of the one with its heading or at the end; what stands before the
    first heading in place of what does there."""
    def sections(whole):
        return {part.split("\n")[0] if part.startswith("## ") else "": part.strip() for part in re.split("^(?=## )", whole, flags=re.M)}

    old = sections(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    new = {heading: part for heading, part in sections(text).items() if part}
    PAGE.write_text("\n\n".join({**old, **new}.values()) + "\n", encoding="utf-8")
    say(f"wrote {PAGE.name}")


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Servers:
    """The processes that were started here, and only those, end with this."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []
        # Settings of whoever runs this are not what is measured.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("DBX_", "REDIS_"))}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()

    def start(self, name, command):
        with open(self.folder / f"{name}.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment,
                preexec_fn=die_with_parent,
            )
        self.running.append(process)
        return process

    def start_and_wait(self, name, command, ready):
        started = time.perf_counter()
        process = self.start(name, command)
        while not ready():
            if process.poll() is not None or time.perf_counter() - started > 20:
                die(f"{name} does not answer:\n{(self.folder / f'{name}.log').read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.001)
        return process, time.perf_counter() - started


def accepts(port):
    def ready():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ready


def answers(url):
    def ready():
        try:
            with urllib.request.urlopen(url, timeout=1) as response:
                return response.status == 200
        except OSError:
            return False

    return ready


def family(pid):
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from family(int(child))


def cpu_seconds(pid):
    """User and system time of a process and its children."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += sum(int(fields[index]) for index in (11, 12, 13, 14))
    return ticks / TICKS


def resident_bytes(pid):
    return status_bytes(pid, "VmRSS")


def most_resident_bytes(pid):
    """The most since the start."""
    return status_bytes(pid, "VmHWM")


def status_bytes(pid, name):
    return int(re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


def microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def post(path, document):
    return (
        f'wrk.method = "POST"\nwrk.path = "{path}"\n'
        f'wrk.headers["Content-Type"] = "application/json"\nwrk.body = [==[{json.dumps(document)}]==]\n'
    )
