"""A mail server for tests: takes what it is sent, or misbehaves as the file `behaviour` in its folder says.

server.py FOLDER PORT clear|implicit|starttls

Accepted mails are files `NNNN.json` in the folder, as they came and as Python's own parser reads them. Accounts: USERNAME, PASSWORD.
"""

import asyncio
import email
import email.policy
import itertools
import json
import logging
import os
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

USERNAME, PASSWORD = b"mailer", b"the mailer's password"
# aiosmtpd warns of what is on purpose here.
logging.disable()
warnings.simplefilter("ignore")
folder, port, encryption = sys.argv[1], int(sys.argv[2]), sys.argv[3]
numbers = itertools.count(1 + sum(name.endswith(".json") for name in os.listdir(folder)))


def behaviour():
    """`accept`, `hang`, `drop`, `lose-answer` or `COMMAND 550 a text`"""
    with open(os.path.join(folder, "behaviour"), encoding="utf-8") as file:
        return file.read()


async def answer_to(command):
    while behaviour() == "hang " + command:
        await asyncio.sleep(0.02)
    asked, _, answer = behaviour().partition(" ")
    return answer if asked == command else None


def authenticate(server, session, envelope, mechanism, data):
    right = data.login == USERNAME and data.password == PASSWORD
    # `handled` would mean that an answer was sent already.
    return AuthResult(success=right, handled=False)


def parsed(content):
    mail = email.message_from_bytes(content, policy=email.policy.default)

    def part(kind):
        return mail.get_body((kind,)).get_content().replace("\r\n", "\n")

    return {
        "defects": [str(defect) for defect in mail.defects],
        "headers": [[name.lower(), str(value)] for name, value in mail.items()],
        "html": part("html"),
        "text": part("plain"),
        "type": mail.get_content_type(),
    }


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, options):
        refusal = await answer_to("MAIL")
        if refusal is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return refusal or "250 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        refusal = await answer_to("RCPT")
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 ok"

    async def handle_DATA(self, server, session, envelope):
        if behaviour() == "drop":
            server.transport.abort()
            return "250 never sent"
        refusal = await answer_to("DATA")
        if refusal is not None:
            return refusal
        content = envelope.original_content
        mail = {
            "encrypted": session.ssl is not None or encryption == "implicit",
            "authenticated": bool(session.authenticated),
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "raw": content.decode("latin-1"),
            "parsed": parsed(content),
        }
        path = os.path.join(folder, f"{next(numbers):04}.json")
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(mail, file)
        os.rename(path + ".part", path)
        if behaviour() == "lose-answer":
            server.transport.abort()
        return "250 accepted"


def certificate():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem"))
    return context


def conversation():
    login = {"authenticator": authenticate, "auth_required": True}
    if encryption == "starttls":
        options = login | {"tls_context": certificate(), "require_starttls": True}
    elif encryption == "implicit":
        # TLS is there before the first command, which aiosmtpd does not count.
        options = login | {"auth_require_tls": False}
    else:
        options = {}
    return SMTP(Handler(), enable_SMTPUTF8=True, hostname="mail.test", timeout=600, **options)


async def main():
    loop = asyncio.get_running_loop()
    tls = certificate() if encryption == "implicit" else None
    server = await loop.create_server(conversation, "127.0.0.1", port, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Until the test goes away.
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
