"""TFDS builder of the sets published with pix2pix: one config per set."""

import contextlib
import os
import pathlib
import sys
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import download

from . import cityscapes, originals
from .published import SETS

Originals = originals.Folder | originals.Archive | cityscapes.Zips


class Builder(tfds.core.GeneratorBasedBuilder):
    """Side-by-side images as published: `image` (A left, B right) and `name` (the file's stem).

    The files come from `source`, or else from TFDS' `manual_dir`, or else from the network. They are
    stored in ArrayRecord files unless another format is asked for, so nothing needs TensorFlow.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "The published files, unchanged."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Only where there is no network: place the set's archive as NAME.tar.gz, or its unpacked folder as NAME/ with "
        "train/ and so on inside, NAME being the config's name. The archive of cityscapes has been withdrawn: "
        f"{cityscapes.REMEDY} here."
    )
    BUILDER_CONFIGS: ClassVar = list(SETS)

    def __init__(
        self,
        *,
        source: epath.PathLike | None = None,
        url: str = "",
        file_format: str | tfds.core.FileFormat | None = None,
        **kwargs: Any,
    ):
        """Makes the builder.

        Args:
          source: the set's archive, or a folder that holds it or its files. Replaces `manual_dir`.
          url: the archive's address (http, https or file) if not the published one. What is on disk goes before it.
          file_format: the format to store examples in, or None for ArrayRecord.
          **kwargs: arguments of every TFDS builder: `data_dir`, `config`, `version`.
        """
        super().__init__(file_format=file_format, **kwargs)
        self._source = None if source is None else epath.Path(source).expanduser()
        self._url = url
        if file_format is None and not self.info.initialized:
            self.info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD, override=True)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(
            shape=(None, None, 3), encoding_format=self.builder_config.encoding, doc="A | B, side by side."
        )
        name = tfds.features.Text(doc="The published file's name without its suffix.")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": image, "name": name}),
            homepage="https://phillipi.github.io/pix2pix/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        files = self._local(dl_manager)
        downloaded = None if files else self._download(dl_manager)
        files = files or self._open(downloaded)
        return {split: self._generate_examples(files, split, downloaded) for split in self.builder_config.num_examples}

    def _generate_examples(
        self, files: Originals, split: str, downloaded: pathlib.Path | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        enforced = split not in self.builder_config.unconfirmed
        count = 0
        try:
            for name, data in files.read(split):
                count += 1
                if not enforced or count <= self.builder_config.num_examples[split]:  # one too many is only counted
                    yield name, {"image": data, "name": name}
            self._check_count(files.path, split, count)
        except UserError:
            if downloaded:  # a bad download would be used again for ever
                downloaded.unlink(missing_ok=True)
            raise

    def _check_count(self, path: epath.Path, split: str, count: int) -> None:
        config = self.builder_config
        expected = config.num_examples[split]
        if count == expected:
            return
        message = f"{path}: split {split} of {config.name} has {count} images where {expected} were published"
        if not count or split not in config.unconfirmed:
            raise UserError(f"{message}; use the files of {self._address() or 'https://www.cityscapes-dataset.com'}")
        _warn(f"{message}; used all the same, as that number is not confirmed")

    def _address(self) -> str:
        return self._url or self.builder_config.url

    def _local(self, dl_manager: tfds.download.DownloadManager) -> Originals | None:
        """Returns the set's files in `source`, at a file: address or in TFDS' manual folder; None if it is empty."""
        source = self._source
        if source is None and self._url.startswith("file:"):
            source = epath.Path(urllib.request.url2pathname(urllib.parse.urlsplit(self._url).path))
        if source is None:
            with contextlib.suppress(AssertionError):  # TFDS' way to say that it is not there or empty
                return self._find(dl_manager.manual_dir)
            return None
        if source.is_file():
            return self._find(source.parent) if source.suffix == ".zip" else self._open(source)
        if source.is_dir() and (files := self._find(source)):
            return files
        name, splits = self.builder_config.name, ", ".join(f"{split}/" for split in self.builder_config.num_examples)
        raise UserError(
            f"{source}: no {name} there; give {name}.tar.gz, or the folder that holds it, {name}/ or {splits}"
        )

    def _find(self, root: epath.Path) -> Originals | None:
        name = self.builder_config.name
        if path := originals.find(root, name, self.builder_config.num_examples):
            return self._open(path)
        return cityscapes.Zips(root) if name == "cityscapes" and cityscapes.are_in(root) else None

    def _open(self, path: epath.PathLike) -> Originals:
        path = epath.Path(path)
        if path.is_dir():
            return originals.Folder(path)
        return originals.Archive(
            path,
            self.builder_config.num_examples,
            scratch=self.data_path,  # while it builds, a folder that TFDS renames at the end or deletes
            algorithm=self.builder_config.checksum.partition(":")[0],
            at_end=lambda digest, num_bytes: self._check_digest(path, digest, num_bytes),
        )

    def _download(self, dl_manager: tfds.download.DownloadManager) -> pathlib.Path:
        name = self.builder_config.name
        place = os.fspath(dl_manager.download_dir / "manual")
        url = self._address()
        if not url:
            raise UserError(f"{name}: its archive has been withdrawn by its owners; {cityscapes.REMEDY} in {place}")
        file = f"{name}-{zlib.crc32(self._url.encode()):08x}.tar.gz" if self._url else f"{name}.tar.gz"
        target = pathlib.Path(dl_manager.download_dir) / self.name / file
        archive = os.path.join(place, f"{name}.tar.gz")
        remedy = f"get the archive by other means and place it at {archive}, or set config.data_url to where it is"
        download.fetch(url, target, remedy=remedy)
        return target

    def _check_digest(self, path: epath.Path, digest: str, num_bytes: int) -> None:
        """Compares an archive's digest with that of the published one."""
        config = self.builder_config
        algorithm, expected = config.checksum.split(":")
        if digest == expected:
            return
        if config.num_bytes is not None:
            expected += f" and {config.num_bytes} bytes"
        message = f"{path}: {algorithm} {digest} and {num_bytes} bytes, where the published archive has {expected}"
        if config.checksum_agreed:
            raise UserError(f"{message}; download {config.url} again")
        _warn(f"{message}; used all the same, as one source alone gives that digest")


def _warn(message: str) -> None:
    # Not through absl's logging, which the command line silences for the libraries' sake.
    print(f"warning: {message}", file=sys.stderr)
