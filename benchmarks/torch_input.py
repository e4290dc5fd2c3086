"""Reads pairs as a PyTorch user writes it: Pillow for the images, a DataLoader with workers."""

import os
import random

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class AlignedPairs(Dataset):
    """Turns side-by-side images into float32 (3, H, W) pairs in [-1, 1]: resized, cropped and mirrored alike."""

    def __init__(self, folder: str, load: tuple[int, int], crop: tuple[int, int], *, mirror: bool = True):
        self.paths = sorted(os.path.join(folder, name) for name in os.listdir(folder))
        self.load, self.crop, self.mirror = load, crop, mirror

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        both = Image.open(self.paths[index]).convert("RGB")
        half = both.width // 2
        top = random.randint(0, self.load[0] - self.crop[0])
        left = random.randint(0, self.load[1] - self.crop[1])
        flip = self.mirror and random.random() < 0.5
        boxes = {"A": (0, 0, half, both.height), "B": (half, 0, both.width, both.height)}
        return {name: self._tensor(both.crop(box), top, left, flip) for name, box in boxes.items()}

    def _tensor(self, image: Image.Image, top: int, left: int, flip: bool) -> torch.Tensor:
        image = image.resize(self.load[::-1], Image.Resampling.BICUBIC)
        image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.float().div(255).sub(0.5).div(0.5)


def make_loader(
    folder: str, *, load, crop, batch_size: int, num_workers: int, tuned: bool = False, beside_jax: bool = False
) -> DataLoader:
    """Makes a loader of dictionaries of A and B.

    Args:
      folder: path of a folder of A|B images.
      load: (H, W) after the resize.
      crop: (H, W) of the result.
      batch_size: pairs in a batch; unless `tuned`, the rest of an epoch is a smaller batch.
      num_workers: number of processes; 0 reads in this one.
      tuned: True keeps workers for the next epoch, and batches in pinned memory.
      beside_jax: True if the process has threads of JAX, which a fork would break.
    """
    return DataLoader(
        AlignedPairs(folder, load, crop),
        batch_size=batch_size,
        shuffle=True,
        drop_last=tuned,
        num_workers=num_workers,
        pin_memory=tuned and torch.cuda.is_available(),
        persistent_workers=tuned and num_workers > 0,
        multiprocessing_context="spawn" if num_workers and beside_jax else None,
    )
