#!/usr/bin/env python3
"""The client for what swaks, curl and fetchmail cannot say.

    client.py DIALOGUE HOST [PORT] [ARGUMENT...]

holds one of the dialogues at the end of this file with a real server, in raw octets. What a dialogue expects is
checked: an unexpected reply ends the program with status 1. Mails and secrets that were sent are appended to the file
that $LEDGER names, one JSON object a line, for truth.py.

    client.py wire INTERFACE INTERFACE

is a bad cable: it forwards frames between two interfaces and loses, doubles and reorders some, always the same ones.

Only Python's standard library is used.
"""

import base64
import hashlib
import hmac
import json
import os
import random
import re
import select
import socket
import struct
import sys
import time

TIMEOUT = 8
HELO = "client.example.org"


# --- one connection -----------------------------------------------------------------------------------------------


class Unexpected(Exception):
    pass


class Dialogue:
    """A connection of which every octet is under our control."""

    def __init__(self, host, port):
        self.sock = socket.create_connection((host, int(port)), timeout=TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        self.host, self.port = host, int(port)

    def send(self, *parts):
        """Sends all parts in one write."""
        self.sock.sendall(b"".join(p.encode() if isinstance(p, str) else p for p in parts))

    def line(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the server closed the connection")
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def rest(self):
        """Everything up to the server's end of the connection."""
        lines = []
        try:
            while True:
                lines.append(self.line())
        except (EOFError, OSError):
            return lines

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.file.close()
        self.sock.close()

    def reset(self):
        """Ends the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class SMTP(Dialogue):
    final, more = "235", "334"

    def __init__(self, host, port=25, hello="EHLO"):
        super().__init__(host, port)
        self.expect("220")
        if hello:
            self.command(f"{hello} {HELO}", "250")

    def reply(self):
        """One reply; its lines joined by a newline."""
        lines = []
        while True:
            lines.append(self.line())
            if not re.match(r"\d{3}-", lines[-1]):
                return "\n".join(lines)

    def expect(self, *codes):
        reply = self.reply()
        if codes and not reply.startswith(tuple(codes)):
            raise Unexpected(f"expected {' or '.join(codes)}, got {reply!r}")
        return reply

    def command(self, line, *codes):
        self.send(line + "\r\n")
        return self.expect(*codes)

    def envelope(self, sender, *recipients, params=""):
        self.command(f"MAIL FROM:<{sender}>{params}", "250")
        for recipient in recipients:
            self.command(f"RCPT TO:<{recipient}>", "250")

    def data(self, sender, recipients, mail):
        self.envelope(sender, *recipients)
        self.command("DATA", "354")
        self.send(stuffed(mail))
        reply = self.expect("250")
        sent_mail(mail, reply, sender, recipients)

    def quit(self):
        self.command("QUIT", "221")
        self.close()


class POP3(Dialogue):
    final, more = "+OK", "+ "

    def __init__(self, host, port=110):
        super().__init__(host, port)
        self.greeting = self.expect("+OK")

    def expect(self, *starts):
        line = self.line()
        if starts and not line.startswith(tuple(starts)):
            raise Unexpected(f"expected {' or '.join(starts)}, got {line!r}")
        return line

    def command(self, line, *starts):
        self.send(line + "\r\n")
        return self.expect(*starts)

    def multiline(self, line):
        self.command(line, "+OK")
        return self.lines()

    def lines(self):
        lines = []
        while (line := self.line()) != ".":
            lines.append(line)
        return lines

    def quit(self):
        self.command("QUIT", "+OK")
        self.close()


# --- mails and the ledger -----------------------------------------------------------------------------------------


def ledger(**entry):
    if path := os.environ.get("LEDGER"):
        with open(path, "a") as f:
            f.write(json.dumps(entry) + "\n")


def secret(text):
    """Notes an octet string that must never be seen in an output."""
    ledger(secret=text)
    return text


def sent_mail(mail, reply, sender, recipients):
    """Notes a mail with the queue id of the server's reply."""
    found = re.search(r"queued as (\w+)|id=([\w-]+)|2\.0\.0 (\w{8}) Message|<\S+> (\S+) Saved", reply)
    queue_id = next((g for g in found.groups() if g), "") if found else ""
    ledger(queue_id=queue_id, sender=sender, recipients=list(recipients), octets=len(mail), sha256=hashlib.sha256(mail).hexdigest())


def a_mail(subject, *lines, sender="a@example.org", to="alice@example.net"):
    head = [f"From: <{sender}>", f"To: <{to}>", f"Subject: {subject}", "Date: Sun, 22 Nov 2026 03:04:05 +0100",
            f"Message-ID: <{hashlib.md5(subject.encode()).hexdigest()[:12]}@{HELO}>", ""]
    return "".join(line + "\r\n" for line in head + list(lines)).encode()


def stuffed(mail):
    """The mail as it goes over the wire after DATA (RFC 5321, 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", mail) + b".\r\n"


DOTS = a_mail("Dots", ".", "..", "...three", "", ".", "a line.", ".hidden", "From the beginning of a line")


# --- AUTH ---------------------------------------------------------------------------------------------------------


def b64(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


class Mechanisms:
    """A generator a mechanism: yields responses, is sent challenges. The first response is the initial one."""

    @staticmethod
    def plain(user, password):
        yield f"\0{user}\0{password}"

    @staticmethod
    def login(user, password):
        yield user
        yield password

    @staticmethod
    def cram_md5(user, password):
        challenge = yield None
        yield f"{user} {hmac.new(password.encode(), challenge, 'md5').hexdigest()}"

    @staticmethod
    def digest_md5(user, password):
        challenge = yield None
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge.decode()))
        cnonce, uri, realm = "0a1b2c3d4e5f", "smtp/mx.example.net", given.get("realm", "")

        def h(data):
            return hashlib.md5(data).digest()

        a1 = h(f"{user}:{realm}:{password}".encode()) + f":{given['nonce']}:{cnonce}".encode()
        a2 = f"AUTHENTICATE:{uri}".encode()
        proof = h(f"{h(a1).hex()}:{given['nonce']}:00000001:{cnonce}:auth:{h(a2).hex()}".encode()).hex()
        yield (f'username="{user}",realm="{realm}",nonce="{given["nonce"]}",cnonce="{cnonce}",nc=00000001,qop=auth,'
               f'digest-uri="{uri}",response={proof},charset=utf-8')
        yield ""

    @staticmethod
    def scram(user, password, algorithm):
        def mac(key, data):
            return hmac.new(key, data, algorithm).digest()

        bare = f"n={user},r=fyko+d2lbbFgONRv9qkxdawL"
        first = (yield "n,," + bare).decode()
        given = dict(part.split("=", 1) for part in first.split(","))
        salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), base64.b64decode(given["s"]), int(given["i"]))
        client_key = mac(salted, b"Client Key")
        without_proof = f"c=biws,r={given['r']}"
        signature = mac(hashlib.new(algorithm, client_key).digest(), f"{bare},{first},{without_proof}".encode())
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        yield f"{without_proof},p={b64(proof)}"
        yield ""

    @staticmethod
    def scram_sha_1(user, password):
        return Mechanisms.scram(user, password, "sha1")

    @staticmethod
    def scram_sha_256(user, password):
        return Mechanisms.scram(user, password, "sha256")

    @staticmethod
    def xoauth2(user, token):
        yield f"user={user}\1auth=Bearer {token}\1\1"
        yield ""  # the answer to the challenge in which the server says what was wrong

    @staticmethod
    def oauthbearer(user, token):
        yield f"n,a={user},\1host=mx.example.net\1port=587\1auth=Bearer {token}\1\1"
        yield "\1"

    @staticmethod
    def external(user, _):
        yield user

    @staticmethod
    def anonymous(trace, _):
        yield trace


def authenticate(d, mechanism, user="", password="", initial=True, cancel_at=None, lower=False):
    """One AUTH exchange; returns the server's last line. cancel_at: the response, from 0, that becomes "*"."""
    exchange = getattr(Mechanisms, mechanism.lower().replace("-", "_"))(user, password)
    response = next(exchange)
    command = f"AUTH {mechanism}"
    if lower:
        command = command.lower()
    sent = 0

    def encoded(response):
        text = b64(response)
        if len(text) > 8:
            secret(text)
        return text

    if initial and response is not None and cancel_at != 0:
        line = d.command(f"{command} {encoded(response) or '='}")
        response, sent = None, 1
    else:
        line = d.command(command)
    while line.startswith(d.more):
        challenge = base64.b64decode(line[len(d.more):].strip() or "")
        if cancel_at == sent:
            return d.command("*")
        if response is None:
            try:
                response = exchange.send(challenge)
            except StopIteration:
                response = ""
        line, response, sent = d.command(encoded(response)), None, sent + 1
    return line


def good(d, *args, **kw):
    line = authenticate(d, *args, **kw)
    if not line.startswith(d.final):
        raise Unexpected(f"{args[0]}: expected success, got {line!r}")


def bad(d, *args, **kw):
    line = authenticate(d, *args, **kw)
    if line.startswith(d.final):
        raise Unexpected(f"{args[0]}: expected failure, got {line!r}")


ALICE, BOB = ("alice", "canary-alice-5e2f"), ("bob", "canary-bob-71c0")
WRONG = ("alice", "canary-wrong-d41d")
TOKEN, BAD_TOKEN = ("alice", "canary-token-alice-93ab"), ("alice", "canary-expired-token-0b7e")


# --- the dialogues: SMTP ------------------------------------------------------------------------------------------


def smtp_pipelining(host, port=25):
    """RFC 2920: groups of commands in one write each, the next transaction behind the end of data."""
    one, two = a_mail("Pipelined, one", "one"), DOTS
    d = SMTP(host, port)
    d.send("MAIL FROM:<a@example.org>\r\n", "RCPT TO:<alice@example.net>\r\n", "RCPT TO:<nobody@example.net>\r\n",
           "RCPT TO:<bob@example.net>\r\n", "DATA\r\n")
    for code in "250", "250", "550", "250", "354":
        d.expect(code)
    d.send(stuffed(one), "MAIL FROM:<b@example.org>\r\n", "RCPT TO:<carol@example.net>\r\n", "DATA\r\n")
    sent_mail(one, d.expect("250"), "a@example.org", ["alice@example.net", "bob@example.net"])
    for code in "250", "250", "354":
        d.expect(code)
    d.send(stuffed(two), "RSET\r\n", "MAIL FROM:<c@example.org>\r\n", "RCPT TO:<nobody@example.net>\r\n", "DATA\r\n")
    sent_mail(two, d.expect("250"), "b@example.org", ["carol@example.net"])
    for code in "250", "250", "550":
        d.expect(code)
    d.expect("503", "554")  # no valid recipients, so what follows is commands
    d.send("QUIT\r\n")
    d.expect("221")
    d.close()


def smtp_early(host, port=25):
    """A whole session in one write, before the greeting was read; the server may or may not like it."""
    mail = a_mail("All at once", "No patience.")
    d = Dialogue(host, port)
    d.send(f"EHLO {HELO}\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.net>\r\nDATA\r\n", stuffed(mail), "QUIT\r\n")
    queued = [line for line in d.rest() if re.match(r"250 .*(queued as|id=)", line)]
    for line in queued:
        sent_mail(mail, line, "a@example.org", ["alice@example.net"])
    d.close()


def smtp_bdat(host, port=25):
    """RFC 3030: chunks of all kinds."""
    to = ["alice@example.net"]
    d = SMTP(host, port)

    mail = a_mail("BDAT in three", "one", ".", "two")
    d.envelope("a@example.org", *to)
    for chunk in mail[:40], mail[40:43]:
        d.send(f"BDAT {len(chunk)}\r\n", chunk)
        d.expect("250")
    d.send(f"BDAT {len(mail) - 43} LAST\r\n", mail[43:])
    sent_mail(mail, d.expect("250"), "a@example.org", to)

    mail = a_mail("BDAT, then 0 LAST", "..", "Quit? No:", "QUIT", "RSET")
    d.envelope("b@example.org", *to)
    d.send(f"BDAT {len(mail)}\r\n", mail)
    d.expect("250")
    sent_mail(mail, d.command("BDAT 0 LAST", "250"), "b@example.org", to)

    mail = a_mail("BDAT, pipelined", "MAIL FROM:<not@a.command>", ".", "")
    d.send("MAIL FROM:<c@example.org> BODY=8BITMIME\r\nRCPT TO:<alice@example.net>\r\nRCPT TO:<nobody@example.net>\r\n",
           f"BDAT {len(mail) // 2}\r\n", mail[:len(mail) // 2], f"BDAT {len(mail) - len(mail) // 2} last\r\n", mail[len(mail) // 2:], "NOOP\r\n")
    for code in "250", "250", "550", "250":
        d.expect(code)
    sent_mail(mail, d.expect("250"), "c@example.org", to)
    d.expect("250")

    # A chunk, then RSET: the transaction is gone.
    d.envelope("d@example.org", *to)
    d.send("BDAT 12\r\n", "Subject: x\r\n")
    d.expect("250")
    d.command("RSET", "250")

    # No recipient was accepted: the chunk is read and refused.
    d.command("MAIL FROM:<e@example.org>", "250")
    d.command("RCPT TO:<nobody@example.net>", "550")
    d.send("BDAT 10 LAST\r\n", "QUIT\r\nQUIT")
    d.expect("503", "554")
    d.command("NOOP", "250")
    d.quit()


def smtp_bdat_errors(host, port=25):
    """BDAT without a transaction, without a size, with a nonsensical one, and DATA after BDAT."""
    d = SMTP(host, port)
    d.send("BDAT 6 LAST\r\n", "QUIT\r\n")
    d.expect("503")
    d.envelope("a@example.org", "alice@example.net")
    d.send("BDAT 4\r\n", "a\r\n\r")
    d.expect("250")
    d.command("DATA", "503")
    d.send("RSET\r\n")
    d.expect("250")
    d.envelope("a@example.org", "alice@example.net")
    d.command("BDAT", "501", "521")
    d.close()


def smtp_rejected(host, port=25):
    """Refusals at every command."""
    d = SMTP(host, port, hello=None)
    d.command("MAIL FROM:<a@example.org>")  # before any greeting
    d.command("EHLO client.example.org", "250")
    d.command("MAIL FROM:<a@example.org>", "250")
    d.command("RCPT TO:<nobody@example.net>", "550")
    d.command("RCPT TO:<someone@elsewhere.example>", "4", "5")
    d.command("RCPT TO:<greylisted@example.net>", "4")
    d.command("RCPT TO:<blocked@example.net>", "5")
    d.command("RSET", "250")
    d.command("MAIL FROM:<spammer@bad.example>", "250", "5")
    d.command("RCPT TO:<alice@example.net>", "5")
    d.command("RSET", "250")
    d.command("MAIL FROM:<a@example.org> SIZE=99999999", "552")
    d.command("RSET", "250")
    d.quit()

    d = SMTP(host, port, hello=None)
    d.command("EHLO [bad", "250", "5")
    d.command("MAIL FROM:<a@example.org>")
    d.command("RCPT TO:<alice@example.net>", "5")
    d.quit()

    # One mail is refused for its content, the next one has one good recipient out of two.
    d = SMTP(host, port)
    d.envelope("a@example.org", "alice@example.net")
    d.command("DATA", "354")
    d.send(stuffed(a_mail("Refused\r\nX-Refuse-This: please", "Never seen.")))
    d.expect("5")
    d.command("MAIL FROM:<>", "250")
    d.command("RCPT TO:<nobody@example.net>", "550")
    d.command("RCPT TO:<bob@example.net>", "250")
    mail = a_mail("Delivered to one of two", "Good.", to="bob@example.net")
    d.command("DATA", "354")
    d.send(stuffed(mail))
    sent_mail(mail, d.expect("250"), "", ["bob@example.net"])
    d.quit()


def smtp_rejected_late(host, port=25):
    """As smtp_rejected, for a server that says so later or differently."""
    d = SMTP(host, port)
    d.command("MAIL FROM:<a@example.org>", "250")
    d.command("RCPT TO:<nobody@example.net>", "5")
    d.command("RCPT TO:<someone@elsewhere.example>", "5")
    d.command("DATA", "5")
    d.command("RCPT TO:<alice@example.net>", "250", "5")
    d.command("RSET", "250")
    d.command("MAIL FROM:<spammer@bad.example>", "250", "5")
    d.command("RCPT TO:<alice@example.net>", "5")
    d.command("RSET", "250")
    d.command("MAIL FROM:<a@example.org> SIZE=99999999", "250", "5")
    d.command("RSET", "250")
    d.quit()

    d = SMTP(host, port)
    d.envelope("a@example.org", "alice@example.net")
    d.command("DATA", "354")
    d.send(stuffed(a_mail("Too big", *["x" * 70] * 400)))
    d.expect("5")
    d.quit()


def smtp_too_big(host, port=25):
    """A mail above the server's limit whose size was not announced."""
    d = SMTP(host, port)
    d.envelope("a@example.org", "alice@example.net")
    d.command("DATA", "354")
    d.send(stuffed(a_mail("Too big", *["x" * 70] * 400)))
    d.expect("552")
    d.quit()


def smtp_errors(host, port=25):
    """Wrong order, wrong syntax, unknown commands, until the server has had enough; then silence, cut and reset."""
    d = SMTP(host, port, hello="HELO")
    for line in ("RCPT TO:<alice@example.net>", "DATA", "MAIL FROM: nobody", "MAIL FROM:<a@example.org> FOO=BAR", "VRFY alice", "EXPN list",
                 "HELP", "TURN", "", "mail from:<a@example.org>", "MAIL FROM:<b@example.org>", "GET / HTTP/1.0", "X" * 3000):
        try:
            d.send(line + "\r\n")
            d.reply()
        except (EOFError, OSError):
            break
    d.close()

    d = SMTP(host, port)  # leaves in the middle of a mail
    d.envelope("a@example.org", "alice@example.net")
    d.command("DATA", "354")
    d.send("Subject: Never finished\r\n\r\nThis is the end of the fi")
    time.sleep(0.2)
    d.close()

    d = SMTP(host, port)  # resets the connection in the middle of a mail
    d.envelope("b@example.org", "alice@example.net")
    d.command("DATA", "354")
    d.send("Subject: Reset\r\n\r\nreset\r\n")
    time.sleep(0.2)
    d.reset()

    d = SMTP(host, port)  # says no more
    d.command("MAIL FROM:<c@example.org>", "250")
    d.half_close()
    d.rest()
    d.close()


def smtp_timeout(host, port=25):
    """Silence, until the server gives up."""
    d = SMTP(host, port)
    d.rest()
    d.close()


def smtp_extensions(host, port=25):
    """Parameters of MAIL and RCPT, addresses and headers in UTF-8."""
    d = SMTP(host, port)
    mail = a_mail("Grüße", "Grüße aus Köln: ✉", ".", to="alice@example.net")
    d.command(f"MAIL FROM:<a@example.org> SIZE={len(mail)} BODY=8BITMIME RET=HDRS ENVID=QQ314159", "250")
    d.command("RCPT TO:<alice@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alice+40example.net", "250")
    d.command("rcpt to:<bob@EXAMPLE.net> notify=never", "250")
    d.command("data", "354")
    d.send(stuffed(mail))
    sent_mail(mail, d.expect("250"), "a@example.org", ["alice@example.net", "bob@EXAMPLE.net"])

    mail = a_mail("UTF8", "Hello", sender="jürgen@bücher.example", to="alice@example.net")
    d.command("MAIL FROM:<jürgen@bücher.example> SMTPUTF8 BODY=8BITMIME", "250")
    d.command("RCPT TO:<alice@example.net>", "250")
    d.command("DATA", "354")
    d.send(stuffed(mail))
    sent_mail(mail, d.expect("250"), "jürgen@bücher.example", ["alice@example.net"])

    mail = a_mail("Null sender and odd addresses", "Bounce.", sender="")
    d.command("MAIL FROM:<>", "250")
    d.command("RCPT TO:<@relay.example,@other.example:alice@example.net>", "250", "5")
    d.command('RCPT TO:<"alice"@example.net>', "250")
    d.command("DATA", "354")
    # Each octet of the end of data in a packet of its own.
    d.send(mail)
    for octet in b".\r\n":
        time.sleep(0.05)
        d.send(bytes([octet]))
    sent_mail(mail, d.expect("250"), "", ["alice@example.net"])
    d.quit()


def smtp_big(host, port=25, octets="60000"):
    """A mail of many segments."""
    line = "The quick brown fox jumps over the lazy dog, and the dog does not care. {:06d}"
    mail = a_mail("Big", *(line.format(i) for i in range(int(octets) // 82)))
    d = SMTP(host, port)
    d.data("a@example.org", ["alice@example.net"], mail)
    d.data("b@example.org", ["bob@example.net"], a_mail("Small, after the big one", "small"))
    d.quit()


SMUGGLING = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "CRLF-NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL-CRLF": b"\r\n.\0\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "CRLF..CRLF": b"\r\n..\r\n",
}


def smtp_smuggling(host, port=25, how="at-once"):
    """Each would-be end of data, one a session, with a second transaction behind it.

    A strict server sees one mail, a tolerant one two. Either way the true end of data and QUIT follow. at-once: all in
    one write. paused: the client waits behind the form, and where the server answers, it goes on command by command."""
    for name, form in SMUGGLING.items():
        d = SMTP(host, port)
        mark = name.lower().replace(".", "-dot-").replace("--", "-").replace("--", "-")
        d.envelope(f"outer-{mark}@example.org", "alice@example.net")
        d.command("DATA", "354")
        outer = a_mail(f"Outer {name}", "The body of the first mail.", sender=f"outer-{mark}@example.org")
        inner = a_mail(f"Inner {name}", "Smuggled, or not.", sender=f"inner-{mark}@example.org", to="bob@example.net")
        steps = [f"MAIL FROM:<inner-{mark}@example.org>\r\n", "RCPT TO:<bob@example.net>\r\n", "DATA\r\n", stuffed(inner)]
        first = outer.removesuffix(b"\r\n") + form
        codes = []
        if how == "paused":
            d.send(first)
            first = b""
            if select.select([d.sock], [], [], 2)[0]:  # a disk may be slow
                codes.append(d.reply()[:3])
                while codes[-1] in ("250", "354") and steps:
                    d.send(steps.pop(0))
                    codes.append(d.reply()[:3])
        if first or steps:
            d.send(first, *steps)
            time.sleep(0.1)
        try:
            d.send("QUIT\r\n")
        except OSError:
            pass
        codes += [line[:3] for line in d.rest() if line[3:4] != "-"]
        d.close()
        print(f"{name}: {' '.join(codes)}")


def smtp_starttls_injection(host, port=25):
    """A command in the same packet behind STARTTLS, in clear (CVE-2011-0411); then the client gives up."""
    d = SMTP(host, port)
    d.send("STARTTLS\r\nRSET\r\nMAIL FROM:<injected@example.org>\r\n")
    d.expect("220", "5")
    time.sleep(0.2)
    d.close()


def smtp_starttls_refused(host, port=25):
    """STARTTLS with an argument is refused, and the dialogue goes on in clear."""
    d = SMTP(host, port)
    d.command("STARTTLS now", "501", "5")
    d.data("a@example.org", ["alice@example.net"], a_mail("In clear after all", "Yes."))
    d.quit()


def smtp_prdr(host, port=25):
    """Exim's PRDR: a reply for each recipient after the end of data."""
    d = SMTP(host, port)
    d.command("MAIL FROM:<a@example.org> PRDR", "250")
    for to in "alice", "bob":
        d.command(f"RCPT TO:<{to}@example.net>", "250")
    d.command("DATA", "354")
    mail = a_mail("PRDR", "For one of you.")
    d.send(stuffed(mail))
    d.expect("353")
    d.expect("250")
    d.expect("250")
    sent_mail(mail, d.expect("250"), "a@example.org", ["alice@example.net", "bob@example.net"])
    d.quit()


def auth_attempts(mechanisms):
    """What is tried with each mechanism: (name, credentials, options, expectation)."""
    for m in mechanisms:
        right, wrong = (TOKEN, BAD_TOKEN) if m in ("XOAUTH2", "OAUTHBEARER") else (ALICE, WRONG)
        if m == "EXTERNAL":
            yield m, ("alice", ""), {}, bad
            continue
        if m == "ANONYMOUS":
            yield m, ("trace@example.org", ""), {}, None
            continue
        yield m, right, {}, good
        yield m, wrong, {}, bad
        if m in ("PLAIN", "LOGIN", "XOAUTH2"):
            yield m, right, {"initial": False}, good
            yield m, wrong, {"initial": False}, bad
        yield m, right, {"initial": False, "cancel_at": 0}, bad
        if m in ("LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256"):
            yield m, right, {"cancel_at": 1}, bad


def smtp_auth(host, port=587, *mechanisms):
    """Every mechanism, each attempt in a session of its own; then several in one; a mail after the last."""
    for m, credentials, options, expectation in auth_attempts(mechanisms):
        d = SMTP(host, port)
        (expectation or authenticate)(d, m, *credentials, **options)
        d.quit()

    d = SMTP(host, port)
    d.command("AUTH", "5")
    d.command("AUTH NO-SUCH-MECHANISM", "5")
    if "PLAIN" in mechanisms:
        d.command("AUTH PLAIN !!!not-base64", "5")
        bad(d, "PLAIN", *WRONG)
        bad(d, "PLAIN", *WRONG, lower=True)
    if "LOGIN" in mechanisms:
        bad(d, "LOGIN", *WRONG)
    last = next(m for m in mechanisms if m in ("PLAIN", "LOGIN", "CRAM-MD5"))
    good(d, last, *BOB, lower=True)
    d.command(f"AUTH {last}", "503")
    d.data("bob@example.net", ["someone@elsewhere.example"], a_mail("After AUTH", "Relayed.", sender="bob@example.net", to="someone@elsewhere.example"))
    d.quit()


def smtp_auth_in_clear(host, port=587):
    """AUTH where the server does not offer it: without TLS."""
    d = SMTP(host, port)
    d.command(f"AUTH PLAIN {secret(b64(chr(0).join(['', *ALICE])))}", "5")
    d.command("AUTH LOGIN", "5")
    d.quit()


def smtp_auth_split(host, port=587):
    """Credentials in several packets, and pipelined with the command that asks for them."""
    d = SMTP(host, port)
    line = f"AUTH PLAIN {secret(b64(chr(0).join(['', *ALICE])))}\r\n"
    for piece in line[:15], line[15:30], line[30:-1], line[-1:]:
        d.send(piece)
        time.sleep(0.05)
    d.expect("235")
    d.quit()

    d = SMTP(host, port)
    d.send(f"AUTH LOGIN\r\n{b64(BOB[0])}\r\n{secret(b64(BOB[1]))}\r\n", f"MAIL FROM:<bob@example.net>\r\nRSET\r\nQUIT\r\n")
    print(d.rest())
    d.close()


# --- LMTP ---------------------------------------------------------------------------------------------------------


def lmtp(host, port=24):
    """RFC 2033: a reply a recipient after the end of data, with DATA and with BDAT."""
    def saved(mail, replies, recipients):
        for to, reply in zip(recipients, replies):
            print(to, reply)
            if reply.startswith("250"):
                sent_mail(mail, reply, "a@example.org", [to])

    d = SMTP(host, port, hello="LHLO")
    mail = a_mail("LMTP to three", "One of them has no room.", ".", to="list@example.net")
    recipients = ["alice@example.net", "full@example.net", "bob@example.net"]
    d.command("MAIL FROM:<a@example.org>", "250")
    d.send("".join(f"RCPT TO:<{to}>\r\n" for to in recipients[:2]), "RCPT TO:<nobody@example.net>\r\n", f"RCPT TO:<{recipients[2]}>\r\n", "DATA\r\n")
    codes = [d.expect()[:3] for _ in range(4)]
    taken = [to for to, code in zip([*recipients[:2], "nobody@example.net", recipients[2]], codes) if code == "250"]
    d.expect("354")
    d.send(stuffed(mail))
    saved(mail, [d.reply() for _ in taken], taken)

    mail = a_mail("LMTP by BDAT", ".", "to two", to="list@example.net")
    d.envelope("a@example.org", "alice@example.net", "bob@example.net")
    d.send("BDAT 50\r\n", mail[:50])
    d.expect("250")
    d.send(f"BDAT {len(mail) - 50} LAST\r\n", mail[50:])
    saved(mail, [d.reply() for _ in range(2)], ["alice@example.net", "bob@example.net"])
    d.quit()


# --- POP3 ---------------------------------------------------------------------------------------------------------


def pop3_session(host, port=110):
    """Every command of RFC 1939 and 2449, right and wrong, and a wrong password first."""
    d = POP3(host, port)
    d.multiline("CAPA")
    d.command("STAT")  # not in this state
    d.command("USER alice", "+OK")
    d.command(f"PASS {secret(WRONG[1])}", "-ERR")
    d.close()

    d = POP3(host, port)
    d.command("user alice", "+OK")
    d.command(f"pass {secret(ALICE[1])}", "+OK")
    d.multiline("CAPA")
    d.command("STAT", "+OK")
    d.multiline("LIST")
    d.command("LIST 2", "+OK")
    d.command("LIST 99", "-ERR")
    d.multiline("UIDL")
    d.command("UIDL 1", "+OK")
    d.multiline("TOP 1 0")
    d.multiline("TOP 2 3")
    for number in 1, 2, 3:
        d.multiline(f"RETR {number}")
    d.command("RETR 99", "-ERR")
    d.command("DELE 1", "+OK")
    d.command("DELE 1", "-ERR")
    d.command("RETR 1", "-ERR")
    d.multiline("LIST")
    d.command("RSET", "+OK")
    d.command("NOOP", "+OK")
    d.command("LAST")
    d.command("NOSUCH", "-ERR")
    d.command("DELE 2", "+OK")
    d.quit()


def pop3_pipelining(host, port=110):
    """RFC 2449 PIPELINING: everything in two writes; then a session that is cut in the middle of a mail."""
    d = POP3(host, port)
    d.send(f"USER alice\r\nPASS {secret(ALICE[1])}\r\nSTAT\r\nLIST\r\nUIDL\r\n")
    for _ in range(3):
        d.expect("+OK")
    for _ in range(2):
        d.expect("+OK")
        d.lines()
    d.send("RETR 2\r\nLIST 1\r\nRETR 3\r\nTOP 1 1\r\nDELE 7\r\nRETR 1\r\nQUIT\r\n")
    for multi in True, False, True, True, None, True:
        if multi is None:
            d.expect("-ERR")
            continue
        d.expect("+OK")
        if multi:
            d.lines()
    d.expect("+OK")
    d.close()

    d = POP3(host, port)
    d.command("USER bob", "+OK")
    d.command(f"PASS {secret(BOB[1])}", "+OK")
    d.send("RETR 1\r\n")
    d.line()
    d.reset()


def pop3_apop(host, port=110):
    """RFC 1939 APOP: right, wrong, an unknown user."""
    for (user, password), start in ((ALICE, "+OK"), (WRONG, "-ERR"), (("nobody", "canary-none-0000"), "-ERR"), (BOB, "+OK")):
        d = POP3(host, port)
        stamp = re.search(r"<[^>]+>", d.greeting).group()
        digest = secret(hashlib.md5((stamp + password).encode()).hexdigest())
        d.command(f"APOP {user} {digest}", start)
        if start == "+OK":
            d.command("STAT", "+OK")
            d.multiline("RETR 1")
            d.quit()
        else:
            d.command("QUIT")
            d.close()


def pop3_auth(host, port=110, *mechanisms):
    """RFC 5034 AUTH with every mechanism."""
    d = POP3(host, port)
    d.multiline("AUTH")
    d.quit()
    for m, credentials, options, expectation in auth_attempts(mechanisms):
        d = POP3(host, port)
        (expectation or authenticate)(d, m, *credentials, **options)
        d.send("QUIT\r\n")
        d.rest()
        d.close()


# --- the bad cable ------------------------------------------------------------------------------------------------


def wire(one, two):
    """Forwards Ethernet frames between two interfaces, losing, doubling and delaying some; ends with its parent."""
    chance = random.Random(5321)
    socks = []
    for name in one, two:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.bind((name, 0))
        s.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING: what we send is not for us
        socks.append(s)
    late = []  # (when, socket, frame)
    print("up", flush=True)
    while True:
        wait = max(0, late[0][0] - time.monotonic()) if late else 1
        ready, _, _ = select.select(socks, [], [], wait)
        for s in ready:
            frame = s.recv(65536)
            other = socks[1 - socks.index(s)]
            what = chance.random() if len(frame) > 200 else chance.random() * 5
            if what < 0.06:
                continue
            if what < 0.14:
                late.append((time.monotonic() + 0.004 + 0.03 * chance.random(), other, frame))
                continue
            other.send(frame)
            if what < 0.18:
                other.send(frame)
        late.sort(key=lambda entry: entry[0])
        while late and late[0][0] <= time.monotonic():
            _, other, frame = late.pop(0)
            other.send(frame)


DIALOGUES = [
    smtp_pipelining, smtp_early, smtp_bdat, smtp_bdat_errors, smtp_rejected, smtp_rejected_late, smtp_too_big, smtp_errors, smtp_timeout, smtp_extensions, smtp_big,
    smtp_smuggling, smtp_starttls_injection, smtp_starttls_refused, smtp_prdr, smtp_auth, smtp_auth_in_clear, smtp_auth_split,
    lmtp, pop3_session, pop3_pipelining, pop3_apop, pop3_auth, wire,
]


def main():
    by_name = {d.__name__.replace("_", "-"): d for d in DIALOGUES}
    if len(sys.argv) < 3 or sys.argv[1] not in by_name:
        sys.exit(f"usage: client.py DIALOGUE HOST [PORT] [ARGUMENT...]; the dialogues: {', '.join(by_name)}")
    try:
        by_name[sys.argv[1]](*sys.argv[2:])
    except (Unexpected, EOFError, OSError) as e:
        sys.exit(f"client.py {sys.argv[1]}: {e or type(e).__name__}")


if __name__ == "__main__":
    main()
