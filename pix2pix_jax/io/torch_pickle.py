"""Reads the pickles that PyTorch writes for a dict of weights, without pickle and without PyTorch.

A pickle is a program for a stack machine that may import and call anything. Even with its imports forbidden, Python's
`pickle.Unpickler` can be made to hang or to crash the process (a dict key of deeply nested tuples overflows the C
stack), so `load` is a machine of its own: it knows only the operations that weights need, and only values of its own.
"""

import dataclasses
import math
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

MAX_BYTES = 1 << 20  # of one pickle; a generator's is about 20 kB, as the numbers lie outside it
MAX_DIMENSIONS = 8

STORAGES = {  # PyTorch's name of a storage -> its dtype
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


class NotWeightsError(ValueError):
    """A pickle holds anything but weights; the message does not name the file."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers outside the pickle, found by `key`; several tensors may share it."""

    key: str
    dtype: np.dtype
    size: int  # in elements

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage that lies inside it; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Loaded(NamedTuple):
    value: Any  # of dict, list, tuple, str, int, float, bool, None and Tensor
    storages: dict[str, Storage]  # all that are named in the pickle, by key


def load(file: BinaryIO) -> Loaded:
    """Reads one pickle of at most MAX_BYTES; leaves `file` at its end.

    Raises:
      NotWeightsError: it holds anything but plain values and tensors.
      Exception: it is damaged; pickletools and the stack raise many types.
    """
    machine = _Machine()
    for operation, argument, _ in pickletools.genops(file):
        if operation.name != "STOP":
            machine.step(operation.name, argument)
    return Loaded(machine.stack.pop(), machine.storages)


class _Machine:
    """The stack machine: its stack, its memo and the storages seen so far."""

    def __init__(self):
        self.stack: list[Any] = []
        self.frames: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _OPERATIONS:
            _OPERATIONS[name](self, argument)
        else:
            raise NotWeightsError(f"holds pickle's {name}, which weights do not need; do not trust it")

    def pop_frame(self) -> list[Any]:
        frame, self.stack = self.stack, self.frames.pop()
        return frame

    def pop_last(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("the pickle takes more than it holds")
        last = self.stack[-count:]
        del self.stack[-count:]
        return last


def _mark(machine: _Machine, _: None) -> None:
    machine.frames.append(machine.stack)
    machine.stack = []


def _put(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _tuple(machine: _Machine, items: list[Any]) -> None:
    machine.stack.append(tuple(items))


def _extend(machine: _Machine, items: list[Any]) -> None:
    _checked(machine.stack[-1], list).extend(items)


def _set_items(machine: _Machine, items: list[Any]) -> None:
    target = _checked(machine.stack[-1], dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_key(key)] = value


def _global(machine: _Machine, name: str) -> None:
    """Pushes the global `name`, "module name"; nothing is imported."""
    if name not in _GLOBALS:
        shown = printable(name.replace(" ", "."), 80)
        raise NotWeightsError(
            f"holds code ({shown}), not just weights; do not trust it, or have its author save the state_dict()"
        )
    machine.stack.append(_GLOBALS[name])


def _stack_global(machine: _Machine, _: None) -> None:
    module, name = machine.pop_last(2)
    _global(machine, f"{_checked(module, str)} {_checked(name, str)}")


def _reduce(machine: _Machine, _: None) -> None:
    function, arguments = machine.pop_last(2)
    machine.stack.append(_checked(function, _Function).call(*_checked(arguments, tuple)))


def _build(machine: _Machine, _: None) -> None:
    """Drops the attributes of an OrderedDict: a state dict's _metadata has versions that our layouts do not need."""
    machine.stack.pop()
    _checked(machine.stack[-1], dict)


def _persistent(machine: _Machine, _: None) -> None:
    match machine.stack.pop():
        case ("storage", np.dtype() as dtype, str(key), str(), int(size), *view) if view in ([], [None]) and size >= 0:
            storage = Storage(key, dtype, size)
        case _:
            raise NotWeightsError("names data in a way that weights do not; do not trust it")
    if machine.storages.setdefault(key, storage) != storage:
        raise NotWeightsError(f"gives the data {printable(key, 80)} two types or sizes; fetch it again")
    machine.stack.append(storage)


def _of_mark(operation: Callable) -> Callable:
    return lambda machine, _: operation(machine, machine.pop_frame())


def _of_last(count: int, operation: Callable) -> Callable:
    return lambda machine, _: operation(machine, machine.pop_last(count))


_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_LITERALS = frozenset(
    [
        *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
        *("BINSTRING", "SHORT_BINSTRING", "STRING"),  # text saved by Python 2
    ]
)
_OPERATIONS = {
    **dict.fromkeys(["PROTO", "FRAME"], lambda machine, _: None),
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"], _put),
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], _get),
    "MARK": _mark,
    "TUPLE": _of_mark(_tuple),
    "TUPLE1": _of_last(1, _tuple),
    "TUPLE2": _of_last(2, _tuple),
    "TUPLE3": _of_last(3, _tuple),
    "APPEND": _of_last(1, _extend),
    "APPENDS": _of_mark(_extend),
    "SETITEM": _of_last(2, _set_items),
    "SETITEMS": _of_mark(_set_items),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "BINPERSID": _persistent,
}


def _ordered_dict(items: list | tuple = ()) -> dict:
    """Makes a dict of the items that Python 2 pickled with an OrderedDict; Python 3 sets them afterwards."""
    return {_key(key): value for key, value in items}


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Returns a tensor; requires_grad, hooks and metadata, which follow the strides, are dropped."""
    numbers = [offset, *_checked(shape, tuple), *_checked(strides, tuple)]
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS or any(_checked(n, int) < 0 for n in numbers):
        raise NotWeightsError("has a tensor whose shape makes no sense; fetch it again")
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    size = _checked(storage, Storage).size
    elements = math.prod(shape)
    # More elements than the storage has: an expanded tensor, by which a small file could fill the memory.
    if elements > size or (elements and last >= size):
        raise NotWeightsError("has a tensor that reaches beyond its data; fetch it again")
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *_: Any) -> Tensor:
    return _checked(data, Tensor)


@dataclasses.dataclass(frozen=True)
class _Function:
    """A function that a pickle may call."""

    call: Callable


_GLOBALS = {
    "collections OrderedDict": _Function(_ordered_dict),
    "torch._utils _rebuild_tensor": _Function(_rebuild_tensor),  # before PyTorch 0.4
    "torch._utils _rebuild_tensor_v2": _Function(_rebuild_tensor),
    "torch._utils _rebuild_parameter": _Function(_rebuild_parameter),
    **{f"torch {name}": dtype for name, dtype in STORAGES.items()},
}


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        found, wanted = (x.__name__.lstrip("_").lower() for x in (type(value), kind))
        raise NotWeightsError(f"is malformed ({found} in place of {wanted}); fetch it again")
    return value


def _key(key: Any) -> str | int:
    """Checks that a key is an int or a str; others could take for ever to hash."""
    return key if isinstance(key, int) else _checked(key, str)


def printable(text: str, limit: int) -> str:
    """Shortens a stranger's text to one printable line."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown if len(text) <= limit else shown + "..."
