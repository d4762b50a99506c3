"""The examples of every behaviour rule, and what the rules find in real trajectories."""

import pytest

from schemas.tables import SIGNALS
from tests.shared_data import rows
from warehouse.behaviours import BEHAVIOURS, Behaviour

ALL = pytest.mark.parametrize("rule", BEHAVIOURS, ids=lambda rule: rule.name)


@ALL
def test_examples_are_found_and_counter_examples_are_not(rule: Behaviour) -> None:
    assert [text for text in rule.positives if not rule.find(text)] == []
    assert [text for text in rule.negatives if rule.find(text)] == []


@ALL
def test_every_rule_is_a_column_and_stands_nothing_but_text(rule: Behaviour) -> None:
    assert rule.name in {column.name for column in SIGNALS.columns}
    for text in ("", "=" * 5000, "1+" * 5000, "```output\n" + "1 + 1 = 2\n" * 2000):
        assert rule.find(text) >= 0


def test_tool_integrated_trajectories_compute_with_code_and_chains_of_thought_by_hand() -> None:
    counts = {
        name: [sum(rule.find(row["text"]) > 0 for row in found) / len(found) for rule in BEHAVIOURS]
        for name, found in {n: rows(n)[:300] for n in ("tir_tora_gsm8k", "cot_qwen25math_100x8")}.items()
    }
    assert counts["tir_tora_gsm8k"][0] < 0.05
    assert counts["tir_tora_gsm8k"][2] < 0.2
    assert counts["cot_qwen25math_100x8"][2] > 0.5
