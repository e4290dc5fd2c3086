"""Files of PyTorch weights: real ones of torch.save (tests/golden/make_popular.py), and hostile ones made by hand."""

import math
import os
import pathlib
import pickle
import struct
import tracemalloc
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import pth

POPULAR = pathlib.Path(__file__).parents[1] / "golden" / "popular"
FILES = sorted(POPULAR.glob("*.pth"))
DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
ONE_TO_SIX = np.arange(1, 7, dtype=np.float32)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def tensor(
    offset: int, shape: tuple, strides: tuple, key: str = "0", kind: str = "FloatStorage", size: int = 6
) -> bytes:
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + b"I%d\ntQ" % size
    layout = b"I%d\n" % offset + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + layout + b"\x89}tR"


PLAIN = tensor(0, (2, 3), (3, 1))


def state(**items: bytes) -> bytes:
    """A pickle of a dict."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in items.items()) + b"u."


def as_zip(path: pathlib.Path, contents: bytes, data: dict[str, bytes], **more: bytes) -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("any/data.pkl", contents)
        for key, values in data.items():
            archive.writestr(f"any/data/{key}", values)
        for name, values in more.items():
            archive.writestr(f"any/{name}", values)
    return path


LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


def as_legacy(path: pathlib.Path, contents: bytes, data: dict[str, tuple[int, bytes]]) -> pathlib.Path:
    stored = b"".join(struct.pack("<q", count) + values for count, values in data.values())
    path.write_bytes(LEGACY + contents + pickle.dumps(list(data), 2) + stored)
    return path


def refusal(path: pathlib.Path) -> str:
    """What the user reads, without the file's name."""
    with pytest.raises(UserError) as caught:
        pth.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.isprintable() and len(message) < 400, message
    return message.removeprefix(f"{path}: ")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_reads_what_pytorch_saved(file):
    torch = pytest.importorskip("torch")
    expected = torch.load(file, weights_only=True)
    found = pth.read(file)
    assert list(found) == list(expected)
    for key, array in found.items():
        assert array.dtype == expected[key].numpy().dtype
        np.testing.assert_array_equal(array, expected[key].numpy(), strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_written_files_read_the_same_and_are_the_same_each_time(file, path):
    weights = pth.read(file)
    pth.write(path, weights)
    first = path.read_bytes()
    again = pth.read(path)
    assert list(again) == list(weights)
    for key, array in weights.items():
        np.testing.assert_array_equal(again[key], array, strict=True)
    pth.write(path, weights)
    assert path.read_bytes() == first
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("mmap", [True, False])
def test_pytorch_loads_what_is_written(path, weights_only, mmap):
    torch = pytest.importorskip("torch")
    arrays = {kind: np.arange(6).reshape(2, 3).astype(dtype) for kind, dtype in DTYPES.items()}
    arrays |= {"counter": np.array(7), "transposed": ONE_TO_SIX.reshape(2, 3).T, "empty": np.zeros((0, 4), np.float32)}
    pth.write(path, arrays)
    loaded = torch.load(path, weights_only=weights_only, mmap=mmap)
    assert type(loaded).__name__ == "OrderedDict" and list(loaded) == list(arrays)
    for key, array in arrays.items():
        values = loaded[key].float() if key == "BFloat16Storage" else loaded[key]
        assert loaded[key].device.type == "cpu" and loaded[key].is_contiguous()
        np.testing.assert_array_equal(values.numpy(), array.astype(values.numpy().dtype), strict=True)


def test_data_are_aligned_as_pytorch_aligns_them(path):
    pth.write(path, {"a": ONE_TO_SIX, "a key of another length": ONE_TO_SIX})
    contents = path.read_bytes()
    for entry in zipfile.ZipFile(path).infolist():
        name, extra = struct.unpack("<HH", contents[entry.header_offset + 26 : entry.header_offset + 30])
        assert (entry.header_offset + 30 + name + extra) % 64 == 0


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("kind", DTYPES)
def test_every_dtype_in_both_byte_orders(path, kind, byte_order):
    values = np.array([0, 1, 1, 0, 1, 1]).astype(DTYPES[kind])
    words = values.view(f"u{values.itemsize}").astype(f"{'<' if byte_order == 'little' else '>'}u{values.itemsize}")
    contents = state(w=tensor(0, (6,), (1,), kind=kind))
    as_zip(path, contents, {"0": words.tobytes()}, byteorder=byte_order.encode())
    np.testing.assert_array_equal(pth.read(path)["w"], values, strict=True)
    if byte_order == "little":
        as_legacy(path, contents, {"0": (6, values.tobytes())})
        np.testing.assert_array_equal(pth.read(path)["w"], values, strict=True)


def test_offsets_strides_and_shared_storages(path):
    items = {
        "columns": tensor(0, (3, 2), (1, 3)),
        "tail": tensor(4, (2,), (1,)),
        "every_other": tensor(1, (3,), (2,)),
        "scalar": tensor(5, (), ()),
        "none": tensor(0, (0, 7), (7, 1), key="1", size=0),
    }
    expected = {"columns": [[1, 4], [2, 5], [3, 6]], "tail": [5, 6], "every_other": [2, 4, 6], "scalar": 6}
    as_zip(path, state(**items), {"0": ONE_TO_SIX.tobytes(), "1": b""})
    in_zip = pth.read(path)
    as_legacy(path, state(**items), {"1": (0, b""), "0": (6, ONE_TO_SIX.tobytes())})
    for found in (in_zip, pth.read(path)):
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key], np.float32(values))
        assert found["none"].shape == (0, 7)
        assert np.shares_memory(found["columns"], found["tail"])


class Malicious:
    def __init__(self, marker: pathlib.Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_nothing_of_a_file_is_executed(path, tmp_path):
    marker = tmp_path / "marker"
    for protocol in range(1, pickle.HIGHEST_PROTOCOL + 1):
        contents = pickle.dumps({"w": Malicious(marker)}, protocol)
        path.write_bytes(contents)
        refusal(path)
        for make in (as_zip, as_legacy):
            assert refusal(make(path, contents, {})).startswith(f"holds code ({os.name}.mkdir)")
        assert not marker.exists()
    pickle.loads(contents)
    assert marker.exists()  # so the pickle does what it was made for


def test_places_that_are_no_file(tmp_path):
    assert refusal(tmp_path / "absent.pth").startswith("no such file")
    assert refusal(tmp_path).startswith("not a file")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").startswith("not a file")


@pytest.mark.parametrize("contents", [b"", b"\x80", b"PK", b"PK\x03\x04", b"<html>", b"version https://git-lfs\n" * 9])
def test_files_of_other_kinds(path, contents):
    path.write_bytes(contents)
    message = refusal(path)
    assert "not a file of PyTorch weights" in message and "fetch it again" in message


def test_a_plain_pickle_of_weights(path):
    path.write_bytes(state(w=PLAIN))
    assert refusal(path).startswith("a pickle, but not of PyTorch weights")
    path.write_bytes(LEGACY[:18].replace(b"\x6c\xfc", b"\x6d\xfc") + b"\x80\x02M\xe9\x03.")
    assert refusal(path).startswith("a pickle, but not of PyTorch weights")


def test_zip_archives_of_other_things(path):
    for names in (["weights.pth"], ["a/data.pkl", "b/data.pkl"], ["data.pkl"], ["a/b/data.pkl"]):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, state(w=PLAIN))
        assert refusal(path).startswith("a zip archive, but not of PyTorch weights")


def test_compressed_archives(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("any/data.pkl", state(w=PLAIN))
        archive.writestr("any/data/0", bytes(10**7))
    assert refusal(path).startswith("is compressed")


def test_archives_that_declare_more_than_they_hold(path):
    as_zip(path, state(w=tensor(0, (2**30,), (1,), size=2**30)), {"0": ONE_TO_SIX.tobytes()})
    contents = bytearray(path.read_bytes())
    entry = zipfile.ZipFile(path).getinfo("any/data/0")
    for place in (contents.index(b"PK\x01\x02", entry.header_offset) + 20 + 4 * n for n in (0, 1)):
        contents[place : place + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(contents)
    assert refusal(path).startswith("declares more data")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "lacks the data 0"),
        ({"1": ONE_TO_SIX.tobytes()}, "lacks the data 0"),
        ({"0": ONE_TO_SIX.tobytes()[:-1]}, "lacks the data 0"),
        ({"0": ONE_TO_SIX.tobytes() + b"x"}, "lacks the data 0"),
    ],
)
def test_archives_without_their_data(path, data, expected):
    assert expected in refusal(as_zip(path, state(w=PLAIN), data))


def test_archives_with_other_faults(path):
    data = {"0": ONE_TO_SIX.tobytes()}
    assert "byte order" in refusal(as_zip(path, state(w=PLAIN), data, byteorder=b"middle"))
    assert "too long" in refusal(as_zip(path, state(w=PLAIN) + bytes(2**20), data))
    as_zip(path, state(w=PLAIN), data)
    path.write_bytes(path.read_bytes().replace(ONE_TO_SIX.tobytes(), bytes(24), 1))
    assert "CRC" in refusal(path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"0": (5, ONE_TO_SIX.tobytes())}, "lacks the data 0"),
        ({"0": (-1, ONE_TO_SIX.tobytes())}, "lacks the data 0"),
        ({"0": (6, ONE_TO_SIX.tobytes()[:-1])}, "lacks the data 0"),
        ({}, "lists other data"),
        ({"0": (6, ONE_TO_SIX.tobytes()), "1": (0, b"")}, "lists other data"),
        ({0: (6, ONE_TO_SIX.tobytes())}, "lists other data"),
    ],
)
def test_legacy_files_without_their_data(path, data, expected):
    assert expected in refusal(as_legacy(path, state(w=PLAIN), data))


def test_legacy_counts_beyond_the_file_take_no_memory(path):
    as_legacy(path, state(w=tensor(0, (2**31,), (1,), size=2**31)), {"0": (2**31, b"")})
    tracemalloc.start()
    assert "lacks the data 0" in refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def read_or_refuse(path: pathlib.Path) -> None:
    try:
        found = pth.read(path)
    except UserError as error:
        assert str(error).isprintable()
    else:
        assert all(isinstance(key, str) and isinstance(array, np.ndarray) for key, array in found.items())
        assert all(np.isfinite(array.astype(np.float64)).size == math.prod(array.shape) for array in found.values())


DAMAGED = [POPULAR / "pixel.pth", POPULAR / "unet_legacy.pth"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DAMAGED), st.data())
def test_truncated_files_are_refused(tmp_path_factory, file, data):
    contents = file.read_bytes()
    path = tmp_path_factory.mktemp("truncated") / "w.pth"
    path.write_bytes(contents[: data.draw(st.integers(0, len(contents) - 1))])
    refusal(path)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DAMAGED), st.data())
def test_flipped_bits_are_refused_or_harmless(tmp_path_factory, file, data):
    contents = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # half of them in the first part, which is the pickle; of the rest most are numbers
        end = data.draw(st.sampled_from([2000, 8 * len(contents)])) - 1
        bit = data.draw(st.integers(0, end))
        contents[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("flipped") / "w.pth"
    path.write_bytes(contents)
    read_or_refuse(path)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", LEGACY]), st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path_factory, start, rest):
    path = tmp_path_factory.mktemp("random") / "w.pth"
    path.write_bytes(start + rest)
    read_or_refuse(path)


def test_a_failed_write_leaves_what_was_there(path, monkeypatch):
    pth.write(path, {"w": ONE_TO_SIX})
    before = path.read_bytes()
    with pytest.raises(UserError, match="cannot hold w, as PyTorch has no complex64; convert"):
        pth.write(path, {"w": np.zeros(3, np.complex64)})

    def full(*_):
        raise OSError(28, "No space left on device")

    for place in ((zipfile.ZipFile, "writestr"), (os, "replace")):
        with monkeypatch.context() as patched:
            patched.setattr(*place, full)
            with pytest.raises(
                UserError, match=r"weights.pth: cannot be written \(No space left on device\); make room"
            ):
                pth.write(path, {"w": ONE_TO_SIX})
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    with pytest.raises(UserError, match="No such file or directory"):
        pth.write(path.parent / "absent" / "w.pth", {"w": ONE_TO_SIX})
