"""The hint library (`factory/hints/*.toml`, a file people edit) and the choice of hints for one failed baseline.

A hint is a lead (`Wait, `), one sentence, a newline, an opened Python fence and, for weak models, the first characters
of the code. Choices are drawn from a generator seeded with the recipe's seed, the baseline and the branch, so that a
branch never changes when others are added.
"""

import hashlib
import random
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from factory.rollout.cuts import CutPoint, find_cuts
from schemas.errors import RecipeError
from schemas.recipe import Hint
from schemas.vocabulary import OWN_SWITCH, Cut, Domain, HintFunction, StopReason

HINTS = Path(__file__).parent.parent / "hints"
FENCE = "```python\n"
TEMPLATES = ("starter", "function", "stdin")


@dataclass(frozen=True)
class LibraryHint:
    """One paraphrase of one function."""

    hint_id: str
    """`function/number`."""
    function: HintFunction
    text: str
    """One sentence, to follow a lead."""


@dataclass(frozen=True)
class HintLibrary:
    """All hints of a file."""

    hints: tuple[LibraryHint, ...]
    sha256: str
    templates: dict[str, str] = field(default_factory=dict)
    """Of the debug hint, by kind of problem."""
    doubts: tuple[str, ...] = ()
    """Words with which a model begins to check an output by hand."""

    def of(self, function: HintFunction) -> tuple[LibraryHint, ...]:
        """The paraphrases of one function."""
        return tuple(hint for hint in self.hints if hint.function is function)


@dataclass(frozen=True)
class Reassurance:
    """A hint for the middle of a rollout."""

    hint: LibraryHint
    doubts: tuple[str, ...]
    """Words after which it follows."""


@dataclass(frozen=True)
class PlannedHint:
    """One hint branch: which hint, inserted where, as which text."""

    branch: int
    hint: LibraryHint
    point: CutPoint
    text: str


def load_library(name: str) -> HintLibrary:
    """Read a library by name or path.

    Raises:
        RecipeError: no such file, or a function or text in it that cannot be used.
    """
    path = Path(name) if name.endswith(".toml") else HINTS / f"{name}.toml"
    try:
        raw = path.read_bytes()
        data = tomllib.loads(raw.decode())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in HINTS.glob("*.toml")))
        raise RecipeError(f"hint library '{name}' does not exist. Known: {known}; or a path ending in .toml.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"hint library {path} cannot be read: {error}") from None
    hints: list[LibraryHint] = []
    for function, entry in data.items():
        if function not in set(HintFunction):
            raise RecipeError(f"hint library {path}: unknown function '{function}'. Known: {', '.join(HintFunction)}.")
        texts = entry.get("texts") if isinstance(entry, dict) else None
        if not isinstance(texts, list) or not texts or not all(_is_sentence(text) for text in texts):
            raise RecipeError(
                f"hint library {path}: [{function}] needs 'texts', a list of sentences of one line, without ```."
            )
        hints += [LibraryHint(f"{function}/{i}", HintFunction(function), t.strip()) for i, t in enumerate(texts, 1)]
    if not hints:
        raise RecipeError(f"hint library {path} holds no hints. A section is a function: {', '.join(HintFunction)}.")
    templates = data.get(HintFunction.DEBUG, {}).get("templates", {})
    is_whole = isinstance(templates, dict) and {k for k, v in templates.items() if isinstance(v, str)} == set(TEMPLATES)
    if HintFunction.DEBUG in data and not (is_whole and len(templates) == len(TEMPLATES)):
        raise RecipeError(f"hint library {path}: [debug.templates] needs exactly {', '.join(TEMPLATES)}, as texts.")
    doubts = data.get(HintFunction.TRUST_OUTPUT, {}).get("doubts", [])
    if HintFunction.TRUST_OUTPUT in data and not (doubts and all(isinstance(d, str) and d.strip() for d in doubts)):
        raise RecipeError(f"hint library {path}: [trust_output] needs 'doubts', the words that it answers.")
    return HintLibrary(tuple(hints), hashlib.sha256(raw).hexdigest(), templates, tuple(doubts))


def _is_sentence(text: object) -> bool:
    """Whether it can stand between a lead and a fence."""
    return isinstance(text, str) and len(text.strip().splitlines()) == 1 and "```" not in text


def opening_of(library: HintLibrary, key: str) -> PlannedHint | None:
    """The first words of an answer, drawn by its key; None where the library has none."""
    hint = _drawn(library, HintFunction.OPENING, key)
    return PlannedHint(0, hint, CutPoint(Cut.START, 0), hint.text + "\n") if hint else None


def reassurance_of(library: HintLibrary, key: str) -> Reassurance | None:
    """What the model is told where it begins to doubt an output; None where the library has nothing."""
    hint = _drawn(library, HintFunction.TRUST_OUTPUT, key)
    return Reassurance(hint, library.doubts) if hint and library.doubts else None


def _drawn(library: HintLibrary, function: HintFunction, key: str) -> LibraryHint | None:
    texts = library.of(function)
    return random.Random(f"{function}:{key}").choice(texts) if texts else None  # noqa: S311 (a choice, no secret)


def plan_hints(
    baseline_id: str,
    text: str,
    *,
    stop_reason: StopReason,
    domain: Domain,
    settings: Hint,
    library: HintLibrary,
    seed: int,
    program: str = "",
) -> list[PlannedHint]:
    """The hint branches of one failed baseline; empty where none of the allowed cuts exists in it.

    Code problems get the `debug` hint alone, other problems every allowed function but `debug`. The functions take
    turns over the branches in an order drawn per baseline; cut, paraphrase and lead are drawn per branch. `program`
    stands between the sentence and the fence: the debug hint's template, filled in.
    """
    points = {
        cut: found
        for cut in settings.cuts
        if (found := find_cuts(text, cut, triggers=settings.triggers, stop_reason=stop_reason))
    }
    functions = [f for f in settings.functions if (f is HintFunction.DEBUG) == (domain is Domain.CODE)]
    functions = [f for f in functions if f not in OWN_SWITCH and library.of(f)]
    if not points or not functions:
        return []
    order = random.Random(f"{seed}:{baseline_id}").sample(functions, len(functions))  # noqa: S311 (a choice, no secret)
    planned = []
    for branch in range(settings.branches):
        rng = random.Random(f"{seed}:{baseline_id}:{branch}")  # noqa: S311
        found = points[rng.choice(list(points))]
        last = settings.which_conjunction == "last"
        point = found[-1] if last else rng.choice(found)
        hint = rng.choice(library.of(order[branch % len(order)]))
        lead = rng.choice(settings.leads or ("",))
        if point.cut is Cut.CONJUNCTION:  # go on as the model was about to
            lead = f"{point.trigger}, "
        body = _capitalised_after(lead, hint.text)
        kept = text[: point.char_offset]
        gap = "" if not kept or kept[-1].isspace() else " " if point.cut is not Cut.END else "\n\n"
        start = "" if program else settings.code_start  # a template shows how the code begins
        text_of_hint = f"{gap}{lead}{body}\n{program}{FENCE}{start}"
        planned.append(PlannedHint(branch, hint, point, text_of_hint))
    return planned


def _capitalised_after(lead: str, text: str) -> str:
    """The sentence as it reads after a lead: small after a comma, capital otherwise."""
    follows_comma = lead.rstrip().endswith(",")
    proper = re.match(r"(?:I|Python)\b", text)
    first = text[0] if proper else text[0].lower() if follows_comma else text[0].upper()
    return first + text[1:]
