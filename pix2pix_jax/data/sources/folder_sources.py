"""Sources of the user's own folders: A|B images, photographs, folders paired by file name, and arrays."""

import functools
import math
import os
from collections.abc import Sequence
from concurrent import futures

import numpy as np
from etils import epath

from pix2pix_jax.data.files import arrays, images
from pix2pix_jax.data.files.high_bit_depth import Header, height_by_width
from pix2pix_jax.data.files.listing import left_out
from pix2pix_jax.data.files.value_range import (
    convert,
    fit_channels,
    stored_dtype,
    to_stored,
    widest,
    wrong_channels,
)
from pix2pix_jax.data.sources import folders
from pix2pix_jax.data.sources.folders import Layout
from pix2pix_jax.data.sources.source import Channels, Source
from pix2pix_jax.errors import UserError, printable


def open_folder(path: epath.Path, split: str, *, a: Sequence[str], b: Sequence[str], single: bool) -> "FolderSource":
    """Opens a split of a folder, or of an .npz file, whose layout is recognised.

    Raises:
      UserError: no such folder or split, nothing in it, or its layout is unclear.
    """
    if path.is_file():
        if path.suffix != ".npz":
            raise UserError(f"{printable(path)}: a file; set config.data_dir to a folder, or to an .npz of two arrays")
        return ArraySource(Layout("arrays", path.parent, {"": (path,)}, tuple(a), tuple(b)), split)
    if single:
        return PhotoSource(path, split)
    layout = folders.find_layout(path, a, b)
    if layout.kind == "joined":
        return FolderSource(path, split)
    return (StackedSource if layout.kind == "separate" else ArraySource)(layout, split)


class _OwnSource(Source):
    """Base of the sources of the user's own files.

    Attributes:
      folder: where they are.
      note: the files of the folder that are not used; "" if there are none.
    """

    folder: epath.Path
    note: str = ""
    _unit = "pairs"

    @functools.cached_property
    def _headers(self) -> list[tuple[Header, Header]]:
        with futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.header, range(len(self.names))))

    def dtypes(self) -> tuple[str, str]:
        return widest(a.dtype for a, _ in self._headers), widest(b.dtype for _, b in self._headers)

    def describe(self) -> str:
        sizes = sorted({a.size for a, _ in self._headers}, key=math.prod)
        text = f"{len(self.names)} {self._unit} of {height_by_width(sizes[0])} from {printable(self.folder)}"
        if len(sizes) > 1:
            text += f", sizes differ, the largest {height_by_width(sizes[-1])}"
        return f"{text}; {self.note}" if self.note else text


class FolderSource(_OwnSource):
    """A folder of side-by-side A|B images, with train/, val/ and test/ or without.

    Without them, the tenth of the files (at least one) whose names have the lowest CRC-32 are `val` and the others
    `train`, so a file stays where it was when others come.
    """

    places = ("left half", "right half")
    _single = False

    def __init__(self, folder: epath.Path, split: str):
        self.folder, layout = folder, folders.joined(folder)
        self._files = folders.list_all(layout, split, single=self._single)
        self.note = left_out([folder, *layout.paths(split)], self._files, layout.known)
        if not layout.splits:
            chosen = folders.choose_split([str(f.relative_to(folder)) for f in self._files], folder, split)
            self._files = [self._files[i] for i in chosen]
        self.names = [str(f.relative_to(folder).with_suffix("")) for f in self._files]

    def sizes(self) -> list[str]:
        return _file_sizes([(file,) for file in self._files])

    def header(self, index: int) -> tuple[Header, Header]:
        path = self._files[index]
        return half_headers(path, str(path))

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        path = self._files[index]
        return split_halves(_read(path), str(path), channels)


class PhotoSource(FolderSource):
    """A folder of single images, each of which is both A and B."""

    _unit = "images"
    places = ("whole image", "whole image")
    _single = True

    def header(self, index: int) -> tuple[Header, Header]:
        header = images.read_header(self._files[index], str(self._files[index]))
        return header, header

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        path = self._files[index]
        image = images.decode(_read(path), str(path), channels[0], dtype=None)
        return image, image


class StackedSource(_OwnSource):
    """Folders of images, paired by file stem; those of several folders may be stacked to one image of many channels."""

    def __init__(self, layout: Layout, split: str):
        files = folders.pair_all(layout, split)
        used = [path for paths in files.values() for path in paths]
        self.note = left_out([layout.folder, *layout.paths(split)], used, layout.known)
        if not layout.splits:
            stems = list(files)
            files = {stems[i]: files[stems[i]] for i in folders.choose_split(stems, layout.folder, split)}
        count = len(layout.a)
        self.folder = layout.folder
        self._files = [(paths[:count], paths[count:]) for paths in files.values()]
        self.names = [f"{split}/{stem}" if layout.splits else stem for stem in files]
        self.places = _places("folder", layout.a, layout.b)

    def sizes(self) -> list[str]:
        return _file_sizes([(*a, *b) for a, b in self._files])

    def header(self, index: int) -> tuple[Header, Header]:
        sides = [([images.read_header(file, str(file)) for file in files], files) for files in self._files[index]]
        return tuple(_stacked_header(headers, files) for headers, files in sides)

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        a, b = self._files[index]
        return decode_stack(a, channels[0]), decode_stack(b, channels[1])


def _stacked_header(headers: Sequence[Header], names: Sequence[epath.Path | str]) -> Header:
    """Returns the header of images that are stacked to one. Raises UserError if their sizes differ."""
    if len(headers) == 1:
        return headers[0]
    _check_same_size(names, [header.size for header in headers])
    channels, dtype = sum(header.channels for header in headers), widest(header.dtype for header in headers)
    animated = any(header.animated for header in headers)
    return Header(headers[0].size, channels, dtype=dtype, animated=animated)


def decode_stack(files: Sequence[epath.Path], channels: int | None) -> np.ndarray:
    """Decodes one image, or several that are stacked to one, each with its own channels: (H, W, channels).

    Raises:
      UserError: one is unreadable, their sizes differ, or their channels do not add up to `channels`.
    """
    if len(files) == 1:
        return images.decode(_read(files[0]), str(files[0]), channels, dtype=None)
    layers = [images.decode(_read(file), str(file), None, dtype=None) for file in files]
    _check_same_size(files, [layer.shape[:2] for layer in layers])
    return _stack(layers, channels, f"{printable(files[0])} with {', '.join(printable(f) for f in files[1:])}")


def _stack(layers: Sequence[np.ndarray], channels: int | None, name: str) -> np.ndarray:
    dtype = widest(str(layer.dtype) for layer in layers)
    stacked = np.concatenate([convert(layer, dtype, name) for layer in layers], axis=-1)
    if channels not in (None, stacked.shape[-1]):
        raise wrong_channels(name, stacked.shape[-1])
    return stacked


def _check_same_size(files: Sequence[epath.Path | str], sizes: Sequence[tuple[int, int]]) -> None:
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise UserError(
                f"{printable(file)}: {height_by_width(size)}, but {printable(files[0])}, on which it is stacked, has "
                f"{height_by_width(sizes[0])}; make them equal"
            )


class ArraySource(_OwnSource):
    """Two arrays of images in an .npz file or in .npy files, which are read image by image."""

    def __init__(self, layout: Layout, split: str):
        self._paths = paths = layout.paths(split)
        if paths[0].suffix == ".npz":
            default = (layout.a, layout.b) == (("A",), ("B",))
            names = arrays.members(paths[0], arrays.NAMES if default else ((*layout.a, *layout.b),))
            self._stacks = [arrays.Stack(paths[0], name) for name in names]
        else:
            names = tuple(path.name for path in paths)
            self._stacks = [arrays.Stack(path) for path in paths]
        total = self._check_alike()
        self.folder, count = layout.folder, len(layout.a)
        self.places = _places("array", names[:count], names[count:])
        self._sides = self._stacks[:count], self._stacks[count:]
        every = [f"{i:0{len(str(total - 1))}d}" for i in range(total)]
        self._indices = list(range(total)) if layout.splits else folders.choose_split(every, paths[0], split)
        self.names = [f"{split}/{every[i]}" if layout.splits else every[i] for i in self._indices]

    def _check_alike(self) -> int:
        """Returns the number of images in each array. Raises UserError if they differ in it."""
        first = self._stacks[0]
        for stack in self._stacks:
            if len(stack) != len(first):
                raise UserError(
                    f"{stack.name}: {len(stack)} images, but {first.name} has {len(first)}; images of the same index "
                    "are a pair"
                )
        return len(first)

    def sizes(self) -> list[str]:
        """Returns the size of the whole files for every example: which of their images changed is unknown."""
        (size,) = _file_sizes([dict.fromkeys(self._paths)])
        shapes = " ".join(f"{stack.dtype}{list(stack.shape[1:])}" for stack in self._stacks)
        return [f"{shapes} in {size}" if size else ""] * len(self.names)

    def header(self, index: int) -> tuple[Header, Header]:
        return tuple(map(self._header, self._sides))

    def _header(self, stacks: Sequence[arrays.Stack]) -> Header:
        headers = [Header(s.shape[1:3], s.shape[3], dtype=stored_dtype(s.dtype)) for s in stacks]
        header = _stacked_header(headers, [s.name for s in stacks])
        images.check_size(header.size, stacks[0].name, depth=sum(s.shape[3] * s.dtype.itemsize for s in stacks))
        return header

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        sides = zip(self._sides, channels, strict=True)
        return tuple(self._image(stacks, self._indices[index], wanted) for stacks, wanted in sides)

    def _image(self, stacks: Sequence[arrays.Stack], index: int, channels: int | None) -> np.ndarray:
        layers = [to_stored(stack[index], f"{stack.name}[{index}]") for stack in stacks]
        name = f"{stacks[0].name}[{index}]"
        return fit_channels(layers[0], channels, name) if len(layers) == 1 else _stack(layers, channels, name)


def _places(kind: str, a: Sequence[str], b: Sequence[str]) -> tuple[str, str]:
    return tuple(f"{kind}{'s' * (len(names) > 1)} {' + '.join(names)}" for names in (a, b))


def half_headers(file, name: str) -> tuple[Header, Header]:
    """Reads the header of a side-by-side image and returns those of its halves."""
    header = images.read_header(file, name)
    half = Header(check_pair_size(header.size, name), header.channels, header.alpha, header.dtype, header.animated)
    return half, half


def split_halves(file: bytes, name: str, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a side-by-side image to (A, the left half with channels[0]; B, the right half with channels[1])."""
    left = images.decode(file, name, channels[0], dtype=None)
    right = left if channels[1] == channels[0] else images.decode(file, name, channels[1], dtype=None)
    _, width = check_pair_size(left.shape[:2], name)
    return left[:, :width], right[:, width:]


def check_pair_size(size: tuple[int, int], name: str) -> tuple[int, int]:
    """Returns the (H, W) of one half of a side-by-side image of `size` (H, W). Raises UserError if W is odd."""
    height, width = size
    if width % 2:
        raise UserError(
            f"{printable(name)}: {width} pixels wide, an odd number, so A and B cannot be its halves; crop it or "
            "take it away"
        )
    return height, width // 2


def _read(path: epath.Path) -> bytes:
    images.check_file(path, printable(path))
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{printable(path)}: no such file") from None
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be read ({error.strerror})") from error


def _file_sizes(examples: Sequence[Sequence[epath.Path]]) -> list[str]:
    """Returns the sizes in bytes of the files of each example, as "1234+567"; "" where asking takes long."""
    threads, sizes = 16, [""] * len(examples)

    def ask(first: int) -> list[str]:
        return ["+".join(map(_file_size, files)) for files in examples[first::threads]]

    with futures.ThreadPoolExecutor(threads) as pool:
        for first, part in enumerate(pool.map(ask, range(threads))):
            sizes[first::threads] = part
    return sizes


def _file_size(path: epath.Path) -> str:
    try:
        return "" if "://" in os.fspath(path) else str(os.stat(path).st_size)
    except OSError:  # whoever reads it says what is wrong
        return ""
