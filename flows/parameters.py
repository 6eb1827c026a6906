"""What a flow accepts for its flags, numbers, choices and lists, however it is started.

Belongs here: checking the parameters of all flows by their types, as a deployment does it. Does
not: which numbers make sense (the flow's own module).

Prefect's own check writes the values into errors and logs, and a reference or a key among them is
somebody's; so it is off, and a flow called from Python would take `recreate="False"` for true.
"""

import functools
import inspect
import math
from collections.abc import Callable, Coroutine
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from flows.endings import failed
from tasks.policy import RunError

P = ParamSpec("P")
R = TypeVar("R")
AsyncFunction = Callable[P, Coroutine[Any, Any, R]]

_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of texts",
    dict: "an object of texts by name",
}


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
