"""The command line, `pix2pix SUBCOMMAND`: flags and error messages only."""

import argparse
import errno
import logging
import os
import shlex
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import NoReturn

from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import allocator, caches, exits
from pix2pix_jax.runtime.exits import EXIT_INTERRUPTED, EXIT_TRY_AGAIN, EXIT_USER_ERROR, STOPPED


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns the exit code."""
    arguments, rest = _parser().parse_known_args(argv)
    try:
        _check_not_empty(arguments)
        _check_alone(arguments.command)
        return arguments.run(arguments, rest) or 0
    except UserError as error:
        return _fail(arguments.command, str(error))
    except KeyboardInterrupt:  # where a notebook or a test calls this: `run` ends at once
        print(STOPPED, file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        return _fail(arguments.command, f"{error.filename or 'a file'}: {error.strerror}; make room or go elsewhere")


def run() -> NoReturn:
    """`main` as a program of its own."""
    _use_utf8()
    exits.begin()
    allocator.keep_freed_memory()
    code = main()
    exits.leave(code) if code else exits.end()


def _check_not_empty(arguments: argparse.Namespace) -> None:
    """Refuses --workdir= and its like, which an unset variable of a shell makes of --workdir=$DIR."""
    for name, value in vars(arguments).items():
        if value == "" or (isinstance(value, list) and "" in value):
            flag = "WORKDIR" if isinstance(value, list) else f"--{name}="
            raise UserError(f"{flag}: empty; is a variable of the shell unset? Say what it is to be")


def _check_alone(command: str) -> None:
    """Only `train` shares its work among the tasks that `srun` or another launcher starts."""
    from_slurm = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    by_hand = os.environ.get("JAX_NUM_PROCESSES", "") if "JAX_PROCESS_ID" in os.environ else ""
    count = max(int(number) if number.isdigit() else 1 for number in (from_slurm, by_hand))
    if command != "train" and count > 1:
        raise UserError(
            f"{count} tasks were started (SLURM_STEP_NUM_TASKS, JAX_NUM_PROCESSES), and each would do the whole work; "
            "start one (srun --ntasks=1)"
        )


def _use_utf8() -> None:
    """Begins again where the locale is not UTF-8: the libraries take no path for which Python has no UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # of the processes that read data too
        os.execv(sys.executable, sys.orig_argv)
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is; names of files may be any bytes


def _fail(command: str, message: str) -> int:
    print(f"pix2pix {command}: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for any other mistake; argparse alone prints the usage above it."""
        self.exit(EXIT_USER_ERROR, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pix2pix", description="Paired image-to-image translation.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="SUBCOMMAND")

    train = _add(commands, "train", _train, "train, or go on with a run that was stopped")
    _add_config(train)
    train.add_argument("--workdir", required=True, metavar="DIR", help="of the run: checkpoints, logs, samples")

    prepare = _add(commands, "prepare", _prepare, "get, build and check a data set")
    _add_config(prepare)
    prepare.add_argument("--output", metavar="DIR", help="of prepare-preview.png (default: here)")

    evaluate = _add(commands, "evaluate", _evaluate, "compare a checkpoint's translations with a whole split")
    _add_checkpoint(evaluate, required=False)
    evaluate.add_argument("--split", default="val", choices=("train", "val", "test"))
    evaluate.add_argument("--output", metavar="DIR", help="default: WORKDIR/eval/SPLIT-STEP")
    _add_inference(evaluate)
    _add_metrics(evaluate)

    compare = _add(commands, "compare", _compare, "several evaluated runs side by side: table, curves, pictures")
    compare.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="of a training run")
    compare.add_argument("--split", default="val", choices=("train", "val", "test"))
    compare.add_argument("--output", default="comparison", metavar="DIR", help="default: comparison")
    compare.add_argument("--examples", type=int, default=24, metavar="N", help="to show (default: 24)")

    translate = _add(commands, "translate", _translate, "translate image files")
    _add_checkpoint(translate)
    translate.add_argument("--input", required=True, metavar="FILE|DIR|GLOB")
    translate.add_argument("--output", required=True, metavar="DIR")
    translate.add_argument("--seed", type=int, default=0, help="of dropout (default: 0)")
    _add_inference(translate)
    translate.add_argument(
        "--pairs", default="auto", choices=("auto", "yes", "no"), help="whether the files are A|B pairs (default: auto)"
    )
    import_torch = _add(
        commands, "import-torch", _import_torch, "make a workdir of .pth weights of pytorch-CycleGAN-and-pix2pix"
    )
    _add_config(import_torch)
    import_torch.add_argument("--generator", required=True, metavar="G.pth", help="as latest_net_G.pth")
    import_torch.add_argument("--discriminator", metavar="D.pth", help="as latest_net_D.pth, to train on")
    import_torch.add_argument("--workdir", required=True, metavar="DIR", help="to be made")

    export = _add(commands, "export", _export, "write a trained network for another program")
    _add_checkpoint(export)
    export.add_argument("--output", required=True, metavar="FILE.pth", help="for pytorch-CycleGAN-and-pix2pix")
    export.add_argument("--network", default="generator", choices=("generator", "discriminator"))
    return parser


def _add(commands, name: str, run, help_text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE|NAME", help="fields: --config.FIELD=VALUE")


def _add_checkpoint(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--workdir", required=required, metavar="DIR", help="of a training run")
    parser.add_argument("--step", default="latest", metavar="N|latest|best", help="(default: latest)")


def _add_inference(parser: argparse.ArgumentParser) -> None:
    rules = parser.add_argument_group("inference", "other rules than those of the run's config")
    rules.add_argument("--norm_stats", choices=("instance", "batch", "running"), help="what normalises")
    rules.add_argument("--dropout", choices=("on", "off"))
    rules.add_argument("--weights", choices=("latest", "ema"), help="ema: the moving average, of runs that kept one")


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    metrics = parser.add_argument_group("metrics")
    metrics.add_argument(
        "--metrics",
        default="auto",
        metavar="NAME,...",
        help="of l1, psnr, ssim, ms_ssim, lpips, labels, fid, kid, clean_fid, clean_kid (default: those that need "
        "nothing else, and those whose weights are found)",
    )
    metrics.add_argument("--palette", metavar="NAME|FILE.json", help="of label maps: facades, cityscapes")
    metrics.add_argument("--inception", metavar="FILE", help="weights of FID's network, or PIX2PIX_INCEPTION")
    metrics.add_argument("--lpips", metavar="FILE", help="weights of LPIPS, or PIX2PIX_LPIPS")
    metrics.add_argument("--segmenter", metavar="FILE.onnx", help="finds the labels again in the pictures")
    files = parser.add_argument_group("files", "instead of --workdir: pictures that any program made")
    files.add_argument("--pictures", metavar="DIR|GLOB")
    files.add_argument("--targets", metavar="DIR|GLOB", help="of the same names")
    files.add_argument("--inputs", metavar="DIR|GLOB", help="what the pictures were made from")


# JAX, Orbax and TFDS take seconds to import; each subcommand imports what it needs, and --help nothing.


def _load_config(arguments: argparse.Namespace, overrides: Sequence[str]):
    from pix2pix_jax import config

    loaded = config.load(arguments.config, overrides)
    _set_up_libraries()
    return loaded


def _load_model(arguments: argparse.Namespace, rest: Sequence[str]):
    from pix2pix_jax.inference import trained_model

    _check_no_more(rest)
    _set_up_libraries()
    rules = {name: getattr(arguments, name) for name in ("norm_stats", "dropout", "weights")}
    return trained_model.load(arguments.workdir, step=arguments.step, **{k: v for k, v in rules.items() if v})


def _check_no_more(rest: Sequence[str]) -> None:
    if rest:
        raise UserError(f"{rest[0]}: not a flag of this subcommand; see --help")


def _set_up_libraries() -> None:
    import absl.logging
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `data.deep.check_size` has bounds of our own
    # Orbax warns of its own defaults, and its threads print what it raises all the same: a full disk would take pages.
    absl.logging.set_verbosity(absl.logging.FATAL)
    for name in ("asyncio", "gcsfs", "matplotlib"):  # the last warns where the user has no home
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _tell_of_unraisable
    caches.keep_compiled_programs()


def _check_temporary() -> None:
    """Raises UserError where matplotlib, TFDS and worker processes would fail, maybe after hours."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError("TMPDIR: no folder for temporary files can be written; set it to one that can") from error


def _tell_of_unraisable(unraisable) -> None:
    # After a save that failed, tensorstore reports of each array to an event loop that orbax has closed: pages. So
    # do the other arrays once one could not be restored.
    if not str(unraisable.exc_value).startswith(("Event loop is closed", "Encountered error while reading array")):
        sys.__unraisablehook__(unraisable)


def _train(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    config = _load_config(arguments, rest)
    _check_temporary()
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
    return 0


def _prepare(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    config = _load_config(arguments, rest)
    _check_temporary()
    from pix2pix_jax import prepare

    prepare.prepare(config, output=arguments.output or "")
    return 0


def _evaluate(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    of_files = bool(arguments.pictures or arguments.targets)
    if bool(arguments.workdir) == of_files or (of_files and not (arguments.pictures and arguments.targets)):
        raise UserError("--workdir=DIR is required, or --pictures=DIR and --targets=DIR; see pix2pix evaluate --help")
    if of_files and not arguments.output:
        raise UserError("--output=DIR is required; say which folder is to hold the numbers and the gallery")
    _check_together(arguments, of_files)
    model = None if of_files else _load_model(arguments, rest)
    _check_no_more(rest)
    _set_up_libraries()
    from pix2pix_jax.evaluation import evaluate
    from pix2pix_jax.metrics import MetricsConfig

    request = MetricsConfig(
        metrics=None if arguments.metrics == "auto" else tuple(m.strip() for m in arguments.metrics.split(",")),
        palette=arguments.palette or (model.config.palette if model else "auto"),
        inception=arguments.inception or "",
        lpips=arguments.lpips or "",
    )
    options = {"output": arguments.output or "", "request": request, "segmenter": arguments.segmenter or ""}
    if of_files:
        result = evaluate.evaluate_files(
            arguments.pictures, arguments.targets, inputs=arguments.inputs or "", **options
        )
    else:
        result = evaluate.evaluate(model, arguments.workdir, split=arguments.split, **options)
    for network in result.other_weights:
        print(f"note: the weights of {network} are not the published ones, and its numbers no one else's")
    for metric, reason in result.left_out.items():
        print(f"without {metric}: {reason}")
    found = ", ".join(f"{name} {value:.4f}" for name, value in {**result.mean, **result.total}.items())
    print(f"{found} over {len(result.images)} pairs")
    print(f"gallery: {result.folder / 'index.html'}")
    return 0


def _check_together(arguments: argparse.Namespace, of_files: bool) -> None:
    """Raises UserError for a flag that would be of no effect."""
    flags = ("step", "split", "norm_stats", "dropout", "weights") if of_files else ("inputs",)
    defaults = {"step": "latest", "split": "val"}
    for flag in flags:
        if (getattr(arguments, flag) or "") != defaults.get(flag, ""):
            raise UserError(f"--{flag}: goes with --{'workdir' if of_files else 'pictures and --targets'} only")


def _compare(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    _check_no_more(rest)
    _set_up_libraries()
    _check_temporary()
    from pix2pix_jax.evaluation import compare

    result = compare.compare(
        arguments.workdirs, split=arguments.split, output=arguments.output, examples=arguments.examples
    )
    print(result.table)
    print(f"gallery: {result.folder / 'index.html'}")
    return 0


def _import_torch(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    from pix2pix_jax import config as config_lib
    from pix2pix_jax.interop import transfer

    config = config_lib.read(arguments.config, rest)  # the weights may make it fit
    _set_up_libraries()
    given = {override.split("=")[0].lstrip("-").removeprefix("config.") for override in rest}
    imported = transfer.import_torch(
        config, arguments.workdir, generator=arguments.generator, discriminator=arguments.discriminator, keep=given
    )
    found = transfer.changed_fields(config, imported)
    if found:
        print(f"taken from the weights: {' '.join(found)}")
    overrides = " ".join(shlex.quote(argument) for argument in (*rest, *found))
    print(f"{arguments.workdir}: ready for evaluate and translate, or to train on:")
    config_flag, workdir_flag = (f"--{name}={shlex.quote(getattr(arguments, name))}" for name in ("config", "workdir"))
    print(f"  pix2pix train {config_flag} {workdir_flag} {overrides}".rstrip())
    return 0


def _export(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    _check_no_more(rest)
    if not arguments.output.endswith(".pth"):
        raise UserError(f"--output={arguments.output}: unknown format; give a name that ends in .pth")
    _set_up_libraries()
    from pix2pix_jax.interop import transfer

    transfer.export_torch(arguments.workdir, arguments.output, network=arguments.network, step=arguments.step)
    print(f"{arguments.network} in {arguments.output}")
    return 0


def _translate(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    if not 0 <= arguments.seed < 2**31:
        raise UserError(f"--seed={arguments.seed}: must be from 0 to {2**31 - 1}")
    model = _load_model(arguments, rest)
    from pix2pix_jax.inference import translate

    written = translate.translate_files(
        model, arguments.input, arguments.output, seed=arguments.seed, pairs=arguments.pairs
    )
    print(f"{len(written)} pictures in {arguments.output}")
    return 0
