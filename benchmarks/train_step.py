"""Time of one compiled train step, and its ratio to the same recipe in PyTorch.

    python benchmarks/train_step.py                   # 256 px, batch 1
    python benchmarks/train_step.py --against=torch   # beside PyTorch (pip install torch), alternating in one process

Prints a table and, as the last line, JSON.
"""

import argparse
import json
from collections.abc import Callable

import alternate
import jax
import machine
import numpy as np

from pix2pix_jax import config as config_lib
from pix2pix_jax import recipe, validation


def jax_step(config) -> Callable[[], None]:
    parts = recipe.build_parts(config, num_examples=400)
    state = jax.jit(lambda: recipe.create_state(config, parts))()
    shape = (config.batch_size, *config.resize_size, 3)
    rng = np.random.default_rng(0)
    batch = {name: jax.device_put(rng.integers(0, 256, shape, np.uint8)) for name in ("input", "target")}
    compiled = jax.jit(recipe.build_train_step(config, parts), donate_argnums=0).lower(state, batch).compile()

    def run() -> None:
        nonlocal state
        state, metrics = compiled(state, batch)
        jax.block_until_ready(metrics)

    return run


def torch_step(config) -> Callable[[], None]:
    import torch
    from torch_recipe import Trainer

    trainer = Trainer(num_downs=validation.num_downs(config), features=config.generator.features)
    shape = (config.batch_size, 3, *config.image_size)
    image, target = torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1
    return lambda: trainer.step(image, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", choices=("torch",))
    parser.add_argument("--config", default="default")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="a round")
    arguments, overrides = parser.parse_known_args()
    config = config_lib.load(arguments.config, overrides)
    systems = {"pix2pix_jax": jax_step(config)}
    if arguments.against:
        systems["torch"] = torch_step(config)
    times = alternate.measure(systems, rounds=arguments.rounds, steps=arguments.steps)
    found = machine.facts()
    print(f"{machine.describe(found)}, {config.compute_dtype}")
    print(f"image_size {tuple(config.image_size)}, batch {config.batch_size}, features {config.generator.features}")
    medians = {}
    for name, values in times.milliseconds.items():
        low, medians[name], high = alternate.quartiles(values)
        print(f"{name:12} median {medians[name]:8.1f} ms, quartiles {low:.1f} to {high:.1f}")
    print(f"other programs took {times.others:.0%} of the processor meanwhile")
    result = {"machine": found, "median_ms": medians, "others": times.others}
    if arguments.against:
        result["ratio"] = medians["pix2pix_jax"] / medians["torch"]
        print(f"ratio        {result['ratio']:.2f} x torch's time")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
