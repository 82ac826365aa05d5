"""`python -m tests.servers [postgres redis kafka s3]`: start, print the addresses as export lines, stop on Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from tests.servers.fleet import START, Fleet, variable
from tests.servers.process import ServerFailedError, ServerMissingError


def main() -> int:
    """Exit 0 after Ctrl-C or SIGTERM, 1 if a server could not be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SERVER", help="postgres, redis, kafka, s3 (all of them)")
    names = parser.parse_args().names or list(START)
    if unknown := set(names) - set(START):
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    fleet = Fleet()
    fleet.begin(names)
    try:
        for name in names:
            _print_exports(fleet, name)
        sys.stderr.write("# all up; Ctrl-C stops them\n")
        ended.wait()
    except (ServerMissingError, ServerFailedError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    finally:
        fleet.stop()
    return 0


def _print_exports(fleet: Fleet, name: str) -> None:
    server = fleet.get(name)
    for key, value in {variable(name): server.url, **server.environment}.items():
        sys.stdout.write(f"export {key}='{value}'\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
