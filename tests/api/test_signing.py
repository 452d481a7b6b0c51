"""What requests for certificates hold, and what their signers give: PEM, as Kubernetes reads it."""

import base64

import pytest

from kubelib.api.validation.signing import signing_request_decision_problems, signing_request_problems

CERTIFICATE = base64.b64encode(b"\x30\x03\x02\x01\x01") + b"\n"


def block(kind: bytes, body: bytes, headers: bytes = b"") -> bytes:
    return b"-----BEGIN " + kind + b"-----\n" + headers + body + b"-----END " + kind + b"-----\n"


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (block(b"CERTIFICATE", CERTIFICATE), ""),
        (b"before\n" + block(b"CERTIFICATE", CERTIFICATE) * 2 + b"after", ""),
        (b"no block", "must contain at least one CERTIFICATE PEM block"),
        (block(b"CERTIFICATE", b"VALIDBASE64!!!\n"), "must contain at least one CERTIFICATE PEM block"),
        (
            block(b"CERTIFICATE1", CERTIFICATE),
            'only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE1"',
        ),
        (block(b"CERTIFICATE", CERTIFICATE, b"Key: value\n\n"), "no PEM block headers are permitted"),
        (block(b"CERTIFICATE", b""), "found CERTIFICATE PEM block containing 0 certificates"),
        (block(b"CERTIFICATE", base64.b64encode(b"text") + b"\n"), "x509: malformed certificate"),
    ],
)
def test_what_signers_give_are_certificates_and_nothing_else(issued: bytes, why: str) -> None:
    status = {"certificate": base64.b64encode(issued).decode()}
    found = signing_request_decision_problems({"status": status}, {}, "status")
    expected = [f'Invalid value: "<certificate data>": {why}'] if why else []
    assert [problem.message for problem in found] == expected


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (block(b"CERTIFICATE REQUEST", CERTIFICATE), True),
        (block(b"CERTIFICATE REQUEST", b"!!!\n") + block(b"CERTIFICATE REQUEST", CERTIFICATE), True),
        (block(b"CERTIFICATE REQUEST", b"!!!\n"), False),
        (block(b"CERTIFICATE REQUEST", b""), False),
        (block(b"CERTIFICATE", CERTIFICATE) + block(b"CERTIFICATE REQUEST", CERTIFICATE), False),
        (b"-----BEGIN CERTIFICATE REQUEST-----", False),
    ],
)
def test_a_textis_the_first_block_of_its_text(text: bytes, good: bool) -> None:
    spec = {
        "request": base64.b64encode(text).decode(),
        "usages": ["client auth"],
        "signerName": "example.com/signer",
    }
    found = [problem.field for problem in signing_request_problems({"spec": spec})]
    assert found == ([] if good else ["spec.request"])
