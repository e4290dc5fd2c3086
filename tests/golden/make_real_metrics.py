"""Writes real_metrics.json: what the tools that people cite answer on real facades and the published weights.

Nothing here is code of theirs: their functions are called. Needs a folder with data/facades/test (the published JPEGs)
and weights/ (inception_fid.npz, lpips_alex.npz, described in real_metrics.json), and

    pip install torch torchvision scipy scikit-image torchmetrics pytorch-fid clean-fid torch-fidelity lpips \
        pytorch-msssim
    python tests/golden/make_real_metrics.py --shared=../shared

Where torch is without torchvision's operators (a CPU torch beside a CUDA torchvision) only its models are used, and the
missing operator is declared. clean-fid's own TorchScript network is not fetched: its resize, features, statistics and
distances run on pytorch-fid's network, fed (x - 128) / 128 as its own is.
"""

import argparse
import importlib.metadata
import json
import pathlib
import tempfile
import warnings

import numpy as np
import torch
import torch_metrics
from PIL import Image
from real_pictures import classes, digest, halves, noisy_labels, picture_sets
from torch import library

try:
    import torchvision
except RuntimeError:  # its operators are not for this torch: none is called here, but they have to be declared
    for name in ("nms", "qnms"):
        library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

import lpips
import pytorch_msssim
from cleanfid import fid as cleanfid
from pytorch_fid import fid_score, inception
from skimage import metrics as skimage_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.fid import FrechetInceptionDistance

ABOUT = {
    "pictures": "tests/golden/real_pictures.py makes them from facades' 106 test pairs; digest is of the pixels",
    "pairs": "the first four of each set; blurred_181x203 is [40:221, 20:223] of blurred_256x256",
    "weights": "inception_fid.npz: TensorFlow's Inception of 2015-12-05; lpips_alex.npz: LPIPS 0.1 on AlexNet",
    "fid": "what the tool prints; fid_float64: of the tool's features without the matrix square root's error",
    "float64": "both protocols by torch_metrics.py in float64 from the pixels on",
}
PAIRS = 4  # of each set, by name, for the metrics of single images
PACKAGES = (
    *("numpy", "pillow", "scikit-image", "scipy", "torch", "torchvision"),
    *("clean-fid", "lpips", "pytorch-fid", "pytorch-msssim", "torch_fidelity", "torchmetrics"),
)


def nchw(images: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(images.transpose(0, 3, 1, 2).copy()).to(dtype)


def batches(images: np.ndarray, call) -> np.ndarray:
    return np.concatenate([call(nchw(images[i : i + 16], torch.uint8)) for i in range(0, len(images), 16)])


class Networks:
    """The published weights in each tool's network."""

    def __init__(self, weights: pathlib.Path):
        held = np.load(weights / "inception_fid.npz")
        state = {name: torch.tensor(held[name]) for name in held}
        whole = state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
        inception.load_state_dict_from_url = lambda *args, **kwargs: whole
        self.pytorch_fid = inception.InceptionV3([3]).eval()
        self.clean_network = inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()
        with tempfile.NamedTemporaryFile(suffix=".pth") as file:
            torch.save(whole, file.name)
            self.torch_fidelity = FeatureExtractorInceptionV3("inception", ["2048"], file.name)
            self.torchmetrics = {
                antialias: FrechetInceptionDistance(feature_extractor_weights_path=file.name, antialias=antialias)
                for antialias in (True, False)
            }
        self.ours = torch_metrics.Inception()
        self.ours.load_state_dict(state)
        held = np.load(weights / "lpips_alex.npz")
        self.lpips, self.our_lpips = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False), torch_metrics.Lpips()
        trunk = [layer for name in self.lpips.net.__dict__["_modules"] if name.startswith("slice")
                 for layer in self.lpips.net.get_submodule(name) if isinstance(layer, torch.nn.Conv2d)]  # fmt: skip
        for i, theirs in enumerate(trunk):
            for layer in (theirs, self.our_lpips.convs[i]):
                layer.weight.data = torch.tensor(held[f"conv{i}.kernel"].transpose(3, 2, 0, 1).copy())
                layer.bias.data = torch.tensor(held[f"conv{i}.bias"])
            self.our_lpips.get_buffer(f"lin{i}").data = torch.tensor(held[f"lin{i}.weight"])
            linear = self.lpips.lins[i].model[-1].weight.detach().numpy().ravel()
            np.testing.assert_array_equal(linear, held[f"lin{i}.weight"])  # the package brings its own

    def clean(self, x: torch.Tensor) -> torch.Tensor:
        return self.clean_network((x - 128) / 128)[0].flatten(1)


def write(images: np.ndarray, folder: pathlib.Path) -> str:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return str(folder)


def kernel_scores(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """KID of two sets of features by the tools' own functions, and in float64 over all of them."""
    size = len(a) // 2
    options = {"kid_subsets": 100, "kid_subset_size": size, "rng_seed": 2020, "verbose": False}
    theirs = kid_features_to_metric(torch.tensor(a), torch.tensor(b), **options)
    np.random.seed(0)
    clean = cleanfid.kernel_distance(a, b, num_subsets=100, max_subset_size=1000)
    np.random.seed(0)
    halves_ = cleanfid.kernel_distance(a, b, num_subsets=100, max_subset_size=size)
    ours = torch_metrics.kernel_distances(a, b, subsets=100, size=size, seed=2020)
    return {
        "all_float64": torch_metrics.kernel_distance(a, b),
        "clean_fid_100_of_all": clean,
        f"clean_fid_100_of_{size}_seed_0": halves_,
        f"torch_fidelity_100_of_{size}_seed_2020": theirs["kernel_inception_distance_mean"],
        f"torch_fidelity_100_of_{size}_seed_2020_std": theirs["kernel_inception_distance_std"],
        f"float64_100_of_{size}_seed_2020": float(ours.mean()),
        f"float64_100_of_{size}_seed_2020_std": float(ours.std()),
    }


def pytorch_fid_scores(networks: Networks, folders: list[str]) -> dict:
    """Its own path from folders to distance, and its features again."""
    answer = fid_score.calculate_fid_given_paths(folders, 50, "cpu", 2048, 0)
    features = []
    for folder in folders:
        files = sorted(pathlib.Path(folder).glob("*.png"))
        features.append(fid_score.get_activations(files, networks.pytorch_fid, 50, 2048, "cpu", 0))
    return {
        "fid": float(answer),
        "fid_float64": torch_metrics.frechet_distance(*features),
        "kid": kernel_scores(*(x.astype(np.float32) for x in features)),
        "features": feature_samples(*features),
    }


def clean_fid_scores(networks: Networks, folders: list[str]) -> dict:
    options = {"num_workers": 0, "batch_size": 32, "device": torch.device("cpu"), "mode": "clean", "verbose": False}
    features = [cleanfid.get_folder_features(folder, networks.clean, **options) for folder in folders]
    return {
        "fid": float(cleanfid.fid_from_feats(*features)),
        "fid_float64": torch_metrics.frechet_distance(*features),
        "kid": kernel_scores(*features),
        "features": feature_samples(*features),
    }


def torch_fidelity_scores(networks: Networks, pictures: np.ndarray, targets: np.ndarray) -> dict:
    features = [batches(x, lambda y: networks.torch_fidelity(y)[0].numpy()) for x in (pictures, targets)]
    statistics = [fid_features_to_statistics(torch.tensor(x)) for x in features]
    return {
        "fid": fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"],
        "fid_float64": torch_metrics.frechet_distance(*features),
        "kid": kernel_scores(*features),
        "features": feature_samples(*features),
    }


def torchmetrics_fid(metric: FrechetInceptionDistance, pictures: np.ndarray, targets: np.ndarray) -> float:
    metric.reset()
    for images, real in ((targets, True), (pictures, False)):
        for i in range(0, len(images), 16):
            metric.update(nchw(images[i : i + 16], torch.uint8), real=real)
    return float(metric.compute())


def feature_samples(pictures: np.ndarray, targets: np.ndarray) -> dict:
    """Of the first picture and of all: enough to tell a wrong feature from a wrong distance."""
    return {
        "first_picture_0_to_7": pictures[0, :8].tolist(),
        "first_target_0_to_7": targets[0, :8].tolist(),
        "mean_of_pictures": float(pictures.astype(np.float64).mean()),
        "mean_of_targets": float(targets.astype(np.float64).mean()),
    }


def bilinear(images: np.ndarray) -> torch.Tensor:
    """uint8 NHWC to (N, 3, 299, 299) in [-1, 1], as pytorch-fid does it but in float64."""
    x = torch.nn.functional.interpolate(nchw(images) / 255, (299, 299), mode="bilinear", align_corners=False)
    return 2 * x - 1


def bicubic(images: np.ndarray) -> torch.Tensor:
    """uint8 NHWC to (N, 3, 299, 299) in [-1, 127/128], as clean-fid does it: Pillow's float32, the rest in float64."""
    channels = images.astype(np.float32).transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3])
    small = np.stack([np.asarray(Image.fromarray(x).resize((299, 299), Image.Resampling.BICUBIC)) for x in channels])
    return (torch.tensor(small).clip(0, 255).double().reshape(-1, 3, 299, 299) - 128) / 128


def float64_scores(networks: Networks, pictures: np.ndarray, targets: np.ndarray) -> dict:
    """Both protocols by our own network in float64: digits that differ from the tools' are rounding."""
    network, answers = networks.ours.double(), {}
    for name, resize in (("pytorch_fid", bilinear), ("clean_fid", bicubic)):
        features = [
            np.concatenate([network(resize(x[i : i + 8])).numpy() for i in range(0, len(x), 8)])
            for x in (pictures, targets)
        ]
        answers[name] = {
            "fid": torch_metrics.frechet_distance(*features),
            "kid": torch_metrics.kernel_distance(*features),
            "features": feature_samples(*features),
        }
    return answers


def distribution_scores(networks: Networks, pictures: np.ndarray, targets: np.ndarray) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        folders = [write(x, pathlib.Path(folder) / name) for name, x in (("a", pictures), ("b", targets))]
        answers = {
            "pytorch_fid": pytorch_fid_scores(networks, folders),
            "clean_fid": clean_fid_scores(networks, folders),
            "torch_fidelity": torch_fidelity_scores(networks, pictures, targets),
        }
    answers["float64"] = float64_scores(networks, pictures, targets)
    for antialias, metric in networks.torchmetrics.items():
        name = "torchmetrics" if antialias else "torchmetrics_without_antialias"
        answers[name] = {"fid": torchmetrics_fid(metric, pictures, targets)}
    return answers


def pair_scores(networks: Networks, pictures: np.ndarray, targets: np.ndarray) -> dict[str, list[float]]:
    """One number an image and tool. Tools get float64 where they take it; LPIPS runs in float32, as published."""
    x, y = nchw(pictures), nchw(targets)
    pairs = list(zip(x[:, None], y[:, None], strict=True))
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    images = list(zip(pictures, targets, strict=True))
    both = [z.float() / 127.5 - 1 for z in (x, y)]
    answers = {
        "psnr/skimage": [skimage_metrics.peak_signal_noise_ratio(b, a, data_range=255) for a, b in images],
        "psnr/torchmetrics": [peak_signal_noise_ratio(a, b, data_range=255.0) for a, b in pairs],
        "psnr/float64": torch_metrics.psnr(x, y, 255),
        "ssim/skimage": [
            skimage_metrics.structural_similarity(a, b, channel_axis=-1, data_range=255, **gaussian) for a, b in images
        ],
        "ssim/skimage_default": [
            skimage_metrics.structural_similarity(a, b, channel_axis=-1, data_range=255) for a, b in images
        ],
        "ssim/pytorch_msssim": pytorch_msssim.ssim(x, y, data_range=255, size_average=False),
        "ssim/torchmetrics": [structural_similarity_index_measure(a, b, data_range=255.0) for a, b in pairs],
        "ssim/float64": torch_metrics.ssim(x, y, 255),
        "lpips/lpips": networks.lpips(*both).ravel(),
        "lpips/float32": networks.our_lpips.float()(*both),
        "lpips/float64": networks.our_lpips.double()(*(z / 127.5 - 1 for z in (x, y))),
    }
    if min(pictures.shape[1:3]) > 160:
        answers |= {
            "ms_ssim/pytorch_msssim": pytorch_msssim.ms_ssim(x, y, data_range=255, size_average=False),
            "ms_ssim/pytorch_msssim_float32": pytorch_msssim.ms_ssim(
                x.float(), y.float(), data_range=255, size_average=False
            ),
            "ms_ssim/torchmetrics": [
                multiscale_structural_similarity_index_measure(a, b, data_range=255.0) for a, b in pairs
            ],
            "ms_ssim/float64": torch_metrics.ms_ssim(x, y, 255),
        }
    return {name: [float(value) for value in values] for name, values in answers.items()}


def label_scores(labels: np.ndarray) -> dict:
    """Of all maps' counts together. All classes occur; metrics.npz has those that do not."""
    noisy = noisy_labels(labels)
    actual, predicted = classes(labels), classes(noisy)
    table = torch_metrics.confusion(predicted, actual, 12)
    both = [torch.tensor(z) for z in (predicted, actual)]
    return {
        "digest": [digest(noisy), digest(labels)],
        "confusion": table.tolist(),
        "formula": {key: float(value) for key, value in torch_metrics.label_scores(table).items()},
        "torchmetrics": {
            "pixel_accuracy": float(MulticlassAccuracy(12, average="micro")(*both)),
            "class_accuracy": float(MulticlassAccuracy(12, average="macro")(*both)),
            "class_iou": float(MulticlassJaccardIndex(12, average="macro")(*both)),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    shared = parser.parse_args().shared
    warnings.simplefilter("ignore")
    folder = shared / "data" / "facades" / "test"
    networks, sets = Networks(shared / "weights"), picture_sets(folder)
    _, labels = halves(folder)
    answers = {"about": ABOUT, "versions": {name: importlib.metadata.version(name) for name in PACKAGES}}
    path = pathlib.Path(__file__).with_name("real_metrics.json")
    pairs = {name: (a[:PAIRS], b[:PAIRS]) for name, (a, b) in sets.items()}
    odd = pairs["blurred_256x256"]
    pairs["blurred_181x203"] = tuple(x[:, 40:221, 20:223] for x in odd)
    with torch.no_grad():
        answers["pairs"] = {
            name: {"digest": [digest(a), digest(b)], "scores": pair_scores(networks, a, b)}
            for name, (a, b) in pairs.items()
        }
        answers["labels"] = label_scores(labels)
        answers["sets"] = {
            name: {"images": len(a), "digest": [digest(a), digest(b)]} | distribution_scores(networks, a, b)
            for name, (a, b) in sets.items()
        }
    path.write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
