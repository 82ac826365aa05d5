"""What values of settings may be: bounds that several of them share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from app.domain.cron import Cron
from app.domain.exceptions import InputError

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]


def _checked_schedule(text: str) -> str:
    if text:
        try:
            Cron.parse(text)
        except InputError as error:
            raise ValueError(error.problem) from None
    return text


Schedule = Annotated[str, AfterValidator(_checked_schedule)]
"""Five cron fields in UTC, or empty for never."""
