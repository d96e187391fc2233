"""Whom a key may be made for."""

from __future__ import annotations

from workbench.events import MisuseError
from workbench.lookalikes import imitated, subject_objection


def check_subject(subject: str, tenant: str, others: frozenset[str]) -> None:
    """Refuse a subject that nobody can read as it is, or that can be taken for one of `others`.

    Args:
        subject: the person or program.
        tenant: theirs.
        others: subjects that are known in the tenant.

    Raises:
        MisuseError: with the reason.
    """
    for what, name in (("subject", subject), ("tenant", tenant)):
        if why := subject_objection(name):
            raise MisuseError(f"A key for {what} {name[:300]!r}: {why}.", hint="Give a name that people can read.")
    if like := imitated(subject, others):
        raise MisuseError(
            f"A key for subject {subject!r}, which can be taken for {like!r} in tenant {tenant!r}.",
            hint=f"Give {like!r}, if that is who is meant, or a name that differs more.",
        )
