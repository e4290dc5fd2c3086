"""Translates one picture with PyTorch from a file of weights, as a program of its own, to measure against.

    python benchmarks/torch_translate.py --weights=FILE --save                          # random weights
    python benchmarks/torch_translate.py --weights=FILE --input=FILE --output=FILE      # the right half of an A|B image

By the paper's rules: dropout on, and normalised by the picture's own statistics. Imports nothing but PyTorch, NumPy
and Pillow.
"""

import argparse

import numpy as np
import torch
import torch_recipe
from PIL import Image


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--save", action="store_true", help="write random weights, and nothing else")
    parser.add_argument("--input", metavar="FILE")
    parser.add_argument("--output", metavar="FILE")
    parser.add_argument("--num_downs", type=int, default=8)
    parser.add_argument("--features", type=int, default=64)
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    arguments = parse()
    generator = torch_recipe.UNet(arguments.num_downs, arguments.features)
    if arguments.save:
        torch.save(torch_recipe.initialise(generator).state_dict(), arguments.weights)
        return
    generator.load_state_dict(torch.load(arguments.weights, weights_only=True))
    pair = np.asarray(Image.open(arguments.input).convert("RGB"), np.float32)
    pixels = np.ascontiguousarray(pair[:, pair.shape[1] // 2 :])
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    levels = ((generator(image)[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(levels).save(arguments.output)


if __name__ == "__main__":
    main()
