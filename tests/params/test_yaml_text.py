"""Whatever a YAML file holds, the answer is plain values or one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import REPOSITORY

from imagetrail.errors import ParamsError
from imagetrail.params import yaml_text
from imagetrail.params.load import parse_params

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
DEFAULT = (REPOSITORY / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date: 2024-13-45", "'2024-13-45' is not a valid timestamp in line 1, column 7"),
        ("a: 1\nb: 0x_", "'0x_' is not a valid int in line 2, column 4"),
        ("!!bool abc", "'abc' is not a valid bool"),
        ("!!int ''", "'' is not a valid int"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("9" * 5000, "99…"),
        ("[" * 3000 + "]" * 3000, "20 levels of nesting"),
        ("[" * 21 + "]" * 21, "20 levels of nesting"),
        ("&a [*a]", "20 levels of nesting"),
        (BOMB, "more than 10,000 values"),
    ],
)
def test_what_yaml_cannot_turn_into_values_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=r"^mine\.yaml ") as error:
        yaml_text.parse(text, "mine.yaml")
    assert message in str(error.value)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


@given(st.text(alphabet="ab0_.:-&*!<>[]{}'\"\n #?|%~", max_size=40))
def test_any_text_is_values_or_a_sentence(text: str) -> None:
    try:
        yaml_text.parse(text, "mine.yaml")
    except ParamsError as error:
        assert "\n" not in str(error)  # noqa: PT017


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def paths(tree: dict, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = [path for key, value in tree.items() if isinstance(value, dict) for path in paths(value, (*prefix, key))]
    return [*((*prefix, key) for key in tree), *inner]


@given(st.data())
def test_any_value_at_any_place_is_taken_or_a_sentence(data: st.DataObject) -> None:
    tree = yaml_text.parse(DEFAULT, "params.yaml")
    *folder, name = data.draw(st.sampled_from(paths(tree)))
    section = tree
    for key in folder:
        section = section[key]
    section[name] = data.draw(VALUES)
    try:
        parse_params(tree, "params.yaml")
    except ParamsError as error:
        assert name in str(error)  # noqa: PT017
