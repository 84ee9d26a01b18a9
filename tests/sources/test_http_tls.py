"""TLS of the listener: certificates, keys that cannot be used, and what comes instead of a handshake."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from kumoaudit.sources.http.limits import DEFAULT
from kumoaudit.sources.http.tls import self_signed, server_context
from tests.fakes import eventually
from tests.policies import kumoaudit
from tests.sources.clients import LIVENESS, UNTRUSTED, ask, connect, listening, raw, read_all, serving, statuses

CERT, KEY = self_signed("audit.example")
OTHER = self_signed("other.example")[1]
LOCKED = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    .decode()
)
PLAIN = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def trusting(pem: bytes) -> ssl.SSLContext:
    """A client that trusts exactly this certificate, and checks the name."""
    return ssl.create_default_context(cadata=pem.decode())


POLICY = """
kumo.on('init', function()
  kumo.start_http_listener { listen = '127.0.0.1:0', use_tls = true, OPTIONS }
end)
"""
REQUEST = f"GET {LIVENESS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def test_a_given_certificate_stands_a_clients_check(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(CERT)
    (tmp_path / "key.pem").write_bytes(KEY)
    (tmp_path / "key.pem").chmod(0o600)
    policy = POLICY.replace("OPTIONS", "tls_certificate = 'cert.pem', tls_private_key = 'key.pem'")
    with serving(tmp_path, policy) as (process, (address,)):
        assert f"https://{address}" in process.said
        assert ask(address, tls=trusting(CERT)).body == "OK"
        assert ask(address, "/metrics", tls=trusting(CERT)).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(address, tls=ssl.create_default_context())


def test_certificate_and_key_may_be_texts_or_one_text(tmp_path: Path) -> None:
    both = (CERT + KEY).decode()
    with serving(tmp_path, POLICY.replace("OPTIONS", f"tls_certificate = {{ key_data = [[{both}]] }}")) as (
        _,
        (address,),
    ):
        assert ask(address, tls=trusting(CERT)).body == "OK"


def test_without_one_the_host_signs_its_own_for_its_name(tmp_path: Path) -> None:
    with serving(tmp_path, POLICY.replace("OPTIONS", "hostname = 'audit.example'")) as (_, (address,)):
        name, _, port = address.rpartition(":")
        pem = ssl.get_server_certificate((name, int(port)))
        assert ask(address, tls=trusting(pem.encode())).body == "OK"
        context = trusting(pem.encode())
        with (
            socket.create_connection((name, int(port))) as sock,
            context.wrap_socket(sock, server_hostname="audit.example") as secure,
        ):
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
            secure.sendall(REQUEST)
            assert statuses(secure.recv(1000)) == [200]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = version
    with listening(tmp_path, tls=server_context(CERT, KEY, "x")) as served, pytest.raises((ssl.SSLError, OSError)):
        ask(served.address, tls=context)


BAD: dict[str, tuple[str, list[str]]] = {
    "no PEM": ("tls_certificate = { key_data = word }, tls_private_key = { key_data = word }", ["PEM"]),
    "not a pair": (f"tls_certificate = {{ key_data = [[{CERT.decode()}]] }}, tls_private_key = {{ key_data = [[{OTHER.decode()}]] }}",
                   ["key values mismatch"]),
    "a password": (f"tls_certificate = {{ key_data = [[{CERT.decode()}]] }}, tls_private_key = {{ key_data = [[{LOCKED}]] }}",
                   ["password"]),
    "a certificate alone": (f"tls_certificate = {{ key_data = [[{CERT.decode()}]] }}", ["private key"]),
    "a key alone": ("tls_private_key = { key_data = plain }", ["tls_certificate is not"]),
    "an empty text": ("tls_certificate = { key_data = '' }", ["PEM"]),
    "no file": ("tls_certificate = 'missing.pem'", ["missing.pem", "tls_certificate"]),
    "an event that raises": ("tls_certificate = { event_name = 'pem' }", ["the vault is away"]),
}  # fmt: skip


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_said_with_its_line_and_without_the_secret(
    tmp_path: Path, name: str, command: str
) -> None:
    options, words = BAD[name]
    # Not on the line of the call: a message shows that one.
    policy = f"local word = 'TOPSECRET'\nlocal plain = [[{PLAIN.decode()}]]\n"
    policy += "kumo.on('pem', function() error('the vault is away') end)" + POLICY.replace("OPTIONS", options)
    (tmp_path / "policy.lua").write_text(policy)
    done = kumoaudit(command, "policy.lua", cwd=tmp_path)
    assert done.code in (2, 3), done.err
    assert "policy.lua:" in done.err
    for word in words:
        assert word in done.err
    for secret in ("TOPSECRET", "PRIVATE KEY-----", PLAIN.decode().splitlines()[1], "Traceback"):
        assert secret not in done.err


def test_every_wrong_option_is_said_at_once_and_check_binds_nothing(tmp_path: Path) -> None:
    policy = """kumo.on('init', function()
  kumo.start_http_listener {
    listen = 'localhost:80', hostnam = 'x', use_tls = 'yes', request_body_limit = 0, trusted_hosts = { '10.0.0.1/8', 7 },
    tls_certificate = 'missing.pem', tls_private_key = { key = 'x' },
  }
end)
"""
    (tmp_path / "policy.lua").write_text(policy)
    done = kumoaudit("check", "policy.lua", cwd=tmp_path)
    assert done.code == 2
    for word in (
        "listen",
        "'hostname'",
        "use_tls",
        "request_body_limit",
        "10.0.0.0/8",
        "missing.pem",
        "tls_private_key",
    ):
        assert word in done.err
    assert not (tmp_path / "kumoaudit-data").exists()


def test_check_takes_an_address_that_is_in_use_and_run_does_not(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "policy.lua").write_text(POLICY.replace(":0'", f":{port}'").replace(", OPTIONS", ""))
        ok = kumoaudit("check", "policy.lua", cwd=tmp_path)
        assert (ok.code, ok.err) == (0, "")
        done = kumoaudit("run", "policy.lua", cwd=tmp_path)
    assert done.code == 3
    assert (
        f"policy.lua:3: kumo.start_http_listener: cannot listen on 127.0.0.1:{port}: address already in use" in done.err
    )


def test_check_does_not_load_the_server(tmp_path: Path) -> None:
    (tmp_path / "policy.lua").write_text(POLICY.replace(", OPTIONS", ""))
    code = (
        "import sys; from kumoaudit.cli import main; code = main(['check', 'policy.lua'])\n"
        "assert 'kumoaudit.sources.http.tls' in sys.modules; assert 'aiohttp' not in sys.modules; sys.exit(code)"
    )
    import subprocess
    import sys

    from tests.support import environment

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)), b"\x16\x03\x01\xff\xff" + b"x" * 100]
)
def test_what_is_no_handshake_is_closed_and_recorded(tmp_path: Path, noise: bytes) -> None:
    with listening(tmp_path, tls=server_context(CERT, KEY, "x"), limits=DEFAULT._replace(handshake_s=0.5)) as served:
        raw(served.address, noise, UNTRUSTED)
        eventually(lambda: bool(served.records("http_refused")), "it is recorded")
        (record,) = served.records("http_refused")
        assert record["peer"] == UNTRUSTED
        assert record["detail"]["reason"].startswith("no TLS")
        assert served.records("Authorization") == []
        assert ask(served.address, tls=trusting(CERT)).status == 200
        eventually(lambda: served.listener.connections == 0, "the count is right")


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x00\xc8\x01"])
def test_a_handshake_that_never_ends_is_cut_off(tmp_path: Path, begin: bytes) -> None:
    with listening(tmp_path, tls=server_context(CERT, KEY, "x"), limits=DEFAULT._replace(handshake_s=0.5)) as served:
        started = time.monotonic()
        with connect(served.address) as sock:
            sock.sendall(begin)
            eventually(lambda: served.listener.connections == 1, "it counts although it has no TLS yet")
            read_all(sock)
        assert time.monotonic() - started < 5
        eventually(lambda: served.listener.connections == 0, "it is counted off")
        assert served.records("http_refused")


def test_handshakes_count_against_the_limit(tmp_path: Path) -> None:
    with listening(tmp_path, tls=server_context(CERT, KEY, "x")) as served, ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(served.address, UNTRUSTED))
        eventually(lambda: served.listener.connections == 32, "as many as one address may have")
        assert ask(served.address, tls=trusting(CERT)).status == 200


def test_requests_that_come_with_the_end_of_the_handshake(tmp_path: Path) -> None:
    """A client sends its first request in the same breath; none is lost, whatever the order of events."""
    with listening(tmp_path, tls=server_context(CERT, KEY, "x")) as served:
        name, _, port = served.address.rpartition(":")
        for _ in range(20):
            with (
                socket.create_connection((name, int(port))) as sock,
                trusting(CERT).wrap_socket(sock, server_hostname="localhost") as secure,
            ):
                secure.sendall(REQUEST)
                assert statuses(secure.recv(4000)) == [200]
        eventually(lambda: served.listener.connections == 0, "all are counted off")
