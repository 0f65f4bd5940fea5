"""gjson paths over a document about a pumping station."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines import gjson
from mra.machines.gjson import MISSING

STATION = {
    "site": {"name": "North", "code.old": "N-1", "wild*card": "star", "height": 37},
    "pumps": ["intake", "booster", "drain"],
    "fav.valve": "gate",
    "empty": [],
    "nothing": None,
    "nics": [
        {"name": "eth0", "vendor": "Acme", "mtu": 1500, "roles": ["lan", "mgmt"], "up": True},
        {"name": "eth1", "vendor": "Borg", "mtu": 9000, "roles": ["san"], "up": False},
        {"name": "wlan0", "vendor": "Acme", "mtu": 1492, "roles": ["lan"]},
    ],
    "nested": [[1, 2], [3, [4]], 5],
    "#": "hash key",
    "@odd": "at key",
}

FOUND = [
    ("site.name", "North"),
    ("site.height", 37),
    ("pumps", ["intake", "booster", "drain"]),
    ("pumps.0", "intake"),
    ("nics.1.name", "eth1"),
    ("nothing", None),
    # wildcards match the first key that leads somewhere
    ("si*.name", "North"),
    ("pum?s.1", "booster"),
    ("*.height", 37),
    ("s*e.h??ght", 37),
    # escapes
    (r"fav\.valve", "gate"),
    (r"site.code\.old", "N-1"),
    (r"site.wild\*card", "star"),
    (r"site.wild\*c*", "star"),
    # lists
    ("pumps.#", 3),
    ("empty.#", 0),
    ("nics.#.mtu", [1500, 9000, 1492]),
    ("nics.#.up", [True, False]),
    ("nics.#.absent", []),
    ("nics.#.roles.0", ["lan", "san", "lan"]),
    ("nics.#.roles.#", [2, 1, 1]),
    # queries
    ('nics.#(name=="eth1").mtu', 9000),
    ("nics.#(name=eth1).mtu", 9000),
    ('nics.#(vendor=="Acme")#.name', ["eth0", "wlan0"]),
    ('nics.#(vendor="Acme")#|0.name', "eth0"),
    ('nics.#(vendor="Acme")#|#', 2),
    ('nics.#(vendor="Acme")#.#', []),
    ('nics.#(vendor="Nobody")#', []),
    ("nics.#(mtu>1500)#.name", ["eth1"]),
    ("nics.#(mtu>=1500)#.name", ["eth0", "eth1"]),
    ("nics.#(mtu<1500).name", "wlan0"),
    ("nics.#(mtu<=1500)#.name", ["eth0", "wlan0"]),
    ("nics.#(mtu!=1500)#.name", ["eth1", "wlan0"]),
    ('nics.#(name%"eth*")#.name', ["eth0", "eth1"]),
    ('nics.#(name!%"eth*").name', "wlan0"),
    ('pumps.#(%"*a*")#', ["intake", "drain"]),
    ('pumps.#(!%"*a*")', "booster"),
    ('pumps.#(>"d")#', ["intake", "drain"]),
    ("nics.#(up==true).name", "eth0"),
    ("nics.#(up!=true).name", "eth1"),
    ("nics.#(up<true).name", "eth1"),
    ("nics.#(up>false).name", "eth0"),
    ("nics.#(up)#.name", ["eth0", "eth1"]),
    ('nics.#(roles.#(=="lan"))#.name', ["eth0", "wlan0"]),
    ("nics.#(up==~true)#.name", ["eth0"]),
    ("nics.#(up==~false)#.name", ["eth1", "wlan0"]),
    ("nics.#(up==~null)#.name", ["wlan0"]),
    ("nics.#(up==~*)#.name", ["eth0", "eth1"]),
    ("nics.#(up!=~*)#.name", ["wlan0"]),
    # pipes
    ("site|name", "North"),
    ("pumps|#", 3),
    ("pumps|1", "booster"),
    # modifiers
    ("pumps.@reverse", ["drain", "booster", "intake"]),
    ("pumps.@reverse.0", "drain"),
    ("pumps|@reverse|0", "drain"),
    ("site.@keys", ["name", "code.old", "wild*card", "height"]),
    ("site.@values.3", 37),
    ("site.@this.name", "North"),
    ('pumps.@pretty:{"indent":" "}.0', "intake"),
    ("nested.@flatten", [1, 2, 3, [4], 5]),
    ('nested.@flatten:{"deep":true}', [1, 2, 3, 4, 5]),
    ("nics.@join.name", "wlan0"),
    ("@this.site.name", "North"),
    # special characters where they are not special
    ("#", "hash key"),
    ("@odd", "at key"),
]

ABSENT = [
    "absent",
    "site.absent",
    "site.name.deeper",
    "pumps.3",
    "pumps.-1",
    "pumps.99999999999999999999999",
    "pumps.first",
    "nothing.deeper",
    "site.#",
    'nics.#(name=="ppp0").mtu',
    'nics.#(vendor="Acme")#|name',
    'site.#(name=="North")',
    "",
    "site.",
    "nics.#(mtu==~nonsense)",
]

REFUSED = [
    ("{site,pumps}", "multipath"),
    ("site.[name,height]", "multipath"),
    ('!"text"', "literal"),
    ("..0", "JSON lines"),
    ("site.@tostr", "@tostr"),
    ("nics.@group", "@group"),
    ("nics.#(name", "not closed"),
    ('nics.#(name=="eth0")x', "must follow"),
    ('nested.@flatten:{"deep"', "not JSON"),
    ("a" * 2000, "characters"),
    (".".join("a" * 100), "steps"),
    ("#(" * 10 + "a" + ")" * 10, "nested"),
]


@pytest.mark.parametrize(("path", "value"), FOUND)
def test_a_path_finds_its_value(path: str, value: object) -> None:
    assert gjson.get(STATION, path) == value


@pytest.mark.parametrize("path", ABSENT)
def test_what_is_not_there_is_missing_rather_than_null(path: str) -> None:
    assert gjson.get(STATION, path) is MISSING


@pytest.mark.parametrize(("path", "reason"), REFUSED)
def test_a_path_outside_the_subset_is_refused_by_name(path: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        gjson.compile_path(path)


def test_looking_changes_nothing_in_the_document() -> None:
    before = json.dumps(STATION)
    for path, _ in FOUND:
        gjson.get(STATION, path)
    assert json.dumps(STATION) == before


def test_a_search_that_looks_at_too_much_is_refused() -> None:
    crowd = [{"roles": list(range(1000))} for _ in range(500)]
    with pytest.raises(BadInput, match="more specific"):
        gjson.get(crowd, "#(roles.#(==-1))#")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MISSING, ""),
        (None, ""),
        (True, "true"),
        ("x", "x"),
        (1500000.0, "1500000"),
        (0.25, "0.25"),
        (7, "7"),
        ([1, {"a": "ü"}], '[1,{"a":"ü"}]'),
    ],
)
def test_values_as_text(value: object, text: str) -> None:
    assert gjson.text_of(value) == text


def test_a_value_nested_without_end_is_refused_as_text() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadInput, match="nested"):
        gjson.text_of(deep)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.#*@\\", max_size=3), inner, max_size=4),
    max_leaves=20,
)
path_text = st.text('ab01.#|()[]{}*?\\@!=<>%~":,rev', max_size=40) | st.lists(
    st.sampled_from(
        ["a", "b", "0", "#", "#.", ".", "|", "*", "?", "#(a=1)", "#(a)#", "@keys", "@reverse", "\\", "@flatten"]
    )
).map("".join)


@given(json_values, path_text)
def test_any_path_over_any_document_is_a_value_or_a_refusal(document: object, path: str) -> None:
    with contextlib.suppress(BadInput):
        gjson.get(document, path)


@given(st.lists(st.text("ab.*?#|@\\!{[", min_size=1, max_size=4), min_size=1, max_size=4), st.integers())
def test_escaped_keys_lead_to_their_value(keys: list[str], leaf: int) -> None:
    document: object = leaf
    for key in reversed(keys):
        document = {key: document}
    path = ".".join("".join("\\" + character for character in key) for key in keys)
    assert gjson.get(document, path) == leaf


@given(st.text("ab", max_size=12), st.text("ab*?", max_size=8))
def test_wildcards_agree_with_a_plain_definition(text: str, pattern: str) -> None:
    def fits(text: str, pattern: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(fits(text[skip:], pattern[1:]) for skip in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and fits(text[1:], pattern[1:])

    assert gjson.get([text], f'#(%"{pattern}")') == (text if fits(text, pattern) else MISSING)
