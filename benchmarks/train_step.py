"""Measures one compiled train step, and its speed relative to the same recipe in PyTorch.

    python benchmarks/train_step.py                   # 256 px, batch 1
    python benchmarks/train_step.py --against=torch   # beside PyTorch (pip install torch), taking turns in one process
    python benchmarks/train_step.py --against=torch --config.batch_size=64 --config.compute_dtype=bfloat16

"torch" is PyTorch as users of pytorch-CycleGAN-and-pix2pix run it, "torch tuned" what can be made of it on this device
(torch_recipe.py). Data stay on the device, and steps follow each other as in a loop, without waiting; a turn ends when
the last is done. Prints a table and, as the last line, JSON.
"""

import functools

import bare
import floor
import machine
import report

from pix2pix_jax import configuration as config_lib


def torch_step(config, case: dict[str, int], tuning) -> report.System:
    import torch_recipe

    trainer = torch_recipe.Trainer(**case, tuning=tuning)
    image, target = map(trainer.place, torch_recipe.random_pair(config.batch_size, config.image_size))
    turn = functools.partial(trainer.turn, image, target)
    precision = torch_recipe.precision(trainer.device, tuning)
    return report.System(turn=turn, precision=precision, how=f"{tuning}, {trainer.device}")


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="a turn")
    arguments, overrides = report.parse(parser)
    config = config_lib.load(arguments.config, overrides)
    found = machine.facts(*arguments.against)
    report.begin(found, f"train step, {report.describe(config)}")
    others = report.torch_systems(config, functools.partial(torch_step, config)) if arguments.against else {}
    result = report.compare(
        lambda: report.System(turn=bare.train_step(config), precision=bare.precision(config)),
        others,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        images=config.batch_size,
        gflop=floor.train_step_gflop(config),
    )
    report.finish("train_step", found, {"config": arguments.config, "overrides": overrides, **result})


if __name__ == "__main__":
    main()
