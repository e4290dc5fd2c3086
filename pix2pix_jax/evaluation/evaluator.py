"""Compares translations of a whole split with their targets, as often as asked."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_data
from pix2pix_jax.data.files.value_range import UINT8, ValueRange, from_float, picture
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.reading import Example, prefetch, stack
from pix2pix_jax.data.sources import fingerprint
from pix2pix_jax.inference import trained_model
from pix2pix_jax.metrics.choice import ImageSet, MetricsConfig, choose
from pix2pix_jax.metrics.scorer import Scorer

_READERS = 8  # threads
_SAMPLE = 16  # number of targets on which a palette is tried
# Data sets whose B is a label map -> the name of its palette.
_LABELLED = {"facades": "facades", "drawn_facades": "facades", "cityscapes": "cityscapes"}


@dataclasses.dataclass(frozen=True)
class Scored:
    """Holds a scored example: its number in the split, its translation and pair as stored, and metric -> value."""

    index: int
    output: np.ndarray
    example: Example
    values: dict[str, float]


class Evaluator:
    """Compares translations of a split with its targets; the compiled programs serve all calls of `run`."""

    def __init__(
        self,
        pairs: PairedDataset,
        *,
        values: ValueRange,
        input_values: ValueRange = UINT8,
        palette: str,
        cache_key: Sequence[str],
        mesh: Mesh,
        batch_size: int,
        request: MetricsConfig,
    ):
        """Chooses metrics and builds the scorer. Raises UserError as `metrics.choice.choose` does.

        Args:
          pairs, request: the split, and the metrics to compute.
          values, input_values: the value ranges of its targets and its inputs.
          palette: name of the targets' palette if they are label maps, else "none".
          mesh, cache_key: as for `Scorer`.
          batch_size: images in a batch, a multiple of the mesh's `data`.
        """
        self.pairs, self._values, self._input_values, self._batch_size = pairs, values, input_values, batch_size
        channels, count = pairs.target_channels, len(pairs)
        targets = ImageSet(size=pairs.size, channels=channels, count=count, palette=palette, sample=self._sample)
        self.choice = choose(request, targets)
        self._store = jax.jit(functools.partial(from_float, values=values))
        self._scorer = Scorer(self.choice, mesh=mesh, values=values, cache_key=cache_key)

    def _sample(self) -> np.ndarray:
        indices = np.linspace(0, len(self.pairs) - 1, min(_SAMPLE, len(self.pairs))).astype(int)
        return picture(np.stack([self.pairs[int(i)]["target"] for i in indices]), self._values)

    def run(self, translate: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Iterator[Scored]:
        """Scores and yields every example of the split; `totals` are complete after the last one.

        `translate` maps inputs as stored, (N, H, W, C), and their `picture_ids` (N,) to translations in [-1, 1],
        floating (N, H, W, D). N is at most the batch size: a partial batch comes without padding.
        """
        self._scorer.reset()
        calls = (functools.partial(self._load, index) for index in range(len(self.pairs)))
        ahead = 2 * self._batch_size + _READERS
        with contextlib.closing(prefetch(calls, ahead=ahead, threads=_READERS)) as loaded:
            for start in range(0, len(self.pairs), self._batch_size):
                examples, ids = zip(*itertools.islice(loaded, self._batch_size), strict=True)
                count, batch = len(examples), stack(examples)
                index = np.minimum(np.arange(self._batch_size), count - 1)  # the scorer needs whole batches
                outputs = np.asarray(self._store(np.asarray(translate(batch["input"], np.concatenate(ids)))[index]))
                for i, values in enumerate(self._scorer.add(outputs, batch["target"][index], count)):
                    yield Scored(start + i, outputs[i], examples[i], values)

    def totals(self) -> dict[str, float]:
        """Returns the metrics of the whole split after a `run`; see `Scorer.totals`."""
        return self._scorer.totals()

    def _load(self, index: int) -> tuple[Example, np.ndarray]:
        """Reads an example, and the `picture_ids` (1,) of its input."""
        given = self.pairs.decode(index)
        return self.pairs.at_size(index, given), trained_model.picture_ids([given["input"]], self._input_values)


def of_split(
    config: ConfigDict,
    split: str,
    *,
    mesh: Mesh,
    batch_size: int,
    request: MetricsConfig,
    native: bool = False,
    data: Any = None,
) -> Evaluator:
    """Builds the evaluator of a split of a config's data; if `native`, images keep their own sizes, and go one by one.

    `data` are the pairs of dataset `given`.

    Raises UserError as `Evaluator`, or for no such split.
    """
    pairs = (build_data.open_native if native else build_data.open_pairs)(config, split, data=data)
    place = config.data_dir if data is None else fingerprint.take(pairs.source)
    values = build_data.stream_values(config)
    return Evaluator(
        pairs,
        values=values["target"],
        input_values=values["input"],
        palette=palette_of(config, "target"),
        cache_key=(config.dataset, place, split, config.direction, *map(str, pairs.size)),
        mesh=mesh,
        batch_size=batch_size,
        request=request,
    )


def palette_of(config: ConfigDict, stream: str) -> str:
    """Returns the name of the palette of "input" or "target" if they are known to be label maps, else "none"."""
    b_stream = "target" if config.direction == "AtoB" else "input"
    return _LABELLED.get(config.dataset, "none") if stream == b_stream else "none"


def means(records: Sequence[dict], totals: dict[str, float]) -> dict[str, float]:
    """Averages over examples the metrics that are not in `totals`; returns metric -> mean."""
    names = [name for name, value in records[0].items() if isinstance(value, float) and name not in totals]
    return {name: float(np.mean([record[name] for record in records])) for name in names}
