"""TensorBoard event files: what tensorboardX makes of values and pictures, in files of `storage`."""

import os
import socket
import struct
import threading
import time

import numpy as np
from etils import epath
from tensorboardX import summary
from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

from pix2pix_jax import storage

FILE_SIZE = 32 * 2**20  # bytes after which another file begins: an object store takes a file that grew anew each time


class EventLog:
    """The events of a run from step `start` on. Several threads may write.

    tensorboardX's own writer is not used: its thread dies of the first error, of which nobody hears, and after ten more
    events the program hangs.
    """

    def __init__(self, folder: epath.Path, *, start: int):
        # Names sort as they were made, which is the order in which TensorBoard reads them.
        self._prefix = str(folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}")
        self._count, self._size, self._lock = 0, 0, threading.Lock()
        self._log = self._open()
        begin = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # what was logged beyond `start` does not count
        self._append(event_pb2.Event(wall_time=time.time(), step=start + 1, session_log=begin))

    def scalars(self, step: int, values: dict[str, float], now: float) -> None:
        parts = [summary.scalar(name, value).value[0] for name, value in values.items()]
        self._append(event_pb2.Event(wall_time=now, step=step, summary=summary_pb2.Summary(value=parts)))

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Adds a picture, uint8 (H, W, 3); takes as long as putting a file does where one is full."""
        made = summary.image(name, pixels, dataformats="HWC")
        self._append(event_pb2.Event(wall_time=time.time(), step=step, summary=made))
        if self._size > FILE_SIZE:
            following = self._open()
            with self._lock:
                full, self._log = self._log, following
            full.close()

    def close(self) -> None:
        self._log.close()

    def _open(self) -> storage.Log:
        version = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
        log = storage.open_log(epath.Path(f"{self._prefix}.{self._count:03d}"), _record(version))
        self._count, self._size = self._count + 1, 0
        return log

    def _append(self, event: event_pb2.Event) -> None:
        record = _record(event)
        with self._lock:
            self._size += len(record)
            self._log.append(record)


def _record(event: event_pb2.Event) -> bytes:
    """A TFRecord: length, its CRC, the event, its CRC."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
