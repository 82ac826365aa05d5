"""A job that takes a minute and can be ended."""

from __future__ import annotations

import time

if __name__ == "__main__":
    time.sleep(60)
