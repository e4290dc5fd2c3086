"""Reads the pickles that PyTorch writes for a dict of weights, without pickle and without PyTorch.

A pickle is a program for a stack machine that may import and call anything. Even with its imports forbidden, Python's
`pickle.Unpickler` can be made to hang or to crash the process (a dict key of deeply nested tuples overflows the C
stack), so `load` is a machine of its own: it knows only the operations that weights need, and only values of its own.
"""

import dataclasses
import math
import pickletools
import types
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from pix2pix_jax.errors import printable

MAX_BYTES = 1 << 20  # of one pickle; a generator's is about 20 kB, as the numbers lie outside it
MAX_DIMENSIONS = 8
_VIEWS = ([], [None])  # how a storage's name ends; a third kind, a view of another storage, is not read

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
    """Signals that a pickle holds anything but weights; the message does not name the file."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """Names a run of numbers outside the pickle by its key; several tensors may share it."""

    key: str
    dtype: np.dtype
    size: int  # in elements

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Describes a view of a storage that lies inside it; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Loaded(NamedTuple):
    value: Any  # of dict, list, tuple, str, int, float, bool, None and Tensor
    storages: dict[str, Storage]  # all that are named in the pickle, by key


def load(file: BinaryIO) -> Loaded:
    """Reads one pickle; leaves `file` at its end.

    Raises NotWeightsError if it holds anything but plain values and tensors, and many types if it is damaged.
    """
    machine = _Machine()
    for operation, argument, _ in pickletools.genops(file):
        machine.step(operation, argument)
    return Loaded(machine.stack.pop(), machine.storages)


class _Machine:
    """Runs the operations of a pickle on a stack."""

    def __init__(self):
        self.stack: list[Any] = []
        self.frames: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        name = operation.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.frames.append(self.stack)
            self.stack = []
        elif name == "BINPERSID":
            self.stack.append(self._storage(self.stack.pop()))
        elif name in _OPERATIONS:
            operands = self._pop_operands(operation.stack_before)
            self.stack.append(_OPERATIONS[name](argument, *operands))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise NotWeightsError(f"holds pickle's {name}, which weights do not need; do not trust it")

    def _pop_operands(self, kinds: list[pickletools.StackObject]) -> list[Any]:
        """Pops what pickletools says an operation takes; all above the last mark counts as two kinds."""
        last = []
        if pickletools.markobject in kinds:
            last, self.stack, kinds = self.stack, self.frames.pop(), kinds[:-2]
        return [self.stack.pop() for _ in kinds][::-1] + last

    def _storage(self, name: Any) -> Storage:
        match name:
            case ("storage", np.dtype() as dtype, str(key), str(), int(size), *view) if view in _VIEWS and size >= 0:
                storage = Storage(key, dtype, size)
            case _:
                raise NotWeightsError("names data in a way that weights do not; do not trust it")
        if self.storages.setdefault(key, storage) != storage:
            raise NotWeightsError(f"gives the data {printable(key, 80)} two types or sizes; fetch it again")
        return storage


def _extend(_: None, target: Any, *items: Any) -> list:
    _checked(target, list).extend(items)
    return target


def _set_items(_: None, target: Any, *items: Any) -> dict:
    _checked(target, dict).update((_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))
    return target


def _global(name: str) -> Any:
    """Returns the global `name`, "module name"; nothing is imported."""
    if name not in _GLOBALS:
        code = f"holds code ({printable(name.replace(' ', '.'), 80)}), not just weights"
        raise NotWeightsError(f"{code}; do not trust it, or have its author save the state_dict()")
    return _GLOBALS[name]


_LITERALS = (
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "NONE"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
    *("BINSTRING", "SHORT_BINSTRING", "STRING"),  # text saved by Python 2
)
_OPERATIONS = {  # functions of the operation's argument and its operands
    **dict.fromkeys(_LITERALS, lambda argument: argument),
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    **dict.fromkeys(["EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"], lambda _, *items: items),
    **dict.fromkeys(["APPEND", "APPENDS"], _extend),
    **dict.fromkeys(["SETITEM", "SETITEMS"], _set_items),
    "GLOBAL": _global,
    "STACK_GLOBAL": lambda _, module, name: _global(f"{_checked(module, str)} {_checked(name, str)}"),
    "REDUCE": lambda _, function, arguments: _checked(function, types.FunctionType)(*_checked(arguments, tuple)),
    # Attributes of an OrderedDict are dropped: a state dict's _metadata has versions that our layouts do not need.
    "BUILD": lambda _, target, attributes: _checked(target, dict),
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


_GLOBALS = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor": _rebuild_tensor,  # before PyTorch 0.4
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": lambda data, *_: _checked(data, Tensor),
    **{f"torch {name}": dtype for name, dtype in STORAGES.items()},
}


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        actual, wanted = (x.__name__.lower() for x in (type(value), kind))
        raise NotWeightsError(f"is malformed ({actual} in place of {wanted}); fetch it again")
    return value


def _key(key: Any) -> str | int:
    """Checks that a key is an int or a str; others could take for ever to hash."""
    return key if isinstance(key, int) else _checked(key, str)
