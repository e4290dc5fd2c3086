"""Pickles of weights as PyTorch and its old versions make them, and hostile ones, in the archive of `pth`."""

import pathlib
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import pth

ONE_TO_SIX = np.arange(1, 7, dtype=np.float32)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def storage(key: str = "0", kind: str = "FloatStorage", size: int = 6, more: bytes = b"") -> bytes:
    return (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + b"I%d\n" % size + more + b"tQ"
    )


def tensor(storage: bytes, offset: int, shape: tuple, strides: tuple, function: str = "_rebuild_tensor_v2") -> bytes:
    more = b"" if function == "_rebuild_tensor" else b"\x89}"
    arguments = b"(" + storage + b"I%d\n" % offset + numbers(shape) + numbers(strides) + more + b"t"
    return f"ctorch._utils\n{function}\n".encode() + arguments + b"R"


PLAIN = tensor(storage(), 0, (2, 3), (3, 1))


def state(**items: bytes) -> bytes:
    """A pickle of a dict."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in items.items()) + b"u."


def read(path: pathlib.Path, contents: bytes, data: bytes = ONE_TO_SIX.tobytes()) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("any/data.pkl", contents)
        archive.writestr("any/data/0", data)
    return pth.read(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("function", ["_rebuild_tensor", "_rebuild_tensor_v2"])
def test_state_dicts_of_old_versions(path, function):
    """Python 2 pickled an OrderedDict with its items and its text as bytes; PyTorch 0.3 rebuilt tensors otherwise."""
    pair = b"](U\x01w" + tensor(storage(more=b"N"), 0, (6,), (1,), function) + b"e"
    contents = b"\x80\x02ccollections\nOrderedDict\n](" + pair + b"e\x85R."
    np.testing.assert_array_equal(read(path, contents)["w"], ONE_TO_SIX)


def test_accepts_metadata_parameters_and_a_state_dict_in_a_checkpoint(path):
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + PLAIN + b"\x88}tR"
    weights = b"ccollections\nOrderedDict\n)R(" + text("w") + parameter + b"u"
    metadata = b"}" + text("_metadata") + b"}" + text("") + b"}" + text("version") + b"K\x01sssb"
    checkpoint = b"\x80\x02}(" + text("epoch") + b"K\x05" + text("state_dict") + weights + metadata + b"u."
    np.testing.assert_array_equal(read(path, checkpoint)["w"], ONE_TO_SIX.reshape(2, 3))


DEEP = b"\x85" * 50_000  # tuples in tuples; Python's own unpickler crashes when they are hashed
HOSTILE = {
    "code by stack_global": (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "holds code (builtins.eval)"),
    "code of torch": (b"\x80\x02ctorch.hub\nload\n.", "holds code (torch.hub.load)"),
    "a function's attribute": (b"\x80\x04\x8c\x0ctorch._utils\x8c\x0eos.path.expand\x93.", "holds code"),
    "escape codes in a name": (b"\x80\x02c\x1b[31m\nx\n.", "holds code (\\x1b[31m.x)"),
    "inst": (b"(ios\nsystem\n.", "holds pickle's INST"),
    "newobj": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "holds pickle's NEWOBJ"),
    "extension": (b"\x80\x02\x82\x01.", "holds pickle's EXT1"),
    "call of text": (b"\x80\x02" + text("x") + b")R.", "(str in place of function)"),
    "call of a dtype": (b"\x80\x02ctorch\nFloatStorage\n)R.", " in place of function)"),
    "arguments that are no tuple": (b"\x80\x02ccollections\nOrderedDict\n]R.", "(list in place of "),
    "too many arguments": (b"\x80\x02ccollections\nOrderedDict\nNNN\x87R.", "damaged"),
    "attributes of a tensor": (b"\x80\x02" + PLAIN + b"}b.", "(tensor in place of dict)"),
    "attributes of a function": (b"\x80\x02ccollections\nOrderedDict\n}b.", " in place of dict)"),
    "items of a list": (b"\x80\x02]K\x00K\x00s.", "(list in place of dict)"),
    "append to a dict": (b"\x80\x02}K\x00a.", "(dict in place of list)"),
    "deep key": (b"\x80\x02})" + DEEP + b"K\x01s.", "(tuple in place of str)"),
    "deep value": (state(w=b")" + DEEP), "holds no tensor under w (tuple)"),
    "deep shape": (
        state(w=b"ctorch._utils\n_rebuild_tensor\n(NK\x00)" + DEEP + b"K\x01\x85tR"),
        "(tuple in place of int)",
    ),
    "exponential key": (b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.", "holds pickle's DUP"),
    "exponential key by memo": (b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.", "(tuple in place of "),
    "unhashable key": (b"\x80\x02}]K\x01s.", "(list in place of str)"),
    "odd items": (b"\x80\x02}(" + text("w") + b"u.", "damaged"),
    "no stack": (b"\x80\x02\x86.", "damaged"),
    "no mark": (b"\x80\x02t.", "damaged"),
    "nothing": (b"\x80\x02.", "damaged"),
    "unknown memo": (b"\x80\x02h\x05.", "damaged"),
    "no end": (b"\x80\x02}", "damaged"),
    "unknown operation": (b"\x80\x02\xff.", "damaged"),
    "text longer than the file": (b"\x80\x02X\xff\xff\xff\xffabc.", "damaged"),
    "number of many digits": (b"\x80\x02I" + b"9" * 5000 + b"\n.", "damaged"),
    "a list": (b"\x80\x02].", "holds no dict of weights"),
    "an empty dict": (b"\x80\x02}.", "holds no dict of weights"),
    "a tensor alone": (b"\x80\x02" + PLAIN + b".", "holds no dict of weights"),
    "state_dict that is none": (state(state_dict=b"K\x01"), "holds no dict of weights"),
    "a number": (state(w=PLAIN, epoch=b"K\x07"), "holds no tensor under epoch (int)"),
    "a storage": (state(w=storage()), "holds no tensor under w (Storage)"),
    "a key that is a number": (b"\x80\x02}K\x05" + PLAIN + b"s.", "holds no tensor under 5 (Tensor)"),
    "tensor in a tensor": (state(w=tensor(PLAIN, 0, (), ())), "(tensor in place of storage)"),
    "parameter of nothing": (state(w=b"ctorch._utils\n_rebuild_parameter\nN\x85R"), " in place of tensor)"),
    "other persistent": (state(w=b"K\x05Q"), "names data in a way"),
    "negative storage": (state(w=storage(size=-1)), "names data in a way"),
    "storage of text": (state(w=b"(" + text("storage") + text("Float") + text("0") * 2 + b"K\x06tQ"), "names data in"),
    "view of a storage": (state(w=storage(more=b")")), "names data in a way"),
    "one storage, two types": (state(w=PLAIN, v=tensor(storage(kind="HalfStorage"), 0, (), ())), "two types"),
    "shape too large": (state(w=tensor(storage(), 0, (7,), (1,))), "beyond its data"),
    "offset too large": (state(w=tensor(storage(), 6, (), ())), "beyond its data"),
    "strides too large": (state(w=tensor(storage(), 0, (2, 2), (5, 1))), "beyond its data"),
    "expanded": (state(w=tensor(storage(), 0, (10**12,), (0,))), "beyond its data"),
    "negative offset": (state(w=tensor(storage(), -1, (2,), (1,))), "makes no sense"),
    "negative shape": (state(w=tensor(storage(), 0, (-2, -3), (3, 1))), "makes no sense"),
    "negative strides": (state(w=tensor(storage(), 5, (6,), (-1,))), "makes no sense"),
    "strides of other length": (state(w=tensor(storage(), 0, (6,), ())), "makes no sense"),
    "many dimensions": (state(w=tensor(storage(), 0, (1,) * 100, (1,) * 100)), "makes no sense"),
    "empty but huge": (state(w=tensor(storage(), 0, (0, 2**63), (1, 1))), "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(path, name):
    contents, expected = HOSTILE[name]
    with pytest.raises(UserError) as caught:
        read(path, contents)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and expected in message and message.isprintable() and len(message) < 400


def test_the_control_of_the_hostile_pickles_is_read(path):
    np.testing.assert_array_equal(read(path, state(w=PLAIN))["w"], ONE_TO_SIX.reshape(2, 3))


def test_a_memo_may_have_any_index(path):
    """Python's own unpickler would make a table of that length."""
    contents = state(w=PLAIN).replace(b"}(", b"}r\xff\xff\xff\xff(")
    assert set(read(path, contents)) == {"w"}


def test_many_large_tensors_of_one_storage(path, monkeypatch):
    """A pickle of 1 MB could ask for a large storage thousands of times."""
    whole = tensor(storage(size=6000), 0, (6000,), (1,))
    contents, data = state(**{f"w{n}": whole for n in range(100)}), bytes(24_000)
    monkeypatch.setattr(pth, "MAX_BYTES", 100 * 24_000)
    assert len(read(path, contents, data)) == 100
    monkeypatch.setattr(pth, "MAX_BYTES", 100 * 24_000 - 1)
    with pytest.raises(UserError, match="GiB of weights"):
        read(path, contents, data)
    monkeypatch.setattr(pth, "MAX_BYTES", 24_000)
    with pytest.raises(UserError, match="which no weights need"):  # the file itself has more
        read(path, contents, data)


OPERATIONS = [bytes([operation]) for operation in b"()]}t\x85\x86\x87RbsuaeQN\x88\x94\x93021\x81."]
ARGUMENTS = [b"K\x06", b"J\xff\xff\xff\xff", b"\x8a\x04\xff\xff\xff\x7f", b"G" + bytes(8), b"q\x00", b"h\x00"]
NAMES = [b"torch\nFloatStorage", b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict", b"os\nsystem"]
PIECES = [
    *OPERATIONS,
    *ARGUMENTS,
    *(b"c" + name + b"\n" for name in NAMES),
    *(text(value) for value in ("w", "0", "storage", "state_dict")),
    *(storage(), PLAIN, numbers((2, 3)), numbers((3, 1)), text("v") + PLAIN),
]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30))
@example([b"}", text("w"), PLAIN, b"s"])
def test_random_programs_are_refused_or_harmless(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("program") / "w.pth"
    try:
        found = read(path, b"\x80\x02" + b"".join(pieces) + b".")
    except UserError as error:
        assert str(error).isprintable()
    else:
        assert all(array.size <= 6 and np.isfinite(array).all() for array in found.values())
