"""One job in a process of its own: `python -m app.tasks.training JOB`; a training's id, or `REPORT@SLOT`.

Exit codes: 0 the training ended with a verdict (or was not queued any more), or the report is made; 1 it failed or was
cancelled, 2 wrong usage or settings, 143 it was told to stop by SIGTERM (a training is marked as cancelled first).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from app.config import Settings, load_settings
from app.domain.entities import TrainingStatus
from app.domain.exceptions import ConfigurationError, EncoreError, UnavailableError
from app.log_format import configure_logging
from app.spans import traced
from app.telemetry import get_logger
from app.tracing import traced_process

log = get_logger(__name__)

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 128 + signal.SIGTERM
_NICENESS = 10
"""A training yields to whatever serves people on the same machine."""


def main(arguments: Sequence[str]) -> int:
    """Run the job named by the only argument; returns the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m app.tasks.training TRAINING_ID | REPORT@SLOT\n")
        return USAGE
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.stderr.write(f"encore: {error}\n")
        return USAGE
    configure_logging(settings.log_level, settings.log_format)
    cap_threads(settings.train_threads)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    try:
        name = "report" if "@" in arguments[0] else "training"
        with traced_process(settings, "training"), traced(os.environ.get("TRACEPARENT"), name):
            return asyncio.run(run(settings, arguments[0]))
    except asyncio.CancelledError:
        return STOPPED
    except EncoreError as error:
        log.error("job_failed", job=arguments[0], problem=str(error))  # noqa: TRY400  # expected: no trace
        return FAILED


def cap_threads(threads: int) -> None:
    """Tell BLAS and OpenMP libraries that are yet to be loaded how many threads they may use."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


async def run(settings: Settings, job_id: str) -> int:
    """Open the container and do the job; SIGTERM cancels."""
    # Loads every numerical library: only once they are capped.
    from app.application.reporting.reporter import PRECOMPUTE, parse_job
    from app.bootstrap import make_reporter, make_trainer, open_container
    from app.precomputing import after_promotion, precompute_slot

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    report = parse_job(job_id)
    async with open_container(settings) as container:
        if report is not None:
            name, slot = report
            await (precompute_slot(container, slot) if name == PRECOMPUTE else make_reporter(container).run(name, slot))
            return DONE
        job = await make_trainer(container).run(job_id)
        if job.status is TrainingStatus.PROMOTED:
            try:
                await after_promotion(container)
            except UnavailableError as error:  # lists are made when they are asked for, as without this
                log.warning("lists_not_precomputed", problem=str(error))
    return FAILED if job.status in (TrainingStatus.FAILED, TrainingStatus.CANCELLED) else DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
