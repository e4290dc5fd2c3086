"""Reads from HLO text what a compiled program runs, moves in and out of memory, and sends between devices."""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>\S.*?) (?P<op>[a-z][a-z\-]*)\((?P<rest>.*)$")
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) .*\{$")
_ARRAY = re.compile(r"\b(?P<dtype>pred|[a-z]+\d+[a-z0-9]*)\[(?P<size>[\d,]*)\](?P<layout>\{[^}]*\})?")
_CALLED = re.compile(r"(?:body|true_computation|false_computation)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
_LISTED_GROUPS = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_COUNTED_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_NAMED_GROUPS = re.compile(r"replica_groups=mesh\[(?P<sizes>[^\]]*)\].*?\{(?P<names>'[^}]*)\}")

_RUN_NOTHING = frozenset(("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"))


@dataclasses.dataclass(frozen=True)
class Instruction:
    name: str
    shape: str
    op: str
    rest: str  # operands and attributes

    @property
    def arrays(self) -> list[re.Match]:
        return list(_ARRAY.finditer(self.shape))

    @property
    def operands(self) -> list[str]:
        return re.findall(r"%([\w.\-]+)", self.rest.split("), ")[0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """Describes one collective instruction.

    Attributes:
      kind: a name in `KINDS`.
      payload: bytes of a chip's array before it (all-gather: after it).
      group: number of chips that take part together.
    """

    kind: str
    payload: int
    group: int

    @property
    def sent(self) -> float:
        """Bytes that one chip sends by the algorithms that send least; an all-reduce is a scatter and a gather."""
        if self.kind == "collective-permute":
            return self.payload
        once = self.payload * (self.group - 1) / self.group
        return 2 * once if self.kind == "all-reduce" else once


def collectives(text: str, *, num_devices: int) -> list[Collective]:
    """Lists the collectives of more than one chip, asynchronous ones at their start, each once, also inside a loop."""
    found = []
    for instruction in filter(None, map(_parse, text.splitlines())):
        kind = instruction.op.removesuffix("-start")
        if kind in KINDS:
            found.append(_collective(kind, instruction, num_devices))
    return [collective for collective in found if collective.group > 1]


def summarise(found: Iterable[Collective]) -> dict[str, dict[str, int]]:
    """Sums up by kind: count, small ones (under 64 KiB: their time is latency), bytes of payload, bytes sent."""
    summary: dict[str, dict[str, int]] = {}
    for one in found:
        entry = summary.setdefault(one.kind, {"count": 0, "small": 0, "payload": 0, "sent": 0})
        entry["count"] += 1
        entry["small"] += one.payload < 64 * 1024
        entry["payload"] += one.payload
        entry["sent"] += round(one.sent)
    return summary


def memory_traffic(text: str) -> int:
    """Counts the bytes that instructions read from and write to a device's main memory; loops count once.

    The compiler's own "bytes accessed" counts a TPU's on-chip memory too, and the whole of an array of which a slice is
    read.
    """
    return sum(num_bytes for _, num_bytes in launches(text))


def launches(text: str) -> Iterator[tuple[Instruction, int]]:
    """Yields the instructions that run (on a GPU a kernel or library call each) with their bytes; loops count once."""
    computations, entry = _computations(text)
    todo = [entry]
    while todo:
        instructions = computations[todo.pop()]
        shapes = {instruction.name: instruction.arrays for instruction in instructions}
        for instruction in instructions:
            todo += _called(instruction)
            if instruction.op not in _RUN_NOTHING and not instruction.op.endswith("-done"):
                yield instruction, _traffic(instruction, shapes)


def _parse(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(line)
    return Instruction(**match.groupdict()) if match else None


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Returns (instructions by computation, the name of the entry)."""
    computations: dict[str, list[Instruction]] = {}
    name = entry = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            name = header["name"]
            entry = name if header["entry"] else entry
            computations[name] = []
        elif name and (instruction := _parse(line)):
            computations[name].append(instruction)
    return computations, entry


def _called(instruction: Instruction) -> Iterator[str]:
    """Yields the computations that an instruction calls: bodies and branches, not what is fused."""
    for one, several in _CALLED.findall(instruction.rest):
        yield from [one] if one else re.findall(r"[\w.\-]+", several)


def _traffic(instruction: Instruction, shapes: dict[str, list[re.Match]]) -> int:
    op, arrays = instruction.op, instruction.arrays
    operands = [array for name in instruction.operands for array in shapes.get(name, ())]
    if op == "slice-start":  # (what is sliced, the slice, state)
        whole, part = arrays[:2]
        return _num_bytes(part) * (_in_main_memory(whole) + _in_main_memory(part))
    if op == "copy-start":  # (copy, original, state)
        return sum(map(_num_bytes, filter(_in_main_memory, arrays[:2])))
    if op in ("slice", "dynamic-slice"):
        return _num_bytes(arrays[0]) * (_in_main_memory(arrays[0]) + _in_main_memory(operands[0]))
    return sum(map(_num_bytes, filter(_in_main_memory, arrays + operands)))


def _collective(kind: str, instruction: Instruction, num_devices: int) -> Collective:
    sizes = [_num_bytes(array) for array in instruction.arrays]
    if instruction.op.endswith("-start") and kind == "collective-permute":
        sizes = sizes[1:2]  # what is sent, what is received, state
    elif instruction.op.endswith("-start") and kind != "all-reduce":
        sizes = sizes[len(sizes) // 2 :]  # what goes in, what comes out
    group = _group(instruction.rest, num_devices)
    whole = group if kind == "reduce-scatter" else 1
    return Collective(kind=kind, payload=sum(sizes) * whole, group=group)


def _group(rest: str, num_devices: int) -> int:
    if "source_target_pairs" in rest:
        return 2
    if listed := _LISTED_GROUPS.search(rest):
        return len(listed[1].split(","))
    if counted := _COUNTED_GROUPS.search(rest):
        return int(counted[1])
    if named := _NAMED_GROUPS.search(rest):
        sizes = dict(axis.split("=") for axis in named["sizes"].split(","))
        return math.prod(int(sizes[name]) for name in named["names"].split(","))
    return num_devices


def _in_main_memory(array: re.Match) -> bool:
    return "S(" not in (array["layout"] or "")  # other spaces are numbered


def _num_bytes(array: re.Match) -> int:
    bits = 8 if array["dtype"] == "pred" else int(re.search(r"\d+", array["dtype"])[0])
    return math.prod(int(n) for n in array["size"].split(",") if n) * bits // 8
