"""The messages of A2A in protocol buffers, made from `a2a.proto`; on our side they are plain JSON.

They live in a descriptor pool of their own: whoever has another copy of the same definitions in the
process, such as a2a-sdk, keeps it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, cast

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
)
from google.protobuf.message import DecodeError, Message

from pelton.events.errors import InvalidInput

_Field = descriptor_pb2.FieldDescriptorProto
_KNOWN: Final = (any_pb2, struct_pb2, timestamp_pb2)
_SCALARS: Final = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
}
_LINE: Final = re.compile(
    r"""\s*(?:
      package\ (?P<package>[\w.]+); | message\ (?P<message>\w+)\ \{ | enum\ (?P<enum>\w+)\ \{
      | oneof\ (?P<oneof>\w+)\ \{ | (?P<end>\}) | (?P<value>[A-Z_]+)\ =\ (?P<at>\d+);
      | map<string,\ (?P<of>[\w.]+)>\ (?P<map>\w+)\ =\ (?P<place>\d+);
      | (?:(?P<rule>optional|repeated)\ )?(?P<type>[\w.]+)\ (?P<field>\w+)\ =\ (?P<number>\d+);
    )""",
    re.VERBOSE,
)


class _Files:
    """Reads the lines of the definitions into descriptors, one file for each package."""

    def __init__(self) -> None:
        self.files: list[descriptor_pb2.FileDescriptorProto] = []
        self._message = descriptor_pb2.DescriptorProto()
        self._enum: descriptor_pb2.EnumDescriptorProto | None = None
        self._enums: set[str] = set()
        self._oneof = False

    def read(self, text: str) -> None:
        """Read all of a text; what is no definition is not looked at."""
        self._enums = set(re.findall(r"^enum (\w+)", text, re.MULTILINE))
        for line in text.splitlines():
            match = _LINE.fullmatch(line)
            if match is not None:
                self._line({name: text for name, text in match.groupdict().items() if text})

    def _line(self, said: dict[str, str]) -> None:
        if package := said.get("package"):
            file = descriptor_pb2.FileDescriptorProto(
                name=f"pelton/{package}.proto", package=package, syntax="proto3"
            )
            file.dependency.extend(each.DESCRIPTOR.name for each in _KNOWN)
            self.files.append(file)
        elif name := said.get("message"):
            self._message = self.files[-1].message_type.add(name=name)
            self._enum = None
        elif name := said.get("enum"):
            self._enum = self.files[-1].enum_type.add(name=name)
        elif name := said.get("oneof"):
            self._message.oneof_decl.add(name=name)
            self._oneof = True
        elif "end" in said:
            self._oneof = False
        elif "value" in said and self._enum is not None:
            self._enum.value.add(name=said["value"], number=int(said["at"]))
        elif "map" in said:
            self._map(said["map"], said["of"], int(said["place"]))
        else:
            field = self._field(said["type"], said["field"], int(said["number"]))
            if said.get("rule") == "repeated":
                field.label = _Field.LABEL_REPEATED
            if self._oneof:
                field.oneof_index = len(self._message.oneof_decl) - 1
            elif said.get("rule") == "optional":
                self._message.oneof_decl.add(name=f"_{field.name}")
                field.oneof_index = len(self._message.oneof_decl) - 1
                field.proto3_optional = True

    def _field(
        self,
        type_: str,
        name: str,
        number: int,
        message: descriptor_pb2.DescriptorProto | None = None,
    ) -> descriptor_pb2.FieldDescriptorProto:
        target = self._message if message is None else message
        field = target.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
        if type_ in _SCALARS:
            field.type = _SCALARS[type_]
            return field
        package = "" if "." in type_ else f"{self.files[-1].package}."
        field.type_name = f".{package}{type_}"
        field.type = _Field.TYPE_ENUM if type_ in self._enums else _Field.TYPE_MESSAGE
        return field

    def _map(self, name: str, of: str, number: int) -> None:
        entry = "".join(word.capitalize() for word in name.split("_")) + "Entry"
        nested = self._message.nested_type.add(name=entry)
        nested.options.map_entry = True
        self._field("string", "key", 1, nested)
        self._field(of, "value", 2, nested)
        field = self._field(f"{self._message.name}.{entry}", name, number)
        field.type_name = f".{self.files[-1].package}.{self._message.name}.{entry}"
        field.label = _Field.LABEL_REPEATED


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    read = _Files()
    read.read(files("pelton.adapters.a2a").joinpath("a2a.proto").read_text("utf-8"))
    pool = descriptor_pool.DescriptorPool()
    for known in _KNOWN:
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for file in read.files:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@functools.cache
def kind(name: str) -> type[Message]:
    """Return the class of a message by its name with its package, as in `lf.a2a.v1.Task`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def from_bytes(name: str, data: bytes) -> Any:
    """Return the JSON value of a message that came over the wire.

    Raises:
        InvalidInput: the bytes are no such message, or none that JSON can spell.
    """
    try:
        found = kind(name).FromString(data)
        return whole(json_format.MessageToDict(found, descriptor_pool=_pool()))
    except (DecodeError, json_format.Error, ValueError, RecursionError):
        raise InvalidInput("this is not a message of A2A in protocol buffers") from None


def whole(value: Any) -> Any:
    """Return a JSON value whose numbers are whole where they can be, as JSON itself has them."""
    if isinstance(value, dict):
        return {name: whole(each) for name, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [whole(each) for each in cast("Sequence[Any]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_bytes(name: str, value: Any) -> bytes:
    """Return a JSON value as a message on the wire; members that it does not have are left out."""
    message = json_format.ParseDict(
        value, kind(name)(), ignore_unknown_fields=True, descriptor_pool=_pool()
    )
    return message.SerializeToString()
