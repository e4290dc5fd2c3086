"""Time of one compiled train step, and its ratio to the same recipe in PyTorch.

    python benchmarks/train_step.py                   # 256 px, batch 1
    python benchmarks/train_step.py --against=torch   # beside PyTorch (pip install torch), alternating in one process

Prints a table and, as the last line, JSON.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import jax
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


def measure(systems: dict[str, Callable[[], None]], *, rounds: int, steps_per_round: int) -> dict[str, list[float]]:
    """Milliseconds a step, systems taking turns so that a slow spell of the machine meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for run in systems.values():
        run(), run()
    for _ in range(rounds):
        for name, run in systems.items():
            for _ in range(steps_per_round):
                start = time.perf_counter()
                run()
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


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
    times = measure(systems, rounds=arguments.rounds, steps_per_round=arguments.steps)
    device = jax.devices()[0].device_kind
    print(f"{device} ({os.cpu_count()} CPU cores, {platform.machine()}), jax {jax.__version__}, {config.compute_dtype}")
    print(f"image_size {tuple(config.image_size)}, batch {config.batch_size}, features {config.generator.features}")
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(f"{name:12} median {medians[name]:8.1f} ms, quartiles {low:.1f} to {high:.1f}")
    result = {"device": device, "median_ms": medians}
    if arguments.against:
        result["ratio"] = medians["pix2pix_jax"] / medians["torch"]
        print(f"ratio        {result['ratio']:.2f} x torch's time")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
