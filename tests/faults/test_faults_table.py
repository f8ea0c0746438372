"""docs/faults.md has every fault, and every link of it leads to a test that there is."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
ROWS = {int(number): row for number, row in re.findall(r"^\| (\d+) \| (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)}
NOT_APPLICABLE = {23, 24, 33}


def test_every_fault_has_a_row_and_every_row_a_test():
    assert sorted(ROWS) == list(range(1, 39))
    for number, row in ROWS.items():
        assert "](../tests/" in row or (number in NOT_APPLICABLE and "not applicable: " in row), row
        assert "TODO" not in row, row


def test_every_link_leads_to_a_test():
    for row in ROWS.values():
        for name, target in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", row):
            source = (PAGE.parent / target).read_text(encoding="utf-8")
            assert name == Path(target).name or f"\ndef {name}(" in source, f"{target} has no {name}"
            slow = re.search(rf"@pytest\.mark\.slow\n(?:@.*\n)*def {name}\(", source)
            assert bool(slow) == bool(re.search(rf"\[{name}\]\([^)]+\) \(slow", row)), f"{name}: slow or not?"
