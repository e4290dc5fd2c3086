"""Writes TensorBoard event files: TensorBoard's own messages, in files of `storage`."""

import os
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

import google_crc32c
from etils import epath
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.text import metadata as text_metadata

from pix2pix_jax.io import storage

FILE_SIZE = 32 * 2**20  # bytes after which a new file begins, as an object store takes a grown file anew each time


class EventLog:
    """Writes the events of a run from step `start` on. Several threads may use it.

    The libraries' writers do not serve: their threads die silently of the first error, tensorboardX imports PyTorch
    where it is installed, and TensorBoard's own computes checksums in Python, 0.1 s for a sample grid.
    """

    def __init__(self, folder: epath.Path, *, start: int):
        # TensorBoard reads files in the order of their names, so a new name sorts last.
        made = max(int(time.time()), _newest(folder) + 1)
        self._prefix = str(folder / f"events.out.tfevents.{made}.{socket.gethostname()}.{os.getpid()}")
        self._count, self._size, self._lock = 0, 0, threading.Lock()
        self._log = self._open()
        begin = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # tells TensorBoard to drop later points
        self._append(event_pb2.Event(wall_time=time.time(), step=start + 1, session_log=begin))

    def scalars(self, step: int, values: dict[str, float], now: float) -> None:
        points = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, points, now)

    def image(self, step: int, name: str, png: bytes, *, size: tuple[int, int]) -> None:
        """Adds a PNG of `size` (H, W). Begins a new file where this one is full, which may take an upload."""
        image = summary_pb2.Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=png)
        self._add(step, [summary_pb2.Summary.Value(tag=name, image=image)], time.time())
        if self._size > FILE_SIZE:
            following = self._open()
            with self._lock:
                full, self._log = self._log, following
            full.close()

    def config(self, step: int, fields: Mapping[str, Any]) -> None:
        """Adds the config's fields as a table to read, and as hyperparameters, by which runs can be compared."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in fields.items())
        content = f"| field | value |\n|---|---|\n{rows}".encode()
        text = summary_pb2.Summary.Value(
            tag="config",
            metadata=text_metadata.create_summary_metadata("config", ""),
            tensor=tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[content]),
        )
        session = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in fields.items():
            kind = "bool" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "string"
            setattr(session.hparams[name], f"{kind}_value", value)
        started = summary_pb2.Summary.Value(
            tag=hparams_metadata.SESSION_START_INFO_TAG,
            metadata=hparams_metadata.create_summary_metadata(
                plugin_data_pb2.HParamsPluginData(session_start_info=session)
            ),
        )
        self._add(step, [text, started], time.time())

    def close(self) -> None:
        self._log.close()

    def _open(self) -> storage.Log:
        version = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
        log = storage.open_log(epath.Path(f"{self._prefix}.{self._count:03d}"), _record(version))
        self._count, self._size = self._count + 1, 0
        return log

    def _add(self, step: int, values: list[summary_pb2.Summary.Value], now: float) -> None:
        self._append(event_pb2.Event(wall_time=now, step=step, summary=summary_pb2.Summary(value=values)))

    def _append(self, event: event_pb2.Event) -> None:
        record = _record(event)
        with self._lock:
            self._size += len(record)
            self._log.append(record)


def _newest(folder: epath.Path) -> int:
    """Returns the latest time in the files' names, in seconds; the clock may have been set back since."""
    times = (path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*"))
    return max((int(time) for time in times if time.isascii() and time.isdigit()), default=0)


def _record(event: event_pb2.Event) -> bytes:
    """Returns an event as a TFRecord: length, its CRC, the event, its CRC."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
