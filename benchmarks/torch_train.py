"""Trains the recipe of torch_recipe.py on a folder of A|B images, to compare its pictures with those of pix2pix_jax.

    python benchmarks/torch_train.py --data_dir=FOLDER --workdir=DIR --seed=0

FOLDER holds train/ and the splits to translate. The same command again goes on from the last checkpoint, and then draws
what it would have drawn. Leaves in DIR pictures/SPLIT-STEP/ with NAME_fake_B.png and NAME_real_B.png, as
pytorch-CycleGAN-and-pix2pix names them, and losses.jsonl. Their scores, by the same program as ours:

    pix2pix evaluate --pictures='DIR/pictures/test-20000/*_fake_B.png' \\
        --targets='DIR/pictures/test-20000/*_real_B.png' --output=DIR/scores/test-20000
"""

import argparse
import json
import os
import pathlib
import random
import time

import torch
import torch_recipe
from PIL import Image
from torch_input import AlignedPairs, make_loader
from torch_loop import numbers

LEARNING_RATE = 2e-4


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, metavar="FOLDER", help="of train/, val/ ... of A|B images")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--direction", default="BtoA", choices=("AtoB", "BtoA"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=50, help="the rate falls to zero over the second half")
    parser.add_argument("--save_every", type=int, default=5, metavar="EPOCHS", help="checkpoints and pictures")
    parser.add_argument("--splits", default="val,test")
    parser.add_argument("--num_downs", type=int, default=7)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--load", type=numbers, default=(143, 143))
    parser.add_argument("--crop", type=numbers, default=(128, 128))
    return parser.parse_args()


def learning_rate(epoch: int, epochs: int) -> float:
    """Returns the rate of an epoch, counted from 0: pytorch-CycleGAN-and-pix2pix's `linear`."""
    decay = epochs // 2
    return LEARNING_RATE * (1 - max(0, epoch + 1 - (epochs - decay)) / (decay + 1))


def save(path: pathlib.Path, trainer: torch_recipe.Trainer, **position) -> None:
    state = trainer.state_dict() | position | {"torch_random": torch.get_rng_state()}
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def restore(path: pathlib.Path, trainer: torch_recipe.Trainer) -> tuple[int, int, float]:
    """Returns (epochs done, steps done, seconds that they took)."""
    if not path.exists():
        return 0, 0, 0.0
    state = torch.load(path, weights_only=True)
    trainer.load_state_dict(state)
    torch.set_rng_state(state["torch_random"])
    return state["epoch"], state["step"], state["seconds"]


@torch.no_grad()
def translate(generator: torch.nn.Module, folder: str, output: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Writes each picture's translation and target: dropout on, statistics of the picture, as published."""
    output.mkdir(parents=True, exist_ok=True)
    pairs = AlignedPairs(folder, load=arguments.crop, crop=arguments.crop, mirror=False)
    image, target = ("A", "B") if arguments.direction == "AtoB" else ("B", "A")
    before = {name: value.clone() for name, value in generator.named_buffers()}
    for path, pair in zip(pairs.paths, pairs, strict=False):
        for kind, pixels in (("fake", generator(pair[image][None])[0]), ("real", pair[target])):
            levels = ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
            Image.fromarray(levels).save(output / f"{pathlib.Path(path).stem}_{kind}_B.png")
    for name, value in generator.named_buffers():
        value.copy_(before[name])


def main() -> None:
    arguments = parse()
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    tuning = torch_recipe.Tuning(fused_adam=True)  # the same arithmetic in one pass
    case = {"num_downs": arguments.num_downs, "features": arguments.features}
    trainer = torch_recipe.Trainer(**case, device="cpu", tuning=tuning)
    checkpoint = arguments.workdir / "checkpoint.pt"
    first, step, seconds = restore(checkpoint, trainer)
    train = os.path.join(arguments.data_dir, "train")
    loader = make_loader(train, load=arguments.load, crop=arguments.crop, batch_size=1, num_workers=0)
    names = ("A", "B") if arguments.direction == "AtoB" else ("B", "A")
    for epoch in range(first, arguments.epochs):
        start = time.perf_counter()
        random.seed(f"{arguments.seed}/{epoch}")  # crops and flips
        trainer.set_learning_rate(learning_rate(epoch, arguments.epochs))
        for batch in loader:
            trainer.step(*(batch[name] for name in names))
            step += 1
        seconds += time.perf_counter() - start
        losses = dict(zip(("g_gan", "g_l1", "d_real", "d_fake"), trainer.read(), strict=True))
        line = json.dumps({"step": step, "epoch": epoch + 1, "seconds": round(seconds, 1), **losses})
        print(line, flush=True)
        with open(arguments.workdir / "losses.jsonl", "a") as file:
            file.write(line + "\n")
        if (epoch + 1) % arguments.save_every == 0 or epoch + 1 == arguments.epochs:
            for split in arguments.splits.split(","):
                folder = os.path.join(arguments.data_dir, split)
                with torch.random.fork_rng():
                    translate(trainer.generator, folder, arguments.workdir / "pictures" / f"{split}-{step}", arguments)
            save(checkpoint, trainer, epoch=epoch + 1, step=step, seconds=seconds)


if __name__ == "__main__":
    main()
