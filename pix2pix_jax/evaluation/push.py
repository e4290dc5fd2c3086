"""Puts a trained model on the Hugging Face Hub: parameters, config and model card."""

import json
import os

from etils import epath

from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import model_card
from pix2pix_jax.export import notes
from pix2pix_jax.inference import model_file, trained_model
from pix2pix_jax.io import hub, storage


def push(
    workdir: epath.PathLike, repo: str, *, step: str | int = "latest", private: bool = False, **rules: str
) -> tuple[str, list[str]]:
    """Puts the model of a run into a repository, which `pix2pix_jax.load("hf://USER/NAME")` reads.

    A README.md that the repository has stays, as someone may have filled in the licence.

    Args:
      workdir: the workdir of the run.
      repo: USER/NAME; the repository is made if need be.
      step: the checkpoint's step, "latest" or "best".
      private: whether a new repository is visible to its owner alone.
      **rules: norm_stats, dropout or weights, which replace those of the config's `inference`.

    Returns:
      (address, remarks for people).

    Raises:
      UserError: there is no such checkpoint, or the Hub cannot be reached or refuses.
    """
    repo = hub.repository(repo)
    if not trained_model.is_workdir(workdir):
        raise UserError(f"--workdir={os.fspath(workdir)}: a single model; give the run's workdir, which has its scores")
    model = trained_model.load(workdir, step=step, **rules)
    about = notes.of_model(model)
    evaluation = model_card.read_report(storage.folder(workdir), model.step)
    pictures = model_card.draw_pictures(*evaluation) if evaluation else None
    report = evaluation[1] if evaluation else None
    files = {
        hub.MODEL_FILE: model_file.dump(model.variables, about),
        "config.json": (json.dumps(about, indent=2) + "\n").encode(),
    }
    if pictures:
        files[model_card.PICTURES] = pictures
    remarks = []
    if not evaluation:
        remarks.append(f"no scores and pictures, as step {model.step} is not evaluated; pix2pix evaluate, then push")
    if hub.has(repo, "README.md"):
        remarks.append("its README.md is kept; delete it there for a new one")
    else:
        card = model_card.write(model, repo, report=report, has_pictures=bool(pictures))
        files["README.md"] = card.encode()
        remarks.append("fill in the data's licence in its README.md")
    url = hub.push(repo, files, private=private, message=f"pix2pix_jax model of step {model.step}")
    return url, remarks
