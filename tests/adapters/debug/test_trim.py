"""What is shown of large values, and that the rest of them can be had."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.adapters.debug import trim as trims
from pelton.adapters.debug.trim import trim

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=40,
)


def whole(value: object) -> Any:
    """Return a value as somebody sees it who asks for all that was left out, piece by piece."""
    first = trim(value)
    shown, cuts = first.value, list(first.cuts)
    for cut in cuts:  # grows as it goes
        if not cut.path and cut.shown == cut.size:
            continue
        more = trim(value, path=cut.path, first=cut.shown)
        cuts += [each for each in more.cuts if each != cut]
        shown = put(shown, cut.path, more.value)
    return shown


def put(shown: Any, path: tuple[str | int, ...], more: Any) -> Any:
    """Return what is shown with more of what lies under a path."""
    if not path:
        return shown | more if isinstance(more, dict) else shown + more
    changed = shown.copy()
    changed[path[0]] = put(shown[path[0]], path[1:], more)
    return changed


@given(values)
@settings(max_examples=40)
def test_all_of_it_can_be_had(value: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trims, "TEXT", 3)
        patch.setattr(trims, "MEMBERS", 2)
        assert whole(value) == value


@given(values)
@settings(max_examples=40)
def test_what_is_small_is_whole(value: object) -> None:
    found = trim(value)
    assert found.value == value
    assert found.cuts == ()


def test_so_much_is_shown_at_the_most() -> None:
    found = trim({"list": [{"n": n, "text": "é" * 10_000} for n in range(10_000)]})
    assert len(found.value["list"]) == trims.MEMBERS
    assert {len(each["text"]) for each in found.value["list"]} == {trims.TEXT}
    assert found.cuts[0] == trims.Cut(("list",), 10_000, trims.MEMBERS)
    deep = trim([[[0] * 50] * 50] * 50)
    assert str(deep.value).count("0") <= trims.BUDGET


@pytest.mark.parametrize("path", [["b"], ["a", 3], ["a", "x"], ["a", 0, 0]])
def test_nothing_lies_elsewhere(path: list[str | int]) -> None:
    with pytest.raises((LookupError, TypeError)):
        trim({"a": [1]}, path=path)
