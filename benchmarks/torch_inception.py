"""The Inception of the Frechet Inception distance in PyTorch, as pytorch-fid runs it, to measure against."""

import pathlib
import sys

import numpy as np
import torch

# The network is that of the golden files, whose programs import each other as scripts of one folder.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"))

from torch_metrics import Inception


class TorchInception:
    """Features of images by the weights of an `inception_fid.npz`; by random ones without.

    Example:
      features = TorchInception("weights/inception_fid.npz")(images)
    """

    def __init__(self, weights: str | pathlib.Path | None = None):
        self.network = Inception()
        if weights is not None:
            with np.load(weights) as held:
                self.network.load_state_dict({name: torch.from_numpy(held[name]) for name in held})

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, 299, 299, 3) float32 in [-1, 1] to (N, 2048) float32."""
        return self.network(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()).numpy()
