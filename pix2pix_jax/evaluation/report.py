"""Writes the files of an evaluation: metrics.json, images/ and index.html, a gallery."""

import collections
import json
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import numpy as np
from etils import epath

from pix2pix_jax.data.files.images import encode
from pix2pix_jax.evaluation import gallery
from pix2pix_jax.io import storage

_THREADS = 8  # a bucket has a long latency for each image


class Report:
    """Writes the files of an evaluation. A context manager: on exit without an exception all images are written."""

    def __init__(self, folder: epath.Path):
        """Makes the folder. Raises OSError if it cannot be written, as all methods do.

        Deletes the numbers of an earlier evaluation first, so that a kill never leaves them beside other images.
        """
        self.folder = folder
        self.records: list[dict] = []  # for each example {"name": name, "files": column -> path, metric: value, ...}
        storage.make_folder(folder / "images")
        for name in ("metrics.json", "index.html"):
            storage.delete(folder / name)
        for place in (folder, folder / "images"):
            storage.sweep(place)
        self._pool = futures.ThreadPoolExecutor(_THREADS)
        self._pending: collections.deque[futures.Future] = collections.deque()

    def add(self, index: int, name: str, pictures: Mapping[str, np.ndarray], values: Mapping[str, float]) -> None:
        """Adds an example, whose images threads encode and write. Raises what writing earlier ones raised.

        `index` is its number in the split; `pictures` maps columns to images, uint8 (H, W, 1 or 3), `values` metrics to
        their values.
        """
        # The index separates equal names in two subfolders; without separators no name leaves the folder.
        stem = f"{index:05d}-" + name.replace("/", "_").replace("\\", "_")
        files = {column: f"images/{stem}-{column}.png" for column in pictures}
        for column, picture in pictures.items():
            self._pending.append(self._pool.submit(self._write_picture, self.folder / files[column], picture))
        while len(self._pending) > 4 * _THREADS:
            self._pending.popleft().result()
        self.records.append({"name": name, "files": files, **values})

    def _write_picture(self, path: epath.Path, picture: np.ndarray) -> None:
        storage.write(path, encode(picture, ".png"))

    def finish(
        self, *, title: str, subtitle: str, mean: Mapping[str, float], total: Mapping[str, float], facts: dict[str, Any]
    ) -> None:
        """Writes metrics.json and index.html.

        Args:
          title, subtitle: of the gallery.
          mean, total: metric -> mean over the examples, or value of the whole set.
          facts: further fields of metrics.json: what was compared, and how. "config" comes last.
        """
        report = {**facts, "num_examples": len(self.records), "mean": mean, "total": total, "images": self.records}
        if "config" in report:
            report["config"] = report.pop("config")
        # NaN and infinities, such as the PSNR of equal images, become null: JSON has none.
        report = json.loads(json.dumps(report), parse_constant=lambda _: None)
        text = json.dumps(report, indent=2) + "\n"
        storage.write(self.folder / "metrics.json", text.encode())
        gallery.write_gallery(
            self.folder / "index.html",
            title=title,
            subtitle=subtitle,
            rows=[gallery.Row(record["name"], record["files"], metrics_of(record)) for record in self.records],
            totals=total,
        )

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        self._pool.shutdown(cancel_futures=exception is not None)
        if exception is None:
            for written in self._pending:
                written.result()


def metrics_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns metric -> value of an example's record."""
    return {name: value for name, value in record.items() if name not in ("name", "files")}
