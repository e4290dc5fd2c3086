"""What benchmarks/kernels.py reads from a program compiled for a GPU; the compiler itself is an extra."""

import importlib.util
import json

import hlo
import kernels
import pytest

from pix2pix_jax.errors import UserError

PROGRAM = """HloModule jit_step

ENTRY %main (x: f32[8,8], k: f32[8,8]) -> f32[8,8] {
  %x = f32[8,8]{1,0} parameter(0)
  %k = f32[8,8]{1,0} parameter(1)
  %conv.1 = (f32[8,8]{1,0}, u8[16]{0}) custom-call(%x, %k), custom_call_target="__cudnn$convForward"
  %got = f32[8,8]{1,0} get-tuple-element(%conv.1), index=0
  %gemm = f32[8,8]{1,0} custom-call(%got, %k), custom_call_target="__cublas$lt$matmul"
  %gemm_fusion = f32[8,8]{1,0} fusion(%gemm, %k), kind=kCustom, calls=%a
  %mean = f32[8]{0} fusion(%gemm_fusion), kind=kInput, calls=%b, metadata={op_name="jit(step)/norm/reduce_sum"}
  %copy.3 = f32[8,8]{1,0} copy(%gemm_fusion)
  %sum = f32[8,8]{1,0} all-reduce-start(%copy.3), replica_groups={{0,1}}
  %done = f32[8,8]{1,0} all-reduce-done(%sum)
  ROOT %out = f32[8,8]{1,0} fusion(%done, %mean), kind=kLoop, calls=%c
}
"""
MATRIX = 4 * 64


def test_launches_by_kind():
    assert kernels.summarise(hlo.launches(PROGRAM)) == {
        "matrix products": {"launches": 2, "bytes": 6 * MATRIX},
        "convolutions": {"launches": 1, "bytes": 3 * MATRIX + 16},
        "elementwise": {"launches": 1, "bytes": 2 * MATRIX + 32},
        "copy": {"launches": 1, "bytes": 2 * MATRIX},
        "all-reduce": {"launches": 1, "bytes": 2 * MATRIX},
        "reductions, transposes": {"launches": 1, "bytes": MATRIX + 32},
    }


def test_the_report_ends_with_json(capsys):
    kernels.report(hlo.launches(PROGRAM), {"devices": 1})
    *_, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert result["devices"] == 1 and result["launches"] == 7
    assert result["bytes"] == hlo.memory_traffic(PROGRAM) == result["least_ms"] / 1e3 * kernels.BANDWIDTH


@pytest.mark.skipif(importlib.util.find_spec("jax_plugins") is not None, reason="a compiler is there")
def test_without_the_compiler_the_extra_is_named():
    with pytest.raises(UserError, match=r"pip install '.\[cuda\]'"):
        kernels.make_devices(1)
