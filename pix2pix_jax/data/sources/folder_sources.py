"""Sources of the user's own folders: A|B images, photographs, folders paired by file name, and arrays."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from concurrent import futures

import numpy as np
from etils import epath

from pix2pix_jax.data.files import arrays, images
from pix2pix_jax.data.files.high_bit_depth import Header, height_by_width
from pix2pix_jax.data.files.listing import left_out
from pix2pix_jax.data.files.value_range import convert, fit_channels, stored_dtype, to_stored, widest, wrong_channels
from pix2pix_jax.data.sources import folders
from pix2pix_jax.data.sources.folders import Layout
from pix2pix_jax.data.sources.pairing import pair_by_stem
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
    """Base of the sources of the user's own files."""

    folder: epath.Path  # where they are
    note: str = ""  # tells which files of the folder are not used
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


class _FileSource(_OwnSource):
    """Base of the sources of image files."""

    def _choose(self, layout: Layout, split: str, files: Mapping[str, Sequence[epath.Path]]) -> list[str]:
        """Keeps the examples of `split` out of `files`, the files of each by name, and returns their names."""
        used = [path for paths in files.values() for path in paths]
        self.folder, self.note = layout.folder, left_out([layout.folder, *layout.paths(split)], used, layout.known)
        names = list(files)
        if not layout.splits:
            names = folders.choose_split(names, layout.folder, split)
        self._files = [files[name] for name in names]
        return names

    def sizes(self) -> list[str]:
        return _file_sizes(self._files)


class FolderSource(_FileSource):
    """A folder of side-by-side A|B images, with train/, val/ and test/ or without.

    Without them, the tenth of the files (at least one) whose names have the lowest CRC-32 are `val` and the others
    `train`, so a file stays where it was when others come.
    """

    places = ("left half", "right half")
    _single = False

    def __init__(self, folder: epath.Path, split: str):
        layout = folders.joined(folder)
        files = folders.list_all(layout, split, single=self._single)
        names = self._choose(layout, split, {str(file.relative_to(folder)): (file,) for file in files})
        self.names = [os.path.splitext(name)[0] for name in names]

    def header(self, index: int) -> tuple[Header, Header]:
        (path,) = self._files[index]
        return half_headers(path, str(path))

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        (path,) = self._files[index]
        return split_halves(path, str(path), channels)


class PhotoSource(FolderSource):
    """A folder of single images, each of which is both A and B."""

    _unit = "images"
    places = ("whole image", "whole image")
    _single = True

    def header(self, index: int) -> tuple[Header, Header]:
        (path,) = self._files[index]
        header = images.read_header(path)
        return header, header

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        (path,) = self._files[index]
        image = images.decode(path, channels=channels[0], dtype=None)
        return image, image


class StackedSource(_FileSource):
    """Folders of images, paired by file stem; those of several folders may be stacked to one image of many channels."""

    def __init__(self, layout: Layout, split: str):
        for path, missing in layout.lacking if layout.splits else ():
            path, missing = printable(path), printable(missing)
            raise UserError(f"{missing}: no such directory, but there is {path}; add one or take one away")
        stems = self._choose(layout, split, pair_by_stem(layout.paths(split), layout.folder))
        self.names = [f"{split}/{stem}" if layout.splits else stem for stem in stems]
        self.places = _places("folder", layout.a, layout.b)
        self._count = len(layout.a)

    def _sides(self, index: int) -> tuple[Sequence[epath.Path], Sequence[epath.Path]]:
        return self._files[index][: self._count], self._files[index][self._count :]

    def header(self, index: int) -> tuple[Header, Header]:
        return tuple(_stacked_header(list(map(images.read_header, files)), files) for files in self._sides(index))

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        sides = zip(self._sides(index), channels, strict=True)
        return tuple(decode_stack(files, count) for files, count in sides)


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
        return images.decode(files[0], channels=channels, dtype=None)
    layers = [images.decode(file, channels=None, dtype=None) for file in files]
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
        total = len(self._stacks[0])
        for stack in self._stacks:
            if len(stack) != total:
                sizes = f"{len(stack)} images, but {self._stacks[0].name} has {total}"
                raise UserError(f"{stack.name}: {sizes}; images of the same index are a pair")
        self.folder, count = layout.folder, len(layout.a)
        self.places = _places("array", names[:count], names[count:])
        self._sides = self._stacks[:count], self._stacks[count:]
        names = [f"{i:0{len(str(total - 1))}d}" for i in range(total)]
        if not layout.splits:
            names = folders.choose_split(names, paths[0], split)
        self._indices = list(map(int, names))
        self.names = [f"{split}/{name}" if layout.splits else name for name in names]

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


def split_halves(file, name: str, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
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
