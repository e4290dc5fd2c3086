"""Which metrics are computed, and with what: from the names that a user gives, or from what there is."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from pix2pix_jax.data.files.high_bit_depth import height_by_width
from pix2pix_jax.errors import UserError
from pix2pix_jax.metrics import distances, image, labels, lpips, weights
from pix2pix_jax.metrics.labels import Palette
from pix2pix_jax.metrics.names import DISTANCES, METRICS
from pix2pix_jax.metrics.weights import Weights

_BY_DEFAULT = ("l1", "psnr", "ssim", "ms_ssim", "lpips", "labels", "fid", "kid")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """What a user asks for.

    Attributes:
      metrics: of METRICS; None: those that can be had without asking for more.
      palette: of labels: "auto", "none", a name or a .json file (`labels.find`).
      inception: the file of the FID's network; "": see `weights.find`.
      lpips: that of LPIPS.
    """

    metrics: tuple[str, ...] | None = None
    palette: str = "auto"
    inception: str = ""
    lpips: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet:
    """What is known of the pictures to be compared.

    Attributes:
      size: (H, W).
      channels: of each.
      count: how many a set has.
      palette: of labels.PALETTES, if the targets are label maps for certain; or "none".
      sample: () -> some of the targets, uint8 (N, H, W, 3).
    """

    size: tuple[int, int]
    channels: int
    count: int
    palette: str
    sample: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedMetrics:
    """`metrics`, of METRICS, and what they need; `left_out`: metric -> why it is not among them."""

    metrics: tuple[str, ...]
    palette: Palette | None = None
    inception: Weights | None = None
    lpips: Weights | None = None
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)


def choose(request: MetricsConfig, pictures: ImageSet) -> ResolvedMetrics:
    """Chooses metrics, and loads what they need.

    Raises:
      UserError: a metric that was asked for by name cannot be computed, or a palette does not fit; weights cannot be
        found, had or read.
    """
    check_names(request.metrics or ())
    name = pictures.palette if request.palette == "auto" else request.palette
    palette = None if name == "none" else labels.find(name)
    left_out = {}
    for metric in request.metrics or _BY_DEFAULT:
        reason = _obstacle(metric, pictures, palette)
        if reason and (request.metrics or (metric == "labels" and request.palette not in ("auto", "none"))):
            raise UserError(f"{metric}: {reason}")
        if reason := reason or ("" if request.metrics else _unavailable(metric, request)):
            left_out[metric] = reason
    metrics = tuple(m for m in METRICS if m in (request.metrics or _BY_DEFAULT) and m not in left_out)
    if palette is None:
        left_out.pop("labels", None)  # most sets have none, which is nothing to speak of
    return ResolvedMetrics(
        metrics=metrics,
        palette=palette if "labels" in metrics else None,
        inception=weights.load(weights.INCEPTION, request.inception) if set(DISTANCES) & set(metrics) else None,
        lpips=weights.load(weights.LPIPS, request.lpips) if "lpips" in metrics else None,
        left_out=left_out,
    )


def check_names(metrics: Sequence[str]) -> None:
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f"{metric or 'an empty name'}: no such metric; there are {', '.join(METRICS)}")


def _obstacle(metric: str, pictures: ImageSet, palette: Palette | None) -> str:
    """Why a metric cannot be computed; "" if it can."""
    least = {"ssim": image.SSIM_SIDE, "ms_ssim": image.MS_SSIM_SIDE, "lpips": lpips.SIDE}.get(metric, 1)
    if min(pictures.size) < least:
        return f"needs pictures of at least {least} pixels a side, not {height_by_width(pictures.size)}"
    if metric in ("lpips", "labels", *DISTANCES) and pictures.channels not in (1, 3):
        return f"needs pictures of 1 or 3 channels, not {pictures.channels}"
    if metric == "labels":
        return (
            labels.misfit(palette, pictures.sample()) if palette else "needs --palette=facades, cityscapes or FILE.json"
        )
    if metric in DISTANCES:
        return _too_few(metric, pictures.count)
    return ""


def _too_few(metric: str, count: int) -> str:
    kernel = metric.endswith("kid")
    least = distances.MIN_KERNEL if kernel else distances.MIN_FRECHET
    if count >= least:
        return ""
    instead = "" if kernel else f"; {metric.replace('fid', 'kid')} takes {distances.MIN_KERNEL}"
    return f"needs at least {least} pictures a set, and here are {count}{instead}"


def _unavailable(metric: str, request: MetricsConfig) -> str:
    """Why a metric that nobody asked for is not computed: nothing is downloaded without being asked for."""
    network, given = (weights.LPIPS, request.lpips) if metric == "lpips" else (weights.INCEPTION, request.inception)
    if metric not in ("lpips", *DISTANCES) or weights.find(network, given):
        return ""
    return f"no weights; --metrics={metric} downloads them, --{network.name}=FILE or {network.variable} names them"
