"""The templates in manifests: a subset of Go's text/template. (pure)

Commands, keys, file contents and more are expanded at each use, so that they follow facts and data:

    ./fill.sh --level {{ lookup "data.level" 50 }} {{- if eq (lookup "facts.site" "") "north" }} --cold {{- end }}

Supported: text, actions with trim markers, comments, pipelines, parentheses, constants in Go's spelling, `if`, `with`,
`range` with their `else` forms, `.`, fields, and the functions `and or not eq ne lt le gt ge len index slice print
printf println html urlquery` of Go, `lookup Title Capitalize ToLower ToUpper StringsJoin StringJoin Base64Encode
Base64Decode` of Choria; in nagios commands only `o` beside Go's, and what is inserted there is escaped for HTML.

Refused, by name: variables, `define`, `template`, `block`, `break`, `continue`, `call` and `js`.

Differences that can be seen: numbers of different types compare by value where Go complains; StringsJoin takes a
looked-up list of strings, as its documentation says; bytes that are no UTF-8 become U+FFFD; html/template's changes of
escaping inside tags are not followed, everything is escaped as between tags.

Theory of operation: text -> lexer (text and actions) -> parser (tree, kept in a cache) -> expansion (text).
Invariants: a template reaches only the functions it is given. Steps, nesting and size of the result are bounded. Any
text either expands or raises `TemplateError`, in one sentence that quotes the action.
"""

from __future__ import annotations

from mra.machines.templates.failures import TemplateError
from mra.machines.templates.nagios import check_nagios, expand_nagios
from mra.machines.templates.properties import check, expand

__all__ = ["TemplateError", "check", "check_nagios", "expand", "expand_nagios"]
