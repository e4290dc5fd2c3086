"""Writes metrics.npz: what the metrics of pix2pix_jax are to give, by torch_metrics.py on the cases of metric_cases.py.

Independent of pix2pix_jax. Needs numpy, Pillow and torch (CPU), which the tests do not; to make the file anew:

    python tests/golden/make_metrics.py

Networks and formulas are computed in float64 and stored in float32, scores in float64. It holds

    inception/parameters     every parameter and statistic in alphabetical order, as "name shape"
    inception/features       (2, 2048)
    inception/stage/NAME     (2, C) means of what every layer gives
    lpips/parameters
    lpips/CASE/layers        (2, 5) parts of the distance, whose sum it is
    lpips/CASE/feature/I     (2, C) means of what convolution I gives for the first image
    similarity/CASE/SCORE    (2,) of psnr, ssim, ms_ssim, on uint8 values (data_range 255)
    fid/CASE, kid/CASE       of drawn features, of all of them
    kid/CASE/subsets         (subsets,) of metric_cases.SUBSETS
    fid/gaussians            of the two normal distributions, in closed form
    bilinear/CASE            (rows, 299, 3) of metric_cases.ROWS, of the image in [0, 255]: pytorch-fid's resize
    bicubic/CASE             likewise clean-fid's: Pillow's, of float32 channels, then clipped
    labels/confusion, labels/SCORE
"""

import pathlib

import metric_cases as cases
import numpy as np
import torch
import torch_metrics
from PIL import Image
from torch.nn import functional
from torch_layout import fill, nchw, ours, parameters, statistics


def shapes(entries: dict) -> np.ndarray:
    return np.array([f"{name} {'x'.join(map(str, ours(*entry).shape))}" for name, entry in sorted(entries.items())])


def inception() -> dict[str, np.ndarray]:
    network = torch_metrics.Inception()
    entries = parameters(network) | statistics(network)
    fill(entries, cases.draw_weight)
    stages = network.stages(nchw(cases.inception_images()))
    means = {f"inception/stage/{name}": x.mean((2, 3)).numpy() for name, x in stages.items()}
    return means | {"inception/features": means["inception/stage/Mixed_7c"], "inception/parameters": shapes(entries)}


def lpips() -> dict[str, np.ndarray]:
    network = torch_metrics.Lpips()
    entries = {f"lpips/{name}": entry for name, entry in parameters(network).items()}
    linear = {f"lpips/{name}/bias": (network, x) for name, x in network.named_buffers()}
    fill(entries | linear, cases.draw_weight)
    answers = {"lpips/parameters": shapes(entries | linear)}
    for case in cases.LPIPS_SIZES:
        images = [nchw(x) for x in cases.lpips_images(case)]
        answers[f"lpips/{case}/layers"] = network.layers(*images).numpy()
        for i, x in enumerate(network.features(images[0])):
            answers[f"lpips/{case}/feature/{i}"] = x.mean((2, 3)).numpy()
    return answers


def similarity() -> dict[str, np.ndarray]:
    answers = {}
    for case in cases.SIMILARITY_SIZES:
        images = [nchw(x) for x in cases.similarity_images(case)]
        for name in ("psnr", "ssim", "ms_ssim"):
            answers[f"similarity/{case}/{name}"] = getattr(torch_metrics, name)(*images, 255).numpy()
    return answers


def distances() -> dict[str, np.ndarray]:
    answers = {}
    for case in cases.FEATURES:
        both = cases.features(case)
        answers[f"fid/{case}"] = torch_metrics.frechet_distance(*both)
        answers[f"kid/{case}"] = torch_metrics.kernel_distance(*both)
        answers[f"kid/{case}/subsets"] = torch_metrics.kernel_distances(*both, **cases.SUBSETS)
    (mean_a, _), (mean_b, _) = cases.gaussians()
    spread_a, spread_b = cases.gaussian_spreads()
    answers["fid/gaussians"] = ((mean_a - mean_b) ** 2).sum() + ((spread_a - spread_b) ** 2).sum()
    return answers


def resized() -> dict[str, np.ndarray]:
    answers, rows, size = {}, list(cases.ROWS), (cases.INCEPTION_SIZE, cases.INCEPTION_SIZE)
    for case in cases.RESIZED:
        image = cases.resized_image(case).astype(np.float32)
        bilinear = functional.interpolate(nchw(image[None]), size, mode="bilinear", align_corners=False)
        answers[f"bilinear/{case}"] = bilinear[0].permute(1, 2, 0).numpy()[rows].astype(np.float32)
        channels = [Image.fromarray(x) for x in np.moveaxis(image, -1, 0)]
        bicubic = np.stack([np.asarray(x.resize(size, Image.Resampling.BICUBIC)) for x in channels], -1)
        assert bicubic.min() < 0 and bicubic.max() > 255  # or the clip would not be compared
        answers[f"bicubic/{case}"] = bicubic.clip(0, 255)[rows]
    return answers


def labels() -> dict[str, np.ndarray]:
    table = torch_metrics.confusion(*cases.label_maps(), cases.CLASSES)
    scores = torch_metrics.label_scores(table)
    return {"labels/confusion": table} | {f"labels/{name}": value for name, value in scores.items()}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    golden = similarity() | distances() | resized() | labels()
    with torch.no_grad():
        for name, x in (inception() | lpips()).items():
            golden[name] = x if name.endswith("/parameters") else x.astype(np.float32)
    path = pathlib.Path(__file__).with_name("metrics.npz")
    np.savez_compressed(path, **golden)
    print(f"{path.name}: {len(golden)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
