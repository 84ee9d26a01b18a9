"""TLS of a listener: the certificate that the policy gives, or one of the host's own making."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from kumoaudit.core.errors import UsageError

_SELF_SIGNED_DAYS = 365


def server_context(certificate: bytes | None, private_key: bytes | None, hostname: str) -> ssl.SSLContext:
    """A server's context, TLS 1.2 or newer. *certificate* (PEM, with its chain) and *private_key* (PEM) may lie in one
    text; without either a certificate for *hostname* is made that signs itself. Raises UsageError, which shows no key.
    """
    if certificate is None and private_key is None:
        certificate, private_key = self_signed(hostname)
    elif certificate is None:
        raise UsageError("tls_private_key is given and tls_certificate is not\n  give both, or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL reads files only; these have no name and are gone with their descriptors.
    pem = _unnamed(certificate)
    key = _unnamed(private_key) if private_key is not None else pem
    try:
        context.load_cert_chain(f"/proc/self/fd/{pem}", f"/proc/self/fd/{key}", password=_no_password)
    except (ssl.SSLError, ValueError) as e:
        why = getattr(e, "reason", None) or "no password can be asked for"
        raise UsageError(
            f"the certificate and its private key cannot be used: {str(why).lower().replace('_', ' ')}\n"
            "  give PEM texts that belong together, the key without a password"
        ) from None
    finally:
        for fd in {pem, key}:
            os.close(fd)
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


def _unnamed(data: bytes) -> int:
    fd = os.memfd_create("tls")
    os.write(fd, data)
    return fd


def self_signed(hostname: str) -> tuple[bytes, bytes]:
    """A certificate for *hostname* and this machine's loopback that signs itself, and its key; PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.IPAddress(ip_address(a)) for a in ("127.0.0.1", "::1")]
    try:
        names.append(x509.IPAddress(ip_address(hostname)))
    except ValueError:
        names.append(x509.DNSName(hostname))
    names.append(x509.DNSName("localhost"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
