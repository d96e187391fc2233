"""X.509-SVIDs: certificates whose holder has an identity of SPIFFE (X509-SVID, sections 2 to 4)."""

from __future__ import annotations

import re
from typing import Any, Final

from workbench.events import Record

SPIFFE_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)")


class MissingSvidError(ValueError):
    """A certificate is none, or is not the one that was expected."""


class SvidCertificate(Record, frozen=True, kw_only=True):
    """What the certificate of a peer says, once its chain was verified."""

    spiffe_id: str
    trust_domain: str
    until_us: int
    """When it expires, in microseconds since the epoch."""


def trust_domain_of(spiffe_id: str) -> str:
    """The trust domain of a SPIFFE ID.

    Raises:
        NoSvid: it is none, or has no path, or one that could be read in two ways.
    """
    found = SPIFFE_ID.fullmatch(spiffe_id)
    if found is None or any(part in (".", "..") for part in found[2].split("/")) or len(spiffe_id) > 2048:
        raise MissingSvidError("It is no SPIFFE ID of a workload.")
    return found[1]


def leaf_of(certificate: bytes | None) -> SvidCertificate:
    """What a verified certificate says of its holder.

    Args:
        certificate: DER; None when the peer showed none.

    Raises:
        NoSvid: it is no X.509-SVID of a workload.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtensionOID

    if certificate is None:
        raise MissingSvidError("The peer showed no certificate.")
    try:
        found = x509.load_der_x509_certificate(certificate)
        names = _extension(found, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        constraints = _extension(found, ExtensionOID.BASIC_CONSTRAINTS)
        usage = _extension(found, ExtensionOID.KEY_USAGE)
    except ValueError as e:
        raise MissingSvidError("The certificate of the peer cannot be read.") from e
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    if len(uris) != 1:
        raise MissingSvidError("The certificate of the peer does not hold exactly one URI.")
    if constraints is not None and constraints.ca:
        raise MissingSvidError("The certificate of the peer is one of an authority.")
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise MissingSvidError("The certificate of the peer is not for signatures of a workload.")
    until = int(found.not_valid_after_utc.timestamp() * 1e6)
    return SvidCertificate(spiffe_id=uris[0], trust_domain=trust_domain_of(uris[0]), until_us=until)


def _extension(certificate: Any, oid: Any) -> Any:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
