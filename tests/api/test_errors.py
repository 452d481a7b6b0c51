"""Errors and the Status documents that say them."""

import pytest

from kubelib.api.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Expired,
    Gone,
    InternalError,
    Invalid,
    Problem,
    already_exists,
    conflict,
    error_from_status,
    invalid,
    not_found,
)
from kubelib.api.validation import problems

ALL = [
    cls
    for direct in ApiError.__subclasses__()
    for cls in (direct, *direct.__subclasses__())
    if cls.__module__ == ApiError.__module__  # others, such as what a webhook says, are made from a status
]


@pytest.mark.parametrize("cls", ALL)
def test_an_error_survives_the_trip_over_the_wire(cls: type[ApiError]) -> None:
    error = cls(
        "no",
        group="apps",
        kind="deployments",
        name="web",
        uid="u",
        causes=[Problem("FieldValueInvalid", "spec.x", "Invalid value: 1: no")],
        retry_after=3,
    )
    again = error_from_status(error.status())
    assert type(again) is cls
    assert again.status() == error.status()
    assert (again.code, again.reason) == (cls.code, cls.reason)


def test_a_status_without_a_reason_is_known_by_its_code() -> None:
    assert type(error_from_status({"message": "gone"}, 410)) is Gone
    assert type(error_from_status({"code": 400})) is BadRequest
    assert type(error_from_status({}, 418)) is InternalError
    assert isinstance(error_from_status({"reason": "Expired", "code": 410}), Expired)


def test_missing_and_taken_names_are_told_in_kubernetes_words() -> None:
    missing = not_found("deployments.apps", "web")
    assert missing.message == 'deployments.apps "web" not found'
    assert missing.status()["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    assert already_exists("pods", "a").message == 'pods "a" already exists'
    assert conflict("pods", "a").message == (
        'Operation cannot be fulfilled on pods "a": the object has been modified; please apply your changes to the'
        " latest version and try again"
    )
    assert isinstance(conflict("pods", "a"), Conflict)


def test_one_problem_is_told_plainly_and_several_in_brackets_without_repetition() -> None:
    one, two = (
        problems.required("spec.a"),
        problems.invalid("spec.b", -1, "must be greater than or equal to 0"),
    )
    assert invalid("Pod", "", "a", [one]).message == 'Pod "a" is invalid: spec.a: Required value'
    both = invalid("Deployment", "apps", "a", [one, two, one])
    assert isinstance(both, Invalid)
    assert both.message == (
        'Deployment.apps "a" is invalid: [spec.a: Required value, spec.b: Invalid value: -1: must be greater than or'
        " equal to 0]"
    )
    assert [cause["field"] for cause in both.status()["details"]["causes"]] == ["spec.a", "spec.b", "spec.a"]


@pytest.mark.parametrize(
    ("problem", "type_", "message"),
    [
        (problems.required("f"), "FieldValueRequired", "Required value"),
        (problems.required("f", "why"), "FieldValueRequired", "Required value: why"),
        (problems.invalid("f", "a\n", "bad"), "FieldValueInvalid", 'Invalid value: "a\\n": bad'),
        (problems.invalid("f", {"a": "b"}, "bad"), "FieldValueInvalid", 'Invalid value: {"a":"b"}: bad'),
        (problems.invalid("f", None, "bad"), "FieldValueInvalid", "Invalid value: null: bad"),
        (problems.invalid("f", True, "bad"), "FieldValueInvalid", "Invalid value: true: bad"),
        (
            problems.not_supported("f", "x", ("a", "b")),
            "FieldValueNotSupported",
            'Unsupported value: "x": supported values: "a", "b"',
        ),
        (problems.duplicate("f", "x"), "FieldValueDuplicate", 'Duplicate value: "x"'),
        (problems.forbidden("f", "no"), "FieldValueForbidden", "Forbidden: no"),
        (problems.too_long("f", 9), "FieldValueTooLong", "Too long: may not be more than 9 bytes"),
        (problems.too_many("f", 9, 8), "FieldValueTooMany", "Too many: 9: must have at most 8 items"),
        (problems.not_found("f", "x"), "FieldValueNotFound", 'Not found: "x"'),
        (problems.internal("f", "oh"), "InternalError", "Internal error: oh"),
        (problems.type_invalid("f", 1, "no"), "FieldValueTypeInvalid", "Invalid value: 1: no"),
    ],
)
def test_field_problems_have_kubernetes_types_and_words(problem: Problem, type_: str, message: str) -> None:
    assert (problem.type, problem.message, str(problem)) == (type_, message, f"f: {message}")
