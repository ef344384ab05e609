"""Records of TLS 1.3 that no client makes, for connections whose handshake a client has made.

`Records` goes on where a client's own session stands after its handshake: it writes in its place,
with the keys that the session has told (`SSLContext.keylog_filename`). The session must write
nothing more; it can still read.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

APPLICATION_DATA = 23
HANDSHAKE = 22
KEY_UPDATE_REQUEST = b"\x18\x00\x00\x01\x01"
SUITES = {
    "TLS_AES_128_GCM_SHA256": (hashlib.sha256, 16),
    "TLS_AES_256_GCM_SHA384": (hashlib.sha384, 32),
}
"""The hash and the length of the keys."""


class Records:
    """What a client writes with its first keys and those after them (RFC 8446, 7.2 and 7.3)."""

    def __init__(self, session: ssl.SSLObject, key_log: Path) -> None:
        cipher = session.cipher()
        assert cipher is not None
        self._hash, self._key_bytes = SUITES[cipher[0]]
        (secret,) = re.findall(r"^CLIENT_TRAFFIC_SECRET_0 \w+ (\w+)$", key_log.read_text(), re.M)
        self._use(bytes.fromhex(secret))

    def data(self, content: bytes) -> bytes:
        return self.record(APPLICATION_DATA, content)

    def key_update(self) -> bytes:
        """Asks for new keys, and turns to new ones."""
        record = self.record(HANDSHAKE, KEY_UPDATE_REQUEST)
        self._use(self._expand(b"traffic upd", len(self._secret)))
        return record

    def record(self, kind: int, content: bytes) -> bytes:
        plaintext = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(plaintext) + 16).to_bytes(2, "big")
        nonce = (self._vector ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return header + self._cipher.encrypt(nonce, plaintext, header)

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(self._expand(b"key", self._key_bytes))
        self._vector = int.from_bytes(self._expand(b"iv", 12), "big")
        self._sequence = 0

    def _expand(self, label: bytes, length: int) -> bytes:
        """`HKDF-Expand-Label` without a context, of no more than one block."""
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\x00\x01"
        return hmac.digest(self._secret, info, self._hash)[:length]
