"""Estimates how a train step scales over TPU chips, from what its compiled program computes, moves and sends.

    python benchmarks/scaling.py    # the tables of docs/scaling.md, from pods.jsonl

Peaks, capacities and bandwidths are published ones:
  v4: 275 TFLOP/s (bfloat16), 32 GiB of memory at 1200 GB/s, links in three dimensions: cloud.google.com/tpu/docs/v4.
  v5e: 197 TFLOP/s (bfloat16), 16 GB of memory at 819 GB/s, links in two dimensions: cloud.google.com/tpu/docs/v5e.
  Links of both: 45 GB/s each way. An axis of 16 chips (v5e), or of a multiple of 4 where all are (v4), closes to a
  ring: jax-ml.github.io/scaling-book/tpus. Google's "all-reduce bandwidth" of a whole pod comes to as much a chip.
  A hop takes 1 us: an assumption, of the order that is commonly given.
The matrix units take float32 operands in one bfloat16 pass (JAX's default precision), so there is one peak for both.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import hlo
import report

RESULTS = pathlib.Path(__file__).with_name("pods.jsonl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """Figures of a kind of chip, in FLOP/s, bytes and bytes/s."""

    flops: float
    memory: float
    memory_bandwidth: float
    link_bandwidth: float = 45e9  # each way
    hop: float = 1e-6  # seconds
    ring: int  # an axis whose length is a multiple of this closes to a ring


CHIPS = {
    "v4": Chip(flops=275e12, memory=32 * 2**30, memory_bandwidth=1200e9, ring=4),
    "v5e": Chip(flops=197e12, memory=16 * 2**30, memory_bandwidth=819e9, ring=16),
}

SLICES = {"v4": ("2x2x1", "2x2x4", "4x4x4", "4x8x8"), "v5e": ("2x2", "4x4", "8x8", "16x16")}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Describes a topology, such as v5e:4x8."""

    topology: str

    @property
    def chip(self) -> Chip:
        return CHIPS[self.topology.split(":")[0]]

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.topology.split(":")[1].split("x"))

    @property
    def size(self) -> int:
        return math.prod(self.axes)

    def is_ring(self, length: int) -> bool:
        whole_cubes = len(self.axes) < 3 or all(n % 4 == 0 for n in self.axes)
        return whole_cubes and length % self.chip.ring == 0

    def bandwidth(self) -> float:
        """Returns the bytes/s that each chip sends when all use all axes: both ways in a ring, else one."""
        return sum(self.chip.link_bandwidth * (1 + self.is_ring(n)) for n in self.axes if n > 1)

    def hops(self) -> int:
        """Counts the hops from one chip to the farthest."""
        return sum(n // 2 if self.is_ring(n) else n - 1 for n in self.axes)


@dataclasses.dataclass(frozen=True)
class Times:
    """Holds the seconds of a step by what limits them; they overlap as far as the compiler manages."""

    compute: float
    memory: float
    sending: float
    waiting: float  # latency of the collectives one after the other

    @property
    def alone(self) -> float:
        """Returns the time of the same work on a chip without neighbours."""
        return max(self.compute, self.memory)

    @property
    def communication(self) -> float:
        return self.sending + self.waiting

    @property
    def efficiency(self) -> tuple[float, float]:
        """(if nothing is sent while the chip computes, if everything is)."""
        return self.alone / (self.alone + self.communication), self.alone / max(self.alone, self.communication)


def times(result: Mapping[str, Any]) -> Times:
    """Estimates the times of a line of pods.jsonl."""
    whole = Slice(result["topology"])
    sending = waiting = 0.0
    for kind, entry in result["collectives"].items():
        # Rows at a border go to the next chip, over one link; what all chips do together uses all links.
        near = kind == "collective-permute"
        sending += entry["sent"] / (whole.chip.link_bandwidth if near else whole.bandwidth())
        ways = 2 if kind == "all-reduce" else 1  # there and back
        waiting += entry["count"] * whole.chip.hop * (1 if near else ways * whole.hops())
    return Times(
        compute=result["flops"] / whole.chip.flops,
        memory=result["memory_traffic"] / whole.chip.memory_bandwidth,
        sending=sending,
        waiting=waiting,
    )


def elsewhere(result: Mapping[str, Any], topology: str) -> dict[str, Any]:
    """Returns the line of the same share of a batch on another slice of the same chips, spread over `data` alone.

    What a chip computes is then the same, and so is what all chips sum up; only their number changes.
    """
    size = Slice(topology).size
    collectives = {
        kind: entry | {"sent": hlo.Collective(kind=kind, payload=entry["payload"], group=size).sent}
        for kind, entry in result["collectives"].items()
    }
    batch_size = result["batch_size"] // result["mesh"]["data"] * size
    mesh = {"data": size, "rows": 1}
    return {**result, "topology": topology, "mesh": mesh, "batch_size": batch_size, "collectives": collectives}


def expected(results: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yields the results that fit; those spread over the batch alone, on slices of 4 to 256 chips."""
    for result in results:
        if "error" in result:
            continue
        kind = result["topology"].split(":")[0]
        by_batch = result["mesh"]["rows"] == 1
        yield from (elsewhere(result, f"{kind}:{axes}") for axes in SLICES[kind]) if by_batch else (result,)


def costs_table(results: Iterable[Mapping[str, Any]]) -> str:
    """Returns as Markdown what the compiler reports of each case, for one chip and step."""
    header = ("slice", "case", "memory, GiB", "GFLOP", "GB accessed", "GB to and from memory", "sent, MB (collectives)")
    return report.markdown(header, map(_costs, results))


def scaling_table(results: Iterable[Mapping[str, Any]]) -> str:
    """Returns as Markdown the times and efficiency that follow."""
    header = ("slice", "case", "compute", "memory", "sending", "waiting", "images/s", "efficiency")
    return report.markdown(header, map(_scaling, results))


def _costs(result: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in result:
        return result["topology"], _case(result), result["error"], *[""] * 4
    sent = [f"{e['sent'] / 1e6:.1f} ({e['count']} {kind})" for kind, e in sorted(result["collectives"].items())]
    return (
        result["topology"],
        _case(result),
        f"{result['memory'] / 2**30:.2f}",
        f"{result['flops'] / 1e9:.0f}",
        f"{result['bytes_accessed'] / 1e9:.1f}",
        f"{result['memory_traffic'] / 1e9:.1f}",
        ", ".join(sent),
    )


def _scaling(result: Mapping[str, Any]) -> tuple[str, ...]:
    t, images = times(result), result["batch_size"]
    low, high = t.efficiency
    slow, fast = t.alone + t.communication, max(t.alone, t.communication)
    return (
        result["topology"],
        _case(result),
        *(f"{1e3 * seconds:.2f} ms" for seconds in (t.compute, t.memory, t.sending, t.waiting)),
        f"{images / slow:.0f} to {images / fast:.0f}",
        f"{100 * low:.0f} to {100 * high:.0f} %",
    )


def _case(result: Mapping[str, Any]) -> str:
    fields = dict(override.removeprefix("--config.").split("=", 1) for override in result["overrides"])
    data, rows = result["mesh"]["data"], result["mesh"]["rows"]
    size = fields.pop("image_size", "256,256").replace(",", "x")
    each = result["batch_size"] // data
    parts = [size, f"{each} on {rows} chips" if rows > 1 else f"{each} a chip", fields.pop("compute_dtype", "float32")]
    for field in ("batch_size", "resize_size", "mesh.rows"):
        fields.pop(field, None)
    return ", ".join(parts + [f"{name}={value}" for name, value in fields.items()])


def main() -> None:
    results = report.read_lines(RESULTS)
    print(costs_table(results), scaling_table(expected(results)), sep="\n\n")


if __name__ == "__main__":
    main()
