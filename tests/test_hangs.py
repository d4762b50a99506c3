r"""Expressions that are known to hang judges of answers: Math-Verify, or SymPy beneath it.

Each was reported where the table says. Our own reader, which runs in the caller's process, must leave all of them alone
at once; in a worker a check is killed at its limit, is `timeout`, and the next one is not affected.
"""

import asyncio
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.checkers import Checkers
from quality.equivalence.compare import compare
from schemas.vocabulary import Judgement, VerifierName

MATH = VerifierName.MATH_VERIFY
LIMIT_S = 4.0
"""What builds use (`judge.timeout_s`)."""
SERIES = "+".join(f"x^{{{n}}}" for n in range(800))

HANG = [
    ("5", r"\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}", "Math-Verify#65"),
    ("5", r"10^{(5^{5^{5^{5^{5}}} \cdot \log_{10}(5)} - 4)}", "Math-Verify#59"),
    ("16", r"2^{4^{8^{16}}}", "Math-Verify#63"),
    ("5", r"10^{\left(5^{5^{5^{5^{5}}} \cdot \log_{10}(5)} - 4\right)}", "sympy#28112"),
    ("009", r"2003^{2002^{2001}}", "torchtitan#4442"),
    ("0", rf"\frac{{x^{{800}}-1}}{{x-1}}-({SERIES})", "NeMo-Gym#1354"),
    ("5", r"3^{20^{6}}", "sympy#24187"),
    ("5", r"\sin(\cos(\exp(\exp(\exp(\exp(1))))))", "sympy#10952"),
    ("5", r"4^{\frac{111111111111111111111111111111111}{2222222222222}}", "sympy#21762"),
    ("10^{10}", r"10^{10^{10^{10}}}", "OlympiadBench, scoring_examples.json"),
    ("5", "10000000!", "qwed-verification#331"),
    ("5", "3^{1500000000}", "qwed-verification#331"),
    ("5", "9!!!!", "a tower of factorials"),
    ("5", r"\sum_{k=1}^{10^{9}} \frac{1}{k^2}", "a long sum"),
    ("5", r"\int_0^1 e^{-x^2}\sin(x^3)\,dx", "an integral without a closed form"),
]
"""They hang Math-Verify 0.9.0 for longer than 14 s (measured), and our reader has no opinion on them."""

DECIDED = [
    ("4951077", "{@Neillier 1276915 4951077 {1,1-3-10);5_GENERAL2 _HEADERS1 Orchestra}", False, "Math-Verify#65"),
    ("16", r"x > 2^{2^{16}}", False, "Math-Verify#63"),
    ("16", r"x > 2^{4^{8^{16}}}", False, "Math-Verify#63"),
    ("5", "2^{30^{5}}", False, "sympy#24187"),
    ("5", r"\left(\frac{25\sqrt[3]{3}}{4}\right)^{1/4}", False, "sympy#24146"),
    ("5", r"24! \times 24!", False, "sympy#27411"),
    (f"{math.factorial(24) ** 2}", r"24! \times 24!", True, "sympy#27411"),
    ("f(x) = x^n", "f(x) = x^{n+1}", False, "sympy#21480"),
    ("x", "x^{6000}", False, "sympy#10963"),
    (r"\sqrt{17}", "4.123105625617661", True, "Math-Verify#48"),
    ("x^2/4 + y^2/3 = 1", "x^2/16 + y^2/12 = 1/4", True, "Math-Verify#40"),
    ("(x+y+z)^{200}", "(x+y+z+1)^{200}", False, "an expansion"),
]
"""Reported too, but they get a verdict here: from our reader, or from Math-Verify in time."""


def seconds_of(gold: str, answer: str) -> float:
    started = time.process_time()
    forth, back = compare(gold, answer), compare(answer, gold)
    took = time.process_time() - started
    assert forth.verdict == back.verdict, (gold[:80], answer[:80])
    return took


@pytest.mark.parametrize(("gold", "answer"), [row[:2] for row in (*HANG, *DECIDED)])
def test_our_own_reader_leaves_them_alone_at_once(gold: str, answer: str) -> None:
    assert seconds_of(gold, answer) < 0.5  # a few milliseconds; an evaluation would take hours


@pytest.mark.slow
async def test_a_hanging_check_is_a_timeout_within_five_seconds_and_the_next_one_is_right() -> None:
    async with Checkers(2, LIMIT_S, memory_mb=1024) as pool:

        async def hang_and_go_on(n: int, gold: str, answer: str, where: str) -> None:
            check = await pool.check(MATH, gold, answer)
            assert (check.verdict, check.is_correct) == (Judgement.TIMEOUT, None), (where, check)
            assert check.wall_ms < 5_000, where
            after = await pool.check(MATH, rf"\sum_{{k=1}}^{{{n}}} k", str(n * (n + 1) // 2))  # a worker decides it
            assert after.verdict is Judgement.CORRECT, where
            assert after.wall_ms < 2_000, where

        await asyncio.gather(*(hang_and_go_on(n, *row) for n, row in enumerate(HANG, 2)))


async def test_what_can_be_decided_is_decided() -> None:
    async with Checkers(2, LIMIT_S, memory_mb=1024) as pool:
        checks = await pool.check_all([(MATH, gold, answer, "{}") for gold, answer, _, _ in DECIDED])
    got = [(check.is_correct, row[3]) for check, row in zip(checks, DECIDED, strict=True)]
    assert got == [(expected, where) for _, _, expected, where in DECIDED]


EVIL = [
    "{", "(", r"\frac", "1+", "x+", "9^", "|x|", r"\sqrt{", "1,", "-1", "!", "a_", "$", r"\boxed{", r"\text{a}", "~",
    " ", r"\ ", "\n", r"\begin{pmatrix}", r"\overline", "1/", "<1", "and ", "5 km ", r"\infty", "\u221a", "\u4e2d",
    "1,000,", r"\pm1", r"(1,2)\cup", "x=1,", r"\frac{1}{", "1e5", "the ", "$x$ ", "x<1,", "A, ", "{1:", "[[1,",
    "two ", "9.9",
]  # fmt: skip


@pytest.mark.parametrize("piece", EVIL)
def test_long_answers_take_little_time(piece: str) -> None:
    for n in (2000, 20_000):
        long = (piece * n)[:n]
        for gold, answer in (("5", f"5{long}x"), (long, f"{long}1")):
            assert seconds_of(gold, answer) < 2  # 0.1 s; one pattern that backtracks took two minutes


SIGNS = (
    r"1 2 9 0.5 .5 12 1000 1e5 1e400 x y s m i e \pi \infty oo + - * / ** ^ ! % = < > \le \ne \in ( ) [ ] { } \{ \} |"
    r" , ; : \frac \frac12 \sqrt \sqrt[3]{x} \binom{5}{2} \log_2 \sin \cup \cap \setminus \pm \text{and} or \text{cm}"
    r" cm^2 ^\circ 0.\overline{3} _ _{5} \lfloor \rfloor \begin{pmatrix}1&2\\3&4\end{pmatrix} $ \boxed{2} \cdot \ldots"
    r" \mathbb{R} \emptyset ^{9^{9}} 10^{10^{10}} 0^0 (1/0) hours PM 3:00 \to [[1,2],[3,4]] million A, B I"
)
PIECES = (*SIGNS.split(), " ", "\n", "\u00bd", "\u0663", "\u4e2d")
ANSWERS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@settings(max_examples=300, deadline=None)
@given(ANSWERS, ANSWERS)
def test_any_two_answers_get_one_opinion_in_both_directions(gold: str, answer: str) -> None:
    assert seconds_of(gold, answer) < 1
    assert seconds_of(gold, gold + answer) < 1


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gets_an_opinion(gold: str, answer: str) -> None:
    assert seconds_of(gold, answer) < 1
