"""Two answers read and compared: every kind of answer, in both directions, and texts that must not be believed."""

import time
from fractions import Fraction

import pytest

from quality.equivalence.compare import compare
from quality.equivalence.numbers import number
from quality.equivalence.prose import bare
from quality.equivalence.reading import unboxed
from schemas.vocabulary import JudgeStep

SAME = {
    "numbers": [
        ("1,000", "1000.0"), ("1000", "1 000"), ("1000.99", "1000,99"), ("0,111", "0.111"), (r"\frac12", "0.5"),
        (r"\frac{3}{56}", "0.0535714285714164"), (r"2\frac{1}{2}", "5/2"), ("2 1/2", "2.5"), ("3e2", "300"),
        (r"3.5\times10^4", "35,000"), ("10^{-2}", "0.01"), (r"32,\! 349", "32349"), ("five", "5"), (".5", "0.50"),
        (r"111, \! 111, \! 111", "111111111"),
        (r"0.\overline{3}", "1/3"), (r"1.1\overline{6}", r"\frac{7}{6}"), ("2**10", "1024"), ("5!", "120"),
    ],
    "Python and SymPy": [
        ("x**2 + 2*x", "x^2+2x"), (r"\frac{1}{3}", "Rational(1, 3)"), ("0.75", "Fraction(3, 4)"), ("3+4i", "3 + 4*I"),
        ("3+4i", "(3+4j)"), ("e^x", "E**x"), ("5", "np.float64(5.0)"), (r"\sqrt{2}", "math.sqrt(2)"), ("5", "'5'"),
        ("120", "factorial(5)"), (r"\{1,2\}", "FiniteSet(1, 2)"), ("(0,1]", "Interval.Lopen(0, 1)"), ("x=2", "{x: 2}"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "Matrix([[1, 2], [3, 4]])"), ("[1, 2, 3]", "3, 2, 1"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1, 2], [3, 4]]"), (r"\infty", "oo"), (r"\frac{x}{y}", "x/y"),
    ],
    "numbers in words, periods": [
        ("twenty-one", "21"), ("two hundred and five", "205"), ("three thousand", "3000"), ("1.2 million", "1,200,000"),
        ("a hundred", "100"), ("1/3", r"0.333\ldots"), ("1/3", "0.333..."), ("1/3", r"0.\dot{3}"), ("25/8", "3 1/8"),
    ],
    "units that both name": [
        ("5 m", "500 cm"), ("90 minutes", "1.5 hours"), ("2 hours 30 minutes", "2.5 hours"), ("5 kg", "5000 g"),
        ("60 mph", "60 miles per hour"), ("1 foot", "12 inches"), ("$0.50", "50 cents"), ("16 ft^2", "16 square feet"),
        (r"25 \mathrm{~cm}^2", "25 cm^2"), ("5m", "m*5"), ("2+3m", "3m+2"), ("3s^2", "3*s**2"), ("15 USD", "15"),
    ],
    "angles": [
        (r"\sin 30^\circ", "1/2"), (r"\frac{\sqrt6-\sqrt2}{4}", r"\sin 15^\circ"), (r"180^\circ", r"\pi"),
        (r"\tan(45^\circ)", "1"), ("90 deg", "90"), (r"22\frac{1}{2}^\circ", "22.5"), (r"(22\frac12\%,1)", "(22.5%,1)"),
        (r"22.5^\circ", r"\frac{45}{2}"),
    ],
    "percent, units, currency, degrees": [
        ("28", r"28\%"), ("0.28", "28%"), (r"28\%", "28 percent"), (r"90^\circ", "90"), ("90", "90 degrees"),
        ("$1,200", "1200 dollars"), ("\u20ac5.50", "5.5"), ("125", r"125\text{ miles}"), ("15", r"15\mbox{ cm}^2"),
        ("12", "12 cm^2"), ("6", "6{hours}"), (r"\frac{1}{3}", r"\frac{1}{3} \text{ of the cake}"),
    ],
    "formulas": [
        ("x+1", "1+x"), ("(x+1)^2", "x^2+2x+1"), (r"\frac{x+2}{7}", r"\frac{x}{7}+\frac{2}{7}"),
        (r"\tan^2(y)+1", r"\sec^2 y"), (r"\sqrt[3]{x}^2", "x^{2/3}"), (r"2\sin b\cos a", r"2 \cos(a)\sin(b)"),
        ("sqrt(3)/2", r"\frac{\sqrt{3}}{2}"), ("3*x**2", "3x^2"), (r"\frac{9}{4}\pi", "9*pi/4"),
        (r"1+\sqrt{3}i", r"1+i\sqrt 3"), ("e^{-1}", r"\frac1e"), (r"\cosh(at)", r"\frac12(e^{at}+e^{-at})"),
        (r"\log_2 8", "3"), (r"\binom{5}{2}", "10"), ("|x-2|", "|2-x|"), (r"\frac{2}{\sqrt 2}", r"\sqrt 2"),
        (r"\sqrt{-3}", r"i\sqrt{3}"), (r"\lfloor 2.7 \rfloor", "2"), (r"\frac12\pic^2", r"\frac{\pi c^2}{2}"),
        (r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", "-2"), (r"\frac{1}{2004!}", "1/2004!"),
        (r"I_{\max}=\frac{q}{\sqrt{2LC}}", r"\frac{q}{\sqrt{2CL}}"), ("k_B T", r"k_{\mathrm{B}}T"), ("h+2p", "2p+h"),
        (r"\overline{3+4i}", "3-4i"), (r"\frac{x^2-1}{x-1}", "x+1"), (r"e^{i\pi}", "-1"),
    ],
    "tuples, lists and sets": [
        ("(1, 2)", r"\left( 1, \frac{4}{2} \right)"), (r"\{1, 2\}", r"\left\{2, 1\right\}"), ("1,2,3", "3, 2, 1"),
        ("1 and 2", "2, 1"), (r"6 \text{ or } 8", "6, 8"), ("-2,-2", "-2"), (r"1 \pm \sqrt 2", r"1+\sqrt2, 1-\sqrt2"),
        (r"\pm 3", r"\{-3, 3\}"), ("(1,7)(3,5)", "(3,5), (1,7)"), ("1,2,3", "(1,2,3)"), ("(1,3)", r"\{1, 3\}"),
        ("x=1, y=2", "y=2, x=1"), ("x=1, y=2", "1, 2"), ("p=5,q=2;p=7,q=2", "(5,2),(7,2)"), ("1;2;3", r"\{1,2,3\}"),
        ("1, 2, 3", "1\n2\n3"), (r"1, 2, \ldots, 10", r"1, 2, 3, \ldots, 10"), (r"\{\}", r"\emptyset"),
        ("no solutions", r"\emptyset"), ("red and blue", "blue, red"), (r"(1,2,3)", r"\langle 1,2,3 \rangle"),
        (r"\boxed{1} and \boxed{2}", "1,2"), (r"(p,q)=(3,2)", "(3,2)"), ("{1,2}", r"\{1,2\}"),
    ],
    "intervals and inequalities": [
        ("[0,1)", "[0, 1)"), (r"x \in [-2,7]", r"-2 \le x \le 7"), ("x > 5", r"(5, \infty)"), ("x < 1", "-x > -1"),
        (r"x \leq 2", r"2 \geq x"), ("2(x-1)-x+2 > 4", "x>4"), (r"(1,+\infty)", r"(1,\infty)"), ("0<f(x)<1", "(0,1)"),
        (r"[-1,0) \cup (0,\infty)", r"(0,\infty)\cup[-1,0)"), (r"(-\infty,\infty)", r"\mathbb{R}"),
        (r"(-\infty,-1)\cup(1,\infty)", "x < -1 or x > 1"), (r"[-5,1]\cup[3,9]", r"$-5\le x\le1$ or $3\le x\le9$"),
        ("(1,5)", "x>1, x<5"), (r"(1,2]\cup[2,3)", "(1,3)"), (r"\mathbb{R}\setminus\{0\}", r"x \ne 0"),
        ("]0,1[", "(0,1)"), ("all real numbers", r"\mathbb{R}"), ("-1<x<1", "|x|<1"),
        (r"|x-2| \ge 1", r"(-\infty,1]\cup[3,\infty)"),
        (r"x \ne 3", "x != 3"), (r"\{-1\} \cup [0,7)", r"[0,7) \cup \{-1\}"),
    ],
    "equations": [
        ("x = 5", "5"), ("f(x) = 2x", "2x"), ("y = 3(x+4)^2", "3(-x-4)^2"), ("2x+4y-3=0", r"y=-\frac12 x+\frac34"),
        ("x^2/4 + y^2/3 = 1", "x^2/16 + y^2/12 = 1/4"), ("AB = 4", "4"), ("x = 2 + 3 = 5", "5"),
        (r"x = 1/3 \approx 0.33", "1/3"), ("S:T=7:32", "7:32"), ("3:1", "3"), ("1:2", "2:4"),
    ],
    "matrices": [
        (r"\begin{pmatrix} 1/2 \\ 3 \end{pmatrix}", r"\begin{bmatrix} 0.5 \\ 3 \end{bmatrix}"),
        (r"\begin{pmatrix}6&8\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}+\begin{pmatrix}5&6\end{pmatrix}"),
        (r"\begin{pmatrix}2\\4\end{pmatrix}", r"2\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\begin{pmatrix}2\\4\end{pmatrix}", "(2, 4)"),
        (r"\begin{pmatrix}1&1\\0&1\end{pmatrix}^2", r"\begin{pmatrix}1&2\\0&1\end{pmatrix}"),
    ],
    "words, choices, times, bases": [
        (r"\text{Even}", "even"), ("Evelyn", r"\text{Evelyn}"), ("the circle", "Circle."), ("B", "(B)"),
        (r"\text{(C)}", "C"), ("D", "D) 42"), ("3:00 PM", "15:00"), ("3 p.m.", "3:00 PM"), ("1:30", "01:30"),
        ("A, C", "C and A"), ("A, C", "AC"), ("B", "Option B"), ("C", "**C**"), ("D", r"\textbf{(D)}\ 42"),
        ("no", "No"), ("northeast", "north-east"), ("12/25/2020", "December 25, 2020"), ("Sept 5", "September 5"),
        ("3 o'clock", "3:00"), ("noon", "12:00 PM"),
        ("July 4, 2020", "2020-07-04"), ("4th of July", "July 4"), ("204_5", "204"), ("204_5", "204_{5}"),
    ],
    "texts around the answer": [
        ("42", "**42**"), ("42", "`42`"), ("42", "<answer>42</answer>"), ("42", "So 42.\n#### 42"),
        ("9", r"Answer \[ 9 \]"), ("34", "Final Answer: The largest $n$ is 34."), ("x > 5", "So $x > 5$ it is."),
        (r"\frac12", r"Therefore the probability is $\frac12$."), ("7", r"It is so that \boxed{7} is the answer."),
    ],
}  # fmt: skip
DIFFERENT = [
    ("even", "odd"), ("0.333", r"\frac13"), ("32349", "32, 349"), (r"\frac13", "0.3333"), ("5", "-5"),
    ("(1,2)", "(2,1)"), ("(3,1)", r"\{1, 3\}"), ("[0,1)", "[0,1]"), ("(0,1)", "[0,1]"), ("x > 5", "x < 5"),
    (r"x \geq 5", r"x \leq 5"), ("x < 1", "x > -1"), (r"\pm 3", "3"), ("1,2,3", "1,2"), ("95", "(30, 95)"),
    ("x=1, y=2", "x=2, y=1"), ("7 = 11a+c", "11a+c"), ("a + 3z = 0", "0"), ("4", r"4\sqrt 2"), ("x+1", "x-1"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"), (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"), ("|x|", "x"),
    (r"\sqrt{x^2}", "x"), ("12:00", "1:00"), ("3 PM", "3 AM"), ("July 4", "July 5"), ("B", "C"), ("A", "42"),
    (r"1 - \frac{1}{e}", r"1 + \frac{1}{e}"), ("D = (0, 1)", "D = (0, 1.5)"), (r"\text{Evelyn}", "5"),
    ("1, 2", "1.2"), ("5 m", "5 km"), ("5 kg", "5 g"), ("3 m", "3 s"), ("25 cm^2", "25 cm^3"), ("10 ft", "10 in"),
    ("60 mph", "60 km/h"), ("2 hours", "2 minutes"), ("5 dollars", "5 cents"), ("2+3m", "1+4m"), ("3s^2", "3s"),
    ("A", "A, D"), ("A, C", "A, D"), ("A", "A or B"), ("x = 4", "y = 4"), ("x=1, y=2", "2, 1"), ("no", "yes"),
    (r"(-\infty,-1)\cup(1,\infty)", "x < -1"), (r"(-\infty,-1)\cup(1,\infty)", "(-1,1)"), (r"[1,2]\cup[3,4]", "[1,4]"),
    (r"x \ne 0", r"\mathbb{R}"), ("|x|<1", "|x|>1"), (r"1, 2, \ldots, n", r"1, 3, \ldots, 2n-1"), ("0", r"\emptyset"),
    (r"15\mbox{ cm}^2", r"15\mbox{ cm}^4"),
    ("21", "twenty"), ("3 million", "3,000"), ("1/3", "Rational(1, 4)"), ("3+4i", "3 - 4*I"), ("2p+h", "2p-h"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1, 2], [4, 3]]"), ("red and blue", "red"), ("x>1, y>2", "x>2"),
    (r"\sin 30^\circ", r"\sin 60^\circ"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"), ("1:2", "2:1"), ("19, 46", "21, 46"),
    (r"\begin{pmatrix}1 & 2\end{pmatrix}", r"\begin{pmatrix}1 & 3\end{pmatrix}"), ("204_5", "205_5"), ("x^2", "x^3"),
    (r"\boxed{1} no no no no no \boxed{2}", "1,2"), ("2", "2x"), (r"\infty", r"-\infty"), ("10000", "1000"),
]  # fmt: skip
UNKNOWN = [
    ("5", r"9^{9^{9^{9}}}"), ("5", r"\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)}-4\right)}-5}{16}"),
    ("x", r"\sum_{k=0}^{n} k"), ("5", "(" * 500 + "5" + ")" * 500), ("5", "((((5"), ("12", "1 2"), ("1", "9" * 5000),
    ("5", "1/0"), ("5", "__import__('os').system('true')"), ("5", r"\input{x}"), ("5", "7 8 9"),
    (r"\int_0^1 x dx", "1/2"), ("f(2) < f(1) < f(4)", "f(9) < f(1) < f(4)"),
    ("5", "10000000!"), ("5", r"\binom{10^9}{5}"), ("5", "99999^{99999^{99999}}"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), [pair for pairs in SAME.values() for pair in pairs])
def test_the_same_in_both_directions(a: str, b: str) -> None:
    assert (compare(a, b).verdict, compare(b, a).verdict) == (True, True), (compare(a, b), compare(b, a))


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different_in_both_directions(a: str, b: str) -> None:
    assert (compare(a, b).verdict, compare(b, a).verdict) == (False, False), (compare(a, b), compare(b, a))


@pytest.mark.parametrize(("a", "b"), UNKNOWN)
def test_what_is_beyond_it_gets_no_opinion_and_no_time(a: str, b: str) -> None:
    started = time.process_time()
    assert {compare(a, b).verdict, compare(b, a).verdict} <= {None, False}
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "piece", ["(", "{", r"\frac", "1+", "x", "^", "|", r"\sqrt{", "1,", "[", "-", "9^", "!", "a_", "$"]
)
def test_long_rubbish_is_left_alone_quickly(piece: str) -> None:
    started = time.process_time()
    compare("5", (piece * 2000)[:2000])
    compare((piece * 300)[:300], (piece * 301)[:301])
    assert time.process_time() - started < 2


def test_rounding_is_of_the_last_digit() -> None:
    assert compare(r"\sqrt{65}", "8.062258").verdict  # rounded correctly
    assert compare(r"288\pi", "904.7779199999999").verdict is False  # a float of another number
    assert compare(r"\frac{27}{128}", "0.210938").verdict  # six places
    assert compare("8/3", "2.6667").verdict is False
    assert compare("8/3", "2.6667", Fraction(1, 100)).verdict
    assert compare("8/3", "2.67", Fraction(1, 100)).verdict


def test_numbers_are_exact() -> None:
    assert number("0.1") != 0.1
    assert number("1e400") == 10**400
    assert number("32, 349") is None


def test_steps_are_named() -> None:
    pairs = {"72": "exact", r"$72$": "normalised", "72.0": "numeric", "70+2": "numeric", "(7,2)": "structure"}
    assert {text: str(compare("72", text).step) for text in pairs} == pairs
    assert compare("72", "((").step is JudgeStep.NONE
    assert compare("((", "((", by_spelling=False).verdict is None  # a gold that cannot be read


def test_boxes_beside_each_other_are_one_answer() -> None:
    assert unboxed(r"so $\boxed{1}$ and $\boxed{2}$.") == "1, 2"
    assert unboxed(r"\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}") == "(2, 2), (6, 2)"
    assert unboxed(r"first \boxed{3}. Wait, that is wrong, it must be \boxed{4}") == "4"
    assert unboxed(r"\boxed{\frac{1}{\sqrt{2}}}") == r"\frac{1}{\sqrt{2}}"
    assert unboxed(r"\boxed{7") == "7"


def test_bare_answers_stay_as_they_are() -> None:
    for text in ("42", r"\frac{1}{2}", "x > 5", "125 miles", "(1, 2)", r"\text{Evelyn}", "$28$ percent", "yes"):
        assert bare(text) == text
