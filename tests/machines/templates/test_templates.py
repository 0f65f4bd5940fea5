"""Templates in watcher properties."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.machines.templates import TemplateError, check, expand

FACTS = {
    "os": {"name": "debian", "cores": 4},
    "big": 1_500_000,
    "half": 0.5,
    "null": None,
    "on": True,
    "tags": ["blue", "green"],
    "odd": ["blue", 1],
    "zones": {"b": 2, "a": 1},
}
DATA = {"level": 80.5, "none": {}, "html": "<a href='x'>&\"+"}


def expanded(text: str) -> str:
    return expand(text, facts=FACTS, data=DATA)


CASES = [
    # text and trimming
    ("plain text", "plain text"),
    ("", ""),
    ("} { }} {", "} { }} {"),
    ("a {{ 1 }} b", "a 1 b"),
    ("a {{- 1 -}} b", "a1b"),
    ("a\n\t {{- 1 }} b", "a1 b"),
    ("a {{/* a comment with }} in it */}} b", "a  b"),
    ("a {{- /* trimmed */ -}} b", "ab"),
    ("{{-3}}", "-3"),
    ("a {{ 1\n}} b", "a 1 b"),
    # constants
    ('{{ "quoted \\"text\\" \\u00e9" }}', 'quoted "text" é'),
    ("{{ `raw \\n` }}", "raw \\n"),
    ("{{ 'a' }}", "97"),
    ("{{ 0x10 }} {{ 0640 }} {{ 0b11 }} {{ 1_000 }} {{ -7 }} {{ 1.0 }} {{ 1e6 }}", "16 416 3 1000 -7 1 1e+06"),
    ("{{ true }} {{ false }}", "true false"),
    # look-ups
    ('{{ lookup "facts.os.name" "none" }}', "debian"),
    ('{{ lookup "data.level" 1 }}', "80.5"),
    ('{{ lookup "facts.big" 1 }}', "1.5e+06"),
    ('{{ lookup "facts.os.cores" 1 }}', "4"),
    ('{{ lookup "facts.null" "default" }}', "<no value>"),
    ('{{ lookup "facts.on" false }}', "true"),
    ('{{ lookup "facts.tags" "" }}', "[blue green]"),
    ('{{ lookup "facts.os" "" }}', "map[cores:4 name:debian]"),
    ('{{ lookup "facts.tags.#" 0 }}', "2"),
    ('{{ lookup "facts.absent" "default" }}', "default"),
    ('{{ lookup "facts.absent" 1500000 }}', "1500000"),
    ('{{ lookup "os.name" "needs facts." }}', "needs facts."),
    ('{{ lookup (printf "facts.%s" "os.name") "" }}', "debian"),
    # pipelines
    ('{{ "debian" | ToUpper }}', "DEBIAN"),
    ('{{ lookup "facts.os.name" "" | ToUpper | printf "%s-%s" "a" }}', "a-DEBIAN"),
    ('{{ ToUpper (lookup "facts.os.name" "") }}', "DEBIAN"),
    ("{{ (1) }}", "1"),
    # Choria's functions
    ('{{ Title "don\'t pANIC foo-bar foo_bar 1st émile a.b" }}', "Don't Panic Foo-Bar Foo_bar 1St Émile A.b"),
    ('{{ Capitalize "two words" }}', "Two Words"),
    ('{{ ToLower "ÄB" }}{{ ToUpper "straße" }}', "äbSTRAßE"),
    ('{{ StringsJoin (lookup "facts.tags" "") }}', "blue, green"),
    ('{{ lookup "facts.tags" "" | StringJoin }}', "blue, green"),
    ('{{ Base64Encode "hi" }} {{ Base64Decode "aGk=" }}', "aGk= hi"),
    # Go's functions
    ('{{ print 1 2 "a" "b" 3 nil }}', "1 2ab3 <nil>"),
    ('{{ println "a" 1 }}', "a 1\n"),
    ('{{ len "äb" }} {{ len (lookup "facts.tags" "") }} {{ len (lookup "facts.os" "") }}', "3 2 2"),
    ('{{ index (lookup "facts.tags" "") 1 }}', "green"),
    ('{{ index (lookup "facts.os" "") "name" }}', "debian"),
    ('{{ index (lookup "facts.os" "") "absent" }}', "<no value>"),
    ('{{ slice "hello" 1 3 }} {{ slice (lookup "facts.tags" "") 1 }} {{ slice "ab" }}', "el [green] ab"),
    ('{{ html (lookup "data.html" "") }}', "&lt;a href=&#39;x&#39;&gt;&amp;&#34;+"),
    ('{{ urlquery "a b&c" }}', "a+b%26c"),
    ('{{ eq 1 1 }} {{ eq 1 2 3 1 }} {{ ne "a" "b" }} {{ eq nil nil }}', "true true true true"),
    ('{{ eq (lookup "facts.os.cores" 0) 4 }}', "true"),
    ('{{ lt 1 2 }} {{ le 2 2 }} {{ gt 1.5 1 }} {{ ge "b" "a" }}', "true true true true"),
    ('{{ not "" }} {{ and 1 0 "x" }} {{ or 0 "" "x" }} {{ and 1 "y" }}', "true 0 x y"),
    ('{{ or true (index "boom" 1) }}', "true"),
    ('{{ "x" | or 0 }}{{ "x" | and 1 }}', "xx"),
    # branches
    ("{{ if true }}yes{{ else }}no{{ end }}", "yes"),
    ('{{ if "" }}yes{{ else }}no{{ end }}', "no"),
    ("{{ if 0 }}a{{ end }}", ""),
    ("{{ if 0 }}a{{ else if 1 }}b{{ else }}c{{ end }}", "b"),
    ("{{ if 0 }}a{{ else if 0 }}b{{ else }}c{{ end }}", "c"),
    ('{{ if eq (lookup "facts.os.name" "") "debian" }}apt{{ end }}', "apt"),
    ("{{ if(eq 1 1) }}a{{ end }}", "a"),
    ('{{ range lookup "facts.tags" "" }}<{{ . }}>{{ end }}', "<blue><green>"),
    ('{{ range lookup "facts.zones" "" }}{{ . }}{{ end }}', "12"),
    ('{{ range lookup "data.none" "" }}a{{ else }}empty{{ end }}', "empty"),
    ('{{ range lookup "facts.null" "" }}a{{ else }}nil{{ end }}', "nil"),
    ('{{ with lookup "facts.os" "" }}{{ .name }}/{{ .cores }}/{{ .absent }}{{ end }}', "debian/4/<no value>"),
    ('{{ with lookup "data.none" "" }}a{{ else with "b" }}{{ . }}{{ end }}', "b"),
    ('{{ (lookup "facts" "").os.name }}', "debian"),
    ("{{ . }}", "<no value>"),
    ("{{ if true }} a {{- else -}} b {{ end }}", " a"),
    # printf
    ('{{ printf "%d %5d|%-5d|%05d %+d %x %X %o %b" 1 2 3 4 5 255 255 8 5 }}', "1     2|3    |00004 +5 ff FF 10 101"),
    ('{{ printf "%s %q %v %8s|%-8s|%.2s" "a" "b\\"c" "d" "e" "f" "ghi" }}', 'a "b\\"c" d        e|f       |gh'),
    ('{{ printf "%t %v %5t" true false true }}', "true false  true"),
    ('{{ printf "%c %U %q" 65 8364 65 }}', "A U+20AC 'A'"),
    ('{{ printf "%T %T %T" 1 "a" (lookup "facts.half" 0) }}', "int string float64"),
    ('{{ printf "%v %v" nil (lookup "facts.tags" "") }}', "<nil> [blue green]"),
    ('{{ printf "%s" (lookup "facts.tags" "") }}', "[blue green]"),
    ('{{ printf "100%%" }}', "100%"),
    ('{{ printf "%d" (lookup "facts.os.cores" 0) }}', "%!d(float64=4)"),
    ('{{ printf "%d %s" "a" 1 }}', "%!d(string=a) %!s(int=1)"),
    ('{{ printf "%s %z" nil 1 }}', "%!s(<nil>) %!z(int=1)"),
    ('{{ printf "%d" }}', "%!d(MISSING)"),
    ('{{ printf "x" 1 "a" }}', "x%!(EXTRA int=1, string=a)"),
    ('{{ printf "x%" }}', "x%!(NOVERB)"),
    ('{{ printf "%q" "tab\\t\\u0001é" }}', '"tab\\t\\x01é"'),
    ('{{ printf "%x" "hi" }}', "6869"),
]


@pytest.mark.parametrize(("template", "text"), CASES)
def test_a_template_expands(template: str, text: str) -> None:
    check(template)
    assert expanded(template) == text


def test_floats_are_printed_with_the_verbs_precision() -> None:
    template = '{{ printf "%f %.2f %8.3f %e %g %v %.3g %06.1f" 1.5 2.346 3.14159 1234.5 0.25 1e6 1234.5 -2.5 }}'
    assert expanded(template) == "1.500000 2.35    3.142 1.234500e+03 0.25 1e+06 1.23e+03 -002.5"


REFUSED = [
    ("{{", "is not closed"),
    ("{{ 1", "is not closed"),
    ("{{ 1 }", "means nothing"),
    ('{{ "open }}', "string that is not closed"),
    ("{{/* open }}", "comment"),
    ("{{/* a */ 1}}", "fill its action"),
    ("{{ }}", "empty command"),
    ("{{ 1 | }}", "empty command"),
    ("{{ (1 }}", "unclosed '('"),
    ("{{ 1) }}", "unexpected ')'"),
    ("{{ 1 2 }}", "no function"),
    ('{{ "a" | "b" }}', "no function"),
    ("{{ nil }}", "nil"),
    ("{{ nosuch 1 }}", "no such function"),
    ('{{ o "a" 1 }}', "no such function"),
    ("{{ $x := 1 }}", "variables"),
    ("{{ range $i, $e := . }}{{ end }}", "variables"),
    ('{{ define "x" }}{{ end }}', "'define'"),
    ('{{ template "x" }}', "'template'"),
    ("{{ range . }}{{ break }}{{ end }}", "'break'"),
    ("{{ call 1 }}", "'call'"),
    ("{{ if }}{{ end }}", "empty command"),
    ("{{ if 1 }}", "has no end"),
    ("{{ if 1 }}{{ else }}", "has no end"),
    ("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "two else"),
    ("{{ range . }}{{ else if 1 }}{{ end }}", "cannot follow 'range'"),
    ("{{ if 1 }}{{ end 1 }}", "more than end"),
    ("{{ end }}", "closes or continues nothing"),
    ("{{ else }}", "closes or continues nothing"),
    ('{{ print 1"a" }}', "needs a space"),
    ("{{ 'ab' }}", "one character"),
    ('{{ "\\q" }}', "does not exist"),
    ("{{ 99999999999999999999 }}", "64 bits"),
    ("{{ if 1 }}" * 60 + "{{ end }}" * 60, "nested"),
    ("{{ " + "(" * 60 + "1" + ")" * 60 + " }}", "nested"),
    ("{{ 1 }}" * 200_000, "characters"),
]


@pytest.mark.parametrize(("template", "reason"), REFUSED, ids=lambda value: value[:24])
def test_what_cannot_be_read_is_refused_before_any_use(template: str, reason: str) -> None:
    with pytest.raises(TemplateError) as refusal:
        check(template)
    assert reason in refusal.value.sentence
    with pytest.raises(TemplateError):
        expanded(template)


FAILING = [
    ('{{ lookup "facts.os" }}', "lookup does not take 1 arguments"),
    ("{{ lookup 1 2 }}", "a path is a string"),
    ('{{ lookup "{a,b}" 1 }}', "multipaths"),
    ('{{ lookup "facts.os.cores" 1 | ToUpper }}', "a string is needed, this is float64"),
    ('{{ lookup "facts.null" 1 | ToUpper }}', "a string is needed, this is <nil>"),
    ('{{ StringsJoin (lookup "facts.odd" "") }}', "list of strings"),
    ('{{ StringsJoin "a" }}', "list of strings"),
    ('{{ Base64Decode "*" }}', "not base64"),
    ("{{ len 1 }}", "no length"),
    ('{{ index (lookup "facts.tags" "") 2 }}', "there are 2"),
    ('{{ index 1 "a" }}', "cannot be indexed"),
    ('{{ slice "ab" 3 }}', "outside"),
    ("{{ eq 1 true }}", "cannot be compared"),
    ('{{ eq "1" 1 }}', "cannot be compared"),
    ('{{ eq (lookup "facts.tags" "") 1 }}', "cannot be compared"),
    ('{{ lt "a" 1 }}', "no order"),
    ("{{ eq 1 }}", "eq does not take 1"),
    ("{{ and }}", "and does not take 0"),
    ("{{ .name }}", "<nil> has no field 'name'"),
    ('{{ range "text" }}{{ end }}', "range cannot visit string"),
    ('{{ printf "%*d" 1 2 }}', "not supported"),
    ('{{ printf "%999999d" 1 }}', "add up to more"),
    ("{{ printf 1 }}", "a string is needed"),
]


@pytest.mark.parametrize(("template", "reason"), FAILING)
def test_what_cannot_be_expanded_is_one_sentence_that_quotes_the_action(template: str, reason: str) -> None:
    check(template)
    with pytest.raises(TemplateError) as failure:
        expanded(template)
    assert reason in failure.value.sentence
    assert "{{ " in failure.value.sentence
    assert "\n" not in failure.value.sentence


@pytest.mark.parametrize(
    "template",
    [
        '{{ range lookup "data.l" "" }}' * 6 + "x" + "{{ end }}" * 6,
        "{{ range .l }}{{ end }}" * 2000,
        '{{ with "xxxxxxxxxx" }}' + "{{ with print . . }}" * 45 + "{{ . }}" + "{{ end }}" * 46,
        '{{ range .l }}{{ printf "%9999d" 1 }}{{ end }}',
        "{{ print " + ". " * 900 + "}}",
        "{{ len (print " + ". " * 900 + ") }}",
    ],
    ids=lambda template: template[:32],
)
def test_a_template_that_grows_without_end_is_stopped(template: str) -> None:
    data = {"l": list(range(1000)), "big": ["x" * 1000] * 10_000}
    source = f'{{{{ with lookup "data" "" }}}}{template}{{{{ end }}}}'
    with pytest.raises(TemplateError, match=r"too many steps|too much memory|more than"):
        expand(source, facts={}, data=data)


def test_a_value_nested_without_end_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TemplateError, match="nested"):
        expand('{{ lookup "data.deep" "" }}', facts={}, data={"deep": deep})


@given(st.text())
def test_a_text_without_actions_stays_as_it_is(text: str) -> None:
    if "{{" not in text:
        assert expanded(text) == text


@given(st.text())
def test_base64_returns_what_it_was_given(text: str) -> None:
    encoded = base64.b64encode(text.encode()).decode()
    assert expanded(f'{{{{ Base64Decode "{encoded}" }}}}') == text
    assert expand('{{ lookup "data.t" "" | Base64Encode }}', facts={}, data={"t": text}) == encoded


pieces = st.lists(
    st.sampled_from(
        [
            *("{{", "}}", "{{-", "-}}", " - ", "/*", "*/", "(", ")", "|", ".", ".os", "$x", ":=", ",", '"', "`", "'"),
            *("if ", "else ", "end ", "range ", "with ", "define ", "nil ", "true ", "0 ", "1.5 ", "-1 ", "0x ", "09 "),
            *('"facts.tags" ', '"data" ', '"%d%s%v%q%x%5.2f%" ', "`%[1]d` ", '"facts.null" ', '"\\q" '),
            *("lookup ", "print ", "printf ", "eq ", "lt ", "and ", "or ", "not ", "len ", "index ", "slice ", "html "),
            *("Title ", "ToUpper ", "StringsJoin ", "Base64Decode ", "Base64Encode ", "text", "\n", " "),
        ]
    ),
    max_size=30,
).map("".join)
FUNCTIONS = ["print", "printf", "eq", "lt", "and", "or", "not", "len", "index", "slice", "html", "urlquery", "Title"]
FUNCTIONS += ["ToUpper", "StringsJoin", "Base64Encode", "Base64Decode"]
CONSTANTS = ['"a"', "1", "1.5", "nil", "true", ".", '"%d %q"', '(lookup "facts.tags" 1)', '(lookup "facts" 1)']
operands = st.recursive(
    st.sampled_from(CONSTANTS),
    lambda inner: st.tuples(st.sampled_from(FUNCTIONS), st.lists(inner, min_size=1, max_size=3).map(" ".join)).map(
        "({0[0]} {0[1]})".format
    ),
    max_leaves=10,
)
actions = operands.map("{{{{ print {} }}}}".format) | operands.map("{{{{ range {} }}}}x{{{{ end }}}}".format)


@given(st.text() | pieces | actions)
def test_any_text_expands_or_is_refused(template: str) -> None:
    with contextlib.suppress(TemplateError):
        expanded(template)
