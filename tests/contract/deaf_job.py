"""A job that writes its process id to the file it is given and then ignores SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    unfinished = Path(sys.argv[1] + ".part")
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(sys.argv[1])
    time.sleep(60)
