r"""The tokens of an answer, whether it is written as LaTeX, as Python, or plainly.

Each is (kind, text): `num`, `name` (a letter, a function or a constant), `word` (text), or the sign itself. Spelling
goes here: `\dfrac` and `\tfrac` are `frac`, `\le` is `<=`, `**` is `^`, `\left(` is `(`. A command that nobody knows is
read as the longest one that it begins with, because answers lose their blanks (`\pic` is `\pi c`).
"""

import re

from quality.equivalence.nodes import Unreadable, names

MAX_TOKENS = 600

FUNCTIONS = names(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp sqrt abs max min gcd lcm floor ceil"
)
CONSTANTS = frozenset(("pi", "infty", "emptyset"))
GREEK = names(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho"
    " sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell"
    " hbar nabla partial Re Im odot oplus star bullet dagger perp parallel"
)
SIGNS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "pm",
    "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<", "gt": ">",
    "ne": "!=", "neq": "!=", "approx": "~", "simeq": "~", "equiv": "=", "in": "in", "cup": "cup", "cap": "cap",
    "setminus": "setminus", "lbrace": "\\{", "rbrace": "\\}", "{": "\\{", "}": "\\}", "langle": "(", "rangle": ")",
    "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "|": "|", "lfloor": "lfloor", "rfloor": "rfloor",
    "lceil": "lceil", "rceil": "rceil", "circ": "deg", "degree": "deg", "%": "%", "\\": "\\\\", "&": "&", "colon": ":",
    "to": "to", "rightarrow": "to", "prime": "'", "lbrack": "[", "rbrack": "]", "sim": "~",
}  # fmt: skip
GAPS = frozenset(("quad", "qquad", "newline"))
"""Wide blanks: they part the items of a list."""
WITH_ARGUMENTS = frozenset(("frac", "sqrt", "binom", "overline", "begin", "end", "operatorname"))
_SAME = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "oo": "infty",
    "varnothing": "emptyset", "arcsec": "arcsec", "Infinity": "infty", "inf": "infty", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan", "Abs": "abs", "ceiling": "ceil", "overrightarrow": "overline", "dots": "ldots",
    "cdots": "ldots", "root": "sqrt",
}  # fmt: skip
_FONTS = names("mathbf mathrm mathit mathcal mathsf boldsymbol bm vec hat tilde bar underline widehat")
_TEXTS = names("text textbf textit textrm textnormal mbox mathrm operatorname texttt textsf")
_NOTHING = names(
    "left right big Big bigg Bigg displaystyle textstyle limits nolimits bigl bigr Bigl Bigr biggl biggr"
    " , ; : ! space phantom thinspace boxed fbox"
) | {" "}
_KNOWN = (
    FUNCTIONS | CONSTANTS | GREEK | GAPS | WITH_ARGUMENTS | _NOTHING | _FONTS | _TEXTS | SIGNS.keys() | _SAME.keys()
    | {"mathbb", "ldots"}
)  # fmt: skip
_SIGN_OF = {
    "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/",
    "\u2212": "-", "\u2013": "-", "\u221e": "infty", "\u03c0": "pi", "\u00b0": "deg", "\u222a": "cup", "\u2229": "cap",
    "\u2208": "in", "\u00b1": "pm", "\u2248": "~", "\u2205": "emptyset", "\u2032": "'",
}  # fmt: skip
_TOKEN = re.compile(
    r"(?P<gap>[\s~]+)"
    r"|(?P<num>\d+(?:\.\d+|\.(?=\s*\\overline))?(?:[eE][-+]?\d{1,4}(?![\d.^]))?|\.\d+)"
    r"|(?P<command>\\(?:[A-Za-z]+|.))"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<sign>\*\*|<=|>=|!=|==|[-+*/^_=<>()\[\]{}|,;:!%&'\u2264\u2265\u2260\u00d7\u00b7\u22c5\u00f7\u2212\u2013\u221e"
    r"\u03c0\u00b0\u222a\u2229\u2208\u00b1\u2248\u2205\u2032\u221a])",
    re.DOTALL,
)
_TEXT_ARGUMENT = re.compile(r"\s*\{([^{}]*)\}")
_WORDS_BETWEEN = {"and": ",", "or": ",", "pi": "pi", "oo": "infty", "inf": "infty", "infinity": "infty"}

Token = tuple[str, str]


def tokens(text: str) -> list[Token]:
    """Read a text.

    Raises:
        Unreadable: a sign or a command that the grammar does not know, or too many tokens.
    """
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(found) > MAX_TOKENS:
            raise Unreadable(text[position : position + 10])
        position = match.end()
        piece = match[0]
        match match.lastgroup:
            case "gap":
                found.append(("gap", " "))
            case "num":
                found.append(("num", piece))
            case "command":
                position = _command(piece[1:], text, position, found)
            case "word":
                _word(piece, found)
            case _:
                found.append(_sign(piece))
    return found


def _sign(piece: str) -> Token:
    piece = _SIGN_OF.get(piece, piece)
    piece = {"**": "^", "==": "="}.get(piece, piece)
    return ("name", piece) if piece in CONSTANTS else (piece, piece)


def _command(name: str, text: str, position: int, found: list[Token]) -> int:
    """Add the tokens of a command, and say where the text goes on."""
    while name not in _KNOWN:
        shorter = next((name[:n] for n in range(len(name) - 1, 1, -1) if name[:n] in _KNOWN), None)
        if shorter is None:
            raise Unreadable(f"\\{name}")
        position -= len(name) - len(shorter)
        name = shorter
    name = _SAME.get(name, name)
    if name in _TEXTS and (argument := _TEXT_ARGUMENT.match(text, position)):
        _text(argument[1], found)
        return argument.end()
    if name == "mathbb" and (argument := _TEXT_ARGUMENT.match(text, position)):
        found.append(("name", f"mathbb_{argument[1].strip()}"))
        return argument.end()
    if name in GAPS:
        found.append((",", "gap"))
    elif name in SIGNS:
        found.append((SIGNS[name], SIGNS[name]))
    elif name in WITH_ARGUMENTS:
        found.append((name, name))
    elif name not in _NOTHING and name not in _FONTS and name not in _TEXTS:
        found.append(("name", name))
    return position


def _text(content: str, found: list[Token]) -> None:
    r"""Words in `\text{...}`: one letter is a symbol, `and` parts items, the rest is text."""
    content = " ".join(content.split())
    if content.lower().strip(", ") in ("and", "or"):
        found.append((",", "and"))
    elif re.fullmatch(r"\(?[A-Za-z]\)?", content):
        found.extend(tokens(content))
    elif content:
        found.append(("word", content))


def _word(word: str, found: list[Token]) -> None:
    """Letters outside of a command: a function, a constant, text, or symbols that are multiplied."""
    known = _SAME.get(word, word)
    if word in ("and", "or"):
        found.append((",", "and"))
    elif known in FUNCTIONS:
        found.append((known, known) if known == "sqrt" else ("name", known))
    elif known in CONSTANTS or len(word) == 1:
        found.append(("name", known))
    elif word in ("I", "U"):
        found.append(("name", word))
    else:
        prefix = next((f for f in ("sqrt", "pi", "sin", "cos", "tan", "log", "ln") if word.startswith(f)), None)
        if prefix and len(word) - len(prefix) <= 2:
            _word(prefix, found)
            _word(word[len(prefix) :], found)
        elif len(word) <= 3 or (len(word) <= 6 and found and found[-1][0] == "_"):
            found.extend(("name", letter) for letter in word)
        elif found and found[-1][0] == "num":
            raise Unreadable(f"{word} glued to a number")
        else:
            found.append(("word", word))
