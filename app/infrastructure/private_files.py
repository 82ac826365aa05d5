"""Files and folders that hold what people did: for their owner alone, whatever the umask is."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the owner alone. One that is there stays as it is.

    A folder that somebody else made (a volume, a home) may have to be read by others: it is theirs to close.
    """
    for part in reversed((folder, *folder.parents)):
        with contextlib.suppress(FileExistsError):
            part.mkdir(mode=FOLDER_MODE)


def make_private_file(path: Path) -> None:
    """Make the file if it is missing, and take from everybody but the owner what they may do with it.

    A file of another owner is left alone: only the owner may change that.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    close_to_others(path)


def close_to_others(path: Path) -> None:
    """Take from everybody but the owner what they may do with a file that is there."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(mode & FILE_MODE)
