"""One server process: started on free loopback ports, frozen, killed, restarted on its data, stopped by its pid."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

NOBODY = 65_534

# `--pdeathsig` follows the thread that started the child, so every start goes through one thread that lives as long
# as this process: when it is killed, even by SIGKILL, the kernel kills the servers too.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="servers")


class ServerMissingError(Exception):
    """This server cannot be had on this machine; the message says what was tried."""


class ServerFailedError(Exception):
    """The server is installed but did not come up; the message carries the end of its log."""


def free_ports(count: int) -> list[int]:
    """Ports P with P and P + 10,000 free. All lie below the ephemeral range: nobody takes them between two starts."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(11_000, 22_000)
        if port not in ports and _is_free(port) and _is_free(port + 10_000):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def make_folder(name: str) -> Path:
    """A temporary folder that `nobody` may own: not below anybody's private TMPDIR."""
    parent = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=f"encore-{name}-", dir=parent if is_open_to_all(parent) else "/tmp"))


def is_open_to_all(path: Path) -> bool:
    """True if every folder down to `path` may be entered by everybody."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.resolve().parents))


def dying_with_parent() -> list[str]:
    """The command prefix that makes a child die with us; empty where util-linux is not installed."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


@dataclass
class ServerProcess:
    """`command` must run in the foreground. `is_ready` is asked until it is True or `start_seconds` have passed."""

    name: str
    command: Sequence[str]
    folder: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    start_seconds: float = 60.0
    stop_seconds: float = 30.0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's own pid (setpriv becomes the server)."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def log(self) -> Path:
        """Everything the server has printed, over all its starts."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = _spawner.submit(self._spawn).result()
        deadline = time.monotonic() + self.start_seconds
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailedError(f"{self.name} did not come up:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*dying_with_parent(), *self.command],
                cwd=self.folder,
                env={**_clean_environment(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop the servers in order
            )

    @property
    def exit_code(self) -> int:
        """How it ended; negative for a signal."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.wait(self.stop_seconds)

    def wait(self, seconds: float) -> None:
        """Wait for a process that ends by itself. Raises ServerFailedError unless it ended with 0."""
        assert self._process is not None, f"{self.name} was never started"
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        if code != 0:
            raise ServerFailedError(f"{self.name} ended with {code}:\n{self.log.read_text(errors='replace')[-3000:]}")

    def pause(self) -> None:
        """Freeze the server and its children: connections stay open and nothing answers."""
        self._signal_family(signal.SIGSTOP)
        self._signal_family(signal.SIGSTOP)  # children that were born during the first round

    def resume(self) -> None:
        """Thaw what `pause` froze."""
        self._signal_family(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, children included; the data stays. Safe on a server that is gone."""
        self._signal_family(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def restart(self) -> None:
        """Start again on the same data and ports, after `kill` or `stop`."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Ask politely, then kill. Safe on a server that is gone."""
        if self._process is None or self._process.poll() is not None:
            return
        self.resume()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal_family(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return  # gone and reaped: its pid may be somebody else's by now
        for pid in (self.pid, *_descendants(self.pid)):
            with contextlib.suppress(ProcessLookupError):  # it ended since we looked
                os.kill(pid, number)


def _clean_environment() -> dict[str, str]:
    """Without the settings of whoever runs the tests: a server gets the ones it is given and no others."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}


def _descendants(pid: int) -> list[int]:
    """PostgreSQL puts every back end into a session of its own, so a process group would not reach them."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *_descendants(child)]
    return found
