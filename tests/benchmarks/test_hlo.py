"""What benchmarks/hlo.py reads from compiled programs: a TPU's text, and what was compiled here for 8 devices."""

import hlo
import jax
import jax.numpy as jnp
import pytest

MESH = "mesh['axis_0'=2,'axis_1'=4], device_ids=([4,2]T(1,0)) {'axis_1'}"
LINES = {
    "%all-reduce = f32[128]{0:T(128)S(1)} all-reduce(%a), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}": (
        "all-reduce", 512, 4, 768
    ),
    "%tuple = (f32[4,4]{1,0}, bf16[8]{0}, /*index=2*/f32[]) all-reduce(%a, %b, %c), replica_groups=[2,4]<=[8]": (
        "all-reduce", 84, 4, 126
    ),
    f"ROOT %start = f32[10]{{0}} all-reduce-start(%a), channel_id=3, replica_groups={MESH}, to_apply=%add": (
        "all-reduce", 40, 4, 60
    ),
    "%gather = bf16[8,16]{1,0:T(8,128)(2,1)} all-gather(%a), replica_groups={}, dimensions={0}": (
        "all-gather", 256, 8, 224
    ),
    "%gather-start = (f32[4]{0}, f32[8]{0}) all-gather-start(%a), replica_groups={{0,1},{2,3},{4,5},{6,7}}": (
        "all-gather", 32, 2, 16
    ),
    "%scatter = f32[4]{0} reduce-scatter(%a), replica_groups=[1,8]<=[8], dimensions={0}": (
        "reduce-scatter", 128, 8, 112
    ),
    "%exchange = u8[64]{0} all-to-all(%a), replica_groups=[1,8]<=[8]": ("all-to-all", 64, 8, 56),
    "%halo = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{1,2}}": (
        "collective-permute", 24, 2, 24
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), LINES.items(), ids=[line.split(" = ")[0] for line in LINES])
def test_collectives_of_every_form(line, expected):
    (one,) = hlo.collectives(f"  {line}, metadata={{}}\n", num_devices=8)
    assert (one.kind, one.payload, one.group, one.sent) == expected


@pytest.mark.parametrize(
    "line",
    [
        "%d = f32[8]{0} all-reduce-done(%all-reduce-start)",
        "%f = f32[8]{0} fusion(%all-reduce.1, %all-gather), calls=%fused",
        "%a = f32[8]{0} all-reduce(%x), replica_groups={{0},{1}}, to_apply=%add",
    ],
    ids=["end", "use", "alone"],
)
def test_what_sends_nothing(line):
    assert hlo.collectives(f"  {line}\n", num_devices=8) == []


def test_a_summary_adds_up_by_kind():
    found = [hlo.Collective(kind="all-reduce", payload=n, group=2) for n in (100, 65536, 1000)]
    found.append(hlo.Collective(kind="all-gather", payload=8, group=4))
    assert hlo.summarise(found) == {
        "all-reduce": {"count": 3, "small": 2, "payload": 66636, "sent": 66636},
        "all-gather": {"count": 1, "small": 1, "payload": 8, "sent": 6},
    }


def test_what_was_compiled_here():
    mesh = jax.make_mesh((2, 4), ("data", "rows"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def step(x):
        total = jax.lax.psum(x, ("data", "rows"))
        shifted = jax.lax.ppermute(x, "rows", [(0, 1), (1, 2), (2, 3)])
        return total, shifted, jax.lax.all_gather(x, "data")

    both = jax.P(("data", "rows"))
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=both, out_specs=(jax.P(), both, jax.P(None, "rows")), check_vma=False
    )
    text = jax.jit(mapped).lower(jnp.zeros((8, 16))).compile().as_text()
    found = {one.kind: (one.payload, one.group) for one in hlo.collectives(text, num_devices=8)}
    assert found == {"all-reduce": (64, 8), "collective-permute": (64, 2), "all-gather": (128, 2)}


PROGRAM = """HloModule jit_step

%fused (p: f32[256]) -> f32[256] {
  %p = f32[256]{0} parameter(0)
  ROOT %n = f32[256]{0} negate(%p)
}

%body (s: (f32[256])) -> (f32[256]) {
  %s = (f32[256]{0}) parameter(0)
  %x = f32[256]{0} get-tuple-element(%s), index=0
  %y = f32[256]{0} negate(%x)
  ROOT %t = (f32[256]{0}) tuple(%y)
}

ENTRY %main (a: f32[1024]) -> f32[256] {
  %a = f32[1024]{0:T(1024)} parameter(0)
  %near = f32[256]{0:T(256)S(1)} constant({...})
  %slice-start = ((f32[1024]{0:T(1024)}), f32[256]{0:T(256)S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:256]}
  %slice-done = f32[256]{0:T(256)S(1)} slice-done(%slice-start)
  %copy-start = (f32[256]{0:T(256)}, f32[256]{0:T(256)S(1)}, u32[]{:S(2)}) copy-start(%slice-done)
  %copy-done = f32[256]{0:T(256)} copy-done(%copy-start)
  %fusion = f32[256]{0:T(256)S(1)} fusion(%copy-done, %near), kind=kLoop, calls=%fused
  %packed = (f32[256]{0}) tuple(%copy-done)
  %while = (f32[256]{0}) while(%packed), condition=%never, body=%body
  ROOT %r = f32[256]{0} slice(%a), slice={[0:256]}
}
"""


def test_memory_traffic_leaves_out_what_stays_on_the_chip():
    kilobyte = 1024
    slice_in = kilobyte  # of which the other end is on the chip
    copy_out = kilobyte
    fusion = kilobyte  # reads one array from main memory
    body = 2 * kilobyte
    last_slice = 2 * kilobyte  # what is read, not all of what it is read from
    assert hlo.memory_traffic(PROGRAM) == slice_in + copy_out + fusion + body + last_slice
