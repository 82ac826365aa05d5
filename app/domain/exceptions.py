"""Every error Encore raises on purpose.

    EncoreError
    ├── ConfigurationError            a setting is unknown, missing, weak or impossible (names it, never its value)
    ├── InputError                    the caller sent something we will not take
    │   ├── CursorError               a cursor that is damaged or foreign
    │   │   └── ExpiredCursorError    a cursor whose time is over: begin again
    │   └── EventRejectedError        an event that can never be taken in (goes to the dead letters)
    ├── NotFoundError                 an item, user, model, training, key or dead letter nobody has
    ├── ConflictError                 the present state forbids it
    │   ├── TrainingRunningError      one training per model type at a time; names the running one
    │   ├── StaleTokenError           a fencing token that a newer trainer has overtaken
    │   ├── IdempotencyError          the same Idempotency-Key with another body
    │   ├── PreconditionError         what the caller had seen is not what is there (If-Match)
    │   ├── UserErasedError           events of before their user was erased
    │   └── ObjectExistsError         an immutable key is already written
    ├── AuthenticationError           no credentials, or none that we accept
    ├── PermissionDeniedError         known caller, not allowed
    ├── RateLimitedError              too many requests; says when to come back
    ├── UnavailableError              a dependency did not answer in time
    │   ├── DatabaseUnavailableError
    │   ├── CacheUnavailableError
    │   ├── ArtifactsUnavailableError
    │   ├── BrokerUnavailableError
    │   └── OverloadedError           we shed this request ourselves
    ├── ArtifactError                 an artifact that must not be served
    │   ├── ArtifactMissingError      a part is not where the manifest says
    │   └── ArtifactDamagedError      size, checksum, shape or canary is wrong
    └── TrainingError                 a training that ends without a model
        ├── NotEnoughDataError
        └── TrainingCancelledError

Messages are written for the person who reads them and never contain input, secrets or driver text. Which HTTP status
an error gets is decided in one table (app/api/problems.py), not here.
"""

from __future__ import annotations


class EncoreError(Exception):
    """The root: catching it catches everything Encore raises on purpose, and nothing else."""


class ConfigurationError(EncoreError):
    """A setting is unknown, missing, weak or impossible. `setting` is its ENCORE_* name."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class InputError(EncoreError):
    """The caller sent something we will not take. `field` is a JSON pointer or a parameter name, if one is to blame."""

    def __init__(self, problem: str, field: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field


class CursorError(InputError):
    """A cursor that is damaged, or was made for another list."""

    def __init__(self, problem: str = "the cursor is not valid for this list") -> None:
        super().__init__(problem, "cursor")


class ExpiredCursorError(CursorError):
    """A cursor that was valid, until its time was over."""

    def __init__(self) -> None:
        super().__init__("the cursor has expired")


class EventRejectedError(InputError):
    """An event that can never be taken in; `reason` is a short stable code (`decode`, `shape`, `rating_range`, …)."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(f"event rejected: {reason}", field)
        self.reason = reason


class NotFoundError(EncoreError):
    """Nothing by that name. `what` is the noun (`item`, `model`, …), never the id that was asked for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no such {what}")
        self.what = what


class ConflictError(EncoreError):
    """The present state forbids it."""


class TrainingRunningError(ConflictError):
    """A training of this model type is queued or running already."""

    def __init__(self, training_id: str) -> None:
        super().__init__(f"a training of this model type is queued or running already: {training_id}")
        self.training_id = training_id


class StaleTokenError(ConflictError):
    """A newer trainer or an operator has moved the champion since this fencing token was given out."""


class IdempotencyError(ConflictError):
    """The same Idempotency-Key came with another body."""


class PreconditionError(ConflictError):
    """What the caller had seen is not what is there any more: nothing was changed."""


class UserErasedError(ConflictError):
    """The user was erased after these events: they are void, however late they come."""


class ObjectExistsError(ConflictError):
    """An immutable key of the artifact store is already written."""


class AuthenticationError(EncoreError):
    """No credentials, or none that we accept. One wording for all causes, so that nothing can be learnt from it."""

    def __init__(self) -> None:
        super().__init__("the credentials are missing or not valid")


class PermissionDeniedError(EncoreError):
    """The caller is known and not allowed to do this."""


class RateLimitedError(EncoreError):
    """Too many requests; `retry_after_seconds` says when the next one will be taken."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("too many requests")
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(EncoreError):
    """A dependency did not answer in time, or refused. Trying again later may work."""

    retry_after_seconds: float = 1.0


class DatabaseUnavailableError(UnavailableError):
    """The database refused, timed out or broke the connection."""


class CacheUnavailableError(UnavailableError):
    """The cache refused, timed out or its breaker is open."""


class ArtifactsUnavailableError(UnavailableError):
    """The artifact store refused or timed out."""


class BrokerUnavailableError(UnavailableError):
    """The broker (events or jobs) refused or timed out."""


class OverloadedError(UnavailableError):
    """We shed this request ourselves to keep the others fast."""


class ArtifactError(EncoreError):
    """An artifact that must not be served."""


class ArtifactMissingError(ArtifactError):
    """A part of the artifact is not where its manifest says."""


class ArtifactDamagedError(ArtifactError):
    """Size, checksum, shape or canary is wrong; `part` names the file, `problem` the check that failed."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"{part}: {problem}")
        self.part = part
        self.problem = problem


class TrainingError(EncoreError):
    """A training that ends without a model."""


class NotEnoughDataError(TrainingError):
    """Too few users, items or interactions in the window to fit and to judge a model."""


class TrainingCancelledError(TrainingError):
    """Somebody cancelled the training."""
