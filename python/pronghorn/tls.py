"""Certificates and contexts: what the engine needs to speak TLS, made with Python's `ssl`.

`load_context` makes the `SSLContext` of a configuration, by itself or through
`ssl_context_factory`; `TLS` gives the engine a session for each connection, describes sessions
for the ASGI scope, and reads the files again when they have changed. Imported only by servers with
TLS. The rule: what cannot be used raises `TLSError`, one line that names the file, and a context
that is in use stays in use until there is a better one.
"""

import _ssl
import logging
import os
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol, TypeAlias

from pronghorn.errors import TLSError
from pronghorn.uvicorn_settings import FilePath

ContextFactory: TypeAlias = Callable[[Any, Callable[[], SSLContext]], SSLContext]
FileState: TypeAlias = tuple[int, int, int] | None

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
CIPHER_SUITE_MASK = 0xFFFF
"""OpenSSL's number of a cipher suite holds IANA's in its lower half."""
VERSIONS = {
    "SSLv3": 0x0300,
    "TLSv1": 0x0301,
    "TLSv1.1": 0x0302,
    "TLSv1.2": 0x0303,
    "TLSv1.3": 0x0304,
}
# RFC 4514, section 3; an attribute without a short name is written by its number.
ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

NATIVE: Any = _ssl
"""The half of `ssl` that is written in C; its type stubs show little of it."""

logger = logging.getLogger("pronghorn.error")


class TLSOptions(Protocol):
    """The options that say how TLS is spoken, and the context made of them."""

    http2: bool
    ssl_keyfile: list[FilePath] | FilePath | None
    ssl_certfile: list[FilePath] | FilePath | None
    ssl_keyfile_password: str | None
    ssl_version: int
    ssl_cert_reqs: int
    ssl_ca_certs: FilePath | None
    ssl_ciphers: str | None
    ssl_context_factory: ContextFactory | None
    ssl_handshake_timeout: float
    ssl: SSLContext | None
    ssl_files: list[FileState]


class ServerContext(SSLContext):
    """A context that knows its certificate in PEM form, if it has one only."""

    certificate: str | None = None


@dataclass(frozen=True)
class Pair:
    """The files of a certificate with its chain and of its key, which may be the same."""

    certificate: str
    key: str


class TLS:
    """What the engine asks for, and the watch over the files.

    The engine calls `open` for a connection's session and `describe` for what the ASGI scope says
    of it.
    """

    def __init__(self, options: TLSOptions) -> None:
        self.handshake_timeout_s = options.ssl_handshake_timeout
        self._options = options
        self._suites: dict[str, int] = {}
        self._state = self._seen = options.ssl_files
        self._made = options.ssl
        self._settings = _settings(options.ssl)

    def open(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """A session with the present context."""
        context = self._options.ssl
        assert context is not None
        return context.wrap_bio(incoming, outgoing, server_side=True)

    def describe(self, session: ssl.SSLObject) -> dict[str, Any]:
        """The `tls` extension of the ASGI scope."""
        cipher = session.cipher()
        certificate = session.getpeercert()
        return {
            "server_cert": getattr(session.context, "certificate", None),
            "client_cert_chain": _client_chain(session) if certificate else (),
            "client_cert_name": _distinguished_name(certificate) if certificate else None,
            # A client whose certificate is not valid does not get this far.
            "client_cert_error": None,
            "tls_version": VERSIONS.get(session.version() or ""),
            "cipher_suite": self._suite(cipher[0], session.context) if cipher else None,
        }

    def watch(self) -> None:
        """Read the files again if they have changed and have come to rest; called each second."""
        state = file_states(self._options)
        # A certificate and its key are two files: both must be there.
        if state != self._seen:
            self._seen = state
        elif state != self._state:
            self.reload()

    def reload(self) -> None:
        """Have new connections get what is in the files now; others keep what they have."""
        self._state = self._seen = file_states(self._options)
        present = self._options.ssl
        if present is not self._made or _settings(present) != self._settings:
            logger.warning(
                "The TLS certificate is not read again, because the program has changed the SSL "
                "context; `ssl_context_factory` is the place for it."
            )
            return
        try:
            context = load_context(self._options)
        except Exception as error:
            reason = error if isinstance(error, TLSError) else f"{type(error).__name__}: {error}"
            logger.error("The TLS certificate in use stays: %s", reason)
            return
        self._options.ssl = self._made = context
        self._settings = _settings(context)
        logger.info("Read the TLS certificate again")

    def _suite(self, name: str, context: SSLContext) -> int | None:
        if name not in self._suites:
            for cipher in context.get_ciphers():
                self._suites[cipher["name"]] = cipher["id"] & CIPHER_SUITE_MASK
        return self._suites.get(name)


def load_context(options: TLSOptions) -> SSLContext:
    """The context that new connections are to have."""
    factory = options.ssl_context_factory
    context: Any
    if factory is None:
        context = default_context(options)
    else:
        context = factory(options, lambda: default_context(options))
    if not isinstance(context, SSLContext):
        made = type(context).__name__
        raise TLSError(f"`ssl_context_factory` must return an `ssl.SSLContext`, got `{made}`.")
    try:
        session: Any = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    except (ssl.SSLError, ValueError) as error:
        raise TLSError(f"The SSL context cannot serve: {_reason(error)}.") from None
    if not isinstance(getattr(session, "_sslobj", None), NATIVE._SSLSocket):
        raise TLSError("The SSL context makes other sessions than those of `ssl`.")
    return context


def file_states(options: TLSOptions) -> list[FileState]:
    """How the files of a context are at present, to be compared with how they will be."""
    files = _paths(options.ssl_certfile) + _paths(options.ssl_keyfile)
    return [_file_state(path) for path in files + _paths(options.ssl_ca_certs)]


def default_context(options: TLSOptions) -> ServerContext:
    """The context of the options: that of the first certificate, which turns to others by name."""
    pairs = pairs_of(options)
    if not pairs:
        raise TLSError(
            "The default SSL context needs `ssl_certfile`; set it, or build the context in "
            "`ssl_context_factory` without calling the default factory."
        )
    # Certificates of the same names and of several kinds (RSA and ECDSA) share a context, which
    # gives each client the kind that it understands.
    contexts: dict[frozenset[str], ServerContext] = {}
    for pair in pairs:
        names = names_of(pair) if len(pairs) > 1 else frozenset()
        known = contexts.get(names)
        context = contexts[names] = known or _empty_context(options)
        _load_pair(context, pair, options.ssl_keyfile_password)
        context.certificate = None if known else _leaf(pair.certificate)
    first, *others = contexts.values()
    if others:
        first.sni_callback = _choice(contexts)
    return first


def pairs_of(options: TLSOptions) -> list[Pair]:
    """Each certificate with its key."""
    certificates = _paths(options.ssl_certfile)
    if not certificates:
        return []
    keys = _paths(options.ssl_keyfile) or certificates
    if len(keys) != len(certificates):
        raise TLSError(
            f"`ssl_certfile` names {len(certificates)} files and `ssl_keyfile` {len(keys)}; give "
            "each certificate its key, or none if the keys are in the same files."
        )
    return [Pair(*pair) for pair in zip(certificates, keys, strict=True)]


def names_of(pair: Pair) -> frozenset[str]:
    """The host names that a certificate is for, in lower case."""
    try:
        fields: dict[str, Any] = NATIVE._test_decode_cert(pair.certificate)
    except (ssl.SSLError, OSError):
        raise TLSError(_complaint(pair)) from None
    names = [value for kind, value in fields.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        subject = [attribute for part in fields.get("subject", ()) for attribute in part]
        names = [value for kind, value in subject if kind == "commonName"]
    return frozenset(name.lower() for name in names)


def _choice(contexts: dict[frozenset[str], ServerContext]) -> Callable[..., None]:
    by_name = {name: context for names, context in contexts.items() for name in names}

    def choose(session: ssl.SSLObject, name: str | None, _: SSLContext) -> None:
        # RFC 6125, section 6.4.3: a wildcard stands for one label.
        name = (name or "").lower()
        wildcard = "*." + name.partition(".")[2]
        chosen = by_name.get(name) or by_name.get(wildcard)
        if chosen is not None:
            session.context = chosen

    return choose


def _empty_context(options: TLSOptions) -> ServerContext:
    version = options.ssl_version
    if version == ssl.PROTOCOL_TLS_CLIENT:
        raise TLSError(f"`ssl_version` cannot be `{version:d}`: that is a client's.")
    try:
        context = ServerContext(version)
    except ValueError as error:
        raise TLSError(f"`ssl_version` cannot be `{version}`: {_reason(error)}.") from None
    try:
        context.verify_mode = ssl.VerifyMode(options.ssl_cert_reqs)
    except ValueError as error:
        raise TLSError(f"`ssl_cert_reqs` cannot be used: {_reason(error)}.") from None
    if options.ssl_ca_certs:
        path = os.fspath(options.ssl_ca_certs)
        _check_readable("CA certificates", path)
        try:
            context.load_verify_locations(path)
        except (ssl.SSLError, OSError) as error:
            raise TLSError(
                f"The CA certificates `{path}` cannot be used: {_reason(error)}."
            ) from None
    if options.ssl_ciphers:
        try:
            context.set_ciphers(options.ssl_ciphers)
        except ssl.SSLError:
            raise TLSError(
                f"`ssl_ciphers` names no usable cipher, `{options.ssl_ciphers}`."
            ) from None
    # OpenSSL before 3.0 would let clients shake hands again and again, at little cost to them.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"] if options.http2 else ["http/1.1"])
    return context


def _load_pair(context: SSLContext, pair: Pair, password: str | None) -> None:
    def tell_password() -> str:
        # Without this, OpenSSL would ask on the terminal.
        if not password:
            raise TLSError(f"The TLS key `{pair.key}` is encrypted; set `ssl_keyfile_password`.")
        return password

    _check_readable("certificate", pair.certificate)
    _check_readable("key", pair.key)
    try:
        context.load_cert_chain(pair.certificate, pair.key, tell_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TLSError(_complaint(pair, error)) from None


def _check_readable(what: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise TLSError(f"The TLS {what} `{path}` cannot be read: {_reason(error)}.") from None


def _complaint(pair: Pair, error: Exception | None = None) -> str:
    """Which of the two files is to blame, and for what."""
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"The TLS key `{pair.key}` is not that of the certificate `{pair.certificate}`."
    try:
        NATIVE._test_decode_cert(pair.certificate)
    except (ssl.SSLError, OSError):
        return f"The TLS certificate `{pair.certificate}` is no certificate in PEM form."
    with open(pair.key, "rb") as file:
        key = file.read()
    if b" PRIVATE KEY-----" not in key:
        return f"The TLS key `{pair.key}` holds no private key in PEM form."
    if b"ENCRYPTED" in key:
        return f"The TLS key `{pair.key}` cannot be decrypted; check `ssl_keyfile_password`."
    cause = f": {_reason(error)}" if error else ""
    return f"The TLS key `{pair.key}` or certificate `{pair.certificate}` cannot be used{cause}."


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error).removesuffix(".")


def _leaf(path: str) -> str | None:
    """The first certificate of a file."""
    with open(path, encoding="latin-1") as file:
        found = CERTIFICATE.search(file.read())
    return found[0] if found else None


def _client_chain(session: Any) -> tuple[str, ...]:
    """What the client sent, its own certificate first."""
    socket = session._sslobj  # public from Python 3.13 on
    chain = socket.get_unverified_chain() or []
    return tuple(each.public_bytes(NATIVE.ENCODING_PEM) for each in chain)


def _distinguished_name(certificate: Any) -> str:
    """RFC 4514: the last part first."""
    return ",".join(
        "+".join(f"{ATTRIBUTES.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in reversed(certificate["subject"])
    )


def _escaped(value: str) -> str:
    # RFC 4514, section 2.4.
    text = re.sub(r'([",+;<>\\])', r"\\\1", value).replace("\0", r"\00")
    if text.startswith(("#", " ")):
        text = "\\" + text
    if text.endswith(" ") and text != "\\ ":
        text = text[:-1] + "\\ "
    return text


def _paths(value: list[FilePath] | FilePath | None) -> list[str]:
    given: Iterable[FilePath | None] = value if isinstance(value, list) else [value]
    return [os.fspath(each) for each in given if each]


def _file_state(path: str) -> FileState:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _settings(context: SSLContext | None) -> Any:
    """What a program may have changed of a context; reading files again must not undo it."""
    if context is None:
        return None
    return (
        context.options,
        context.minimum_version,
        context.maximum_version,
        context.verify_mode,
        context.verify_flags,
        context.sni_callback,
        [cipher["id"] for cipher in context.get_ciphers()],
    )
