"""The command line, `pix2pix SUBCOMMAND`: flags and error messages only."""

import argparse
import errno
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pix2pix_jax import __version__
from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import allocator, environment, exits
from pix2pix_jax.runtime.exits import EXIT_INTERRUPTED, EXIT_TRY_AGAIN, EXIT_USER_ERROR, STOPPED


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns the exit code."""
    arguments, rest = _parser().parse_known_args(argv)
    try:
        _check_flags(arguments, rest)
        if arguments.command != "train":
            environment.check_single_task()
        return arguments.run(arguments, rest) or 0
    except UserError as error:
        return _fail(arguments.command, str(error))
    except KeyboardInterrupt:  # only in a notebook or a test: `run` ends the process at once
        print(STOPPED, file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        return _fail(arguments.command, f"{error.filename or 'a file'}: {error.strerror}; make room or go elsewhere")


def run() -> NoReturn:
    """Runs the program: `main` with the environment, the signals and the exit codes of a process of its own."""
    environment.use_utf8()
    exits.begin()
    allocator.keep_freed_memory()
    code = main()
    exits.leave(code) if code else exits.end()


def _check_flags(arguments: argparse.Namespace, rest: Sequence[str]) -> None:
    """Raises UserError for an unknown flag, and an empty one, which an unset variable makes of --workdir=$DIR."""
    if rest and "config" not in arguments:
        raise UserError(f"{rest[0]}: not a flag of this subcommand; see --help")
    for name, value in vars(arguments).items():
        if value == "" or (isinstance(value, list) and "" in value):
            flag = "WORKDIR" if isinstance(value, list) else f"--{name}="
            raise UserError(f"{flag}: empty; is a variable of the shell unset? Say what it is to be")


def _fail(command: str, message: str) -> int:
    print(f"pix2pix {command}: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints one line, as for any other mistake; argparse itself would print the usage above it."""
        self.exit(EXIT_USER_ERROR, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pix2pix", description="Paired image-to-image translation.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="SUBCOMMAND")

    train = _add(commands, "train", _train, "train a model, or continue a stopped run")
    _add_config(train)
    train.add_argument("--workdir", required=True, metavar="DIR", help="holds the run: checkpoints, logs, samples")

    prepare = _add(commands, "prepare", _prepare, "download, build and check a data set")
    _add_config(prepare)
    prepare.add_argument("--output", metavar="DIR", help="folder for prepare-preview.png (default: here)")

    evaluate = _add(commands, "evaluate", _evaluate, "compare a checkpoint's translations with a whole split")
    _add_checkpoint(evaluate, required=False)
    evaluate.add_argument("--split", default="val", choices=("train", "val", "test"))
    evaluate.add_argument("--output", metavar="DIR", help="default: WORKDIR/eval/SPLIT-STEP")
    _add_inference(evaluate)
    _add_size(evaluate, "model|native")
    _add_metrics(evaluate)

    compare = _add(commands, "compare", _compare, "compare evaluated runs side by side: table, curves, images")
    compare.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="workdir of an evaluated run")
    compare.add_argument("--split", default="val", choices=("train", "val", "test"))
    compare.add_argument("--output", default="comparison", metavar="DIR", help="default: comparison")
    compare.add_argument("--examples", type=int, default=24, metavar="N", help="how many to show (default: 24)")

    translate = _add(commands, "translate", _translate, "translate image files")
    _add_checkpoint(translate)
    translate.add_argument("--input", required=True, metavar="FILE|DIR|GLOB")
    translate.add_argument("--output", required=True, metavar="DIR")
    translate.add_argument("--seed", type=int, default=0, help="seed of dropout (default: 0)")
    _add_inference(translate)
    _add_size(translate, "model|native|HxW")
    translate.add_argument(
        "--pairs", default="auto", choices=("auto", "yes", "no"), help="whether the files are A|B pairs (default: auto)"
    )

    _add_demo(commands)

    about = "make a workdir of .pth weights of pytorch-CycleGAN-and-pix2pix"
    import_torch = _add(commands, "import-torch", _import_torch, about)
    _add_config(import_torch)
    import_torch.add_argument("--generator", required=True, metavar="G.pth", help="the generator, as latest_net_G.pth")
    import_torch.add_argument("--discriminator", metavar="D.pth", help="as latest_net_D.pth, to continue training")
    import_torch.add_argument("--workdir", required=True, metavar="DIR", help="the workdir to make")

    _add_export(commands)
    return parser


def _add_export(commands) -> None:
    export = _add(commands, "export", _export, "write a trained network for another program, or as a web page")
    _add_checkpoint(export)
    export.add_argument("--output", metavar="FILE.pth|onnx|stablehlo|safetensors")
    export.add_argument("--web", metavar="DIR", help="the page of `demo` for a static host, instead of --output")
    _add_inference(export)
    files = export.add_argument_group("files", "see docs/export.md")
    files.add_argument("--network", choices=("generator", "discriminator"), help=".pth (default: generator)")
    files.add_argument("--values", choices=("float", "uint8", "stored"), help=".onnx: in and out (default: float)")
    files.add_argument("--precision", choices=("float32", "float16", "int8"), help=".onnx (default: float32)")
    files.add_argument("--size", metavar="any|model|HxW", help=".stablehlo: of the images (default: any)")
    page = export.add_argument_group("page", "with --web, as are --precision and the inference rules")
    page.add_argument("--palette", metavar=_PALETTES, help="of label maps (default: auto)")
    page.add_argument("--ort", metavar="FILE.tgz", help="package onnxruntime-web (default: npm fetches it)")
    page.add_argument("--webgpu", action="store_true", help="compute by WebGPU where the browser has it")


def _add(commands, name: str, run, help_text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_demo(commands) -> None:
    demo = _add(commands, "demo", _demo, "open a page to draw on, which translates as one draws")
    _add_checkpoint(demo)
    demo.add_argument("--host", default="127.0.0.1", metavar="NAME", help="address to listen on (default: 127.0.0.1)")
    demo.add_argument("--port", type=int, default=8000, help="0: any free one (default: 8000, or the next free one)")
    demo.add_argument("--no-browser", action="store_true", help="print the address only")
    demo.add_argument("--palette", default="auto", metavar=_PALETTES, help="of label maps (default: auto)")
    _add_inference(demo)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE|NAME", help="fields: --config.FIELD=VALUE")


def _add_checkpoint(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--workdir", required=required, metavar="DIR", help="workdir of a training run")
    parser.add_argument("--step", default="latest", metavar="N|latest|best", help="checkpoint (default: latest)")


def _add_inference(parser: argparse.ArgumentParser) -> None:
    rules = parser.add_argument_group("inference", "override the inference rules of the run's config")
    rules.add_argument("--norm_stats", choices=("instance", "batch", "running"), help="statistics of the norm layers")
    rules.add_argument("--dropout", choices=("on", "off"))
    rules.add_argument("--weights", choices=("latest", "ema"), help="ema: the moving average, if the run kept one")


def _add_size(parser: argparse.ArgumentParser, sizes: str) -> None:
    parser.add_argument("--size", default="model", metavar=sizes, help="at which pictures go through (default: model)")
    parser.add_argument(
        "--tile", default="auto", metavar="auto|off|N", help="side of the tiles of large pictures (default: auto)"
    )


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    metrics = parser.add_argument_group("metrics")
    metrics.add_argument(
        "--metrics",
        default="auto",
        metavar="NAME,...",
        help="of l1, psnr, ssim, ms_ssim, lpips, labels, fid, kid, clean_fid, clean_kid (default: those that need no "
        "other flag or download)",
    )
    metrics.add_argument("--palette", metavar="NAME|FILE.json", help="of label maps: facades, cityscapes or a file")
    metrics.add_argument("--inception", metavar="FILE", help="weights of FID's network, or PIX2PIX_INCEPTION")
    metrics.add_argument("--lpips", metavar="FILE", help="weights of LPIPS, or PIX2PIX_LPIPS")
    metrics.add_argument("--segmenter", metavar="FILE.onnx", help="segmentation network that labels the images")
    files = parser.add_argument_group("files", "compare image files of any program, instead of --workdir")
    files.add_argument("--pictures", metavar="DIR|GLOB", help="the pictures to evaluate")
    files.add_argument("--targets", metavar="DIR|GLOB", help="their targets, of the same names")
    files.add_argument("--inputs", metavar="DIR|GLOB", help="the images that the pictures were made from")


_EXPORT_FLAGS = ("norm_stats", "dropout", "weights", "network", "values", "precision", "size")
_PAGE_FLAGS = ("palette", "ort", "webgpu")
_PALETTES = "facades|cityscapes|none|FILE.json"

# JAX, Orbax and TFDS take seconds to import: each subcommand imports what it needs, and --help none of them.


def _load_config(arguments: argparse.Namespace, overrides: Sequence[str]):
    from pix2pix_jax import config

    loaded = config.load(arguments.config, overrides)
    environment.set_up_libraries()
    return loaded


def _load_model(arguments: argparse.Namespace):
    from pix2pix_jax.inference import trained_model

    environment.set_up_libraries()
    rules = {name: getattr(arguments, name) for name in ("norm_stats", "dropout", "weights")}
    return trained_model.load(arguments.workdir, step=arguments.step, **{k: v for k, v in rules.items() if v})


def _train(arguments: argparse.Namespace, rest: Sequence[str]) -> int | None:
    config = _load_config(arguments, rest)
    environment.check_temporary()
    from pix2pix_jax.runtime import distributed
    from pix2pix_jax.training import interruption, train

    try:
        distributed.initialize()
        train.train(config, arguments.workdir)
        if distributed.is_main_process():
            from pix2pix_jax.evaluation import curves

            curves.write(arguments.workdir)
    except interruption.Interrupted as stopped:
        if distributed.is_main_process():
            print(stopped, file=sys.stderr)
        distributed.shutdown()
        return EXIT_INTERRUPTED if stopped.by == signal.SIGINT else EXIT_TRY_AGAIN
    except distributed.PeerLostError as lost:
        print(f"pix2pix train: error: {lost}", file=sys.stderr)
        return EXIT_TRY_AGAIN
    except UserError:
        distributed.leave_last()
        raise


def _prepare(arguments: argparse.Namespace, rest: Sequence[str]) -> None:
    config = _load_config(arguments, rest)
    environment.check_temporary()
    from pix2pix_jax import prepare

    prepare.prepare(config, output=arguments.output or "")


def _is_of_files(arguments: argparse.Namespace) -> bool:
    """Returns whether files are evaluated, not a model. Raises UserError for flags that do not go together."""
    of_files = bool(arguments.pictures or arguments.targets)
    if bool(arguments.workdir) == of_files or (of_files and not (arguments.pictures and arguments.targets)):
        raise UserError("--workdir=DIR is required, or --pictures=DIR and --targets=DIR; see pix2pix evaluate --help")
    if not of_files and arguments.workdir.endswith(".safetensors"):
        raise UserError(f"--workdir={arguments.workdir}: does not say where the data are; evaluate the run's workdir")
    if of_files and not arguments.output:
        raise UserError("--output=DIR is required; say which folder is to hold the numbers and the gallery")
    without_effect = ("step", "split", "norm_stats", "dropout", "weights", "size", "tile") if of_files else ("inputs",)
    defaults = {"step": "latest", "split": "val", "size": "model", "tile": "auto"}
    for flag in without_effect:
        if getattr(arguments, flag) != defaults.get(flag):
            raise UserError(f"--{flag}: goes with --{'workdir' if of_files else 'pictures and --targets'} only")
    return of_files


def _evaluate(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    of_files = _is_of_files(arguments)
    model = None if of_files else _load_model(arguments)
    environment.set_up_libraries()
    from pix2pix_jax.evaluation import evaluate
    from pix2pix_jax.inference import native
    from pix2pix_jax.metrics import MetricsConfig

    request = MetricsConfig(
        metrics=None if arguments.metrics == "auto" else tuple(m.strip() for m in arguments.metrics.split(",")),
        palette=arguments.palette or (model.config.palette if model else "auto"),
        inception=arguments.inception or "",
        lpips=arguments.lpips or "",
    )
    options = {"output": arguments.output or "", "request": request, "segmenter": arguments.segmenter or ""}
    if of_files:
        options["inputs"] = arguments.inputs or ""
        result = evaluate.evaluate_files(arguments.pictures, arguments.targets, **options)
    else:
        if arguments.size not in ("model", "native"):
            raise UserError(f"--size={arguments.size}: must be model or native")
        options |= {"size": arguments.size, "tile": native.parse_tile(arguments.tile)}
        result = evaluate.evaluate(model, arguments.workdir, split=arguments.split, **options)
    for network in result.other_weights:
        print(f"note: the weights of {network} are not the published ones, and its numbers no one else's")
    for metric, reason in result.left_out.items():
        print(f"without {metric}: {reason}")
    scores = ", ".join(f"{name} {value:.4f}" for name, value in {**result.mean, **result.total}.items())
    print(f"{scores} over {len(result.images)} pairs")
    print(f"gallery: {result.folder / 'index.html'}")


def _compare(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    environment.set_up_libraries()
    environment.check_temporary()
    from pix2pix_jax.evaluation import compare

    result = compare.compare(
        arguments.workdirs, split=arguments.split, output=arguments.output, examples=arguments.examples
    )
    print(result.table)
    print(f"gallery: {result.folder / 'index.html'}")


def _demo(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    model = _load_model(arguments)
    from pix2pix_jax.demo import serve

    options = {"host": arguments.host, "port": arguments.port, "palette": arguments.palette}
    serve.serve(model, arguments.workdir, open_browser=not arguments.no_browser, **options)


def _import_torch(arguments: argparse.Namespace, rest: Sequence[str]) -> None:
    from pix2pix_jax import config as config_lib
    from pix2pix_jax.interop import transfer

    config = config_lib.read(arguments.config, rest)  # unchecked: the weights may make it fit
    environment.set_up_libraries()
    given = {override.split("=")[0].lstrip("-").removeprefix("config.") for override in rest}
    imported = transfer.import_torch(
        config, arguments.workdir, generator=arguments.generator, discriminator=arguments.discriminator, keep=given
    )
    if changed := transfer.changed_fields(config, imported):
        print(f"taken from the weights: {' '.join(changed)}")
    overrides = " ".join(shlex.quote(argument) for argument in (*rest, *changed))
    print(f"{arguments.workdir}: ready for evaluate and translate, or to train on:")
    config_flag, workdir_flag = (f"--{name}={shlex.quote(getattr(arguments, name))}" for name in ("config", "workdir"))
    print(f"  pix2pix train {config_flag} {workdir_flag} {overrides}".rstrip())


def _export(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    environment.set_up_libraries()
    from pix2pix_jax.export import formats

    given = {name: getattr(arguments, name) for name in (*_EXPORT_FLAGS, *_PAGE_FLAGS) if getattr(arguments, name)}
    if bool(arguments.output) == bool(arguments.web):
        raise UserError("--output=FILE or --web=DIR is required, one of both; see pix2pix export --help")
    for flag in given:
        if flag in (("network", "values", "size") if arguments.web else _PAGE_FLAGS):
            raise UserError(f"--{flag}: has no effect with --{'web' if arguments.web else 'output'}; leave it out")
    if arguments.web:
        _export_page(arguments, given)
        return
    flags = {name: value for name, value in given.items() if name in _EXPORT_FLAGS}
    remark = formats.export(arguments.workdir, arguments.output, step=arguments.step, **flags)
    print(f"{arguments.output}: {remark}")


def _export_page(arguments: argparse.Namespace, given: dict) -> None:
    if given.get("dropout") == "on":
        raise UserError("--dropout=on: the page's model is without dropout; leave it out")
    arguments.dropout = "off"
    model = _load_model(arguments)
    from pix2pix_jax.demo import web

    flags = {name: given[name] for name in ("precision", *_PAGE_FLAGS) if name in given}
    size = web.write(model, arguments.workdir, arguments.web, **flags)
    print(f"{arguments.web}: {size / 1e6:.1f} MB for any static host; to look at it here:")
    print(f"  python -m http.server --bind 127.0.0.1 --directory {shlex.quote(arguments.web)}")


def _translate(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    if not 0 <= arguments.seed < 2**31:
        raise UserError(f"--seed={arguments.seed}: must be from 0 to {2**31 - 1}")
    model = _load_model(arguments)
    from pix2pix_jax.inference import native, translate

    output, options = arguments.output, {"seed": arguments.seed, "pairs": arguments.pairs}
    options |= {"size": native.parse_size(arguments.size), "tile": native.parse_tile(arguments.tile)}
    written = translate.translate_files(model, arguments.input, output, **options)
    print(f"{len(written)} pictures in {output}")
