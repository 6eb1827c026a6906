"""What a flow accepts for its flags, numbers, choices and lists, however it is started.

Belongs here: checking the parameters of all flows by their types, as a deployment does it, and
what Prefect stores of them. Does not: which numbers make sense (the flow's own module).

Prefect's own check writes the values into errors and logs, and a reference or a key among them is
somebody's; so it is off, and a flow called from Python would take `recreate="False"` for true.
"""

import functools
import inspect
import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import pandas as pd
import pyarrow as pa
from prefect import Flow
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import SkipJsonSchema

from flows.endings import failed
from flows.forms import as_form
from tasks.policy import RunError

P = ParamSpec("P")
R = TypeVar("R")
AsyncFunction = Callable[P, Coroutine[Any, Any, R]]
Source: TypeAlias = str | list[str] | SkipJsonSchema[pd.DataFrame] | SkipJsonSchema[pa.Table]
"""What a flow works off: a file, several, or a table, which no form can give."""

_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of texts",
    dict: "an object of texts by name",
}


class FormFlow(Flow[P, R]):
    """A flow with a form of our making, of whose parameters Prefect stores no tables.

    As it is, Prefect would write every cell of a DataFrame into its database; of a table it stores
    no more than its type.
    """

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What is stored of the parameters, and what the UI shows."""
        return super().serialize_parameters(
            {
                name: value if _is_plain(value) else f"<{type(value).__name__}>"
                for name, value in parameters.items()
            }
        )

    def with_options(self, *args: Any, **kwargs: Any) -> Flow[P, R]:
        """A copy with other options, and the same form."""
        return with_form(super().with_options(*args, **kwargs))


def with_form(flow: Flow[P, R]) -> Flow[P, R]:
    """The flow, as a `FormFlow`."""
    flow.__class__ = FormFlow
    flow.parameters = as_form(flow)
    return flow


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str | int | float | Path)


def with_checked_parameters(function: AsyncFunction[P, R]) -> AsyncFunction[P, R]:
    """`function`, called with its parameters as their types say, or ending Failed with a sentence.

    What a form would send as text ("False", "500") is taken for what it means. Plain texts are
    left as they are: a path or a time may come as an object of its own.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(function)

    @functools.wraps(function)
    async def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        try:
            for name, value in given.arguments.items():
                if name != "source":  # which says better what it may be
                    given.arguments[name] = _checked(name, value, hints[name])
        except RunError as error:
            return failed(error)  # type: ignore[return-value]
        return await function(*given.args, **given.kwargs)

    return checked


def _checked(name: str, value: Any, kind: Any) -> Any:
    """The value as its type has it.

    Raises:
        RunError: it can't be one; the sentence doesn't say what it is.
    """
    if isinstance(value, str) and not value.strip():  # what a form sends of a field emptied again
        if type(None) in get_args(kind):
            return None
        if kind is str:
            raise RunError(f"{name} is empty; fill it in.")
    kinds = [kind] if get_origin(kind) is Literal else [kind, *get_args(kind)]
    expected = next(filter(None, map(_expected, kinds)), None)
    if expected is None:
        return value
    try:
        if {int, float}.intersection(kinds) and isinstance(
            value, bool
        ):  # Python takes it for a number
            raise ValueError
        checked = TypeAdapter(kind).validate_python(value)
        if isinstance(checked, float) and not math.isfinite(checked):
            raise ValueError
    except (ValidationError, ValueError):
        raise RunError(f"{name} must be {expected}.") from None
    return checked


def _expected(kind: Any) -> str | None:
    """What a value of this type is called; None for what isn't checked."""
    if get_origin(kind) is not Literal:
        return _EXPECTED.get(get_origin(kind) or kind)
    *others, last = (f'"{choice}"' for choice in get_args(kind))
    return f"{', '.join(others)} or {last}"
