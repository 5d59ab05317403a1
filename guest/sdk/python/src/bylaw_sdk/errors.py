"""What can go wrong, by whose fault it is."""

from __future__ import annotations

from typing import Literal

VerificationCode = Literal[
    "app_id",
    "chain",
    "collateral",
    "compose_hash",
    "debug",
    "device_id",
    "encoding",
    "env_key",
    "event_log",
    "key_chain",
    "key_provider",
    "kms_root",
    "measurement",
    "quote",
    "report_data_mismatch",
    "signature",
    "tcb_status",
    "unsupported_platform",
]
"""The rule that failed; stable, for programs."""


class BylawError(Exception):
    """Base of every error of this package."""


class InputError(BylawError, ValueError):
    """An argument that cannot be used; the sentence says what is allowed."""


class EndpointError(BylawError):
    """No guest agent was named and none of its sockets exists."""


class TransportError(BylawError):
    """The other side cannot be reached, or did not answer in time."""


class AnswerError(BylawError):
    """The other side answered something that is not an answer."""


class ApiError(BylawError):
    """The guest agent refused the call.

    Attributes:
        code: stable word for programs, e.g. ``bad_request``; ``None`` from agents
            that send none.
        message: the agent's sentence.
        status: HTTP status.
    """

    def __init__(self, method: str, status: int, message: str, code: str | None) -> None:
        super().__init__(f"{method}: {message}" + (f" ({code})" if code else ""))
        self.method = method
        self.status = status
        self.message = message
        self.code = code


class VerificationError(BylawError):
    """Something does not hold; ``code`` names the rule."""

    def __init__(self, code: VerificationCode, message: str) -> None:
        super().__init__(f"{message} [{code}]")
        self.code: VerificationCode = code
        self.message = message
