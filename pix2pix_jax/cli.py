"""The command line, `pix2pix SUBCOMMAND`: starts what the flags say, and prints errors."""

import argparse
import errno
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pix2pix_jax import flags
from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import caches, cpu, environment, exits
from pix2pix_jax.runtime.exits import EXIT_INTERRUPTED, EXIT_TRY_AGAIN, EXIT_USER_ERROR, STOPPED


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns the exit code."""
    arguments, rest = flags.parser().parse_known_args(argv)
    try:
        _check_flags(arguments, rest)
        if arguments.command not in ("train", "doctor"):
            environment.check_single_task()
        return _COMMANDS[arguments.command](arguments, rest) or 0
    except UserError as error:
        return _fail(arguments.command, str(error))
    except ModuleNotFoundError as error:
        if not (missing := environment.explain_missing(error)):
            raise
        return _fail(arguments.command, str(missing))
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
    environment.collect_rarely()
    exits.begin()
    cpu.keep_freed_memory()
    caches.keep_traces()
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


_RULES = ("norm_stats", "dropout", "weights")
_EXPORT_FLAGS = (*_RULES, "network", "values", "precision", "size")
_PAGE_FLAGS = ("palette", "ort", "webgpu")

# JAX, Orbax and TFDS take seconds to import: each subcommand imports what it needs, and --help none of them.


def _load_config(arguments: argparse.Namespace, overrides: Sequence[str]):
    from pix2pix_jax import configuration

    loaded = configuration.load(arguments.config, overrides)
    environment.set_up_libraries()
    return loaded


def _load_model(arguments: argparse.Namespace):
    from pix2pix_jax.inference import trained_model

    environment.set_up_libraries()
    rules = {name: getattr(arguments, name) for name in _RULES}
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


def _configs(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    from pix2pix_jax.configuration import describe

    width = shutil.get_terminal_size((100, 24)).columns
    print(describe.describe(arguments.name, width=width) if arguments.name else describe.table(width=width))


def _completion(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    from pix2pix_jax import configuration
    from pix2pix_jax.runtime import completion

    names = {"configs": configuration.names(), "fields": configuration.choices()}
    print(completion.script(flags.parser(), arguments.shell, **names))


def _prepare(arguments: argparse.Namespace, rest: Sequence[str]) -> None:
    config = _load_config(arguments, rest)
    environment.check_temporary()
    from pix2pix_jax.training import prepare

    prepare.prepare(config, output=arguments.output or "")


def _is_of_files(arguments: argparse.Namespace) -> bool:
    """Returns whether files are evaluated, not a model. Raises UserError for flags that do not go together."""
    of_files = bool(arguments.pictures or arguments.targets)
    if bool(arguments.workdir) == of_files or (of_files and not (arguments.pictures and arguments.targets)):
        raise UserError("--workdir=DIR is required, or --pictures=DIR and --targets=DIR; see pix2pix evaluate --help")
    if not of_files and (arguments.workdir.endswith(".safetensors") or arguments.workdir.startswith("hf://")):
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
    from pix2pix_jax import configuration as config_lib
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
    options = {name: value for name, value in given.items() if name in _EXPORT_FLAGS}
    remark = formats.export(arguments.workdir, arguments.output, step=arguments.step, **options)
    print(f"{arguments.output}: {remark}")


def _export_page(arguments: argparse.Namespace, given: dict) -> None:
    if given.get("dropout") == "on":
        raise UserError("--dropout=on: the page's model is without dropout; leave it out")
    arguments.dropout = "off"
    model = _load_model(arguments)
    from pix2pix_jax.demo import web

    options = {name: given[name] for name in ("precision", *_PAGE_FLAGS) if name in given}
    size = web.write(model, arguments.workdir, arguments.web, **options)
    print(f"{arguments.web}: {size / 1e6:.1f} MB for any static host; to look at it here:")
    print(f"  python -m http.server --bind 127.0.0.1 --directory {shlex.quote(arguments.web)}")


def _push(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    environment.set_up_libraries()
    from pix2pix_jax.evaluation import push

    rules = {name: getattr(arguments, name) for name in _RULES if getattr(arguments, name)}
    options = {"step": arguments.step, "private": arguments.private, **rules}
    address, remarks = push.push(arguments.workdir, arguments.repo, **options)
    for remark in remarks:
        print(f"note: {remark}")
    repo = arguments.repo.removeprefix("hf://")
    print(f'{address}: pix2pix_jax.load("hf://{repo}"), or --workdir=hf://{repo} of translate')


def _doctor(arguments: argparse.Namespace, _: Sequence[str]) -> int:
    environment.set_up_libraries()
    from pix2pix_jax.training import doctor

    faults = 0
    for finding in doctor.examine(arguments.workdir):
        print(finding, flush=True)
        faults += finding.level == "fault"
    return EXIT_USER_ERROR if faults else 0


def _translate(arguments: argparse.Namespace, _: Sequence[str]) -> None:
    if not 0 <= arguments.seed < 2**31:
        raise UserError(f"--seed={arguments.seed}: must be from 0 to {2**31 - 1}")
    model = _load_model(arguments)
    from pix2pix_jax.inference import native, translate

    output, options = arguments.output, {"seed": arguments.seed, "pairs": arguments.pairs}
    options |= {"size": native.parse_size(arguments.size), "tile": native.parse_tile(arguments.tile)}
    written = translate.translate_files(model, arguments.input, output, **options)
    print(f"{len(written)} pictures in {output}")


_COMMANDS = {
    "train": _train,
    "configs": _configs,
    "completion": _completion,
    "prepare": _prepare,
    "evaluate": _evaluate,
    "compare": _compare,
    "translate": _translate,
    "push": _push,
    "import-torch": _import_torch,
    "export": _export,
    "demo": _demo,
    "doctor": _doctor,
}
