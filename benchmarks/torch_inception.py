"""The Inception of the Frechet Inception distance in PyTorch, as pytorch-fid runs it, to measure against."""

import pathlib
import sys

import numpy as np
import torch

# The network is that of the golden files, whose programs import each other as scripts of one folder.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"))

from torch_metrics import Inception


class TorchInception:
    """Features of images by the weights of an `inception_fid.npz` or pytorch-fid's .pth; by random ones without.

    It runs on PyTorch's GPU where there is one, in float32 throughout, as pix2pix_jax does.

    Example:
      features = TorchInception("weights/inception_fid.npz")(images)
    """

    def __init__(self, weights: str | pathlib.Path | None = None):
        torch.backends.cudnn.allow_tf32 = False
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = Inception().to(self.device)
        if weights is not None:
            known = self.network.state_dict()
            self.network.load_state_dict({name: array for name, array in _read(weights).items() if name in known})

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, 299, 299, 3) float32 in [-1, 1] to (N, 2048) float32."""
        channels_first = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).contiguous()
        return self.network(channels_first).cpu().numpy()


def _read(weights: str | pathlib.Path) -> dict[str, torch.Tensor]:
    if pathlib.Path(weights).suffix == ".pth":
        return torch.load(weights, weights_only=True)
    with np.load(weights) as held:
        return {name: torch.from_numpy(held[name]) for name in held}
