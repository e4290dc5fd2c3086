"""LPIPS against an independent PyTorch program."""

import jax
import numpy as np
import pytest
from golden import ANSWERS, cases, drawn_lpips
from jax import lax

from pix2pix_jax.metrics import lpips


@pytest.mark.parametrize("case", cases.LPIPS_SIZES)
def test_distances_equal_those_of_pytorch(case):
    pictures = [x.astype(np.float32) for x in cases.lpips_images(case)]
    found = jax.jit(lpips.LPIPS().apply)(lpips.variables(drawn_lpips()), *pictures)
    np.testing.assert_allclose(found, ANSWERS[f"lpips/{case}/layers"].sum(-1), rtol=1e-5)


def test_activations_lead_to_the_distances_of_pytorch():
    case, weights = next(iter(cases.LPIPS_SIZES)), drawn_lpips()
    pictures = np.concatenate([x.astype(np.float32) for x in cases.lpips_images(case)])
    layers = lpips.activations(lpips.variables(weights), pictures, dtype=np.float32, precision=lax.Precision.HIGHEST)
    assert tuple(x.shape[-1] for x in layers) == lpips.WIDTHS
    for i, layer in enumerate(layers):
        directions = layer / np.linalg.norm(layer, axis=-1, keepdims=True).clip(1e-10)
        output, target = np.split(directions, 2)
        found = (np.square(output - target) @ weights[f"lin{i}.weight"]).mean((1, 2))
        np.testing.assert_allclose(found, ANSWERS[f"lpips/{case}/layers"][:, i], rtol=1e-4)


def test_equal_pictures_are_no_distance_apart():
    picture = np.random.default_rng(0).uniform(-1, 1, (2, lpips.SIDE, lpips.SIDE, 3)).astype(np.float32)
    found = jax.jit(lpips.LPIPS().apply)(lpips.variables(drawn_lpips()), picture, picture)
    np.testing.assert_allclose(found, 0, atol=1e-9)


@pytest.mark.parametrize("prefix", ["features.{}", "net.slice1.{}"])
def test_names_of_pytorch(prefix):
    """Those of torchvision's AlexNet and the lpips package's linear layers, and those of its whole network."""
    weights = drawn_lpips()
    theirs = {"scaling_layer.shift": np.zeros(3), "classifier.1.weight": np.zeros((2, 2))}
    for i, place in enumerate((0, 3, 6, 8, 10)):
        theirs[prefix.format(place) + ".weight"] = weights[f"conv{i}.kernel"].transpose(3, 2, 0, 1)
        theirs[prefix.format(place) + ".bias"] = weights[f"conv{i}.bias"]
        theirs[f"lin{i}.model.1.weight"] = weights[f"lin{i}.weight"].reshape(1, -1, 1, 1)
    found = lpips.from_torch(theirs)
    assert found.keys() == weights.keys() == lpips.shapes().keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)


def test_as_a_loss_it_has_a_gradient_everywhere():
    """Also between equal pictures, and where answers are none or so small that their squares are 0."""
    draw = np.random.default_rng(0)
    shape = (1, lpips.SIDE, lpips.SIDE, 3)
    picture, other = draw.uniform(-1, 1, shape).astype(np.float32), draw.uniform(-1, 1, shape).astype(np.float32)
    loud = drawn_lpips()
    silent = loud | {name: np.full_like(array, -1e3) for name, array in loud.items() if name.endswith("bias")}
    faint = loud | {"conv0.kernel": loud["conv0.kernel"] * 1e-25, "conv0.bias": np.full_like(loud["conv0.bias"], 1e-25)}

    @jax.jit
    @jax.grad
    def gradient(output, target, variables):
        return lpips.LPIPS(precision=None).apply(variables, output, target).sum()

    assert np.abs(gradient(picture, other, lpips.variables(loud))).max() > 0
    for weights in (loud, silent, faint):
        for target in (picture, other):
            assert np.isfinite(gradient(picture, target, lpips.variables(weights))).all()
    np.testing.assert_array_equal(gradient(picture, other, lpips.variables(silent)), 0)
