"""The published sets, one row of a table each."""

import dataclasses
from collections.abc import Mapping

import tensorflow_datasets as tfds

_HOST = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets"


@dataclasses.dataclass(eq=False, kw_only=True)
class PublishedSet(tfds.core.BuilderConfig):
    """Tells where the archive of a published set is, and what has to be in it."""

    url: str  # of the archive; "" if it is not published any more
    num_bytes: int | None = None  # of the archive; None where only an approximate number is known
    checksum: str  # of the archive, as ALGORITHM:HEXADECIMAL
    # Whether two independent sources give that digest. If so an archive that differs is refused; a digest from one
    # source only warns, since it may be the one at fault.
    checksum_agreed: bool = False
    num_examples: Mapping[str, int]  # by split
    unconfirmed: tuple[str, ...] = ()  # splits whose number comes from one user's listing; another number only warns
    encoding: str | None = "jpeg"  # of the images, as TFDS' image feature takes it; None is any


SETS = (
    PublishedSet(
        name="facades",
        description="Facades of buildings: A is the photograph, B its labels.",
        url=f"{_HOST}/facades.tar.gz",
        num_bytes=30_168_306,
        checksum="md5:e2e25dd517e9d15828416ab329da2854",
        num_examples={"train": 400, "val": 100, "test": 106},
    ),
    PublishedSet(
        name="maps",
        description="New York: A is the aerial photograph, B the map.",
        url=f"{_HOST}/maps.tar.gz",
        num_bytes=250_242_400,
        checksum="sha256:7519044b2725f55bc80e5a3db5d6f64f767a7b76421098c364c432ec82faf275",
        checksum_agreed=True,
        num_examples={"train": 1096, "val": 1098},
    ),
    PublishedSet(
        name="cityscapes",
        description="Streets of German cities: A is the photograph, B its labels.",
        url="",  # withdrawn; what follows is of an archive that users may still have
        num_bytes=103_441_232,
        checksum="md5:32569df708076e427e9cd02abbca7748",
        num_examples={"train": 2975, "val": 500},
        encoding=None,
    ),
    PublishedSet(
        name="edges2shoes",
        description="Shoes: A is the edges, B the photograph.",
        url=f"{_HOST}/edges2shoes.tar.gz",
        checksum="md5:71da478b54fedde126e234a2a050bc15",
        num_examples={"train": 49_825, "val": 200},
    ),
    PublishedSet(
        name="edges2handbags",
        description="Handbags: A is the edges, B the photograph.",
        url=f"{_HOST}/edges2handbags.tar.gz",
        checksum="md5:815592f22fa7f7534a286a25bb73bf03",
        num_examples={"train": 138_567, "val": 200},
    ),
    PublishedSet(
        name="night2day",
        description="Places seen by webcams, each at two times, in the dark and by daylight.",
        url=f"{_HOST}/night2day.tar.gz",
        checksum="md5:fd21b1d447a1f927fed41aabedd85baa",
        num_examples={"train": 17_823, "val": 10, "test": 2287},
        unconfirmed=("val", "test"),
    ),
)
