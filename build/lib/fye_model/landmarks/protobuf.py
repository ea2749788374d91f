"""A reader for protocol buffer messages without their schema: enough for the metadata inside a .task bundle."""

from __future__ import annotations

import struct
from typing import Any

_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def read_message(data: bytes) -> dict[int, list[Any]]:
    """Values by field number, in file order: varints as int, 32- and 64-bit fields as float, nested fields as bytes.

    ValueError when the bytes end early or hold something that is not a message.
    """
    fields: dict[int, list[Any]] = {}
    position = 0
    try:
        while position < len(data):
            key, position = _varint(data, position)
            number, wire = key >> 3, key & 7
            value: Any
            if wire == 0:
                value, position = _varint(data, position)
            elif wire == 1:
                (value,), position = _DOUBLE.unpack_from(data, position), position + 8
            elif wire == 2:
                length, position = _varint(data, position)
                value, position = data[position : position + length], position + length
                if len(value) != length:
                    raise ValueError(f"field {number} is cut off")
            elif wire == 5:
                (value,), position = _FLOAT.unpack_from(data, position), position + 4
            else:
                raise ValueError(f"unknown wire type {wire}")
            fields.setdefault(number, []).append(value)
    except (IndexError, struct.error, ValueError) as error:
        raise ValueError(f"not a protocol buffer message: {error} at byte {position} of {len(data)}") from error
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer in 7-bit groups, lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
        shift += 7
