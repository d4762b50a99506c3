"""All repair rules, by name."""

from warehouse.repairing.calls import CALLS
from warehouse.repairing.cuts import CUTS
from warehouse.repairing.markup import MARKUP
from warehouse.repairing.written import Rule

RULES: dict[str, Rule] = {**MARKUP, **CALLS, **CUTS}
"""In the order in which a recipe does well to name them: what others read by first, cuts last."""
