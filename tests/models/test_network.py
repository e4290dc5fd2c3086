"""The bounds of the networks' fields, which their users meet with or without a config."""

import pytest

from pix2pix_jax.models import MultiScaleDiscriminator, PatchDiscriminator, ResNetGenerator, UNetGenerator


@pytest.mark.parametrize(
    ("network", "fields", "message"),
    [
        (UNetGenerator, {"features": 0}, "features: 0; must be at least 1"),
        (ResNetGenerator, {"norm": "layer"}, "norm: 'layer'; must be one of batch, instance, group, none"),
        (UNetGenerator, {"norm_epsilon": 0.0}, "norm_epsilon: 0.0; must be above 0"),
        (UNetGenerator, {"norm_momentum": 1.0}, "norm_momentum: 1.0; must be below 1"),
        (UNetGenerator, {"dropout": float("nan")}, "dropout: nan; must be at least 0"),
        (UNetGenerator, {"num_downs": 11}, "num_downs: 11; must be from 2 to 10"),
        (UNetGenerator, {"num_downs": 5, "dropout_layers": (5,)}, "must be decoder layers from 1 to 4"),
        (ResNetGenerator, {"num_blocks": 65}, "num_blocks: 65; must be at most 64"),
        (PatchDiscriminator, {"num_layers": 6}, "num_layers: 6; must be one of 0, 1, 2, 3, 4, 5"),
        (MultiScaleDiscriminator, {"padding": "same"}, "padding: 'same'; must be one of zero, reflect"),
        (MultiScaleDiscriminator, {"num_scales": 0}, "num_scales: 0; must be at least 1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_field(network, fields, message):
    with pytest.raises(ValueError) as caught:
        network(**fields)
    assert message in str(caught.value) and "\n" not in str(caught.value)
