"""What each answer to a write means, over every status and every kind of body."""

import json
import sys
from dataclasses import fields as dataclass_fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from willsuite import Effect, WriteResult
from willsuite.answers import MAX_COMPLAINT_CHARACTERS, read_error, write_result
from willsuite.decoding import decode_case
from willsuite.errors import (
    AnswerLostError,
    ConfigurationError,
    NotFoundError,
    NotJsonError,
    RateLimitedError,
    RejectedError,
    ServerError,
    TokenUnavailableError,
    TransientError,
    UnreachableError,
)
from willsuite.transport import Answer

CALL = "POST /cases/create"
CANARY = "Okafor"
DEEP = b"[" * 100_000 + b"]" * 100_000

WITH_ID = {
    "id": b'{"id": "c-1"}',
    "documented": json.dumps(
        {
            "id": "c-1",
            "ref": "WS-1",
            "first_names": "Tom",
            "last_names": CANARY,
            "full_names": f"Tom {CANARY}",
            "email": "",
            "postcode": "QX9 9ZZ",
            "meta": [],
            "notes": None,
        }
    ).encode(),
    "with a new field": b'{"id": "c-1", "surprise": {"a": [1]}}',
    "with a number as id": b'{"id": 17}',
    "with a list as meta": b'{"id": "c-1", "meta": ["x"]}',
}
OTHER_JSON = {
    "without id": b'{"ref": "WS-1"}',
    "id empty": b'{"id": ""}',
    "id null": b'{"id": null}',
    "message": b'{"message": "Server Error"}',
    "enveloped": b'{"data": {"id": "c-1"}}',
    "empty object": b"{}",
    "customers no list": b'{"id": "c-1", "customers": "x"}',
    "list": b'[{"id": "c-1"}]',
    "empty list": b"[]",
    "string": b'"c-1"',
    "number": b"17",
    "true": b"true",
    "null": b"null",
}
NOTHING = {"empty": b"", "blank": b" \r\n\t"}
NOT_JSON = {
    "html": b"<!doctype html><title>Log in</title>",
    "text": b"id: c-1",
    "truncated": b'{"id": "c-1", "ref": "WS',
    "truncated after the id": b'{"id": "c-1"',
    "two objects": b'{"id": "c-1"}{"id": "c-2"}',
    "invalid UTF-8": b'{"id": "c-1", "ref": "\xff\xfe"}',
    "lone surrogate": b'{"id": "c-1", "ref": "\\ud800"}',
    "UTF-16": '{"id": "c-1"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"id": "c-1"}',
    "nested too deeply": DEEP,
    "object nested too deeply": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "id beside too deep nesting": b'{"id": "c-1", "x": ' + DEEP + b"}",
    "a zero byte": b"\0",
    "gzip": b"\x1f\x8b\x08\x00",
}
BODIES = WITH_ID | OTHER_JSON | NOTHING | NOT_JSON
READABLE_REFUSALS = {**WITH_ID, **OTHER_JSON, **NOTHING}
# refused before or by validation; nothing of the list could come after the case is stored
REFUSING = {400, 403, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431}
STATUSES = [*range(100, 600), 600, 999]


def meaning(status: int, body: bytes, **headers: str) -> WriteResult:
    return write_result(Answer(status, headers, body), CALL, decode_case)


def refusal(body: object, status: int = 422) -> tuple[tuple[str, ...], str]:
    result = meaning(status, json.dumps(body).encode())
    assert result.effect is Effect.REJECTED
    return result.fields, result.complaint


def expected(status: int, kind: str) -> Effect:
    if 200 <= status < 300:
        return Effect.APPLIED if kind in WITH_ID else Effect.AMBIGUOUS
    if status in REFUSING and kind in READABLE_REFUSALS:
        return Effect.REJECTED
    return Effect.AMBIGUOUS


# -- every status, every body ------------------------------------------------------------------


@pytest.mark.parametrize("kind", BODIES)
def test_every_status_with_every_body_means_what_the_table_says(kind):
    wrong = {}
    for status in STATUSES:
        found = meaning(status, BODIES[kind]).effect
        if found is not expected(status, kind):
            wrong[status] = found
    assert wrong == {}


@pytest.mark.parametrize("status", [200, 201, 202, 299])
@pytest.mark.parametrize("kind", WITH_ID)
def test_a_success_with_an_id_hands_over_the_record(kind, status):
    result = meaning(status, WITH_ID[kind])
    assert (result.effect, result.code) == (Effect.APPLIED, "applied")
    assert result.record.id == str(json.loads(WITH_ID[kind])["id"])
    assert (result.fields, result.complaint) == ((), "")


@pytest.mark.parametrize("kind", OTHER_JSON | NOTHING | NOT_JSON)
def test_a_success_without_an_id_says_whether_it_was_json(kind):
    result = meaning(200, BODIES[kind])
    assert result.code == ("unreadable" if kind in OTHER_JSON else "not_json")
    assert result.record is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": false}',
        b'{"id": true}',
        b'{"id": []}',
        b'{"id": {"last_name": "Okafor"}}',
    ],
)
def test_what_is_no_id_does_not_prove_that_a_case_was_stored(body):
    assert meaning(200, body).effect is Effect.AMBIGUOUS


@pytest.mark.parametrize("status", sorted({401, 408, 418, 421, 429, 451, 499, 500, 502, 504, 520}))
def test_what_is_not_applied_is_never_concluded_from_an_answer(status):
    for body in BODIES.values():
        assert meaning(status, body).effect is Effect.AMBIGUOUS


@given(
    status=st.integers(100, 999), body=st.binary(max_size=60) | st.sampled_from([*BODIES.values()])
)
def test_only_a_success_is_applied_and_only_a_listed_refusal_is_final(status, body):
    result = meaning(status, body)
    assert (result.stops_run is not None) == (300 <= status < 400)
    assert result.effect is not Effect.NOT_APPLIED
    if result.effect is Effect.APPLIED:
        assert 200 <= status < 300
        assert result.record.id
    else:
        assert result.record is None
    if result.effect is Effect.REJECTED:
        assert status in REFUSING
    else:
        assert (result.fields, result.complaint) == ((), "")


@given(
    status=st.integers(200, 299),
    raw=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    ),
)
def test_json_without_an_id_at_its_top_is_never_applied(status, raw):
    if isinstance(raw, dict):
        raw.pop("id", None)
    assert meaning(status, json.dumps(raw).encode()).effect is Effect.AMBIGUOUS


@given(cut=st.integers(0, len(WITH_ID["documented"]) - 1), status=st.integers(200, 299))
def test_an_answer_cut_anywhere_is_ambiguous(cut, status):
    assert meaning(status, WITH_ID["documented"][:cut]).effect is Effect.AMBIGUOUS


def test_the_code_of_a_refusal_or_failure_is_its_status():
    for status in STATUSES:
        if not 200 <= status < 300:
            assert meaning(status, b'{"message": "No."}').code == f"status_{status}"
            assert meaning(status, b"<html>").code == f"status_{status}"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirected_write_may_have_been_carried_out_and_the_next_would_fare_no_better(status):
    """A framework redirects to its log-in before the work, and to the next page after it."""
    answer = Answer(status, {"location": f"https://elsewhere.example/{CANARY}"}, CANARY.encode())
    result = write_result(answer, CALL, decode_case)
    assert (result.effect, result.record) == (Effect.AMBIGUOUS, None)
    assert f"{CALL} was redirected (status {status})" in result.stops_run
    assert "WILLSUITE_BASE_URL" in result.stops_run
    assert CANARY not in repr(result)
    assert "elsewhere.example" not in repr(result)


def test_an_error_of_the_decoder_that_is_not_about_the_answer_is_not_hidden():
    def broken(_body):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_result(Answer(200, {}, b"{}"), CALL, broken)


# -- no answer at all --------------------------------------------------------------------------


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def transient(kind: type[TransientError]) -> TransientError:
    why = f"{CANARY} is why"
    return kind(why, 500) if kind is ServerError else kind(why)


def test_all_transient_errors_are_looked_at_here():
    assert subclasses(TransientError) == {
        TransientError,
        TokenUnavailableError,
        UnreachableError,
        AnswerLostError,
        ServerError,
        NotJsonError,
        RateLimitedError,
    }


@pytest.mark.parametrize(
    "kind",
    sorted(subclasses(TransientError), key=lambda kind: kind.__name__),
    ids=lambda k: k.__name__,
)
def test_only_where_no_connection_was_made_it_was_certainly_not_carried_out(kind):
    result = write_result(transient(kind), CALL, decode_case)
    if kind is UnreachableError:
        assert result == WriteResult(Effect.NOT_APPLIED, "unreachable")
    else:
        assert result == WriteResult(Effect.AMBIGUOUS, "answer_lost")


def test_a_kind_of_trouble_nobody_has_thought_of_is_ambiguous():
    class NewTroubleError(TransientError):
        pass

    assert write_result(NewTroubleError(), CALL, decode_case).effect is Effect.AMBIGUOUS


# -- the words of a refusal --------------------------------------------------------------------


def test_laravels_validation_errors_give_the_fields_and_their_texts_in_order():
    body = {
        "message": "The given data was invalid.",
        "errors": {
            "ref": ["The ref has already been taken.", "The ref is odd."],
            "customers.0.title": ["The title field is required."],
        },
    }
    assert refusal(body) == (
        ("ref", "customers.0.title"),
        "The ref has already been taken. The ref is odd. The title field is required.",
    )


@pytest.mark.parametrize("status", sorted(REFUSING))
def test_every_refusing_status_may_bring_fields_and_words(status):
    assert refusal({"errors": {"ref": ["Taken."]}}, status) == (("ref",), "Taken.")


@pytest.mark.parametrize(
    ("body", "fields", "words"),
    [
        # errors as texts instead of lists, and mixed
        ({"errors": {"ref": "Taken."}}, ("ref",), "Taken."),
        ({"ref": ["Taken."]}, ("ref",), "Taken."),
        ({"errors": {"ref": "Taken.", "tel": ["A.", "B."]}}, ("ref", "tel"), "Taken. A. B."),
        ({"errors": {"ref": [["Nested."], "Flat."]}}, ("ref",), "Nested. Flat."),
        # the message only where the errors say nothing
        ({"message": "No.", "errors": {"ref": ["Taken."]}}, ("ref",), "Taken."),
        ({"message": "No.", "errors": {}}, (), "No."),
        ({"message": "No.", "errors": []}, (), "No."),
        ({"message": "No.", "errors": None}, (), "No."),
        ({"message": "No.", "errors": "Taken."}, (), "Taken."),
        ({"message": "No.", "errors": 5}, (), "No."),
        ({"message": "No.", "errors": {"ref": []}}, ("ref",), "No."),
        ({"message": "No.", "errors": {"ref": None}}, ("ref",), "No."),
        ({"message": "No.", "errors": {"ref": [None, 5, True, {}, ""]}}, ("ref",), "No."),
        ({"message": "No."}, (), "No."),
        ({"message": ["No.", "Never."]}, (), "No. Never."),
        ({"message": "No.", "error": "other"}, (), "No."),
        ({"message": "", "error": "forbidden"}, (), "forbidden"),
        ({"message": 5, "error": "forbidden"}, (), "forbidden"),
        ({"error": "forbidden"}, (), "forbidden"),
        # nothing that could be repeated
        ({"error": {"code": 5}}, (), ""),
        ({"message": None}, (), ""),
        ({"message": {"a": "b"}}, (), "b"),
        ({}, (), ""),
        ([], (), ""),
        ({"errors": [{"field": "ref", "text": "Taken."}]}, (), "ref Taken."),
        ({"errors": [["Three", ["levels"]]]}, (), "Three levels"),
        ({"errors": [[["Four", ["levels"]]]]}, (), "Four"),
        ({"errors": {"ref": {"unique": "Taken."}}}, ("ref",), "Taken."),
        ({"errors": "", "message": "No."}, (), "No."),
        (["No."], (), "No."),
        ("No.", (), "No."),
        (5, (), ""),
        (None, (), ""),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_a_refusal_in_any_shape_gives_what_can_be_had(body, fields, words):
    assert refusal(body) == (fields, words)


@pytest.mark.parametrize("kind", NOTHING)
def test_a_refusal_may_be_silent(kind):
    result = meaning(422, NOTHING[kind])
    assert result == WriteResult(Effect.REJECTED, "status_422")


def test_words_in_other_scripts_are_kept():
    words = "Ошибка «имя» 名前 😀"
    assert refusal({"message": words}) == ((), words)


@pytest.mark.parametrize("extra", [-1, 0, 1, 100_000])
@pytest.mark.parametrize("shape", ["message", "one text", "many texts", "lone text", "lone list"])
def test_the_words_are_cut_at_five_hundred_characters(shape, extra):
    length = 500 + extra
    text = "é" * length
    body = {
        "message": {"message": text},
        "one text": {"errors": {"ref": text}},
        "many texts": {"errors": {"ref": list(text)}},
        "lone text": text,
        "lone list": list(text),
    }[shape]
    whole = " ".join(text) if shape in ("many texts", "lone list") else text
    assert refusal(body)[1] == whole[:500]
    assert MAX_COMPLAINT_CHARACTERS == 500


raw_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(status=st.sampled_from(sorted(REFUSING)), message=raw_json, errors=raw_json, error=raw_json)
def test_no_shape_of_a_refusal_breaks_its_reader(status, message, errors, error):
    body = {"message": message, "errors": errors, "error": error}
    fields, words = refusal(body, status)
    assert fields == (tuple(errors) if isinstance(errors, dict) else ())
    assert isinstance(words, str)
    assert len(words) <= 500
    assert len(refusal([message, errors, error], status)[1]) <= 500


@pytest.mark.parametrize("place", ["message", "error", "errors"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_refusal_nested_as_deeply_as_can_be_decoded_is_still_a_refusal(place, share):
    depth = int(sys.getrecursionlimit() * share)
    nested = b"[" * depth + b'"No."' + b"]" * depth
    inner = b'{"ref": ' + nested + b"}" if place == "errors" else nested
    try:
        found = meaning(422, b'{"' + place.encode() + b'": ' + inner + b"}").effect
    except RecursionError:  # its own traceback would be a thousand frames long
        found = None
    assert found in (Effect.REJECTED, Effect.AMBIGUOUS)


# -- what nobody may read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [
        meaning(422, json.dumps({"errors": {"ref": [f"{CANARY} is taken."]}}).encode()),
        meaning(409, json.dumps({"message": f"{CANARY} exists."}).encode()),
        meaning(200, WITH_ID["documented"]),
        meaning(200, b'{"ref": "Okafor"}'),
        meaning(500, b'{"message": "Okafor"}'),
        meaning(502, b"<h1>Okafor</h1>"),
        write_result(AnswerLostError(CANARY), CALL, decode_case),
        write_result(UnreachableError(CANARY), CALL, decode_case),
    ],
    ids=lambda result: result.code,
)
def test_a_result_shows_neither_words_nor_the_record_when_it_is_printed(result):
    shown = f"{result!r} {result!s} {[result]} {result:}"
    assert result.code in shown
    assert CANARY not in shown
    assert "QX9" not in shown


def test_the_words_are_the_only_part_that_is_not_printed():
    hidden = {each.name for each in dataclass_fields(WriteResult) if not each.repr}
    assert hidden == {"complaint"}
    result = meaning(422, b'{"errors": {"customers.0.title": ["Odd."]}}')
    assert "customers.0.title" in repr(result)


@pytest.mark.parametrize(
    ("result", "about_ref", "taken"),
    [
        (WriteResult(Effect.REJECTED, "status_409"), True, True),
        (WriteResult(Effect.REJECTED, "status_422", None, ("ref",), "Already taken."), True, True),
        (
            WriteResult(Effect.REJECTED, "status_422", None, (), "This reference exists."),
            True,
            True,
        ),
        (WriteResult(Effect.REJECTED, "status_422", None, ("ref",), "Too long."), True, False),
        (WriteResult(Effect.REJECTED, "status_422", None, ("ref",), ""), True, False),
        (WriteResult(Effect.REJECTED, "status_422", None, ("email",), "Taken."), False, False),
        (WriteResult(Effect.REJECTED, "status_422", None, (), "The user preferred."), False, False),
    ],
)
def test_a_refusal_tells_whether_the_reference_is_meant_and_is_another_cases(
    result, about_ref, taken
):
    assert (result.is_about_ref, result.is_ref_taken) == (about_ref, taken)


def test_of_the_answers_to_a_read_those_that_may_pass_are_told_from_those_that_stay():
    kinds: dict[type, list[int]] = {}
    for status in range(200, 600):
        error = read_error(Answer(status, {}, b""), "GET /cases/{caseId}")
        kinds.setdefault(type(error), []).append(status)
        assert error is None or str(status) in str(error)
    stays = {*range(201, 300), *range(400, 500)} - {404, 408, 425}
    assert kinds == {
        type(None): [200],
        ServerError: [408, 425, *range(500, 600)],
        NotFoundError: [404],
        RejectedError: [status for status in range(201, 500) if status in stays],
        ConfigurationError: list(range(300, 400)),
    }
