"""Reads mails from standard input, each a line of base64, and writes for each what Python's email package finds in it, as a
line of JSON: the subject and [type, file name, octets, sha256] of each part; of an attached message only its type and name."""

import base64
import email
import hashlib
import json
import sys
from email.header import decode_header, make_header


def text(value):
    return None if value is None else str(make_header(decode_header(value)))


def leaves(part):
    kind, name = part.get_content_type(), text(part.get_filename())
    if kind in ("message/rfc822", "message/global") and part.is_multipart():
        yield [kind, name, None, None]
    if part.is_multipart():
        for inner in part.get_payload():
            yield from leaves(inner)
    elif not kind.startswith("message/"):
        data = part.get_payload(decode=True)
        yield [kind, name, len(data), hashlib.sha256(data).hexdigest()]


for line in sys.stdin:
    mail = email.message_from_bytes(base64.b64decode(line))
    print(json.dumps([text(mail.get("subject")), list(leaves(mail))]))
