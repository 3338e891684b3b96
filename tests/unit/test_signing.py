"""The HMAC signature against constants that were computed with openssl from the vendor's grammar (A11)."""

from datetime import UTC, datetime, timedelta, timezone

from etl.vendor.signing import signed_headers, text_to_sign

SECRET = 's3cret with ü "quotes"'
AT = datetime(2026, 3, 3, 7, 5, 9, tzinfo=UTC)
EMPTY_DIGEST = "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
TEXT = (
    "GET /v2/trades/stp/messages?maxCount=50 HTTP/1.1\n"
    "date: Tue, 03 Mar 2026 07:05:09 GMT\n"
    "digest: SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
)
# printf '%s' "$TEXT" | openssl dgst -sha256 -hmac "$SECRET" -binary | openssl base64
SIGNATURE = "i0VDDZVVFsv27/OVM5KIab2D9TZCKFzSWeifB5sHtHg="


def test_the_text_to_sign_is_the_one_of_the_grammar_without_a_newline_at_its_end():
    text = text_to_sign(
        "GET /v2/trades/stp/messages?maxCount=50 HTTP/1.1", "Tue, 03 Mar 2026 07:05:09 GMT", EMPTY_DIGEST
    )

    assert text == TEXT


def test_a_get_is_signed_as_openssl_signs_it():
    headers = signed_headers(
        "user2@XCN1139", SECRET, request_line="GET /v2/trades/stp/messages?maxCount=50 HTTP/1.1", body=b"", at=AT
    )

    assert headers == {
        "Authorization": 'hmac username="user2@XCN1139",algorithm="hmac-sha256", '
        f'headers="request-line date digest", signature="{SIGNATURE}"',
        "Date": "Tue, 03 Mar 2026 07:05:09 GMT",
        "Digest": EMPTY_DIGEST,
        "type": "hmac",
    }


def test_a_body_is_covered_by_its_digest():
    body = b'{"startDate":"2026-03-02 00:00:00,000 +0000","endDate":"2026-03-03 23:59:59,999 +0000"}'

    headers = signed_headers("u", SECRET, request_line="POST /v2/trades/stp/resend HTTP/1.1", body=body, at=AT)

    assert headers["Digest"] == "SHA-256=nT0UOWfW+s56WYH9DBYxSdSDkprUzZUQ0oC0Yan0Nt8="
    assert 'signature="vjyDpTI/Cy+Oj0VqqX6Cc7zIm9EER2kLEwA2GEuyul8="' in headers["Authorization"]


def test_the_date_is_written_in_gmt_whatever_the_zone_of_the_instant():
    at = AT.astimezone(timezone(timedelta(hours=-5)))

    headers = signed_headers("u", SECRET, request_line="GET / HTTP/1.1", body=b"", at=at)

    assert headers["Date"] == "Tue, 03 Mar 2026 07:05:09 GMT"
