"""The rules of schemas: what they see, what they say, what they may cost, and when they are let off."""

from typing import Any

import pytest

from kubelib.cel import Budget
from kubelib.cel.rule_definitions import rule_problems
from kubelib.cel.schema_rules import Violation, compile_rules


def schema_of(rules: list[dict[str, Any]] | str, **properties: Any) -> dict[str, Any]:
    if isinstance(rules, str):
        rules = [{"rule": rules}]
    return {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": properties, "x-kubernetes-validations": rules}
        },
    }


def violations(schema: dict[str, Any], new: Any, old: Any = None) -> list[str]:
    rules = compile_rules(schema)
    assert rules is not None
    return [f"{found.path}: {found.message}" for found in rules.validate(new, old)]


INTEGER, TEXT = {"type": "integer"}, {"type": "string"}


def test_a_schema_without_rules_has_nothing_to_ask() -> None:
    assert compile_rules({"type": "object", "properties": {"spec": {"type": "object"}}}) is None


def test_a_broken_rule_says_itself_or_its_message() -> None:
    schema = schema_of("self.min <= self.max", min=INTEGER, max=INTEGER)
    assert violations(schema, {"spec": {"min": 1, "max": 2}}) == []
    assert violations(schema, {"spec": {"min": 3, "max": 2}}) == [
        'spec: Invalid value: "object": failed rule: self.min <= self.max'
    ]
    with_message = schema_of(
        [{"rule": "self.min <= self.max", "message": " too small "}], min=INTEGER, max=INTEGER
    )
    assert violations(with_message, {"spec": {"min": 3, "max": 2}}) == [
        'spec: Invalid value: "object": too small'
    ]


def test_a_message_may_be_an_expression_and_a_reason_and_a_path_be_given() -> None:
    rule = {
        "rule": "self.min > 0",
        "messageExpression": "'min is ' + string(self.min)",
        "message": "unused",
        "reason": "FieldValueForbidden",
        "fieldPath": ".min",
    }
    assert violations(schema_of([rule], min=INTEGER), {"spec": {"min": -1}}) == [
        "spec.min: Forbidden: min is -1"
    ]
    empty = rule | {"messageExpression": "''", "reason": "FieldValueRequired"}
    assert violations(schema_of([empty], min=INTEGER), {"spec": {"min": -1}}) == [
        "spec.min: Required value: unused"
    ]
    duplicate = rule | {"reason": "FieldValueDuplicate"}
    assert violations(schema_of([duplicate], min=INTEGER), {"spec": {"min": -1}}) == [
        'spec.min: Duplicate value: "object"'
    ]


def test_what_cannot_be_evaluated_is_said() -> None:
    schema = schema_of("self.min > 0", min=INTEGER)
    assert violations(schema, {"spec": {}}) == [
        'spec: Invalid value: "object": no such key: min evaluating rule: self.min > 0'
    ]
    nothing = schema_of("self.min > 0", min=INTEGER | {"nullable": True})
    assert violations(nothing, {"spec": {"min": None}}) == violations(schema, {"spec": {}})
    union = schema_of("self.port > 0", port={"x-kubernetes-int-or-string": True})
    assert violations(union, {"spec": {"port": 80}}) == []
    assert violations(union, {"spec": {"port": "http"}}) == [
        (
            "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a supported operator, "
            "function or macro signature for rule: self.port > 0"
        )
    ]


@pytest.mark.parametrize(
    ("schema", "value", "rule"),
    [
        ({"type": "string", "format": "date-time"}, "2024-01-02T03:04:05Z", "self.x.getFullYear() == 2024"),
        ({"type": "string", "format": "date"}, "2024-01-02", "self.x < timestamp('2024-02-01T00:00:00Z')"),
        ({"type": "string", "format": "duration"}, "1h", "self.x == duration('60m')"),
        ({"type": "string", "format": "byte"}, "YWJj", "self.x == b'abc'"),
        ({"type": "number"}, 3, "self.x / 2.0 == 1.5 && type(self.x) == double"),
        (
            {"type": "array", "maxItems": 9, "items": {"type": "number"}},
            [1, 2],
            "self.x.sum() == 3.0 && self.x.all(n, n / 2.0 <= 1.0)",
        ),
        ({"x-kubernetes-int-or-string": True}, 5, "type(self.x) == int ? self.x == 5 : self.x == '5'"),
        ({"x-kubernetes-int-or-string": True}, "5%", "type(self.x) == string && self.x.endsWith('%')"),
        (
            {"type": "object", "additionalProperties": INTEGER},
            {"a": 1},
            "self.x.all(k, self.x[k] == 1) && 'a' in self.x",
        ),
        ({"type": "string", "nullable": True}, None, "!has(self.y) && !has(self.x) && !self.?x.hasValue()"),
        (
            {"type": "string", "maxLength": 9, "nullable": True},
            "a",
            "has(self.x) && self.x == 'a' && self.?x.hasValue()",
        ),
        (
            {"type": "array", "maxItems": 9, "items": {"type": "string", "maxLength": 9, "nullable": True}},
            [None, "a"],
            "type(self.x[0]) == null_type && self.x[1] == 'a'",
        ),
        (
            {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "x-kubernetes-preserve-unknown-fields": True,
            },
            {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}},
            "self.x.kind == 'Pod' && self.x.apiVersion == 'v1' && self.x.metadata.name == 'p'",
        ),
        (
            {"type": "object", "properties": {"a-b.c/d": INTEGER, "namespace": INTEGER, "x__y": INTEGER}},
            {"a-b.c/d": 1, "namespace": 2, "x__y": 3},
            "self.x.a__dash__b__dot__c__slash__d == 1 && self.x.__namespace__ == 2 && self.x.x__underscores__y == 3",
        ),
        (
            {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
            ["a", "b"],
            "self.x == ['b', 'a'] && self.x + ['c', 'a'] == ['a', 'b', 'c'] && self.x != ['a']",
        ),
        (
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": TEXT, "v": INTEGER}},
            },
            [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
            "self.x.exists(e, e.k == 'b' && e.v == 2) && (self.x + self.x) == self.x && self.x.size() == 2",
        ),
    ],
)
def test_values_are_what_the_schema_says(schema: dict[str, Any], value: Any, rule: str) -> None:
    whole = schema_of(rule, x=schema, y=TEXT)
    assert rule_problems(whole) == []
    assert violations(whole, {"spec": {"x": value}}) == []


def test_a_rule_at_the_root_sees_kind_and_name() -> None:
    schema = schema_of("true") | {
        "x-kubernetes-validations": [{"rule": "self.kind == 'Thing' && self.metadata.name.startsWith('a')"}]
    }
    new = {"kind": "Thing", "apiVersion": "g/v1", "metadata": {"name": "b"}, "spec": {}}
    assert [line.partition(": ")[0] for line in violations(schema, new)] == [""]
    assert violations(schema, new | {"metadata": {"name": "a"}}) == []
    problems = rule_problems(schema | {"x-kubernetes-validations": [{"rule": "self.metadata.labels == {}"}]})
    assert "undefined field 'labels'" in problems[0].message


def test_a_transition_rule_is_asked_only_where_something_was_before() -> None:
    schema = schema_of("self.n >= oldSelf.n", n=INTEGER)
    assert violations(schema, {"spec": {"n": 1}}) == []
    assert violations(schema, {"spec": {"n": 1}}, {"spec": {"n": 1}}) == []
    assert violations(schema, {"spec": {"n": 1}}, {}) == []
    assert len(violations(schema, {"spec": {"n": 1}}, {"spec": {"n": 2}})) == 1


def test_an_optional_old_value_is_asked_for_new_objects_too() -> None:
    schema = schema_of(
        [{"rule": "oldSelf.hasValue() ? self.n >= oldSelf.value().n : self.n == 0", "optionalOldSelf": True}],
        n=INTEGER,
    )
    assert rule_problems(schema) == []
    assert violations(schema, {"spec": {"n": 0}}) == []
    assert len(violations(schema, {"spec": {"n": 1}})) == 1
    assert violations(schema, {"spec": {"n": 3}}, {"spec": {"n": 2}}) == []


def test_entries_of_a_list_that_is_a_map_are_compared_by_their_keys() -> None:
    items = {
        "type": "object",
        "properties": {"k": TEXT, "n": INTEGER},
        "x-kubernetes-validations": [{"rule": "self.n == oldSelf.n"}],
    }
    schema = schema_of(
        "true",
        l={
            "type": "array",
            "items": items,
            "maxItems": 10,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
        },
    )
    assert rule_problems(schema) == []
    old = {"spec": {"l": [{"k": "a", "n": 1}, {"k": "b", "n": 2}]}}
    assert (
        violations(schema, {"spec": {"l": [{"k": "b", "n": 2}, {"k": "c", "n": 9}, {"k": "a", "n": 1}]}}, old)
        == []
    )
    assert violations(schema, {"spec": {"l": [{"k": "b", "n": 3}]}}, old) == [
        'spec.l[0]: Invalid value: "object": failed rule: self.n == oldSelf.n'
    ]


def test_what_breaks_a_new_rule_but_has_not_changed_is_marked() -> None:
    schema = schema_of("self.n > 5", n=INTEGER, m=INTEGER)
    rules = compile_rules(schema)
    assert rules is not None
    new: dict[str, Any] = {"spec": {"n": 1, "m": 1}}
    assert rules.validate(new, new) == [
        Violation("FieldValueInvalid", "spec", "object", "failed rule: self.n > 5", unchanged=True)
    ]
    assert not rules.validate(new, {"spec": {"n": 1, "m": 2}})[0].unchanged
    assert not rules.validate(new)[0].unchanged


def test_rules_within_lists_maps_and_all_of_are_asked() -> None:
    positive = {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}
    schema = schema_of(
        "true", l={"type": "array", "items": positive}, m={"type": "object", "additionalProperties": positive}
    )
    schema["properties"]["spec"]["allOf"] = [
        {"x-kubernetes-validations": [{"rule": "has(self.l)", "message": "no l"}]}
    ]
    assert violations(schema, {"spec": {"l": [1, -1], "m": {"a": 0}}}) == [
        'spec.l[1]: Invalid value: "integer": failed rule: self > 0',
        'spec.m[a]: Invalid value: "integer": failed rule: self > 0',
    ]
    assert violations(schema, {"spec": {}}) == ['spec: Invalid value: "object": no l']


def test_the_budget_is_one_for_the_whole_object() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}
    rules = compile_rules(schema_of("true", l={"type": "array", "items": item}))
    assert rules is not None
    found = rules.validate({"spec": {"l": [1] * 100}}, budget=Budget(50))
    assert [violation.detail for violation in found] == [
        "validation failed due to running out of cost budget, no further validation rules will be run"
    ]


@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ({"rule": " "}, ".rule", "Required value: rule is not specified"),
        (
            {"rule": "true", "message": " "},
            ".message",
            'Invalid value: " ": must be non-empty if specified',
        ),
        (
            {"rule": "true", "message": "a\nb"},
            ".message",
            'Invalid value: "a\\nb": must not contain line breaks',
        ),
        (
            {"rule": "true\n&& true"},
            ".message",
            "Required value: message must be specified if rule contains line breaks",
        ),
        (
            {"rule": "true", "reason": "No"},
            ".reason",
            'Unsupported value: "No": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"',
        ),
        (
            {"rule": "true", "fieldPath": ".zz"},
            ".fieldPath",
            'Invalid value: ".zz": must be a valid path',
        ),
        (
            {"rule": "self.zz"},
            ".rule",
            (
                'Invalid value: apiextensions.ValidationRule{Rule:"self.zz", Message:"", MessageExpression:"", '
                'Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:"", OptionalOldSelf:(*bool)(nil)}: '
                "compilation failed: ERROR: <input>:1:5: undefined field 'zz'\n | self.zz\n | ....^"
            ),
        ),
        (
            {"rule": "self.n > 0", "optionalOldSelf": True},
            ".optionalOldSelf",
            "Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
    ],
)
def test_a_rule_that_is_not_in_order_is_refused(rule: dict[str, Any], path: str, message: str) -> None:
    problems = rule_problems(schema_of([rule], n=INTEGER), "schema")
    assert [(problem.path, problem.message) for problem in problems] == [
        (f"schema.properties[spec].x-kubernetes-validations[0]{path}", message)
    ]


def test_a_rule_must_be_a_condition_and_its_message_a_text() -> None:
    assert rule_problems(schema_of("self.n", n=INTEGER))[0].message.endswith(
        "}: cel expression must evaluate to a bool"
    )
    with_number = schema_of([{"rule": "true", "messageExpression": "1"}])
    assert rule_problems(with_number)[0].message.endswith("}: messageExpression must evaluate to a string")


def test_the_past_of_an_element_without_identity_cannot_be_asked_for() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf"}]}
    problems = rule_problems(schema_of("true", l={"type": "array", "items": item, "maxItems": 3}), "s")
    assert [problem.message for problem in problems] == [
        (
            'Invalid value: "self > oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within '
            "s.properties[spec].properties[l].items"
        )
    ]


def test_a_rule_that_could_cost_too_much_is_refused_until_the_schema_bounds_it() -> None:
    texts = {"type": "array", "items": {"type": "string"}}
    rule = "self.l.all(a, self.l.all(b, a == b))"
    problems = rule_problems(schema_of(rule, l=texts))
    assert problems[0].reason == "FieldValueForbidden"
    assert problems[0].message == (
        "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding "
        "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert problems[-1].message.startswith(
        "Forbidden: x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds"
    )
    bounded = {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 20}}
    assert rule_problems(schema_of(rule, l=bounded)) == []


def test_values_of_the_libraries_types_are_found_equal_at_a_fixed_cost() -> None:
    text, texts = {"type": "string", "maxLength": 43}, {"type": "array", "maxItems": 8}
    texts["items"] = {"type": "string", "maxLength": 45}
    for rule in (
        "cidr(self.t) == cidr(self.t).masked()",
        "self.l.all(x, self.l.exists_one(y, ip(x) == ip(y)))",
        "quantity(self.t) == quantity('1Gi')",
        "url(self.t) == url('https://example.com')",
        "semver(self.t) == semver('1.0.0')",
    ):
        assert rule_problems(schema_of(rule, t=text, l=texts)) == []
    unequal = rule_problems(schema_of("cidr(self.t) != cidr(self.t).masked()", t=text))
    assert unequal[0].message.startswith(
        "Forbidden: estimated rule cost exceeds budget by factor of more than"
    )


def test_a_rule_within_an_unbounded_list_is_charged_for_every_element_that_a_request_has_room_for() -> None:
    item = {
        "type": "object",
        "properties": {"s": TEXT},
        "x-kubernetes-validations": [{"rule": "self.s.contains('abc')"}],
    }
    problems = rule_problems(schema_of("true", l={"type": "array", "items": item}))
    assert problems[0].message.startswith(
        "Forbidden: estimated rule cost exceeds budget by factor of more than 100x"
    )
