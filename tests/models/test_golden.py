"""Every variant of the networks against the published architectures in PyTorch (tests/golden/make_golden.py)."""

import pathlib
import re
import runpy
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax import models

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
cases = types.SimpleNamespace(**runpy.run_path(str(FOLDER / "cases.py")))


def golden_name(path) -> str:
    """The golden file's name of a leaf: without the numbered wrappers that Flax puts around spectral-normed layers."""
    return re.sub(r"SpectralNorm_\d+/", "", jax.tree_util.keystr(path, simple=True, separator="/"))


def flatten(tree) -> dict[str, jax.Array]:
    """In alphabetical order of the names."""
    leaves = ((golden_name(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree))
    return dict(sorted(leaves, key=lambda entry: entry[0]))


def fill(shapes, value):
    """`shapes` with value(name, shape) in each leaf."""
    return jax.tree.map_with_path(lambda path, leaf: value(golden_name(path), leaf.shape).astype(np.float32), shapes)


def initial(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A statistic before training."""
    if name.endswith("/u"):
        return cases.draw(name, shape)
    return np.zeros(shape) if name.endswith("/mean") else np.ones(shape)


class Comparison:
    """What our network of a case answers, under the golden file's keys."""

    def __init__(self, case):
        self.case = case
        self.network = getattr(models, case.network)(**case.options)
        self.mode = {"deterministic": True} if case.candidate is None else {}
        self.inputs = [x.astype(np.float32) for x in case.inputs]
        rng = {"params": jax.random.key(0)}
        self.shapes = jax.eval_shape(lambda: self.network.init(rng, *self.inputs, **self.mode))

    def parameters(self) -> list[str]:
        return [f"{name} {'x'.join(map(str, x.shape))}" for name, x in flatten(self.shapes["params"]).items()]

    def answers(self) -> dict[str, jax.Array]:
        params, statistics = self.shapes["params"], self.shapes.get("batch_stats", {})
        params = fill(params, cases.draw)
        answers = jax.jit(self._train)(params, fill(statistics, initial), self.inputs)
        if self.case.has_running_statistics:
            answers |= jax.jit(self._infer)(params, fill(statistics, cases.draw), self.inputs)
        return answers

    def _train(self, params, statistics, inputs) -> dict[str, jax.Array]:
        *image, last = inputs

        def squares(params, last):
            variables = {"params": params, "batch_stats": statistics}
            mutable = ["batch_stats", "intermediates"]
            output, after = self.network.apply(variables, *image, last, mutable=mutable, **self.mode)
            return sum(jnp.square(x).sum() for x in jax.tree.leaves(output)), (output, after)

        if not self.case.gradients:  # which take most of the time to compile
            return self._values(*squares(params, last)[1])
        (by_params, by_last), aux = jax.grad(squares, argnums=(0, 1), has_aux=True)(params, last)
        kernels = flatten(by_params)
        gradients = {f"gradient/{layer}": kernels[f"{layer}/kernel"] for layer in self.case.gradients}
        return self._values(*aux) | gradients | {"gradient/input": by_last}

    def _values(self, output, after) -> dict[str, jax.Array]:
        values = numbered("output", output)
        if isinstance(output, tuple):
            features = after["intermediates"]
            values |= numbered("features", tuple(features[f"scale{k}"]["features"] for k in range(len(output))))
        if after.get("batch_stats"):
            values["statistics"] = jnp.concatenate([x.ravel() for x in flatten(after["batch_stats"]).values()])
        return values

    def _infer(self, params, statistics, inputs) -> dict[str, jax.Array]:
        variables = {"params": params, "batch_stats": statistics}
        output = self.network.apply(variables, *inputs, use_running_average=True, **self.mode)
        return numbered("running/output", output)


def numbered(prefix: str, x) -> dict[str, jax.Array]:
    if not isinstance(x, tuple):
        return {prefix: x}
    return {name: y for i, part in enumerate(x) for name, y in numbered(f"{prefix}/{i}", part).items()}


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "models.npz") as file:
        yield file


@pytest.mark.parametrize("name", cases.CASES)
def test_a_network_answers_as_the_published_one(golden, name):
    expected = {key.removeprefix(f"{name}/"): golden[key] for key in golden if key.startswith(f"{name}/")}
    ours = Comparison(cases.CASES[name])
    assert ours.parameters() == expected.pop("parameters").tolist()
    answers = ours.answers()
    assert answers.keys() == expected.keys()
    for key, desired in expected.items():
        assert answers[key].shape == desired.shape, key
        atol = 2e-5 * max(1, np.abs(desired).max())
        np.testing.assert_allclose(answers[key], desired, rtol=0, atol=atol, err_msg=key)
