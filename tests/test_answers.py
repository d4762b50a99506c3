"""Final answers: each rule, their order, fences, and texts that would hang a careless expression."""

import time

import pytest

from quality.answers import Rule, clean_gold, extract, extract_answer
from tests.shared_data import rows
from warehouse.fences import Kind, split_fences


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        (r"So \boxed{\frac{1}{\sqrt{2}}}.", r"\frac{1}{\sqrt{2}}", Rule.BOXED),
        (r"\boxed{1} no, \boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}", Rule.BOXED),
        (r"\boxed{7} and then \boxed{8", "7", Rule.BOXED),
        (r"\boxed{ } is empty, the answer is 3.", "3", Rule.PHRASE),
        (r"\boxed{5}. The answer is 6.", "5", Rule.BOXED),
        (r"\boxed{255} each. Final Answer: the final answer is $10,455$.", "10,455", Rule.PHRASE),
        ("It costs 2,74 \u20ac a piece.", "2,74", Rule.NUMBER),
        ("The answer is 12 * 34 = 408.", "408", Rule.PHRASE),
        ("The answer is 5 apples, since 3 are eaten.", "5", Rule.PHRASE),
        ("The answer is **5** apples.", "5", Rule.PHRASE),
        (r"**Final Answer:** $\frac{1}{2}$", r"\frac{1}{2}", Rule.PHRASE),
        ("Answer:\n\n\\[ x = 5 \\]", "x = 5", Rule.PHRASE),
        ("The correct answer is approximately 5.2, as 2 + 3 is 5.", "5.2", Rule.PHRASE),
        ("The answer to question 4 is $18 per day for 2 ducks", "18", Rule.PHRASE),
        ("The answer costs $5 and the answer is $18 for 2 hats and $3.", "18", Rule.PHRASE),
        ("The answer is 3 and 4.", "3 and 4", Rule.PHRASE),
        ("The final answer is North.", "North", Rule.PHRASE),
        ("steps\n#### 42", "42", Rule.PHRASE),
        ("The answer is not 5. I get 7.", "7", Rule.NUMBER),
        ("The answer is the product of 12 and 34. We have 1,234.", "1,234", Rule.NUMBER),
        ("<answer> yes </answer> for 3 reasons", "yes", Rule.TAG),
        ("x = 408", "408", Rule.NUMBER),
        ("It is 3/4.", "3/4", Rule.NUMBER),
        (r"It is $-\frac{3}{4}$.", r"-\frac{3}{4}", Rule.NUMBER),
        ("He loses -$3.50.", "-3.50", Rule.NUMBER),
        ("5-3 = \u22122", "-2", Rule.NUMBER),
        ("The product is **1,234,567.**", "1,234,567", Rule.NUMBER),
        (r"about $1{,}000$", "1,000", Rule.NUMBER),
        ("so it is 28%", "28%", Rule.NUMBER),
        (r"so $3.5 \times 10^4$", r"3.5 \times 10^4", Rule.NUMBER),
        ("It is 12.\n1. First\n2. Second\n- 3) third", "12", Rule.NUMBER),
        ("It is 12, by step 3, x_1, x^2, the 3rd line and H2O.", "12", Rule.NUMBER),
        ("No idea.", None, Rule.NONE),
        ("", None, Rule.NONE),
    ],
)
def test_rules(text: str, answer: str | None, rule: Rule) -> None:
    found = extract(text)
    assert (found.answer, found.rule) == (answer, rule)


CODE = "```python\nprint(12 * 34)  # \\boxed{1}\n```\n"


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        (f"{CODE}```output\n408\n```\nThe product is 408.", "408", Rule.OUTPUT),
        (f"{CODE}```output\n408\n```\n", "408", Rule.OUTPUT),
        (f"{CODE}```output\n5\n```\n5 cars in the first 15 minutes.", "5", Rule.OUTPUT),
        (f"{CODE}```output\n5.0\n```\nThat is twice as much: 10.", "10", Rule.NUMBER),
        (f"{CODE}```output\n[2, 5]\n```\nSo 2 of them.", "2", Rule.NUMBER),
        # The model's word after the output beats its word before it.
        (f"\\boxed{{12}} Wait, {CODE}```output\n408\n```\nSo 408.", "408", Rule.OUTPUT),
        (f"The answer is 12. {CODE}```output\n408\n```\nThe answer is 409.", "409", Rule.PHRASE),
        # A silent output leaves the earlier word standing.
        (f"\\boxed{{12}} {CODE}```output\nTrue\n```\nThis proves step 2 and 1 more.", "12", Rule.BOXED),
        (f"\\boxed{{12}} {CODE}```output\nNameError: name 'x3' is not defined, line 4\n```\n", "12", Rule.BOXED),
        # Code is never searched, closed or not.
        ("It is 7.\n```python\nprint(408)", "7", Rule.NUMBER),
        ("It is 7.\n```python\nprint(408)\n```\nWho knows.", "7", Rule.NUMBER),
        # A fence without a language is prose.
        ("The result:\n```\n408\n```", "408", Rule.NUMBER),
    ],
)
def test_fences_and_order(text: str, answer: str, rule: Rule) -> None:
    found = extract(text)
    assert (found.answer, found.rule) == (answer, rule)


def test_fences_are_found_where_models_put_them() -> None:
    text = "Wait, let me check ```python\nprint(3)```\n```output\n3\n```\nSo 3 and `inline ``` ticks`."
    assert [(piece.kind, piece.text.strip()) for piece in split_fences(text)] == [
        (Kind.PROSE, "Wait, let me check"),
        (Kind.CODE, "print(3)"),
        (Kind.OUTPUT, "3"),
        (Kind.PROSE, "So 3 and `inline ``` ticks`."),
    ]


@pytest.mark.parametrize(
    "evil",
    [
        r"\boxed{", r"\boxed", "1", "x1", "1,", "111,", "1/", "1 ", " \n", "\n", " ", "-", "$", "#", "*", "{", "_{",
        "`", "```\n", "the answer is ", "the answer to ", "final answer ", "answer: ", "<answer>", "</answer>",
        r"\frac{1}", "step 1 ", "Traceback\n", "1. ",
    ],
)  # fmt: skip
def test_100_kb_of_anything_take_time_that_grows_with_the_text(evil: str) -> None:
    text = (evil * (100_000 // len(evil) + 1))[:100_000]
    for candidate in (text, "x" + text, "```output\n" + text):
        started = time.process_time()
        extract(candidate)
        assert time.process_time() - started < 5  # half a second; a pattern that backtracks takes minutes


def test_clean_gold() -> None:
    assert clean_gold("He has 48/2 = <<48/2=24>>24 clips.\n#### 1,024 ") == "1,024"
    assert clean_gold(r"We get $\boxed{\frac{1}{2}}$.") == r"\frac{1}{2}"
    assert clean_gold(" 72\n") == "72"


def test_gsm8k_golds() -> None:
    for row in rows("math_gsm8k_train")[:500]:
        assert clean_gold(row["solution"]).replace(",", "") == clean_gold(row["answer"]).replace(",", "")


@pytest.mark.parametrize(("name", "share"), [("tir_tora_gsm8k", 0.98), ("cot_qwen25math_100x8", 0.99)])
def test_real_answers_are_those_that_others_extracted(name: str, share: float) -> None:
    def plain(text: str | None) -> str:
        text = (text or "").replace(" ", "").replace("dfrac", "frac").replace(",", "").replace("$", "")
        return text.replace("\\", "").removesuffix("%").removesuffix(".0")

    labelled = [row for row in rows(name) if row["label"] is not None]
    same = sum(plain(extract_answer(row["text"])) == plain(row["pred"]) for row in labelled)
    assert same / len(labelled) >= share
