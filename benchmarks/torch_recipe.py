"""The paper's recipe in PyTorch, written for this project from the paper's appendix, to measure against.

    python benchmarks/torch_recipe.py '{"batch": 1}'    # which tuning is the fastest here, as JSON

`AS_USERS_RUN` is how pytorch-CycleGAN-and-pix2pix runs it: float32, one call an operation, plain Adam, the algorithms
that cuDNN finds the fastest. Of the tunings in `candidates` those that work are tried, in a process of their own: a
CUDA graph that cannot be captured may leave PyTorch's random generator unusable.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

WHAT = ("train", "published", "running")  # steps, or translation by the one or other rules
READ_EVERY = 100  # steps between looks at the losses: print_freq of pytorch-CycleGAN-and-pix2pix


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Selects what a user may change for speed; with all off it is pytorch-CycleGAN-and-pix2pix."""

    channels_last: bool = False
    bfloat16: bool = False
    fused_adam: bool = False
    compiled: bool = False
    cuda_graph: bool = False

    def __str__(self) -> str:
        names = (field.name.replace("_", " ") for field in dataclasses.fields(self) if getattr(self, field.name))
        return ", ".join(names) or "as users run it"


AS_USERS_RUN = Tuning()


def candidates(device: str, what: str) -> list[Tuning]:
    """Lists the tunings worth trying; `what` is one of WHAT."""
    adam = what == "train"
    if device == "cuda":
        best = Tuning(channels_last=True, bfloat16=True, fused_adam=adam, compiled=True, cuda_graph=True)
        return [best, dataclasses.replace(best, compiled=False), dataclasses.replace(best, cuda_graph=False)]
    plain = Tuning(fused_adam=adam)
    lasting = dataclasses.replace(plain, channels_last=True)
    return [plain, lasting, dataclasses.replace(lasting, compiled=True)]


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(device: str, tuning: Tuning) -> str:
    if tuning.bfloat16:
        return "bfloat16"
    return "float32, convolutions TF32" if device == "cuda" and torch.backends.cudnn.allow_tf32 else "float32"


class UNet(nn.Module):
    """U-Net generator with `num_downs` halvings; (N, 3, H, W) in [-1, 1] in and out.

    With `own_statistics` a picture is normalised by its own, which at batch size 1 is what training mode does.
    """

    def __init__(self, num_downs: int, features: int, *, own_statistics: bool = False):
        super().__init__()
        norm = _OwnNorm if own_statistics else nn.BatchNorm2d
        widths = [features * min(2**i, 8) for i in range(num_downs)]
        inner = num_downs - 1
        self.downs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3 if i == 0 else widths[i - 1], width, 4, 2, 1, bias=False),
                *([norm(width)] if 0 < i < inner else []),
            )
            for i, width in enumerate(widths)
        )
        self.ups = nn.ModuleList()
        for i in range(num_downs):
            channels_in = widths[i] * (1 if i == inner else 2)
            if i == 0:
                self.ups.append(nn.Sequential(nn.ConvTranspose2d(channels_in, 3, 4, 2, 1), nn.Tanh()))
                continue
            layers = [nn.ConvTranspose2d(channels_in, widths[i - 1], 4, 2, 1, bias=False), norm(widths[i - 1])]
            self.ups.append(nn.Sequential(*layers, *([nn.Dropout(0.5)] if 4 <= i < inner else [])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i, layer in enumerate(self.downs):
            x = layer(nn.functional.leaky_relu(x, 0.2) if i else x)
            skips.append(x)
        x = skips.pop()
        for layer in reversed(self.ups[1:]):
            x = torch.cat([skips.pop(), layer(nn.functional.relu(x))], 1)
        return self.ups[0](nn.functional.relu(x))


class _OwnNorm(nn.InstanceNorm2d):
    def __init__(self, features: int):
        super().__init__(features, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # nn.functional.instance_norm refuses a picture of one pixel, of which nothing but the bias is left.
        mean = x.mean((2, 3), keepdim=True)
        variance = x.var((2, 3), keepdim=True, unbiased=False)
        scale = torch.rsqrt(variance + self.eps) * self.weight.view(1, -1, 1, 1)
        return (x - mean) * scale + self.bias.view(1, -1, 1, 1)


def patch_discriminator(features: int) -> nn.Module:
    """70x70 PatchGAN on 6 channels; logits."""
    layers: list[nn.Module] = [nn.Conv2d(6, features, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for i, stride in ((1, 2), (2, 2), (3, 1)):
        width = features * 2**i
        layers += [
            nn.Conv2d(width // 2, width, 4, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(features * 8, 1, 4, 1, 1))


def initialise(network: nn.Module) -> nn.Module:
    """Draws kernels from N(0, 0.02) and norms' scales from N(1, 0.02); biases are 0 (section 6.2 of the paper)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
    return network


class Trainer:
    """Trains by sequential updates, discriminator first.

    Attributes:
      losses: the last step's, on the device: g_gan, g_l1, d_real, d_fake.
    """

    def __init__(self, *, num_downs: int, features: int, device: str | None = None, tuning: Tuning = AS_USERS_RUN):
        self.device, self.tuning = device or default_device(), tuning
        set_up(tuning)
        self.generator = place(initialise(UNet(num_downs, features)), self.device, tuning)
        self.discriminator = place(initialise(patch_discriminator(features)), self.device, tuning)
        adam = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": tuning.fused_adam or None, "capturable": tuning.cuda_graph}
        self._g_adam = torch.optim.Adam(self.generator.parameters(), **adam)
        self._d_adam = torch.optim.Adam(self.discriminator.parameters(), **adam)
        self._replay: Callable | None = None
        self.losses: tuple[torch.Tensor, ...] = ()

    def set_learning_rate(self, rate: float) -> None:
        for group in self._g_adam.param_groups + self._d_adam.param_groups:
            group["lr"] = rate

    def state_dict(self) -> dict:
        """Returns all that the next step depends on, except the random generators."""
        return {name: part.state_dict() for name, part in self._saved().items()}

    def load_state_dict(self, state: dict) -> None:
        for name, part in self._saved().items():
            part.load_state_dict(state[name])

    def _saved(self) -> dict:
        adams = {"g_adam": self._g_adam, "d_adam": self._d_adam}
        return {"generator": self.generator, "discriminator": self.discriminator, **adams}

    def place(self, image: torch.Tensor) -> torch.Tensor:
        """Places a batch as the step takes it."""
        return place(image, self.device, self.tuning)

    def step(self, image: torch.Tensor, target: torch.Tensor) -> None:
        """Updates both networks on (N, 3, H, W) images in [-1, 1] on the device; returns before it is done."""
        if not self.tuning.cuda_graph:
            self.losses = self._step(image, target)
            return
        if self._replay is None:
            self._replay = Replay(self._step, image, target)
        self.losses = self._replay(image, target)

    def turn(self, image: torch.Tensor, target: torch.Tensor, calls: int) -> None:
        """Runs steps and reads the losses every READ_EVERY of them; all are done at the end."""
        for i in range(calls):
            self.step(image, target)
            if (i + 1) % READ_EVERY == 0:
                self.read()
        synchronize(self.device)

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, self.read()))

    def read(self) -> list[float]:
        return [float(loss) for loss in self.losses]

    def _step(self, image: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with self._autocast():
            fake = self.generator(image)
        self.discriminator.requires_grad_(True)
        self._d_adam.zero_grad()
        d_fake, d_real = self._gan_loss(image, fake.detach(), 0.0), self._gan_loss(image, target, 1.0)
        ((d_fake + d_real) / 2).backward()
        self._d_adam.step()

        self.discriminator.requires_grad_(False)
        self._g_adam.zero_grad()
        g_gan, g_l1 = self._gan_loss(image, fake, 1.0), (fake - target).abs().mean()
        (g_gan + 100 * g_l1).backward()
        self._g_adam.step()
        return tuple(loss.detach() for loss in (g_gan, g_l1, d_real, d_fake))

    def _gan_loss(self, image: torch.Tensor, candidate: torch.Tensor, label: float) -> torch.Tensor:
        with self._autocast():
            logits = self.discriminator(torch.cat([image, candidate], 1))
        logits = logits.float()
        return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    def _autocast(self) -> contextlib.AbstractContextManager:
        if not self.tuning.bfloat16:
            return contextlib.nullcontext()
        # A cache of cast weights would save nothing, as a pass uses each once, and a graph must cast them anew.
        return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)


class Translator:
    """Translates with the generator alone.

    With `published`, by the paper's rules, dropout stays on and an image is normalised by its own statistics; otherwise
    dropout is off and training's running statistics count.
    """

    def __init__(
        self,
        *,
        num_downs: int,
        features: int,
        published: bool,
        device: str | None = None,
        tuning: Tuning = AS_USERS_RUN,
    ):
        self.device, self.tuning = device or default_device(), tuning
        set_up(tuning)
        self.network = UNet(num_downs, features, own_statistics=published).train(published)
        self._dtype = torch.bfloat16 if tuning.bfloat16 else torch.float32
        self.network = place(self.network.to(self._dtype), self.device, tuning)
        self._replay: Replay | None = None

    def place(self, image: torch.Tensor) -> torch.Tensor:
        """Places a batch as `translate` takes it."""
        return place(image.to(self._dtype), self.device, self.tuning)

    @torch.no_grad()
    def translate(self, image: torch.Tensor) -> torch.Tensor:
        """Maps (N, 3, H, W) in [-1, 1] to the same; returns before it is done."""
        if not self.tuning.cuda_graph:
            return self.network(image)
        if self._replay is None:
            self._replay = Replay(self.network, image)
        return self._replay(image)

    def turn(self, image: torch.Tensor, calls: int) -> None:
        """Makes that many calls; all are done at the end."""
        for _ in range(calls):
            output = self.translate(image)
        synchronize(self.device)
        self._last = output

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self._last).all())


def set_up(tuning: Tuning) -> None:
    """Sets up the process: cuDNN tries its algorithms, as in pytorch-CycleGAN-and-pix2pix; if tuned, TF32."""
    torch.backends.cudnn.benchmark = True
    if tuning != AS_USERS_RUN:
        torch.set_float32_matmul_precision("high")


def place(module_or_tensor, device: str, tuning: Tuning):
    """Moves to the device, in the tuning's memory order; compiles a network if tuned so."""
    order = {"memory_format": torch.channels_last} if tuning.channels_last else {}
    placed = module_or_tensor.to(device, **order)
    if tuning.compiled and isinstance(placed, nn.Module):
        placed.compile()
    return placed


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Replay:
    """function(*inputs), tensors to tensors, captured in a CUDA graph at first and replayed from then on."""

    def __init__(self, function: Callable, *inputs: torch.Tensor):
        self._inputs = [torch.empty_like(x).copy_(x) for x in inputs]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles, chooses algorithms and makes optimisers' states, which no graph can
            for _ in range(3):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # Not "global": a thread that pins memory for a DataLoader may go on with it.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = function(*self._inputs)

    def __call__(self, *inputs: torch.Tensor):
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._outputs


def random_pair(batch: int, size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (batch, 3, *size)
    return torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1


def choose(*, num_downs: int, features: int, batch: int, size: Sequence[int], what: str = "train") -> Tuning:
    """Finds the fastest of `candidates` by a trial in another process.

    Args:
      num_downs: number of halvings of the U-Net.
      features: features of both networks' first layers.
      batch: number of images in a batch.
      size: (H, W) of the images.
      what: one of WHAT.

    Raises:
      RuntimeError: none works.
    """
    case = {"num_downs": num_downs, "features": features, "batch": batch, "size": list(size), "what": what}
    answer = subprocess.run([sys.executable, __file__, json.dumps(case)], stdout=subprocess.PIPE, text=True)
    if answer.returncode:
        raise RuntimeError(f"no tuning works (exit code {answer.returncode} of torch_recipe.py)")
    return Tuning(**json.loads(answer.stdout.splitlines()[-1])["tuning"])


def _trial(tuning: Tuning, arguments: argparse.Namespace) -> float:
    """Returns a call's milliseconds, the best of three short turns. Raises FloatingPointError if not finite."""
    case = {"num_downs": arguments.num_downs, "features": arguments.features, "tuning": tuning}
    pair = random_pair(arguments.batch, arguments.size)
    if arguments.what == "train":
        system, images = Trainer(**case), pair
    else:
        system, images = Translator(**case, published=arguments.what == "published"), pair[:1]
    images = [system.place(image) for image in images]
    count = 20 if system.device == "cuda" else 2
    system.turn(*images, 2)
    if not system.finite:
        raise FloatingPointError("what comes out is not finite")
    times = []
    for _ in range(3):
        start = time.perf_counter()
        system.turn(*images, count)
        times.append(1e3 * (time.perf_counter() - start) / count)
    return min(times)


def main() -> None:
    case = argparse.Namespace(what="train", num_downs=8, features=64, batch=1, size=(256, 256))
    vars(case).update(json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}"))
    found: dict[Tuning, float] = {}
    for tuning in candidates(default_device(), case.what):
        try:
            found[tuning] = _trial(tuning, case)
            print(f"torch, {tuning}: {found[tuning]:.3g} ms", file=sys.stderr)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            print(f"left out: torch, {tuning} ({reason})", file=sys.stderr)
    if not found:
        sys.exit(1)
    best = min(found, key=found.__getitem__)
    print(json.dumps({"tuning": dataclasses.asdict(best), "ms": {str(k): v for k, v in found.items()}}))


if __name__ == "__main__":
    main()
