#!/usr/bin/env python3
"""Asks the servers of one case of record.sh what they did, and prints it as JSON (README.md says what means what).

Everything comes from the servers' own state: Postfix's queue and log, Exim's spool and main log, OpenSMTPD's queue and
log, Dovecot's maildirs and log. The wire is not looked at. A mail's hash is that of what the server stored, without
the lines that it put on top, with CRLF line ends again. Where client.py sent the mail, its ledger has the hash of what
was sent, and that is the one given; "stored" then says whether the server kept the same octets.
"""

import argparse
import base64
import glob
import gzip
import hashlib
import json
import os
import re
import subprocess


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def version_of(what, peers):
    """The Debian package's version: from dpkg, or from the changelog of what install.sh unpacked."""
    package = {"dovecot": "dovecot-core", "exim": "exim4-daemon-heavy"}.get(what, what)
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for path in [] if out else sorted(glob.glob(f"{peers}/*/usr/share/doc/{package}/changelog.Debian*"))[:1]:
        with gzip.open(path, "rt") as f:
            out = re.search(r"\((.*?)\)", f.readline()).group(1)
    return out


def split_code(text):
    """Code, enhanced code and text of a reply."""
    code, enhanced, rest = re.match(r"(\d{3})?[ -]?(\d\.\d+\.\d+)?\s*(.*)", text, re.S).groups()
    found = {"code": int(code)} if code else {}
    if enhanced:
        found["enhanced"] = enhanced
    found["text"] = rest
    return found


def content(stored, on_top):
    """What the client sent: the stored mail with CRLF line ends, without the header fields that the server put on top.

    on_top lists those fields, in order; each is taken off once."""
    data = stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for field in on_top:
        if data.lower().startswith(field.lower().encode() + b":"):
            data = re.sub(rb"\A[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", b"", data)
    return {"octets": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def decoded(text):
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""


# --- Postfix --------------------------------------------------------------------------------------------------------


class Postfix:
    peer = r"smtpd\[\d+\]: connect from \S+?\[([^\]]+)\]"

    def __init__(self, dir):
        self.dir = dir
        self.log = read(f"{dir}/postfix/log")

    def mails(self):
        queued = {}
        for line in run("postqueue", "-c", f"{self.dir}/postfix/etc", "-j").decode().splitlines():
            entry = json.loads(line)
            queued[entry["queue_id"]] = entry
        for queue_id in dict.fromkeys(re.findall(r"cleanup\[\d+\]: (\w+): message-id=", self.log)):
            if entry := queued.get(queue_id):
                sender = re.search(rf"{queue_id}: from=<(.*?)>", self.log).group(1)
                mail = {"queue_id": queue_id, "from": sender, "rcpt": [r["address"] for r in entry["recipients"]]}
                if user := re.search(rf"{queue_id}: client=.*sasl_username=(\S+)", self.log):
                    mail["user"] = user.group(1)
                mail |= content(run("postcat", "-c", f"{self.dir}/postfix/etc", "-bhq", queue_id), ["Received"])
                yield mail

    def rejected(self):
        for m in re.finditer(r"(?:NOQUEUE|\w+): (?:milter-)?reject: (.*)", self.log):
            line = m.group(1)
            if line.startswith("header "):  # cleanup's own line for refused content; smtpd says 550 to it
                command, rest = "DATA-END", "550 " + re.sub(r".*proto=\S+(?: helo=\S+)?: ", "", line)
            else:
                command, rest = re.match(r"(\S+) from \S+: (.*)", line).groups()
            envelope = re.search(r"; from=<(.*?)>(?: to=<(.*?)>)? proto", line)
            entry = {"command": {"END-OF-MESSAGE": "DATA-END"}.get(command, command)} | split_code(re.sub(r"; (from|proto)=.*", "", rest))
            if envelope:
                entry["from"] = envelope.group(1)
                if envelope.group(2):
                    entry["to"] = envelope.group(2)
            yield entry

    def sessions(self):
        for host, counts in re.findall(r"smtpd\[\d+\]: disconnect from \S+?\[([^\]]+\]:\d+)((?: \S+=\S+)*)", self.log):
            entry = {"client": host.replace("]:", " ").replace(" ", ":") if ":" not in host.split("]")[0] else "[" + host, "commands": {}}
            for verb, count in re.findall(r"(\S+)=(\S+)", counts):
                good, _, total = count.partition("/")
                entry["commands"][verb] = {"good": int(good), "total": int(total or good)}
            yield entry

    def logins(self):
        return dovecot_logins(self.dir, "smtp")


# --- Exim -----------------------------------------------------------------------------------------------------------


class Exim:
    program = ""
    peer = r"(?<!I=)\[(\d[0-9a-f.:]+)\]"

    def __init__(self, dir):
        self.dir = dir
        self.log = read(f"{dir}/exim/log/mainlog")

    def mails(self):
        for line in self.log.splitlines():
            if m := re.match(r"\S+ \S+ (\S+) <= (\S+) .*? from <(.*?)> for (.*)", line):
                queue_id, _, sender, recipients = m.groups()
                mail = {"queue_id": queue_id, "from": sender, "rcpt": recipients.split()}
                if user := re.search(r" A=\w+:(\S+)", line):
                    mail["user"] = user.group(1)
                stored = run(self.program, "-C", f"{self.dir}/exim/conf", "-Mvc", queue_id)
                yield mail | content(stored, ["Received"])

    def rejected(self):
        for m in re.finditer(r"(?:F=<(\S*)> )?(?:temporarily )?rejected ([A-Z]\S*|after DATA|\S+ \S+)\s?(?:<?([^>:]*?)>?)?: (.*)", self.log):
            sender, command, argument, text = m.groups()
            entry = {"command": "DATA-END" if command == "after DATA" else command.rstrip(":"), "text": text}
            if sender is not None:
                entry["from"] = sender
            if command == "RCPT":
                entry["to"] = argument
            yield entry

    def sessions(self):
        return None

    def logins(self):
        """Exim's log names each session's authenticator only where no mail was sent, or at the mail; and each failure."""
        mechanism = {"plain": "PLAIN", "login": "LOGIN", "cram": "CRAM-MD5", "ntlm": "NTLM"}
        for line in self.log.splitlines():
            if m := re.search(r" (\w+) authenticator failed for .*?(?:\(set_id=(.*?)\))?$", line):
                name, user, outcome = m.group(1), m.group(2), "failure"
            elif m := re.search(r"(?:no MAIL in .*| <= .*) A=(\w+)(?::(\S+))?", line):
                name, user, outcome = m.group(1), m.group(2), "success"
            else:
                continue
            login = {"mechanism": mechanism.get(name, name.removeprefix("dovecot_").replace("_", "-"))}
            if user:
                login["user"] = user
            yield login | {"outcome": outcome}


# --- OpenSMTPD ------------------------------------------------------------------------------------------------------


class OpenSMTPD:
    peer = r"smtp connected address=\[?([0-9a-f.:]+)"

    def __init__(self, dir):
        self.dir = dir
        self.log = read(f"{dir}/opensmtpd/log")

    def mails(self):
        for queue_id in dict.fromkeys(re.findall(r"smtp message msgid=(\w+)", self.log)):
            path = f"{self.dir}/opensmtpd/spool/queue/{queue_id[:2]}/{queue_id}"
            mail = {"queue_id": queue_id, "from": "", "rcpt": []}
            for sender, recipient in re.findall(rf"smtp envelope evpid={queue_id}\w+ from=<(.*?)> to=<(.*?)>", self.log):
                mail["from"] = sender
                mail["rcpt"].append(recipient)
            with open(f"{path}/message", "rb") as f:
                yield mail | content(f.read(), ["Received"])

    def rejected(self):
        for command, result in re.findall(r'smtp failed-command command="(.*?)" result="(.*?)"\n', self.log):
            verb = command.partition(" ")[0].upper()
            entry = {"command": verb} | split_code(result)
            if verb == "RCPT":
                entry["to"] = re.sub(r".*?:\s*<?(.*?)>?(?: .*)?$", r"\1", command)
            if verb == "MAIL":
                entry["from"] = re.sub(r".*?:\s*<?(.*?)>?(?: .*)?$", r"\1", command)
            yield entry

    def sessions(self):
        return None

    def logins(self):
        for user, result in re.findall(r"smtp authentication user=(\S*) .*result=(\w+)", self.log):
            yield {"user": user, "outcome": "success" if result == "ok" else "failure"}


# --- Dovecot --------------------------------------------------------------------------------------------------------


def dovecot_logins(dir, service):
    """The auth service's requests and their ends, in order. A request without an end was cancelled by the client."""
    pending = {}  # (auth client, request id) -> login
    logins = []
    for line in read(f"{dir}/dovecot/log").splitlines():
        if m := re.search(r"auth: Debug: client in: AUTH\t(\d+)\t(\S+)\t.*?service=(\w+)", line):
            login = {"mechanism": m.group(2).upper(), "outcome": "cancelled"}
            pending[m.group(1)] = login
            if m.group(3).lower() == service:
                logins.append(login)
        elif m := re.search(r"auth: Debug: client passdb out: (OK|FAIL)\t(\d+)(?:.*?\tuser=([^\t]*))?", line):
            login = pending.pop(m.group(2), None)
            if login is not None:
                user = m.group(3)
                login.pop("outcome")
                if user:
                    login["user"] = user
                login["outcome"] = "success" if m.group(1) == "OK" else "failure"
    return logins


class Dovecot:
    peer = r"(?:pop3-login: .*\brip=|lmtp\(\d+\): Info: Connect from )([0-9a-f.:]+)"

    def __init__(self, dir):
        self.dir = dir
        self.log = read(f"{dir}/dovecot/log")

    def mails(self):
        """The mails that maildrop() of record.sh put there, as POP3 gives them."""
        for path in sorted(glob.glob(f"{self.dir}/drop/*/*.mx")):
            user = os.path.basename(os.path.dirname(path))
            with open(path, "rb") as f:
                yield {"maildrop": user} | content(f.read(), [])

    def rejected(self):
        return []

    def sessions(self):
        for line in self.log.splitlines():
            if m := re.search(r"pop3\((\w+)\).*?: (?:Debug: )?(?:Disconnected|Logged out|Connection closed).*?top=(\d+)/(\d+), retr=(\d+)/(\d+), del=(\d+)/(\d+)", line):
                user, tops, top_octets, retrs, retr_octets, deleted, total = m.groups()
                yield {"user": user, "top": int(tops), "top_octets": int(top_octets), "retr": int(retrs), "retr_octets": int(retr_octets),
                       "deleted": int(deleted), "maildrop": int(total)}

    def logins(self):
        return dovecot_logins(self.dir, "pop3")


class DovecotLMTP(Dovecot):
    def mails(self):
        found = []
        for path in glob.glob(f"{self.dir}/mail/*/Maildir/new/*"):
            user = os.path.relpath(path, f"{self.dir}/mail").split("/")[0]
            with open(path, "rb") as f:
                stored = f.read()
            sender = re.search(rb"(?m)^Return-Path: <(.*)>", stored).group(1).decode()
            # Dovecot's own id stands in its reply, "<...> Saved", and in its Received field.
            queue_id = re.search(rb"\sid (\S+)", stored).group(1).decode()
            found.append((os.path.basename(path).split(".")[0], os.stat(path).st_mtime_ns, {"maildrop": user, "queue_id": queue_id, "from": sender, "rcpt": [f"{user}@example.net"]}
                          | content(stored, ["Return-Path", "Delivered-To", "Received"])))
        return [mail for _, _, mail in sorted(found, key=lambda entry: entry[:2])]

    def rejected(self):
        """What the LMTP service says of each recipient that it did not deliver to."""
        for line in self.log.splitlines():
            if m := re.search(r"lmtp\((\S+?)\).*: (?:Info|Error|Debug)?:?.*(?:failed|Quota exceeded|save failed).*", line):
                yield {"command": "DATA-END", "to": m.group(1).split("@")[0] + "@example.net", "text": line.split(": ", 3)[-1]}

    def logins(self):
        return []

    def sessions(self):
        return None


# --- together -------------------------------------------------------------------------------------------------------

ORACLES = {"postfix": Postfix, "exim": Exim, "opensmtpd": OpenSMTPD, "dovecot": Dovecot, "dovecot-lmtp": DovecotLMTP}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("name")
    for option in "dir", "oracle", "by", "clients", "about", "protocol", "ports", "visible", "peers", "missing":
        p.add_argument(f"--{option}", default="")
    args = p.parse_args()
    Exim.program = f"{args.peers}/exim4/usr/sbin/exim4"
    oracle = ORACLES[args.oracle](args.dir)

    ledger = [json.loads(line) for line in read(f"{args.dir}/ledger").splitlines()]
    sent = {e["queue_id"]: e for e in ledger if e.get("queue_id")}
    by_hash = {e["sha256"] for e in ledger if "sha256" in e}
    mails = list(oracle.mails())
    for mail in mails:
        if "smuggling" in args.name:  # which octets are the mail's is the question there
            del mail["octets"], mail["sha256"]
        elif entry := sent.get(mail.get("queue_id")):
            mail["stored"] = "same" if entry["sha256"] == mail["sha256"] else "changed"
            mail["octets"], mail["sha256"] = entry["octets"], entry["sha256"]
        elif mail["sha256"] in by_hash:
            mail["stored"] = "same"

    secrets = dict.fromkeys(re.findall(r"canary-[\w-]+", "".join(read(f"{args.dir}/{path}") for path in ("client.log", "fetchmailrc", "mpoprc", "dovecot/users", "exim/passwords"))))
    for secret in (e["secret"] for e in ledger if "secret" in e):
        secrets[secret] = None
        secrets |= dict.fromkeys(re.findall(r"canary-[\w-]+", decoded(secret)))
    truth = {
        "capture": f"{args.name}.pcap",
        "about": args.about,
        "servers": {what: version_of(what, args.peers) for what in args.by.split()},
        "clients": args.clients.split(),
        "protocol": args.protocol,
        "ports": [int(port) for port in args.ports.split()],
        "visible": args.visible,
        "mails": mails,
        "rejected": list(oracle.rejected()),
        "logins": list(oracle.logins()),
    }
    if (sessions := oracle.sessions()) is not None:
        truth["sessions"] = list(sessions)
    truth["peers"] = sorted(set(re.findall(oracle.peer, oracle.log)))
    if args.missing:
        truth["missing"] = json.loads(args.missing)
    truth["secrets"] = list(secrets)
    print(layout(truth))


def layout(truth):
    """JSON with one line an entry, so that changes can be read."""
    out = []
    for key, value in truth.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in value) + "\n  ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        out.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(out) + "\n}"


main()
