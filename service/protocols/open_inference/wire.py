"""Tensors on the wire: datatype names, binary layout, JSON arrays. Pure functions.

Binary is little-endian and row-major; a BYTES element is its length in four bytes and then itself.
"""

import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import orjson
import simdjson

from model_store.spec import Array
from service.errors import BadBody

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16",
    "bfloat16": "BF16", "float32": "FP32", "float64": "FP64", "string": "BYTES",
}  # fmt: skip
"""A manifest's name of a type → the protocol's."""
NUMPY = {
    "BOOL": np.dtype(np.bool_), "FP16": np.dtype("<f2"), "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"), "BYTES": np.dtype(object),
    **{f"{sign}INT{bits}": np.dtype(f"<{sign.lower() or 'i'}{bits // 8}")
       for sign in ("", "U") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""The protocol's name → the array it is here. BF16 is carried as the bits of it."""
FLOAT32_LIMIT = float(np.nextafter(2.0**128 - 2.0**103, 0))
"""The largest number that is rounded to a float32: its own largest is written with fewer digits."""
LIMITS: dict[str, tuple[float, float]] = {
    "FP32": (-FLOAT32_LIMIT, FLOAT32_LIMIT),
    **{name: (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
       for name, kind in NUMPY.items() if kind.kind in "iu" and name != "BF16"},
}  # fmt: skip
"""Least and greatest number of the types that JSON's numbers may exceed."""
SMALL_BYTES = 65536
"""Copying less than this costs less than a view of it."""
PARSED = {"d": np.float64, "i": np.int64, "u": np.uint64}
"""What the parser's number types are here."""
NO_JSON = ("FP16", "BF16")
"""Types that the protocol gives no JSON form."""


def elements(shape: Sequence[int]) -> int:
    """How many there are; exact however large."""
    product = 1
    for axis in shape:
        product *= axis
    return product


def from_binary(memory: memoryview, datatype: str, shape: Sequence[int], name: str) -> Array:
    """A view on the bytes where the type allows one. Raises BadBody."""
    if datatype == "BYTES":
        return _from_bytes(memory, shape, name)
    array = _shaped(np.frombuffer(memory, NUMPY[datatype]), shape, name)
    if datatype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise BadBody(f"input {name}: expected BOOL as bytes 0 and 1; got another")
    return array


def _from_bytes(memory: memoryview, shape: Sequence[int], name: str) -> Array:
    found: list[str] = []
    place, end = 0, len(memory)
    while place < end:
        if place + 4 > end:
            raise BadBody(f"input {name}: expected the length of BYTES element {len(found)};"
                          " the data ends in it")  # fmt: skip
        (size,) = struct.unpack_from("<I", memory, place)
        place += 4
        if place + size > end:
            raise BadBody(f"input {name}: BYTES element {len(found)} has {size} bytes; only"
                          f" {end - place} are left")  # fmt: skip
        try:
            found.append(str(memory[place : place + size], "utf-8"))
        except UnicodeDecodeError:
            raise BadBody(
                f"input {name}: BYTES element {len(found)} is not UTF-8; models here read text"
            ) from None
        place += size
    return _objects(found, shape, name)


def from_text(memory: memoryview, shape: Sequence[int], name: str) -> Array:
    """The whole as one BYTES element. Raises BadBody."""
    try:
        return _objects([str(memory, "utf-8")], shape, name)
    except UnicodeDecodeError:
        raise BadBody(f"input {name}: expected UTF-8 text; got other bytes") from None


def _objects(found: list[Any], shape: Sequence[int], name: str) -> Array:
    array = np.empty(len(found), object)
    array[:] = found
    return _shaped(array, shape, name)


def _shaped(array: Array, shape: Sequence[int], name: str) -> Array:
    wanted = elements(shape)
    if array.size != wanted:
        raise BadBody(f"input {name}: expected {wanted} elements for shape {list(shape)};"
                      f" got {array.size}")  # fmt: skip
    try:
        return array.reshape(shape)
    except ValueError:  # empty, with axes whose product no computer can hold
        raise BadBody(f"input {name}: shape {list(shape)} is beyond any memory") from None


def to_binary(array: Array, datatype: str) -> "bytes | memoryview":
    """Row-major little-endian bytes; no copy where the array lies so already."""
    if datatype == "BYTES":
        parts = (str(item).encode() for item in array.ravel())
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)
    if array.nbytes < SMALL_BYTES:
        return array.astype(NUMPY[datatype], copy=False).tobytes()
    array = np.ascontiguousarray(array, NUMPY[datatype])
    return array.reshape(-1).view(np.uint8).data


# --- JSON --------------------------------------------------------------------------------------


def from_json(
    data: Any, datatype: str, shape: Sequence[int], name: str, *, flat: bool = False
) -> Array:
    """Flat or nested arrays, as Python's lists or as a simdjson array, → array. Raises BadBody.

    ``flat``: the caller has seen that there is no array within.
    """
    if datatype in NO_JSON:
        raise BadBody(f"input {name}: {datatype} has no JSON form; send it as binary data")
    if isinstance(data, simdjson.Array) and datatype not in ("BOOL", "BYTES"):
        if not flat:
            _check_nesting(data, shape, name)
        return _shaped(_parsed_numbers(data, datatype, name), shape, name)
    plain = data.as_list() if isinstance(data, simdjson.Array) else data
    if not isinstance(plain, list):
        raise BadBody(f"input {name}: data: expected an array; got {type(plain).__name__}")
    values = _flat(plain, shape, name)
    kinds: dict[str, Any] = {"BOOL": bool, "BYTES": str}
    kind = kinds.get(datatype, (int, float) if datatype.startswith("FP") else int)
    for item in values:
        if not isinstance(item, kind) or (datatype != "BOOL" and isinstance(item, bool)):
            raise _unfit(name, datatype)
    if datatype == "BYTES":
        return _objects(values, shape, name)
    # As objects, because NumPy makes floats of integers that no single type of its holds.
    numbers = np.array(values, np.float64 if datatype.startswith("FP") else object)
    return _shaped(_cast(numbers, datatype, name), shape, name)


def _parsed_numbers(data: simdjson.Array, datatype: str, name: str) -> Array:
    floats = datatype.startswith("FP")
    of_type: Literal["d", "i", "u"] = "d" if floats else "u" if datatype == "UINT64" else "i"
    try:
        raw = np.frombuffer(data.as_buffer(of_type=of_type), PARSED[of_type])
    except (TypeError, ValueError):
        raise _unfit(name, datatype) from None
    return _cast(raw, datatype, name)


def _cast(array: Array, datatype: str, name: str) -> Array:
    if array.size and datatype in LIMITS:
        least, most = LIMITS[datatype]
        if array.min() < least or array.max() > most:
            raise BadBody(f"input {name}: expected numbers that {datatype} can hold; got another")
    return array.astype(NUMPY[datatype])  # a copy: the parser's memory is used again


def _unfit(name: str, datatype: str) -> BadBody:
    return BadBody(f"input {name}: expected only {datatype} values in data; got another kind")


def _check_nesting(data: simdjson.Array, shape: Sequence[int], name: str) -> None:
    """Nested arrays must be nested as the shape says; ragged ones would be read out of order."""
    if simdjson.Array not in set(map(type, data)):
        return
    if len(shape) < 2 or len(data) != shape[0]:
        raise BadBody(f"input {name}: data is not nested as its shape says")
    for part in data:
        if not isinstance(part, simdjson.Array) or len(part) != shape[1]:
            raise BadBody(f"input {name}: data is not nested as its shape says")
        _check_nesting(part, shape[1:], name)


def _flat(data: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    if not data or not isinstance(data[0], list):
        return data
    if not shape or len(data) != shape[0]:
        raise BadBody(f"input {name}: data is not nested as its shape says")
    flat: list[Any] = []
    for part in data:
        if not isinstance(part, list) or not shape[1:] or len(part) != shape[1]:
            raise BadBody(f"input {name}: data is not nested as its shape says")
        flat.extend(_flat(part, shape[1:], name))
    return flat


def to_json(array: Array, datatype: str, name: str) -> bytes:
    """A flat JSON array. Floats that are not finite become null. Raises BadBody."""
    if datatype in NO_JSON:
        raise BadBody(
            f"output {name}: {datatype} has no JSON form; ask for it with"
            ' "parameters": {"binary_data": true}'
        )
    if datatype == "BYTES":
        return orjson.dumps([str(item) for item in array.ravel()])
    return orjson.dumps(np.ascontiguousarray(array).ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
