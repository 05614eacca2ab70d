"""Check and print addresses that may contain secrets."""

import os
import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from imagetrail.errors import DataError

SECRET = re.compile(r"tok|key|secret|sig|pass|pwd|auth|cred|session|sas|code|user", re.IGNORECASE)
"""Names of query parameters that look like a secret's."""
VARIABLE = re.compile(r"\$(\w+)")
"""$NAME, as in a shell; DVC would interpolate ${NAME} itself."""
NOISE = re.compile(r"\(Background on this error at: \S*\)|\(raised as a result of [^)]*\)|\[(SQL|parameters): .*")
"""What SQLAlchemy adds to a reason."""


def is_address(text: str) -> bool:
    """Return whether a text is a network address, or an environment variable that holds one."""
    return "://" in text or VARIABLE.search(text) is not None


def problem(address: str) -> str | None:
    """Explain why an address is not allowed in params.yaml, without repeating a secret; None if it is allowed.

    params.yaml goes into git, its values into dvc.lock and MLflow, so a secret in it would become public.
    """
    if VARIABLE.fullmatch(address):
        return None
    parts = _split(address)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not an address that can be fetched; it must begin with http:// or https:// and name a host"
    if parts.username is not None or parts.password is not None:
        return "holds a user name or password, which dvc.lock and MLflow would show; put them in ~/.netrc"
    for name, value in parse_qsl(parts.query):
        if SECRET.search(name) and not VARIABLE.fullmatch(value):
            return (
                f"holds {name!r}, which looks like a secret, and dvc.lock and MLflow would show it; put the value into "
                f"an environment variable and write {name}=$VARIABLE"
            )
    return None


def expand(address: str) -> str:
    """Replace each `$NAME` in an address by its environment variable.

    Raises:
        DataError: a variable is not set, or the result is not a web address.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise DataError(f"download.archive names the environment variable {match[1]}, which is not set; export it.")
        return os.environ[match[1]]

    expanded = VARIABLE.sub(value, address)
    parts = _split(expanded)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError(f"download.archive = {address!r} is not an address that begins with http:// or https://.")
    return expanded


def shown(text: str) -> str:
    """Strip what may be secret from the addresses in a text: user, password, query and fragment."""
    return re.sub(r"(://)(?:[^/?#\s]*@)?([^?#\s]*)(?:[?#]\S*)?", r"\1\2", text)


def reason(error: Exception, length: int = 300) -> str:
    """Describe an exception of MLflow or SQLAlchemy in a line, without secrets and without the SQL."""
    text = NOISE.sub("", " ".join(str(error).split()))
    return shown(text).strip()[:length] or type(error).__name__


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        return None
    return parts
