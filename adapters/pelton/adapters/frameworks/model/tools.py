"""Tools for models: Python functions, with schemas made from their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast, get_type_hints, overload

import msgspec

from pelton.events.errors import InvalidInput
from pelton.runtime.agents import named

Json = dict[str, Any]


class Tool(NamedTuple):
    """A function that a model may call. `schema` is the JSON Schema of its arguments.

    With `idempotent` a call that was begun and has no result is made again after a crash; without,
    a person is asked. With `ask`, a person approves each call before it is made.
    """

    name: str
    description: str
    schema: Json
    arguments: type[msgspec.Struct]
    run: Callable[[Json], Any]
    idempotent: bool = False
    ask: bool = False

    def refusal(self, arguments: Json) -> str:
        """Return what is wrong with arguments, for the model to read, or nothing."""
        try:
            msgspec.convert(arguments, self.arguments)
        except msgspec.ValidationError as error:
            return f"These arguments do not fit: {error}"
        return ""


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str = "", description: str = "", idempotent: bool = False, ask: bool = False
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    idempotent: bool = False,
    ask: bool = False,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function, plain or async; used as a decorator, with or without arguments.

    The name is the function's unless one is given, the description its docstring. Its parameters
    have annotations of types that msgspec knows.

    Raises:
        InvalidInput: a parameter has no type, or one that has no JSON.
    """

    def make(function: Callable[..., Any]) -> Tool:
        called = name or function.__name__
        arguments = _struct(function, called)
        return Tool(
            name=called,
            description=description or inspect.getdoc(function) or "",
            schema=_schema(arguments, called),
            arguments=arguments,
            run=_runner(function, arguments),
            idempotent=idempotent,
            ask=ask,
        )

    return make if function is None else make(function)


def _struct(function: Callable[..., Any], name: str) -> type[msgspec.Struct]:
    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for each in inspect.signature(function).parameters.values():
        if each.name not in hints or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise InvalidInput(f"the tool {name!r}: give {each.name!r} a type")
        default = () if each.default is each.empty else (each.default,)
        fields.append((each.name, hints[each.name], *default))
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _schema(arguments: type[msgspec.Struct], name: str) -> Json:
    try:
        _, found = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise InvalidInput(f"the tool {name!r}: {error}") from error
    definitions = cast("dict[str, Json]", found)
    own = definitions.pop("Arguments")
    own.pop("title", None)
    return own | ({"$defs": definitions} if definitions else {})


def _runner(function: Callable[..., Any], struct: type[msgspec.Struct]) -> Callable[[Json], Any]:
    def given(arguments: Json) -> Json:
        made = msgspec.convert(arguments, struct)
        return {field: getattr(made, field) for field in struct.__struct_fields__}

    if inspect.iscoroutinefunction(function):

        async def run(arguments: Json) -> Any:
            return await function(**given(arguments))

        return run
    return lambda arguments: function(**given(arguments))


def tools_at(places: Iterable[str], reference: str) -> list[Tool]:
    """Return the tools that are at places in code, one or a list each; errors speak of `reference`.

    Raises:
        InvalidInput: what is there is none.
    """
    return [each for place in places for each in _at(place, reference)]


def _at(place: str, reference: str) -> list[Tool]:
    found: Any = named(place, reference)
    given: list[object] = [found]
    if isinstance(found, list | tuple) and not isinstance(found, Tool):
        given = [*found]  # pyright: ignore[reportUnknownVariableType]  they are looked at below
    tools = [each for each in given if isinstance(each, Tool)]
    if len(tools) < len(given):
        raise InvalidInput(
            f"{reference!r}: {place!r} is no tool, nor a list of such: make them with @tool"
        )
    return tools
