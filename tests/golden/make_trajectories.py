"""Writes trajectories.npz: ten training steps in PyTorch of each recipe in `RECIPES`.

Independent of pix2pix_jax. Needs numpy and torch (CPU), which the tests do not; to make the file anew:

    python tests/golden/make_trajectories.py

It also prints how far float32 strays from the float64 that is stored, for the tests' tolerances, and how near an
activation came to a kink (`cases.DRAW`).

Networks, batches, mixing shares and the optimiser, which is the same for both networks at a constant learning rate, are
those at the end of `cases.py`; parameters are drawn under their names as for models.npz; running means start at 0 and
variances at 1. There is no dropout, crop or mirroring. Under each name of `RECIPES` the file holds, in float64,

    NAME/g_gan, g_l1, d_fake, d_real    the losses of the steps, (10,), unweighted and unhalved: means over logits
                                        (summed over scales) or pixels. wgan_gp's d_real is -mean D(x, y).
    NAME/d_penalty                      wgan_gp and r1 only: the penalty times its weight, 10 and 10 / 2
    NAME/g_features                     feature_matching only: without its weight of 10
    NAME/mixing                         wgan_gp only: (10, 2), the real candidate's share e
    NAME/NETWORK/parameters             NETWORK is generator or discriminator: its parameters, in alphabetical order
    NAME/NETWORK/sums                   (parameters, 2): each one's sum and sum of absolute values after the last step
    NAME/NETWORK/statistics             all running statistics after the last step, raveled, in alphabetical order
    NAME/NETWORK/LAYER/kernel           the layers of `WHOLE` in full; scale0's if there are several scales
    vanilla/ema/...                     as NAME/generator/..., of the moving average: 0.9 old + 0.1 new after each step,
                                        starting at the initial parameters

Left out of the parameters are biases ahead of an instance norm, whose gradient is nothing but rounding, which Adam
enlarges. The discriminator has batch norm, but instance norm in wgan_gp and r1.

A step: the generator runs once. The discriminator scores fake, then real; its loss is half the sum of both (not halved
in `simultaneous`) plus `d_penalty`. Then it scores the fake again for the generator's loss, which is the GAN
loss + 100 L1 + 10 feature matching: after its own update, or before in `simultaneous`. Each of these three passes moves
the running statistics, and no other does: not that on the target whose features are matched.
"""

import copy
import dataclasses
import pathlib

import cases
import numpy as np
import torch
from torch.nn import functional
from torch_layout import fill, nchw, ours, parameters, statistics
from torch_networks import MultiScaleDiscriminator, PatchDiscriminator, UNetGenerator

EMA_DECAY, L1_WEIGHT, FEATURE_WEIGHT, SCALES = 0.9, 100, 10, 2
WHOLE = {"generator": ("down1", "up0"), "discriminator": ("conv0", "conv3"), "ema": ("down1", "up0")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    gan: str
    simultaneous: bool = False
    penalty: str = ""
    feature_matching: bool = False


RECIPES = {
    "vanilla": Recipe(gan="vanilla"),
    "lsgan": Recipe(gan="lsgan"),
    "simultaneous": Recipe(gan="vanilla", simultaneous=True),
    "hinge": Recipe(gan="hinge"),
    "wgan_gp": Recipe(gan="wgan", penalty="wgan_gp"),
    "r1": Recipe(gan="lsgan", penalty="r1"),
    "feature_matching": Recipe(gan="lsgan", feature_matching=True),
}


def score(gan: str, logits: torch.Tensor, *, real: bool, by_generator: bool = False) -> torch.Tensor:
    """The GAN loss for taking `logits` as real or as fake."""
    sign = -1 if real else 1
    label = torch.full_like(logits, float(real))
    if gan == "vanilla":
        return functional.binary_cross_entropy_with_logits(logits, label)
    if gan == "lsgan":
        return functional.mse_loss(logits, label)
    if gan == "hinge" and not by_generator:
        return functional.relu(1 + sign * logits).mean()
    return sign * logits.mean()


def gradient_of_mean_logit(d, image: torch.Tensor, candidate: torch.Tensor) -> torch.Tensor:
    """(N, values): of each example's mean logit by its own candidate; examples do not mix under instance norm."""
    candidate = candidate.detach().requires_grad_()
    logits = d(image, candidate).mean(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(logits.sum(), candidate, create_graph=True)
    return gradient.flatten(1)


def feature_distance(of_fake: list[list[torch.Tensor]], of_target: list[list[torch.Tensor]]) -> torch.Tensor:
    """Wang et al. 2018 (pix2pixHD): the layers' mean distances, each scale's times 4 / layers, averaged over scales."""
    scales = [zip(*scale, strict=True) for scale in zip(of_fake, of_target, strict=True)]
    distances = [[functional.l1_loss(x, y) for x, y in layers] for layers in scales]
    return sum(4 / len(layers) * sum(layers) for layers in distances) / len(distances)


class Training:
    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.g = UNetGenerator(3, **cases.GENERATOR)
        options = {"norm": "instance" if recipe.penalty else "batch", **cases.DISCRIMINATOR}
        if recipe.feature_matching:
            self.d = MultiScaleDiscriminator(3, 3, num_scales=SCALES, **options)
        else:
            self.d = PatchDiscriminator(3, 3, **options)
        for network in (self.g, self.d):
            fill(parameters(network), cases.draw)
        self.ema = copy.deepcopy(self.g)
        self.g_adam, self.d_adam = (self._adam(network) for network in (self.g, self.d))
        self.nearest_kink = np.inf  # over all activations so far, in standard deviations of their tensor
        for module in (*self.g.modules(), *self.d.modules()):
            if isinstance(module, torch.nn.ReLU | torch.nn.LeakyReLU):
                module.register_forward_pre_hook(self._note_kink)

    def _note_kink(self, _: torch.nn.Module, operands: tuple[torch.Tensor]) -> None:
        x = operands[0].detach()
        self.nearest_kink = min(self.nearest_kink, (x.abs().min() / x.std()).item())

    def _adam(self, network: torch.nn.Module) -> torch.optim.Adam:
        adam = cases.ADAM
        return torch.optim.Adam(
            network.parameters(), lr=adam["learning_rate"], betas=(adam["b1"], adam["b2"]), eps=adam["eps"]
        )

    def _judge(self, *inputs: torch.Tensor, **options) -> torch.Tensor:
        """The GAN loss, summed over scales."""
        logits = self.d(*inputs)
        logits = logits if isinstance(logits, list) else [logits]
        return sum(score(self.recipe.gan, x, **options) for x in logits)

    def _penalty(self, step: int, image, fake, target) -> torch.Tensor:
        if self.recipe.penalty == "r1":  # Mescheder et al. 2018
            gradient = gradient_of_mean_logit(self.d, image, target)
            return 10 / 2 * gradient.square().sum(dim=1).mean()
        e = torch.tensor(cases.mixing(step), dtype=image.dtype).reshape(-1, 1, 1, 1)
        gradient = gradient_of_mean_logit(self.d, image, e * target + (1 - e) * fake)
        return 10 * (gradient.norm(dim=1) - 1).square().mean()  # Gulrajani et al. 2017

    def _features(self, image, candidate) -> list[list[torch.Tensor]]:
        """What the discriminator sees, by a pass that leaves its running statistics alone."""
        before = copy.deepcopy(dict(self.d.named_buffers()))
        with torch.no_grad():
            self.d(image, candidate)
        self.d.load_state_dict(before, strict=False)
        return self.d.features

    def discriminator_loss(self, step: int, image, fake, target) -> tuple[torch.Tensor, dict]:
        fake = fake.detach()
        losses = {"d_fake": self._judge(image, fake, real=False), "d_real": self._judge(image, target, real=True)}
        total = (losses["d_fake"] + losses["d_real"]) / (1 if self.recipe.simultaneous else 2)
        if self.recipe.penalty:
            losses["d_penalty"] = self._penalty(step, image, fake, target)
            total = total + losses["d_penalty"]
        return total, losses

    def generator_loss(self, image, fake, target) -> tuple[torch.Tensor, dict]:
        of_target = self._features(image, target) if self.recipe.feature_matching else []
        losses = {
            "g_gan": self._judge(image, fake, real=True, by_generator=True),
            "g_l1": functional.l1_loss(fake, target),
        }
        total = losses["g_gan"] + L1_WEIGHT * losses["g_l1"]
        if of_target:
            losses["g_features"] = feature_distance(self.d.features, of_target)
            total = total + FEATURE_WEIGHT * losses["g_features"]
        return total, losses

    def step(self, step: int) -> dict[str, float]:
        image, target = (nchw(x / 127.5 - 1) for x in cases.batch(step).values())
        fake = self.g(image)
        d_loss, d_losses = self.discriminator_loss(step, image, fake, target)
        self._set_gradients(self.d, d_loss)
        if not self.recipe.simultaneous:
            self.d_adam.step()
        g_loss, g_losses = self.generator_loss(image, fake, target)
        self._set_gradients(self.g, g_loss)
        if self.recipe.simultaneous:
            self.d_adam.step()
        self.g_adam.step()
        for average, new in zip(self.ema.parameters(), self.g.parameters(), strict=True):
            average.data = EMA_DECAY * average.data + (1 - EMA_DECAY) * new.data
        return {name: x.item() for name, x in (g_losses | d_losses).items()}

    def _set_gradients(self, network: torch.nn.Module, loss: torch.Tensor) -> None:
        weights = list(network.parameters())
        gradients = torch.autograd.grad(loss, weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient


def summary(network: torch.nn.Module, whole: tuple[str, ...], has_statistics: bool) -> dict[str, np.ndarray]:
    held = {name: ours(*entry) for name, entry in parameters(network).items() if not is_idle(network, name)}
    answers = {
        "parameters": np.array(list(held)),
        "sums": np.array([[x.sum(), np.abs(x).sum()] for x in held.values()], dtype=np.float64),
    }
    if has_statistics:
        answers["statistics"] = np.concatenate([ours(*entry).ravel() for entry in statistics(network).values()])
    for layer in whole:
        name = next(name for name in held if name.removeprefix("scale0/") == f"{layer}/kernel")
        answers[name] = held[name]
    return answers


def is_idle(network: torch.nn.Module, name: str) -> bool:
    """Whether the parameter is the bias of a layer whose norm takes any constant away again."""
    layer, _, kind = name.rpartition("/")
    norms = {path for path, x in network.named_modules() if isinstance(x, torch.nn.InstanceNorm2d)}
    return kind == "bias" and f"{layer}_norm" in norms


def run(recipe: Recipe, dtype: torch.dtype) -> dict[str, np.ndarray]:
    torch.set_default_dtype(dtype)
    training = Training(recipe)
    losses = [training.step(step) for step in range(cases.STEPS)]
    answers = {name: np.array([x[name] for x in losses]) for name in losses[0]}
    if recipe.penalty == "wgan_gp":
        answers["mixing"] = np.stack([cases.mixing(step) for step in range(cases.STEPS)])
    print(f"{dtype}: nearest kink {training.nearest_kink:.1e}")
    networks = {"generator": training.g, "discriminator": training.d}
    if recipe == RECIPES["vanilla"]:
        networks["ema"] = training.ema
    for name, network in networks.items():
        has_statistics = name != "ema" and bool(statistics(network))
        answers |= {f"{name}/{key}": x for key, x in summary(network, WHOLE[name], has_statistics).items()}
    return answers


def difference(single: np.ndarray, double: np.ndarray) -> float:
    """Largest, relative to the largest value."""
    return float(np.abs(single - double).max() / np.abs(double).max())


def main() -> None:
    golden = {}
    for name, recipe in RECIPES.items():
        double, single = run(recipe, torch.float64), run(recipe, torch.float32)
        golden |= {f"{name}/{key}": x for key, x in double.items()}
        strays = {key: difference(single[key], x) for key, x in double.items() if x.dtype == np.float64}
        print(name, ", ".join(f"{key} {stray:.1e}" for key, stray in strays.items()))
    path = pathlib.Path(__file__).with_name("trajectories.npz")
    np.savez_compressed(path, **golden)
    print(f"{path.name}: {len(golden)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
