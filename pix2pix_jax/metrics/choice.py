"""Chooses the metrics to compute: those that a user names, or all that the images and the weights at hand allow."""

import dataclasses
from collections.abc import Callable

import numpy as np

from pix2pix_jax.data.files.high_bit_depth import height_by_width
from pix2pix_jax.errors import UserError
from pix2pix_jax.metrics import distances, image, labels, lpips, weights
from pix2pix_jax.metrics.names import DISTANCES, METRICS

_BY_DEFAULT = ("l1", "psnr", "ssim", "ms_ssim", "lpips", "labels", "fid", "kid")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """Holds what a user asks for."""

    metrics: tuple[str, ...] | None = None  # in METRICS; None: the default ones that need no download or further flag
    palette: str = "auto"  # of the label maps: "auto", "none", a name or a .json file (`labels.find`)
    inception: str = ""  # path of the weights of FID's network; "": `weights.find` looks for them
    lpips: str = ""  # path of the weights of LPIPS; "": likewise


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Describes the images to compare."""

    size: tuple[int, int]  # (H, W) of each image
    channels: int
    count: int  # number of images in each of the two sets
    palette: str  # in labels.PALETTES if the targets are known to be label maps, else "none"
    sample: Callable[[], np.ndarray]  # returns some of the targets, uint8 (N, H, W, 1 or 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedMetrics:
    """Holds the metrics to compute, with the palette and the networks that they need; None for those not needed."""

    metrics: tuple[str, ...]  # in METRICS
    palette: labels.Palette | None = None  # of the label scores
    inception: weights.Weights | None = None  # of FID and KID
    lpips: weights.Weights | None = None
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)  # metric -> why it is not computed


def choose(request: MetricsConfig, pictures: ImageSet) -> ResolvedMetrics:
    """Chooses metrics and loads the networks that they need.

    Raises UserError if a metric that was asked for by name cannot be computed, a palette does not fit, or weights
    cannot be found, downloaded or read.
    """
    for metric in request.metrics or ():
        if metric not in METRICS:
            raise UserError(f"{metric or 'an empty name'}: no such metric; there are {', '.join(METRICS)}")
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
        left_out.pop("labels", None)  # most data sets have no palette: not worth a line
    return ResolvedMetrics(
        metrics=metrics,
        palette=palette if "labels" in metrics else None,
        inception=weights.load(weights.INCEPTION, request.inception) if set(DISTANCES) & set(metrics) else None,
        lpips=weights.load(weights.LPIPS, request.lpips) if "lpips" in metrics else None,
        left_out=left_out,
    )


def _obstacle(metric: str, pictures: ImageSet, palette: labels.Palette | None) -> str:
    """Returns the reason why a metric cannot be computed; "" if it can."""
    least = {"ssim": image.SSIM_SIDE, "ms_ssim": image.MS_SSIM_SIDE, "lpips": lpips.SIDE}.get(metric, 1)
    if min(pictures.size) < least:
        return f"needs pictures of at least {least} pixels a side, not {height_by_width(pictures.size)}"
    if metric in ("lpips", "labels", *DISTANCES) and pictures.channels not in (1, 3):
        return f"needs pictures of 1 or 3 channels, not {pictures.channels}"
    if metric == "labels" and not palette:
        return "needs --palette=facades, cityscapes or FILE.json"
    if metric == "labels":
        return labels.misfit(palette, pictures.sample())
    least = {"fid": distances.MIN_FRECHET, "kid": distances.MIN_KERNEL}.get(metric.removeprefix("clean_"), 0)
    if pictures.count >= least:
        return ""
    instead = f"; {metric.replace('fid', 'kid')} takes {distances.MIN_KERNEL}" if metric.endswith("fid") else ""
    return f"needs at least {least} pictures a set, and here are {pictures.count}{instead}"


def _unavailable(metric: str, request: MetricsConfig) -> str:
    """Returns the reason to leave out a default metric, "" if none: only metrics asked for by name download weights."""
    network, given = (weights.LPIPS, request.lpips) if metric == "lpips" else (weights.INCEPTION, request.inception)
    if metric not in ("lpips", *DISTANCES) or weights.find(network, given):
        return ""
    return f"no weights; --metrics={metric} downloads them, --{network.name}=FILE or {network.variable} names them"
