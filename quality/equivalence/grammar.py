r"""Answers as trees: a recursive descent over `tokens`, bounded in depth. It reads; nothing is evaluated.

    list      = relation {("," | ";" | "and") relation}
    relation  = side {("=" | "<" | ... | "in") side}
    side      = sum {("\cup" | "\cap" | "\setminus") sum}
    sum       = product {("+" | "-" | "\pm") product}
    product   = power {["*" | "/" | ":"] power}          factors may stand beside each other
    power     = atom ["^" atom]

An integer beside a fraction of integers is a mixed number, words behind a value are its unit, a subscript at a number
is its base.
"""

from fractions import Fraction

from quality.equivalence.cursor import Cursor
from quality.equivalence.nodes import (
    Apply,
    Group,
    Listing,
    Matrix,
    Node,
    Number,
    Relation,
    Symbol,
    Unreadable,
    Words,
    names,
)
from quality.equivalence.numbers import half_unit
from quality.equivalence.tokens import FUNCTIONS, Token, tokens
from quality.equivalence.trees import beside, ends_in_number, grouped, is_tuple, recurring, spelled
from quality.equivalence.values import symbols

MAX_DEPTH = 40
MAX_DIGITS = 400

_RELATIONS = frozenset(("=", "<", ">", "<=", ">=", "!=", "~", "in", "to"))
_OPENING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_CLOSING = frozenset((")", "]", "}", "\\}"))
_NOT_UNITS = names("is are if when not than less more least most where for with mod or no each")
_STARTS = frozenset(
    ("num", "name", "frac", "sqrt", "binom", "overline", "(", "[", "{", "\\{", "lfloor", "lceil", "begin")
)
_ARTICLES = frozenset(("a", "an", "the"))


def parse(text: str) -> Node:
    """The tree of an answer.

    Raises:
        Unreadable: it is beyond the grammar.
    """
    parser = _Parser(tokens(text))
    node = parser.listing()
    if parser.peek() is not None:
        raise Unreadable(str(parser.peek()))
    return node


def words(text: str) -> Words:
    """Text as it is compared."""
    plain = "".join(c if c.isalnum() else " " for c in text.casefold()).split()
    return Words(" ".join(word for word in plain if word not in _ARTICLES) or " ".join(plain))


class _Parser(Cursor):
    def __init__(self, found: list[Token]) -> None:
        super().__init__(found)
        self._depth = 0
        self._bars = 0

    # Lists and relations

    def listing(self) -> Node:
        """Items up to a closing bracket, the end, or a row's end."""
        items = self._items()
        if not items:
            raise Unreadable("empty")
        return items[0] if len(items) == 1 else Listing(tuple(items))

    def _items(self) -> list[Node]:
        items: list[Node] = []
        starts, has_commas = [0], False
        while True:
            while sign := self._accept(",", ";"):
                has_commas = has_commas or sign == ","
                if sign == ";":
                    starts.append(len(items))
            if self.peek() is None or self.peek() in _CLOSING:
                return grouped(items, starts) if has_commas and len(starts) > 1 else items
            items.append(self._relation())
            goes_on = is_tuple(items[-1]) and self.peek() in ("(", "[")
            if self.peek() not in (",", ";", None, *_CLOSING) and not goes_on:
                raise Unreadable(f"{self.peek()} in a list")

    def _relation(self) -> Node:
        sides, signs = [self._side()], []
        while (sign := self.peek()) in _RELATIONS and sign is not None:
            self._next()
            signs.append(sign)
            sides.append(self._side())
        return Relation(tuple(sides), tuple(signs)) if signs else sides[0]

    def _side(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("too deep")
        left = self._sum()
        while name := self._accept("cup", "cap", "setminus"):
            left = Apply(name, (left, self._sum()))
        while self._accept(":"):
            left = Apply("ratio", (left, self._sum()))
        self._depth -= 1
        return left

    def _sum(self) -> Node:
        sign = self._accept("+", "-", "pm")
        left = self._product()
        if sign in ("-", "pm"):
            left = Apply("neg", (left,)) if sign == "-" else Apply("pm", (Number(Fraction(0)), left))
        while sign := self._accept("+", "-", "pm"):
            right = self._product()
            left = Apply({"+": "add", "-": "sub", "pm": "pm"}[sign], (left, right))
        return left

    def _product(self) -> Node:
        left = self._signed_power()
        while True:
            sign = self.peek()
            if sign in ("*", "/"):
                self._next()
                left = Apply("mul" if sign == "*" else "div", (left, self._signed_power()))
            elif sign == "word":
                self._unit(left)
            elif is_tuple(left) or not (sign in _STARTS or (sign == "|" and not self._bars)):
                return left
            elif sign == "num" and (isinstance(left, Number) or ends_in_number(left)):
                raise Unreadable("two numbers beside each other")
            else:
                right = self._power()
                left = beside(left, right)

    def _unit(self, value: Node) -> None:
        """Skip the words behind a value."""
        content = self._next()[1].lower().split()
        if isinstance(value, Words) or len(content) > 3 or _NOT_UNITS.intersection(content):
            raise Unreadable("words")
        if self.peek() == "^" and self._next():  # cm^2
            self._atom()

    def _signed_power(self) -> Node:
        if self._accept("-"):
            return Apply("neg", (self._signed_power(),))
        self._accept("+")
        return self._power()

    def _power(self) -> Node:
        base = self._postfix(self._atom())
        while self._accept("^"):
            if self._is_degree():
                base = Apply("deg", (base,))
                continue
            exponent = self._exponent()
            base = self._postfix(Apply("pow", (base, exponent)))
        return base

    def _is_degree(self) -> bool:
        kinds = [kind for kind, _ in self._tokens[self._at : self._at + 3]]
        n = 1 if kinds[:1] == ["deg"] else 3 if kinds == ["{", "deg", "}"] else 0
        self._at += n
        return n > 0

    def _exponent(self) -> Node:
        if self._accept("-"):
            return Apply("neg", (self._exponent(),))
        if self.peek() == "{":
            self._next()
            inside = self._side()
            self._take("}")
            return inside
        atom = self._postfix(self._atom(one_digit=False))
        return Apply("pow", (atom, self._exponent())) if self._accept("^") else atom

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._accept("!"):
                node = Apply("factorial", (node,))
            elif self._accept("%"):
                node = Apply("percent", (node,))
            elif self._accept("deg"):
                node = Apply("deg", (node,))
            elif self._accept("'"):
                node = Symbol(f"{node.name}'") if isinstance(node, Symbol) else self._fail("prime")
            else:
                return node

    # Atoms

    def _atom(self, *, one_digit: bool = False) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("too deep")
        node = self._atom_of(*self._next(), one_digit=one_digit)
        self._depth -= 1
        return node

    def _atom_of(self, kind: str, text: str, *, one_digit: bool) -> Node:
        match kind:
            case "num":
                return self._number(self._first_digit(text) if one_digit and len(text) > 1 else text)
            case "name":
                return self._named(text)
            case "word":
                return words(text)
            case "frac" | "binom":
                return Apply("div" if kind == "frac" else "binom", (self._argument(), self._argument()))
            case "sqrt":
                degree: Node = Number(Fraction(2))
                if self._accept("["):
                    degree = self._side()
                    self._take("]")
                return Apply("root", (degree, self._argument()))
            case "overline":
                inside = self._argument()
                return Symbol(f"overline_{spelled(inside)}") if symbols(inside) else Apply("conj", (inside,))
            case "|":
                self._bars += 1
                inside = self._side()
                self._take("|")
                self._bars -= 1
                return Apply("abs", (inside,))
            case "lfloor" | "lceil":
                inside = self._side()
                self._take("r" + kind[1:])
                return Apply("floor" if kind == "lfloor" else "ceil", (inside,))
            case "begin":
                return self._environment()
        if kind in _OPENING:
            return self._group(kind)
        raise Unreadable(kind)

    def _first_digit(self, text: str) -> str:
        if not text.isdecimal():
            raise Unreadable(f"{text} where one digit is meant")
        self._at -= 1
        self._tokens[self._at] = ("num", text[1:])
        return text[0]

    def _fail(self, why: str) -> Node:
        raise Unreadable(why)

    def _number(self, text: str) -> Node:
        if len(text) > MAX_DIGITS:
            raise Unreadable("a number of many digits")
        if "e" in text.lower():
            mantissa, _, exponent = text.lower().partition("e")
            if abs(int(exponent)) > MAX_DIGITS:
                raise Unreadable("a huge exponent")
            scale = Fraction(10) ** int(exponent)
            return Number(Fraction(mantissa) * scale, half_unit(mantissa) * scale)
        if self.peek(gaps=True) == "_" and "." not in text:  # 204_5: digits and their base
            self._next()
            base = self._argument()
            if isinstance(base, Number) and 2 <= base.value <= 36 and base.value.denominator == 1:
                return Apply("base", (Number(Fraction(text)), base))
            raise Unreadable("subscript of a number")
        if self.peek(gaps=True) == "overline" and "." in text:  # 0.1\overline{6}
            self._next()
            return recurring(text, self._argument())
        return Number(Fraction(text), half_unit(text))

    def _named(self, name: str) -> Node:
        if name in FUNCTIONS:
            return self._function(name)
        if name == "ldots" and not self._is_alone():
            raise Unreadable("dots")
        if self.peek(gaps=True) == "_":
            self._next()
            name = f"{name}_{self._subscript_text()}"
        return Symbol(name)

    def _is_alone(self) -> bool:
        r"""The token just read is an item of its own: `1, 2, \ldots, n`."""
        before = [kind for kind, _ in self._tokens[: self._at - 1] if kind != "gap"][-1:]
        return before[:1] in ([","], [";"], [":"]) and self.peek() in (",", ";", ":", None, *_CLOSING)

    def _subscript_text(self) -> str:
        r"""Whatever it is: `1`, `n+1`, `\max`, `\mathrm{B}`."""
        if not self._accept("{"):
            return spelled(self._atom(one_digit=True))
        depth, text = 1, ""
        while True:
            kind, piece = self._next()
            depth += {"{": 1, "}": -1}.get(kind, 0)
            if not depth:
                return text
            text += "" if kind in "{}" or kind == "gap" else piece

    def _subscript(self) -> Node:
        if self._accept("{"):
            inside = self.listing()
            self._take("}")
            return inside
        return self._atom(one_digit=True)

    def _function(self, name: str) -> Node:
        """`sin^2 x`, `log_2 8`, `sin(x)`, `sin 2x cos y`."""
        power: Node | None = None
        base: Node | None = None
        while sign := self._accept("^", "_"):
            if sign == "_":
                base = self._subscript()
            else:
                power = self._exponent()
        if name in ("max", "min", "gcd", "lcm"):
            raise Unreadable(name)
        argument = self._argument_of_function()
        if isinstance(power, Apply) and power.name == "neg" and power.args == (Number(Fraction(1)),):
            if name not in ("sin", "cos", "tan"):
                raise Unreadable("an inverse")
            name, power = f"arc{name}", None
        value = Apply(name, (argument,) if base is None else (argument, base))
        return value if power is None else Apply("pow", (value, power))

    def _argument_of_function(self) -> Node:
        if self.peek() in ("(", "{", "["):
            group = self._atom()
            if isinstance(group, Group):
                raise Unreadable("several arguments")
            return group
        value = self._signed_power()
        while self.peek() in _STARTS and not self._is_function():
            if self.peek() == "num" or self.peek() in ("(", "[", "\\{"):
                break
            value = Apply("mul", (value, self._power()))
        return value

    def _is_function(self) -> bool:
        kind, text = self._tokens[self._at]
        return kind == "name" and text in FUNCTIONS

    def _argument(self) -> Node:
        r"""Of a command: `{...}`, or one digit or letter (`\frac12`)."""
        if self.peek() in ("{", "("):
            closing = _OPENING[self._next()[0]]
            inside = self.listing()
            self._take(closing)
            return inside
        return self._atom(one_digit=True)

    def _group(self, opening: str) -> Node:
        bars, self._bars = self._bars, 0
        items = self._items()
        self._bars = bars
        if self.peek() not in _CLOSING:
            raise Unreadable("not closed")
        closing = self._next()[0]
        if opening == "{" or closing == "}":
            if opening != "{" or closing != "}":
                raise Unreadable("braces")
            return items[0] if len(items) == 1 else Group("{", tuple(items), "}")
        if opening == "\\{":
            return Group("{", tuple(items), "}")
        if len(items) == 1 and (opening, closing) in (("(", ")"), ("[", "]")):
            return items[0]
        return Group(opening, tuple(items), closing)

    def _environment(self) -> Node:
        name = self._environment_name()
        if name not in ("pmatrix", "bmatrix", "vmatrix", "matrix", "array", "Bmatrix", "smallmatrix"):
            raise Unreadable(name)
        if name == "array" and self._accept("{"):
            while self._next()[0] != "}":
                pass
        rows: list[list[Node]] = [[]]
        while self.peek() != "end":
            if self._accept("\\\\"):
                rows.append([])
            elif not self._accept("&"):
                rows[-1].append(self._side())
        self._next()
        self._environment_name()
        rows = [row for row in rows if row]
        if not rows or len({len(row) for row in rows}) != 1:
            raise Unreadable("rows of different length")
        matrix = Matrix(tuple(tuple(row) for row in rows))
        return Apply("det", (matrix,)) if name == "vmatrix" else matrix

    def _environment_name(self) -> str:
        self._take("{")
        name = ""
        while (token := self._next())[0] != "}":
            name += token[1]
        return name
