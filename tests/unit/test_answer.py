"""What an answer of the queue holds: law 10, and the content of design.md §3 that must not break the cutting."""

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain import answer
from etl.domain.answer import Empty, Page, Piece, Unreadable, content_of
from etl.domain.splitter import Uncut, split
from tests.builders import a_message, a_page, a_raw_message, as_bytes

blanks = st.text(" \t\r\n", max_size=3).map(str.encode)
scalars = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")) | st.just(1.5)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\]},:['), inner, max_size=4)
)


def raws(content):
    assert isinstance(content, Page), content
    return [piece.raw for piece in content.pieces]


@pytest.mark.parametrize(
    ("status", "body"),
    [(204, b""), (200, b""), (200, b"[]"), (200, b" [ \r\n\t] \n"), (200, b"\xef\xbb\xbf[]")],
)
def test_law_10_empty_is_204_or_no_body_or_an_array_of_length_0(status, body):
    assert content_of(status, body) == Empty()


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"null",
        b'{"trades": []}',
        b"<html>busy</html>",
        b"busy",
        b" ",
        b"\xef\xbb\xbf",
        b"\0",
        b'"[]"',
        b"[",
        b"]",
        b"[1",
        b"[1,",
        b'[{"a":1}',
        b'["a',
        b'["a\\"]',
        b"[]]",
        b"[] []",
        b"[1]x",
        b"[1}",
        b'[{"a":[1}]]',
        "[]".encode("utf-16"),
    ],
)
def test_law_10_all_else_is_unreadable_and_says_why(body):
    content = content_of(200, body)

    assert isinstance(content, Unreadable)
    assert content.why


@pytest.mark.parametrize("status", [201, 202, 206, 302, 400, 401, 404, 429, 500, 503])
def test_law_10_no_other_status_holds_a_page_or_proves_an_empty_queue(status):
    assert isinstance(content_of(status, b"[]"), Unreadable)


def test_a_page_is_cut_into_its_elements_with_their_places():
    assert content_of(200, b' [ {"a":1} ,2]') == Page((Piece(3, b'{"a":1}'), Piece(12, b"2")))


def test_offsets_count_the_byte_order_mark():
    assert content_of(200, b"\xef\xbb\xbf[7]") == Page((Piece(4, b"7"),))
    assert content_of(200, b"\xef\xbb\xbf[NaN]") == Page((Piece(4, b"NaN"),))


@pytest.mark.parametrize(
    "bad",
    [
        rb'{"note":"\ud800"}',
        b'{"note":"\xff\xfe"}',
        b'{"note":"\0"}',
        b'{"note":"\\x"}',
        b'{"rate":NaN}',
        b'{"rate":1e999}',
        b'{"rate":' + b"9" * 400 + b"}",
        b"[" * 5000 + b"]" * 5000,
        b"{" * 5000 + b"}" * 5000,
        b'{"a":1,"a":2}',
        b'{"note":"' + b"x" * 5_000_000 + b'"}',
        b'{"note":"' + b'\\"' * 500_000 + b'","bad":+1}',
        b"nonsense",
        b"01",
        b"",
        b"null",
    ],
    ids=lambda bad: repr(bad[:20]),
)
def test_law_5_one_bad_element_leaves_its_neighbours_readable(bad):
    good = a_raw_message()

    assert raws(content_of(200, a_page(good, bad, good))) == [good, bad, good]


@given(st.lists(json_values, min_size=1, max_size=5), st.data())
def test_the_splitter_cuts_valid_arrays_as_the_fast_reader_does(values, data):
    around = [data.draw(blanks) for _ in range(2 * len(values) + 2)]
    elements = [json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode() for value in values]
    inside = b",".join(
        before + element + after for before, element, after in zip(around[0::2], elements, around[1::2], strict=False)
    )
    body = around[-2] + b"[" + inside + b"]" + around[-1]

    content = content_of(200, body)
    cut = split(body)

    assert raws(content) == elements
    assert cut == tuple((piece.offset, piece.offset + len(piece.raw)) for piece in content.pieces)


@given(st.lists(json_values, min_size=1, max_size=5), st.booleans())
def test_the_pieces_and_what_lies_between_them_are_the_whole_answer(values, spoilt):
    body = as_bytes(values)
    if spoilt:
        body = body[:-1] + b" , NaN]"

    rest = body
    for piece in reversed(content_of(200, body).pieces):
        assert body[piece.offset : piece.offset + len(piece.raw)] == piece.raw
        rest = rest[: piece.offset] + rest[piece.offset + len(piece.raw) :]

    assert not rest.strip(b"[], ")


@given(st.binary(max_size=60) | st.text('[]{}",:\\ 1a', max_size=30).map(str.encode), st.sampled_from([None, "gzip"]))
def test_law_5_no_content_raises(body, content_encoding):
    assert isinstance(content_of(200, body, content_encoding), Page | Empty | Unreadable)
    assert isinstance(content_of(200, b"[" + body + b"]"), Page | Empty | Unreadable)


@given(st.integers(1, 400))
def test_law_10_an_answer_that_was_cut_anywhere_is_no_page(cut):
    body = a_page(as_bytes(a_message(note="a ] b } c")))

    assert isinstance(content_of(200, body[: len(body) - cut % len(body) or -1] or b"["), Unreadable)


def test_what_the_splitter_cannot_cut_it_names():
    assert split(b"x") == Uncut("the answer is no JSON array; it starts with b'x'")
    assert split(b'[1, "a') == Uncut("the string that starts at byte 4 does not end")
    assert split(b"[{]") == Uncut("the bracket at byte 2 closes none")
    assert split(b"[1] 2") == Uncut("after the array come 1 more bytes, from b'2' on")
    assert split(b"[1, [2]") == Uncut("the answer ends inside the array")


def test_nothing_between_two_commas_is_an_element_too():
    assert content_of(200, b"[ , 1,]") == Page((Piece(2, b""), Piece(4, b"1"), Piece(6, b"")))


PAGE = a_page(a_raw_message())


@pytest.mark.parametrize(
    ("content_encoding", "body"),
    [
        (None, PAGE),
        ("", PAGE),
        ("identity", PAGE),
        ("gzip", gzip.compress(PAGE, mtime=0)),
        ("x-gzip", gzip.compress(PAGE, mtime=0)),
        (" GZIP ", gzip.compress(PAGE, mtime=0)),
        ("gzip", gzip.compress(PAGE[:99], mtime=0) + gzip.compress(PAGE[99:], mtime=0)),
        ("deflate", zlib.compress(PAGE)),
        ("deflate", zlib.compress(PAGE)[2:-4]),
        ("deflate, gzip", gzip.compress(zlib.compress(PAGE), mtime=0)),
    ],
)
def test_content_encodings_are_undone(content_encoding, body):
    assert content_of(200, body, content_encoding) == Page((Piece(1, a_raw_message()),))


@pytest.mark.parametrize(
    ("content_encoding", "body", "why"),
    [
        ("gzip", gzip.compress(PAGE, mtime=0)[:-1], "cut short"),
        ("gzip", gzip.compress(PAGE, mtime=0)[:40], "cut short"),
        ("gzip", gzip.compress(b"[]", mtime=0)[:-9], "cut short"),
        ("gzip", PAGE, "not sound gzip"),
        ("gzip", gzip.compress(PAGE, mtime=0) + b"x", "cut short"),
        ("gzip", gzip.compress(PAGE, mtime=0)[:-8] + bytes(8), "not sound gzip"),
        ("deflate", b"\xff\xff\xff", "not sound deflate"),
        ("br", PAGE, "'br' is not known"),
    ],
)
def test_law_10_what_cannot_be_unpacked_is_unreadable(content_encoding, body, why):
    content = content_of(200, body, content_encoding)

    assert isinstance(content, Unreadable)
    assert why in content.why


def test_law_10_a_complete_compressed_answer_of_no_bytes_is_empty():
    assert content_of(200, b"", "gzip") == Empty()
    assert content_of(200, gzip.compress(b"", mtime=0), "gzip") == Empty()
    assert content_of(200, gzip.compress(b"[]", mtime=0), "gzip") == Empty()


def test_an_answer_that_grows_without_bound_is_unreadable(monkeypatch):
    monkeypatch.setattr(answer, "MAX_DECODED_BYTES", 1_000_000)

    assert isinstance(content_of(200, gzip.compress(b"[" + b" " * 999_998 + b"]", mtime=0), "gzip"), Empty)
    assert "larger than" in content_of(200, gzip.compress(bytes(1_000_001), mtime=0), "gzip").why
