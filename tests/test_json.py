import inspect
import io
import json as stdlib
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engineio import json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**100) + 1, max_value=10**100 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_round_trip(value: Any) -> None:
    assert json.loads(json.dumps(value)) == value
    assert json.loads(json.dumps(value, separators=(",", ":"))) == value
    assert json.loads(json.dumps(value).encode()) == value


@given(VALUES)
def test_dumps_is_the_standard_one(value: Any) -> None:
    assert json.dumps(value, separators=(",", ":")) == stdlib.dumps(value, separators=(",", ":"))
    assert json.dumps(value, indent=2) == stdlib.dumps(value, indent=2)
    assert json.dumps(value) == stdlib.dumps(value)
    assert inspect.signature(json.dumps) == inspect.signature(stdlib.dumps)


@pytest.mark.parametrize("options", [{}, {"separators": (",", ":")}])
def test_dumps_has_the_errors_of_the_standard_one(options: Any) -> None:
    circle: list[Any] = []
    circle.append({"again": circle})
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for bad in (circle, deep, object(), {"a": {1}}, {(1, 2): 3}):
        with pytest.raises((ValueError, TypeError, RecursionError)) as ours:
            json.dumps(bad, **options)
        with pytest.raises((ValueError, TypeError, RecursionError)) as standard:
            stdlib.dumps(bad, **options)
        assert (type(ours.value), str(ours.value)) == (type(standard.value), str(standard.value))


def test_every_public_name_of_the_standard_module_is_there() -> None:
    assert set(stdlib.__all__) <= set(json.__all__)
    assert all(hasattr(json, name) for name in json.__all__)


DIGITS = "9" * 100


@pytest.mark.parametrize(
    "frame", ["{}", "[1,{}]", '{{"a":[{}]}}', "  {}  ", '["%s",{}]' % ("x" * 300)]
)
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_has_at_most_100_digits(frame: str, sign: str) -> None:
    good = frame.format(sign + DIGITS)
    bad = frame.format(sign + DIGITS + "9")
    assert json.loads(good) == stdlib.loads(good)
    for text in (bad, bad.encode()):
        with pytest.raises(ValueError, match="100 digits"):
            json.loads(text)


@pytest.mark.parametrize("pad", range(14))
def test_a_long_integer_is_found_wherever_it_begins(pad: int) -> None:
    with pytest.raises(ValueError, match="100 digits"):
        json.loads("[" + " " * pad + DIGITS + "9]")


@pytest.mark.parametrize("text", [DIGITS + "99.5", DIGITS + "99e3", '"' + DIGITS * 5 + '"'])
def test_digits_that_are_no_integer_are_not_limited(text: str) -> None:
    assert json.loads(text) == stdlib.loads(text)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("frame", ["%s", "[%s]", '{"a":[1,%s]}', '["' + "x" * 200 + '",%s]'])
def test_what_javascript_refuses_is_refused(name: str, frame: str) -> None:
    text = frame % name
    assert stdlib.loads(text) is not None
    for form in (text, text.encode()):
        with pytest.raises(ValueError, match="is not JSON"):
            json.loads(form)


def test_options_keep_the_guards() -> None:
    assert json.loads('{"a":1}', object_pairs_hook=tuple) == (("a", 1),)
    with pytest.raises(ValueError, match="100 digits"):
        json.loads(f"[{DIGITS}9]", object_pairs_hook=tuple)
    with pytest.raises(ValueError, match="NaN"):
        json.loads("[NaN]", parse_float=str)


def test_an_own_hook_replaces_the_guard() -> None:
    assert json.loads(f"[{DIGITS}9, 1]", parse_int=len) == [101, 1]
    assert json.loads("[NaN]", parse_constant=str.lower) == ["nan"]


def test_load_has_the_guards() -> None:
    assert json.load(io.StringIO("[1]")) == [1]
    assert json.load(io.BytesIO(b"[1]")) == [1]
    with pytest.raises(ValueError, match="100 digits"):
        json.load(io.StringIO(DIGITS + "9"))


@pytest.mark.parametrize("text", ["", " ", "[", "{]", "truex", '"', "[1,]", "\ufeff1", "'a'"])
def test_malformed_text_is_a_json_decode_error(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def refuse(name: str) -> NoReturn:
    raise ValueError(name)


@given(st.text(alphabet='[]{}",:0123456789.-+eEtrufalsn \n\\') | st.text())
def test_loads_agrees_with_the_standard_one(text: str) -> None:
    try:
        expected = stdlib.loads(text, parse_constant=refuse)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            json.loads(text)
    else:
        assert json.loads(text) == expected
