"""Reads and writes models on the Hugging Face Hub. The only importer of huggingface_hub (extra `hub`).

The library takes the server from HF_ENDPOINT and the token from HF_TOKEN or `hf auth login`. No token passes through
here, and none is in any message.
"""

import contextlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence

from pix2pix_jax.errors import UserError, printable

PREFIX = "hf://"
MODEL_FILE = "model.safetensors"


def repository(name: str) -> str:
    """Returns USER/NAME of hf://USER/NAME or USER/NAME. Raises UserError for anything else, or without the library."""
    repo = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo, re.ASCII):
        raise UserError(f"{printable(name, 200)}: not a name on the Hub; write USER/NAME, as in hf://USER/NAME")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError(f"{name}: needs huggingface_hub; pip install huggingface_hub, or '.[hub]'")
    return repo


def fetch(name: str) -> str:
    """Downloads the model of hf://USER/NAME, unless it is cached, and returns the path of the .safetensors file."""
    repo = repository(name)
    import huggingface_hub

    with _explained(name):
        return huggingface_hub.hf_hub_download(repo, MODEL_FILE)


def has(repo: str, file: str) -> bool:
    """Returns whether a repository exists and has a file."""
    import huggingface_hub

    with _explained(repo):
        return huggingface_hub.HfApi().file_exists(repo, file)


def front_matter(*, name: str, dataset: str, split: str, scores: Mapping[str, float], tags: Sequence[str]) -> str:
    """Returns the YAML at the top of a model card, by which the Hub finds models."""
    import huggingface_hub

    task = "image-to-image"
    shared = {"task_type": task, "dataset_type": dataset, "dataset_name": dataset, "dataset_split": split}
    results = [huggingface_hub.EvalResult(**shared, metric_type=m, metric_value=v) for m, v in scores.items()]
    return huggingface_hub.ModelCardData(
        license="unknown",
        library_name="pix2pix_jax",
        pipeline_tag=task,
        tags=list(tags),
        model_name=name,
        eval_results=results or None,
    ).to_yaml()


def push(name: str, files: Mapping[str, bytes], *, private: bool = False, message: str) -> str:
    """Puts files, by their path in the repository, in one commit; makes the repository if need be. Returns its address.

    Raises UserError if the server cannot be reached or refuses, as without a token.
    """
    repo = repository(name)
    import huggingface_hub

    with _explained(name):
        api = huggingface_hub.HfApi()
        url = api.create_repo(repo, exist_ok=True, private=private or None)
        operations = [huggingface_hub.CommitOperationAdd(path, content) for path, content in files.items()]
        api.create_commit(repo, operations, commit_message=message)
        return str(url)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns the library's errors into one line. They hold addresses and answers of the server, and no headers."""
    from huggingface_hub import errors

    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise UserError(f"{name}: needs a token; `hf auth login`, or set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"{name}: no such repository, or no access; check the name, or `hf auth login`") from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{name}: holds no {MODEL_FILE}; name a model that pix2pix push wrote") from error
    except (errors.HfHubHTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise UserError(f"{name}: not allowed; `hf auth login` with a token that may write there") from error
        reason = printable(" ".join(_without_token(str(error)).split()), 200) or type(error).__name__
        raise UserError(f"{name}: the Hub cannot be reached, or refuses ({reason}); try again") from error


def _without_token(text: str) -> str:
    """Strikes the token out of a text: a server may answer with what it was sent."""
    import huggingface_hub

    token = huggingface_hub.get_token()
    return text.replace(token, "***") if token else text
