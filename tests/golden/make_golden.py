"""Writes models.npz: what the published networks answer in PyTorch, for tests/models/test_golden.py.

Independent of pix2pix_jax. Needs numpy and torch (CPU), which the tests do not; to make the file anew:

    python tests/golden/make_golden.py

Everything is computed in float64 and stored in float32. Under each name of `cases.CASES` it holds

    NAME/parameters       every parameter, in alphabetical order, as "name shape"
    NAME/output           in training mode: translation or logits; of a multi-scale discriminator NAME/output/SCALE
    NAME/features/S/I     multi-scale only: what the leaky ReLU after convolution I of scale S gave
    NAME/statistics       all running statistics after that pass, raveled, in alphabetical order of their names
    NAME/running/output   batch norm only: in inference mode, with drawn running statistics
    NAME/gradient/LAYER   gradient of the output's sum of squares, in training mode, by the layer's kernel
    NAME/gradient/input   and by the last input: the image of a generator, the candidate of a discriminator

Before training mode running means are 0 and variances 1, and the spectral norm's `u` are drawn.
"""

import pathlib
from collections.abc import Iterable

import numpy as np
import torch
import torch_networks
from cases import CASES, Case, draw
from torch_layout import fill, nchw, nhwc, ours, parameters, statistics


def build(case: Case) -> torch.nn.Module:
    channels = [x.shape[-1] for x in case.inputs]
    network = getattr(torch_networks, case.network)(*channels, **case.options)
    fill(parameters(network), draw)
    fill({name: entry for name, entry in statistics(network).items() if name.endswith("/u")}, draw)
    return network


def flatten(prefix: str, x: torch.Tensor | Iterable) -> dict[str, np.ndarray]:
    """Images under `prefix`, or under numbered names below it."""
    if isinstance(x, torch.Tensor):
        return {prefix: nhwc(x)}
    return {name: y for i, part in enumerate(x) for name, y in flatten(f"{prefix}/{i}", part).items()}


def gradients(case: Case, network: torch.nn.Module, inputs: list[torch.Tensor], output) -> dict[str, np.ndarray]:
    outputs = output if isinstance(output, list) else [output]
    sum(y.square().sum() for y in outputs).backward()
    kernels = {name: parameters(network)[f"{name}/kernel"] for name in case.gradients}
    answers = {f"gradient/{name}": ours(layer, x.grad) for name, (layer, x) in kernels.items()}
    return answers | {"gradient/input": nhwc(inputs[-1].grad)}


def answer(case: Case) -> dict[str, np.ndarray]:
    network = build(case)
    inputs = [nchw(x).requires_grad_() for x in case.inputs]
    output = network(*inputs)
    answers = flatten("output", output)
    if case.network == "MultiScaleDiscriminator":
        answers |= flatten("features", network.features)
    if held := [ours(*entry).ravel() for entry in statistics(network).values()]:
        answers["statistics"] = np.concatenate(held)
    if case.gradients:
        answers |= gradients(case, network, inputs, output)
    if case.has_running_statistics:
        fill(statistics(network), draw)
        answers |= flatten("running/output", network.eval()(*inputs))
    return answers


def shapes(network: torch.nn.Module) -> np.ndarray:
    entries = parameters(network).items()
    return np.array([f"{name} {'x'.join(map(str, ours(*entry).shape))}" for name, entry in entries])


def main() -> None:
    torch.set_default_dtype(torch.float64)
    golden = {}
    for name, case in CASES.items():
        golden[f"{name}/parameters"] = shapes(build(case))
        golden |= {f"{name}/{key}": x.astype(np.float32) for key, x in answer(case).items()}
    path = pathlib.Path(__file__).with_name("models.npz")
    np.savez_compressed(path, **golden)
    print(f"{path.name}: {len(golden)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
