"""Validation of bodies that are one list of entries, an entry at a time: in a thread it lets the event loop in between.

pydantic validates a body in one call into native code, which holds the interpreter to its end: a thousand items with
long texts stop everybody for tens of milliseconds, whichever thread the call is made in.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError, create_model

from app.api.problems import MAX_FIELD_ERRORS


class EntriesValidator:
    """Validates bodies of `model`, whose one field is a list."""

    def __init__(self, model: type[BaseModel]) -> None:
        ((self._name, field),) = model.model_fields.items()
        anything = Annotated[(list[Any], *field.metadata)]
        shape: Any = {self._name: (anything, ...)}
        self._shape = create_model(model.__name__, __config__=model.model_config, **shape)
        self._entry: TypeAdapter[object] = TypeAdapter(get_args(field.annotation)[0])
        self._model = model

    @classmethod
    def of(cls, model: object) -> EntriesValidator | None:
        """The validator of a model that is one list; None for every other kind of body."""
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or len(model.model_fields) != 1:
            return None
        (field,) = model.model_fields.values()
        return cls(model) if get_origin(field.annotation) is list else None

    def validate(self, value: object) -> BaseModel:
        """The body as its model. Raises RequestValidationError with errors that `model` itself would find.

        Entries are looked at where the body around them is right, and no further once an answer's errors are full.
        """
        try:
            entries = getattr(self._shape.model_validate(value), self._name)
        except ValidationError as refused:
            raise RequestValidationError(_located(refused, ())) from None  # the original would carry the input
        validated, errors = [], []
        for index, entry in enumerate(entries):
            try:
                validated.append(self._entry.validate_python(entry))
            except ValidationError as refused:
                errors += _located(refused, (self._name, index))
                if len(errors) >= MAX_FIELD_ERRORS:
                    break
        if errors:
            raise RequestValidationError(errors)
        content: dict[str, Any] = {self._name: validated}
        return self._model.model_construct(None, **content)


def _located(refused: ValidationError, at: tuple[str | int, ...]) -> list[dict[str, object]]:
    found = refused.errors(include_url=False, include_context=False, include_input=False)
    return [{**error, "loc": ("body", *at, *error["loc"])} for error in found]
