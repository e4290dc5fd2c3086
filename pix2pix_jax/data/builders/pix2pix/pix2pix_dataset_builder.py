"""TFDS builder of the sets published with pix2pix: one config per set, one row of a table per config."""

import contextlib
import dataclasses
import http.client
import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from pix2pix_jax.errors import UserError

from . import originals

_HOST = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets"
_CONNECT_SECONDS = 30
_DOWNLOAD_ERRORS = (
    OSError,
    http.client.HTTPException,
    tfds.download.DownloadError,
    ValueError,  # what TFDS makes of a .INFO that tells of another download
)


@dataclasses.dataclass(eq=False, kw_only=True)
class PublishedSet(tfds.core.BuilderConfig):
    """A published set: where its archive is, and what has to be in it.

    Attributes:
      url: the archive's address.
      num_bytes: the archive's size.
      checksum: the archive's digest as `ALGORITHM:HEXADECIMAL`.
      checksum_agreed: whether two independent sources give that digest. If so an archive that
        differs is refused; a digest from one source only warns, since it may be the one at fault.
      num_examples: how many images each split has.
    """

    url: str
    num_bytes: int
    checksum: str
    checksum_agreed: bool
    num_examples: Mapping[str, int]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Side-by-side JPEGs as published: `image` (A left, B right) and `name` (the file's stem).

    The files come from `source`, or else from TFDS' `manual_dir`, or else from the network. They are
    stored in ArrayRecord files unless another format is asked for, so nothing needs TensorFlow.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "The published files, unchanged."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Only where there is no network: place the set's archive as NAME.tar.gz, or its unpacked "
        "folder as NAME/ with train/ and so on inside, NAME being the config's name."
    )
    BUILDER_CONFIGS: ClassVar = [
        PublishedSet(
            name="facades",
            description="Facades of buildings: A is the photograph, B its labels.",
            url=f"{_HOST}/facades.tar.gz",
            num_bytes=30_168_306,
            checksum="md5:e2e25dd517e9d15828416ab329da2854",
            checksum_agreed=False,
            num_examples={"train": 400, "val": 100, "test": 106},
        ),
    ]

    def __init__(
        self,
        *,
        source: epath.PathLike | None = None,
        file_format: str | tfds.core.FileFormat | None = None,
        **kwargs: Any,
    ):
        """Makes the builder.

        Args:
          source: the set's archive, or a folder that holds it or its files. Replaces `manual_dir`.
          file_format: the format to store examples in, or None for ArrayRecord.
          **kwargs: what every TFDS builder takes: `data_dir`, `config`, `version`.
        """
        super().__init__(file_format=file_format, **kwargs)
        self._source = None if source is None else epath.Path(source).expanduser()
        if file_format is None and not self.info.initialized:
            self.info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD, override=True)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg", doc="A | B, side by side."),
                "name": tfds.features.Text(doc="The published file's name without its suffix."),
            }
        )
        return self.dataset_info_from_configs(features=features, homepage="https://phillipi.github.io/pix2pix/")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        path = self._given() or self._manual(dl_manager)
        downloaded = path is None
        if downloaded:
            path = self._download(dl_manager)
        with _forgotten_if_bad(path, downloaded):
            self._check_archive(path)
        return {split: self._generate_examples(path, split, downloaded) for split in self.builder_config.num_examples}

    def _generate_examples(
        self, path: epath.Path, split: str, downloaded: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        expected = self.builder_config.num_examples[split]
        found = 0
        with _forgotten_if_bad(path, downloaded):
            for name, data in originals.read_split(path, split):
                found += 1
                if found <= expected:  # what is too much is counted but not written
                    yield name, {"image": data, "name": name}
            if found != expected:
                raise UserError(
                    f"{path}: split {split} of {self.builder_config.name} has {found} images where "
                    f"{expected} were published; use the files of {self.builder_config.url}"
                )

    def _given(self) -> epath.Path | None:
        """The set's files in `source`, None if there is no `source`."""
        if self._source is None or self._source.is_file():
            return self._source
        found = self._source.is_dir() and self._find(self._source)
        if not found:
            name = self.builder_config.name
            splits = ", ".join(f"{split}/" for split in self.builder_config.num_examples)
            raise UserError(
                f"{self._source}: no {name} there; give {name}.tar.gz, or the folder that holds it, {name}/ or {splits}"
            )
        return found

    def _manual(self, dl_manager: tfds.download.DownloadManager) -> epath.Path | None:
        try:
            manual_dir = dl_manager.manual_dir
        except AssertionError:  # TFDS' way to say that it is not there or empty
            return None
        return self._find(manual_dir)

    def _find(self, root: epath.Path) -> epath.Path | None:
        return originals.find(root, self.builder_config.name, self.builder_config.num_examples)

    def _download(self, dl_manager: tfds.download.DownloadManager) -> epath.Path:
        url = self.builder_config.url
        try:
            if not _is_downloaded(url, dl_manager.download_dir / self.name):
                # TFDS tries ten times, for minutes and without a word, before it gives up.
                with urllib.request.urlopen(url, timeout=_CONNECT_SECONDS):
                    pass
            return dl_manager.download(url)
        except _DOWNLOAD_ERRORS as error:
            place = dl_manager.download_dir / "manual" / f"{self.builder_config.name}.tar.gz"
            raise UserError(
                f"{url}: cannot be downloaded ({_one_line(error)}); get the archive by other means "
                f"and place it at {os.fspath(place)}"
            ) from error

    def _check_archive(self, path: epath.Path) -> None:
        """Compares an archive with what is known of the published one."""
        if path.is_dir():
            return
        config = self.builder_config
        algorithm, expected = config.checksum.split(":")
        found = originals.digest(path, algorithm)
        if found == expected:
            return
        message = (
            f"{path}: {algorithm} {found} and {path.stat().length} bytes, where the published "
            f"archive has {expected} and {config.num_bytes}"
        )
        if config.checksum_agreed:
            raise UserError(f"{message}; download {config.url} again")
        # Not through absl's logging, which the command line silences for the libraries' sake.
        print(f"warning: {message}; used all the same, as one source alone gives that digest", file=sys.stderr)


@contextlib.contextmanager
def _forgotten_if_bad(path: epath.Path, downloaded: bool) -> Iterator[None]:
    """Deletes a download that turns out to be bad: TFDS would keep using it for ever."""
    try:
        yield
    except UserError:
        if downloaded:
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.INFO").unlink(missing_ok=True)
        raise


def _is_downloaded(url: str, folder: epath.Path) -> bool:
    """Whether TFDS has `url` in its downloads, beside each of which lies a .INFO with its address."""
    return any(f'"{url}"' in info.read_text() for info in folder.glob("*.INFO"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
