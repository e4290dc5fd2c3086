"""Measures images a second of the generator, beside PyTorch and onnxruntime.

    python benchmarks/inference.py --against=torch,onnxruntime       # batch 1
    python benchmarks/inference.py --against=torch --config.batch_size=64 --config.compute_dtype=bfloat16

Ours is the program that `pix2pix_jax.load(...).translate` calls, with random weights. The paper's rules ("published":
dropout on, each image normalised by its own statistics) are timed first, then training's statistics without dropout.
Pictures stay on the device, except in "translate()", the whole call from uint8 to uint8 on the host, and in
onnxruntime's, which runs the file that `pix2pix export` writes of the same model with --values=uint8, in each
precision. Prints tables and, as the last line, JSON.
"""

import collections
import functools

import alternate
import bare
import floor
import jax
import machine
import numpy as np
import report

from pix2pix_jax import config as config_lib
from pix2pix_jax.config import build_model
from pix2pix_jax.inference import trained_model
from pix2pix_jax.runtime import meshes

AGAINST = ("torch", "onnxruntime")
RULES = {
    "published": {"norm_stats": "instance", "dropout": "on"},
    "running": {"norm_stats": "running", "dropout": "off"},
}


def make_model(config) -> trained_model.TrainedModel:
    """Makes a model with the parameters of step 0."""
    parts = build_model.build_parts(config, num_examples=1)
    state = jax.jit(functools.partial(build_model.create_state, config, parts))()
    return trained_model.TrainedModel(config=config, variables=build_model.inference_variables(config, state), step=0)


def network(model: trained_model.TrainedModel, images: np.ndarray) -> alternate.Turn:
    """Makes a turn of the compiled program, on images that stay on the device."""
    inputs = jax.numpy.asarray(images / 127.5 - 1, "float32")
    ids = trained_model.picture_ids(np.asarray(inputs))
    inputs, ids = jax.device_put((inputs, ids), meshes.batch_sharding(model.mesh))

    def turn(calls: int) -> None:
        outputs = collections.deque(maxlen=2)
        for _ in range(calls):
            outputs.append(model._compiled(model._placed, inputs, ids, 0))
        jax.block_until_ready(list(outputs))

    return turn


def torch_system(config, rules: str, case: dict[str, int], tuning) -> report.System:
    import torch_recipe

    translator = torch_recipe.Translator(**case, published=rules == "published", tuning=tuning)
    image = translator.place(torch_recipe.random_pair(config.batch_size, config.image_size)[0])
    precision = torch_recipe.precision(translator.device, tuning)
    turn = functools.partial(translator.turn, image)
    return report.System(turn=turn, precision=precision, how=f"{tuning}, {translator.device}")


def onnx_system(model: trained_model.TrainedModel, images: np.ndarray, precision: str) -> report.System:
    """Makes the system of the file that `pix2pix export` writes; on a GPU if onnxruntime can use one."""
    import onnxruntime

    from pix2pix_jax.export import onnx_file

    dropout = model.config.inference.dropout == "on"
    options = onnx_file.OnnxOptions(values="uint8", precision=precision, dropout=dropout)
    known = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]
    session = onnxruntime.InferenceSession(onnx_file.serialise(model, options), providers=providers)
    run = alternate.one_by_one(lambda: session.run(None, {"image": images}))
    how = f"{session.get_providers()[0]}, host to host, {precision} file"
    return report.System(turn=run, precision="float32", how=how)


def measure(config, rules: str, against: list[str], *, rounds: int, seconds: float) -> dict:
    config.inference.update(RULES[rules])
    model = make_model(config)
    size = (config.batch_size, *config.image_size, config.input_channels)
    images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    precision = bare.precision(config)
    whole = alternate.one_by_one(lambda: model.translate(images))
    others = {"translate()": lambda: report.System(turn=whole, precision=precision, how="host to host")}
    if "torch" in against:
        others |= report.torch_systems(config, functools.partial(torch_system, config, rules), what=rules)
    if "onnxruntime" in against:
        for precision_of_file, name in (("float32", ""), ("float16", ", float16"), ("int8", ", int8")):
            others[f"onnxruntime{name}"] = functools.partial(onnx_system, model, images, precision_of_file)
    print(f"{rules}: {', '.join(f'{key} {value}' for key, value in RULES[rules].items())}", flush=True)
    return report.compare(
        lambda: report.System(turn=network(model, images), precision=precision),
        others,
        rounds=rounds,
        seconds=seconds,
        images=config.batch_size,
        gflop=floor.generator_gflop(config),
    )


def main() -> None:
    parser = report.parser(__doc__, against=AGAINST)
    parser.add_argument("--seconds", type=float, default=2, help="a turn")
    parser.add_argument("--rules", default=",".join(RULES), help="(default: %(default)s)")
    arguments, overrides = report.parse(parser)
    config = config_lib.load(arguments.config, overrides)
    found = machine.facts(*arguments.against)
    report.begin(found, f"inference, {report.describe(config)}")
    options = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    results = {rules: measure(config, rules, arguments.against, **options) for rules in arguments.rules.split(",")}
    report.finish("inference", found, {"config": arguments.config, "overrides": overrides, "rules": results})


if __name__ == "__main__":
    main()
