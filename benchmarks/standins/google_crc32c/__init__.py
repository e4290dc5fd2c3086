"""Stands in for google_crc32c; see README.md."""


def value(data: bytes) -> int:
    return 0
