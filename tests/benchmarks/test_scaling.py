"""The scaling that benchmarks/scaling.py works out."""

import pytest
import scaling


@pytest.mark.parametrize(
    ("topology", "chips", "gigabytes", "hops"),
    [
        ("v5e:1x1", 1, 0, 0),
        ("v5e:2x4", 8, 90, 4),  # two open lines
        ("v5e:8x16", 128, 135, 15),  # a line and a ring
        ("v5e:16x16", 256, 180, 16),
        ("v4:2x2x1", 4, 90, 2),
        ("v4:2x2x4", 16, 135, 5),  # not made of cubes: lines
        ("v4:4x8x8", 256, 270, 10),
    ],
)
def test_slices(topology, chips, gigabytes, hops):
    whole = scaling.Slice(topology)
    assert (whole.size, whole.bandwidth(), whole.hops()) == (chips, gigabytes * 1e9, hops)


def result(**changes):
    return {
        "topology": "v5e:16x16",
        "mesh": {"data": 256, "rows": 1},
        "overrides": ["--config.batch_size=512", "--config.compute_dtype=bfloat16", "--config.l1_weight=10"],
        "batch_size": 512,
        "memory": 3 * 2**30,
        "flops": 197e9,
        "bytes_accessed": 9e9,
        "memory_traffic": 3.276e9,
        "collectives": {"all-reduce": {"count": 50, "small": 40, "payload": 0, "sent": 360e6}},
    } | changes


def test_times_of_a_step():
    times = scaling.times(result())
    assert times.compute == pytest.approx(1e-3)
    assert times.memory == pytest.approx(4e-3)
    assert times.sending == pytest.approx(2e-3)
    assert times.waiting == pytest.approx(50 * 2 * 16e-6)
    assert times.efficiency == pytest.approx((4 / 7.6, 1))


def test_halos_cross_one_link():
    halos = {"collective-permute": {"count": 100, "small": 100, "payload": 0, "sent": 45e6}}
    times = scaling.times(result(collectives=halos))
    assert (times.sending, times.waiting) == pytest.approx((1e-3, 100e-6))


def test_a_chip_alone_is_its_own_measure():
    times = scaling.times(result(topology="v5e:1x1", collectives={}))
    assert times.communication == 0 and times.efficiency == (1, 1)


def test_another_slice_has_the_same_work_a_chip_and_other_sums():
    entry = {"count": 5, "small": 0, "payload": 1600, "sent": 0}
    there = scaling.elsewhere(result(collectives={"all-reduce": entry, "all-gather": entry}), "v5e:4x4")
    assert (there["batch_size"], there["mesh"], there["flops"]) == (32, {"data": 16, "rows": 1}, 197e9)
    assert {kind: found["sent"] for kind, found in there["collectives"].items()} == {
        "all-reduce": 3000,
        "all-gather": 1500,
    }


def test_what_is_expected_spans_slices_where_the_batch_alone_is_spread():
    rows = result(topology="v5e:2x4", mesh={"data": 2, "rows": 4})
    found = [one["topology"] for one in scaling.expected([result(), rows, result(error="too much")])]
    assert found == ["v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16", "v5e:2x4"]


def test_tables():
    costs = scaling.costs_table([result(), result(error="RESOURCE_EXHAUSTED: too much")]).splitlines()
    assert costs[2] == (
        "| v5e:16x16 | 256x256, 2 a chip, bfloat16, l1_weight=10 | 3.00 | 197 | 9.0 | 3.3 | 360.0 (50 all-reduce) |"
    )
    assert "too much" in costs[3]
    (row,) = scaling.scaling_table([result()]).splitlines()[2:]
    assert row.endswith("| 1.00 ms | 4.00 ms | 2.00 ms | 1.60 ms | 67368 to 128000 | 53 to 100 % |")
