"""The flags of the command line."""

import argparse
from typing import NoReturn

from pix2pix_jax import __version__
from pix2pix_jax.runtime.exits import EXIT_USER_ERROR

_PALETTES = "facades|cityscapes|none|FILE.json"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints one line, as for any other mistake; argparse itself would print the usage above it."""
        self.exit(EXIT_USER_ERROR, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all subcommands; `command` of what it returns is the subcommand's name."""
    parser = _Parser(prog="pix2pix", description="Paired image-to-image translation.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="SUBCOMMAND")

    train = _add(commands, "train", "train a model, or continue a stopped run")
    _add_config(train)
    train.add_argument("--workdir", required=True, metavar="DIR", help="holds the run: checkpoints, logs, samples")

    configs = _add(commands, "configs", "list the configs, or all fields of one with value and meaning")
    configs.add_argument("name", nargs="?", metavar="FILE|NAME", help="the config to print (default: list all)")

    prepare = _add(commands, "prepare", "download, build and check a data set")
    _add_config(prepare)
    prepare.add_argument("--output", metavar="DIR", help="folder for prepare-preview.png (default: here)")

    evaluate = _add(commands, "evaluate", "compare a checkpoint's translations with a whole split")
    _add_checkpoint(evaluate, required=False)
    evaluate.add_argument("--split", default="val", choices=("train", "val", "test"))
    evaluate.add_argument("--output", metavar="DIR", help="default: WORKDIR/eval/SPLIT-STEP")
    _add_inference(evaluate)
    _add_size(evaluate, "model|native")
    _add_metrics(evaluate)

    compare = _add(commands, "compare", "compare evaluated runs side by side: table, curves, images")
    compare.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="workdir of an evaluated run")
    compare.add_argument("--split", default="val", choices=("train", "val", "test"))
    compare.add_argument("--output", default="comparison", metavar="DIR", help="default: comparison")
    compare.add_argument("--examples", type=int, default=24, metavar="N", help="how many to show (default: 24)")

    translate = _add(commands, "translate", "translate image files")
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
    import_torch = _add(commands, "import-torch", about)
    _add_config(import_torch)
    import_torch.add_argument("--generator", required=True, metavar="G.pth", help="the generator, as latest_net_G.pth")
    import_torch.add_argument("--discriminator", metavar="D.pth", help="as latest_net_D.pth, to continue training")
    import_torch.add_argument("--workdir", required=True, metavar="DIR", help="the workdir to make")

    _add_export(commands)
    _add_push(commands)
    _add_doctor(commands)
    _add_completion(commands)
    return parser


def _add_export(commands) -> None:
    export = _add(commands, "export", "write a trained network for another program, or as a web page")
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


def _add_push(commands) -> None:
    push = _add(commands, "push", "put a trained model on the Hugging Face Hub, with a model card")
    _add_checkpoint(push)
    push.add_argument("--repo", required=True, metavar="USER/NAME", help="the repository, made if need be")
    push.add_argument("--private", action="store_true", help="a new repository is visible to its owner alone")
    _add_inference(push)


def _add_doctor(commands) -> None:
    doctor = _add(commands, "doctor", "check this machine before a run, and say what to do about each fault")
    doctor.add_argument("--workdir", metavar="DIR", help="of the run to come: whether it can be written")


def _add_completion(commands) -> None:
    completion = _add(commands, "completion", "print the script by which a shell completes commands")
    shells = ("bash", "zsh", "tcsh")
    completion.add_argument("shell", choices=shells, help='for bash: eval "$(pix2pix completion bash)"')


def _add(commands, name: str, help_text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)


def _add_demo(commands) -> None:
    demo = _add(commands, "demo", "open a page to draw on, which translates as one draws")
    _add_checkpoint(demo)
    demo.add_argument("--host", default="127.0.0.1", metavar="NAME", help="address to listen on (default: 127.0.0.1)")
    demo.add_argument("--port", type=int, default=8000, help="0: any free one (default: 8000, or the next free one)")
    demo.add_argument("--no-browser", action="store_true", help="print the address only")
    demo.add_argument("--palette", default="auto", metavar=_PALETTES, help="of label maps (default: auto)")
    _add_inference(demo)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="FILE|NAME", help="one of `pix2pix configs`; fields: --config.FIELD=VALUE"
    )


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
