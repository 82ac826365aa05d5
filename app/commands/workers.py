"""`encore worker` and `encore beat`: trainings and the timetable on Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from app.commands.shared import exit_on_error
from app.domain.exceptions import ConfigurationError

if TYPE_CHECKING:  # config loads pydantic, which `encore --help` must not wait for
    from app.config import Settings


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("worker")(worker)
    app.command("beat")(beat)


def worker() -> None:
    """Run trainings and scheduled work until SIGTERM. Needs a redis:// address in ENCORE_JOBS_URL."""
    with exit_on_error():
        settings = _prepared()
        from app.infrastructure.celery_jobs import QUEUES
        from app.tasks.celery_app import make_worker
        from app.tasks.training import cap_threads
        from app.tasks.worker_health import Pulse, worker_port
        from app.tracing import traced_process

        cap_threads(settings.train_threads)
        worker_app, pulse = make_worker(settings), Pulse()
        pulse.watch(worker_app)
        queues = ",".join(QUEUES[kind] for kind in settings.worker_jobs.split(","))
        port = worker_port(settings.worker_health_host, settings.worker_health_port, pulse)
        with traced_process(settings, "worker"), port:
            worker_app.worker_main(
                [
                    "worker",
                    "--pool=threads",
                    f"--concurrency={settings.worker_concurrency}",
                    f"--queues={queues}",
                    f"--loglevel={settings.log_level}",
                    "--without-gossip",
                    "--without-mingle",
                ]
            )


def beat() -> None:
    """Send the ticks that scheduled work hangs on. One process is enough; two do no harm."""
    with exit_on_error():
        settings = _prepared()
        from celery.apps.beat import Beat

        from app.tasks.celery_app import make_beat

        # The plain scheduler keeps nothing on disk: what is due is known to the database alone.
        Beat(app=make_beat(settings), scheduler="celery.beat:Scheduler", loglevel=settings.log_level, quiet=True).run()


def _prepared() -> Settings:
    from app.config import load_settings
    from app.log_format import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    if not settings.jobs_url.startswith(("redis://", "rediss://")):
        raise ConfigurationError("ENCORE_JOBS_URL", "must be a redis:// address; local:// needs no worker")
    return settings
