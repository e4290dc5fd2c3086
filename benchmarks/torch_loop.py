"""Runs the training loop of pix2pix as PyTorch users do, over a folder of A|B images, to measure against.

    python benchmarks/torch_loop.py --data_dir=FOLDER/train --seconds=20

A DataLoader with workers, `.to(device)`, the step, and a look at the losses every 100 steps, as
pytorch-CycleGAN-and-pix2pix has it by default. Writes neither images nor checkpoints. Prints JSON. Imports nothing but
PyTorch, NumPy and Pillow.
"""

import argparse
import dataclasses
import itertools
import json
import os
import time
from collections.abc import Iterator

import torch
import torch_recipe
from torch_input import make_loader

WARM = 10  # steps that choose algorithms, compile, and start workers


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, metavar="FOLDER", help="of A|B images")
    parser.add_argument("--direction", default="BtoA", choices=("AtoB", "BtoA"))
    parser.add_argument("--seconds", type=float, default=20, help="after the first steps; 0: the first step alone")
    parser.add_argument("--tuning", default="", metavar="JSON", help="as torch_recipe.py prints it (default: none)")
    parser.add_argument("--workers", type=int, default=0, help="(default: 4; tuned, at most one a core)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--num_downs", type=int, default=8)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--load", type=numbers, default=(286, 286))
    parser.add_argument("--crop", type=numbers, default=(256, 256))
    return parser.parse_args()


def batches(arguments: argparse.Namespace, trainer: torch_recipe.Trainer) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yields (input, target) on the device, epoch after epoch."""
    tuned = trainer.tuning != torch_recipe.AS_USERS_RUN
    loader = make_loader(
        arguments.data_dir,
        load=arguments.load,
        crop=arguments.crop,
        batch_size=arguments.batch,
        num_workers=arguments.workers or (min(4, os.cpu_count()) if tuned else 4),
        tuned=tuned,
    )
    names = ("A", "B") if arguments.direction == "AtoB" else ("B", "A")
    order = {"memory_format": torch.channels_last} if trainer.tuning.channels_last else {}
    while True:
        for batch in loader:
            yield tuple(batch[name].to(trainer.device, non_blocking=tuned, **order) for name in names)


def main() -> None:
    arguments = parse()
    tuning = torch_recipe.Tuning(**json.loads(arguments.tuning or "{}"))
    trainer = torch_recipe.Trainer(num_downs=arguments.num_downs, features=arguments.features, tuning=tuning)
    stretch = 50 if trainer.device == "cuda" else 2  # steps between two looks at the clock
    first_step, marks = 0.0, []
    for step, (image, target) in enumerate(batches(arguments, trainer), start=1):
        trainer.step(image, target)
        if step % torch_recipe.READ_EVERY == 0:
            trainer.read()
        if step == 1:
            trainer.read()
            first_step = time.time()
        if not arguments.seconds:
            break
        if step >= WARM and (step - WARM) % stretch == 0:
            torch_recipe.synchronize(trainer.device)
            marks.append(time.perf_counter())
            if marks[-1] - marks[0] > arguments.seconds and len(marks) > 2:
                break
    result = {
        "tuning": dataclasses.asdict(tuning),
        "how": f"{tuning}, {trainer.device}",
        "precision": torch_recipe.precision(trainer.device, tuning),
        "first_step": first_step,
        "ms": [1e3 * (b - a) / stretch for a, b in itertools.pairwise(marks)],
        "losses": trainer.read(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
