"""Fetches checkpoints from the model hub, through the optional package huggingface_hub."""

from pathlib import Path

from solver.common.checks import InputError, one_line, shown

HUB = "hub:"
CHECKPOINTS = (".safetensors", ".pt", ".ckpt")


def fetched(checkpoint: Path) -> Path:
    """The file on this machine that `hub:OWNER/NAME/FILE` means; any other path as it is.

    Without FILE, the only checkpoint of that repository: a file `step_N`, or one that ends in CHECKPOINTS. Downloads
    are kept in the hub's own cache. Raises InputError for other words, and if the file cannot be had.
    """
    text = str(checkpoint)
    if not text.startswith(HUB):
        return checkpoint
    owner, name, *rest = [*text.removeprefix(HUB).split("/", 2), ""][:3]
    if not owner or not name:
        raise InputError(f"{text}: expected hub:OWNER/NAME or hub:OWNER/NAME/FILE, got {shown(text)}")
    try:
        from huggingface_hub import HfApi, hf_hub_download
    except ImportError:
        raise InputError(f"{text}: expected the package huggingface_hub, got none: pip install arc-trm[hub]") from None
    try:
        file = rest[0] or _only_checkpoint(text, HfApi().list_repo_files(f"{owner}/{name}"))
        return Path(hf_hub_download(f"{owner}/{name}", file))
    except InputError:
        raise
    except Exception as error:  # of the network, the hub, or its many errors
        reason = one_line(str(error))[:200]
        raise InputError(f"{text}: expected a file that the hub has and a network, got: {reason}") from None


def _only_checkpoint(text: str, files: list[str]) -> str:
    found = [file for file in files if file.rpartition("/")[2].startswith("step_") or file.endswith(CHECKPOINTS)]
    if len(found) != 1:
        raise InputError(f"{text}: expected one checkpoint, got {len(found)}: name it, {text}/FILE: {', '.join(found)}")
    return found[0]
