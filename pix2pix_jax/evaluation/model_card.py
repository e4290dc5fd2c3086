"""Writes the model card of a run: the README.md of its repository on the Hugging Face Hub."""

import io
import json
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from pix2pix_jax.configs import default
from pix2pix_jax.configuration.validate import flatten
from pix2pix_jax.errors import printable
from pix2pix_jax.evaluation.report import metrics_of
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.io import hub, storage

PICTURES = "pictures.png"
_ROWS = 4  # examples that the card shows
_COLUMNS = ("input", "output", "target")
_HIDDEN = ("data_dir", "data_url", "init_from", "palette")  # may name places on a disk


def write(model: TrainedModel, repo: str, *, report: dict[str, Any] | None, has_pictures: bool) -> str:
    """Returns the text of README.md.

    Args:
      model: the pushed model.
      repo: USER/NAME on the Hub.
      report: the content of metrics.json of an evaluation of this model, or None.
      has_pictures: whether PICTURES lies beside the card.
    """
    config, (height, width) = model.config, model.config.image_size
    scores = {**report["mean"], **report["total"]} if report else {}
    scores = {name: value for name, value in scores.items() if isinstance(value, int | float)}
    split = report["split"] if report else ""
    data = "own pairs (folder)" if config.dataset == "folder" else config.dataset
    matter = hub.front_matter(
        name=repo.partition("/")[2], dataset=data, split=split, scores=scores, tags=("pix2pix", "jax", "flax")
    )
    parts = [
        f"# {repo.partition('/')[2]}",
        f"A {config.generator.name} generator that translates images to images at {height}x{width}, trained with "
        f"pix2pix_jax for {model.step:,} steps on {data}, {config.direction.replace('to', ' to ')}.",
        *([f"![Input, output, target of held-out examples]({PICTURES})"] if has_pictures else []),
        f'```python\nimport pix2pix_jax\n\nmodel = pix2pix_jax.load("hf://{repo}")\n'
        'model.translate("input.png").save("output.png")\n```',
        "## Data and licence",
        f"Trained on: {data}.\n\n**To be filled in by whoever trained it:** where the images are from, their licence, "
        "and what it says of models trained on them. Set `license:` at the top of this file too, now `unknown`.",
        "## Scores",
        _score_table(scores, report) if scores else "Not evaluated at this step.",
        "## Config",
        "Fields that differ from the defaults; `config.json` has all.",
        _config_table(model),
    ]
    return f"---\n{matter.strip()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _score_table(scores: dict[str, float], report: dict[str, Any]) -> str:
    head = f"Split {report['split']}, {report['num_examples']} pairs.\n\n| metric | value |\n|---|---|\n"
    return head + "\n".join(f"| {name} | {value:.4f} |" for name, value in scores.items())


def _config_table(model: TrainedModel) -> str:
    own, usual = flatten(model.config), flatten(default.get_config())
    changed = [name for name in own if own[name] != usual[name] and name not in _HIDDEN]
    rows = [f"| {name} | {printable(str(own[name]), 100)} |".replace("\n", " ") for name in changed]
    return "| field | value |\n|---|---|\n" + "\n".join(rows or ["| (none) | |"])


def read_report(workdir: epath.Path, step: int) -> tuple[epath.Path, dict[str, Any]] | None:
    """Returns (folder, metrics.json) of the evaluation of this step, on test or else val; None if there is none."""
    for split in ("test", "val"):
        folder = workdir / "eval" / f"{split}-{step}"
        try:
            report = json.loads(storage.read(folder / "metrics.json"))
            if all(isinstance(report[name], dict) for name in ("mean", "total")):
                return folder, {**report, "split": split}
        except (ValueError, LookupError, TypeError):
            continue
    return None


def draw_pictures(folder: epath.Path, report: dict[str, Any]) -> bytes | None:
    """Returns a PNG of the first examples of an evaluation, input | output | target; None if they cannot be read."""
    try:
        rows = []
        for record in report["images"][:_ROWS]:
            metrics_of(record)  # raises for what is no record
            files = [record["files"][column] for column in _COLUMNS]
            rows.append([Image.open(io.BytesIO(storage.read(folder / "images" / _name(file)))) for file in files])
        size = rows[0][0].size
        grid = np.concatenate(
            [np.concatenate([np.asarray(p.convert("RGB").resize(size)) for p in row], axis=1) for row in rows]
        )
    except (OSError, LookupError, TypeError, ValueError, AttributeError):  # the file may be anyone's
        return None
    file = io.BytesIO()
    Image.fromarray(grid).save(file, "png")
    return file.getvalue()


def _name(file: str) -> str:
    """Returns the name of a picture without its folder: a stranger's report may name any place."""
    return file.rpartition("/")[2]
