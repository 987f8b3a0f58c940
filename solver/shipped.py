"""The weights that come with arc-trm, which the command lines call `shipped`. Imports no torch."""

from pathlib import Path

SHIPPED = "shipped"
FOLDER = Path(__file__).parents[1] / "submission" / "weights" / "mini"  # submission/ lies beside solver/ wherever it is


def weights_folder(word: str) -> Path:
    """The folder that a word names; `shipped` is the one that comes along, unless there is a folder of that name."""
    return FOLDER if word == SHIPPED and not Path(word).exists() else Path(word)
