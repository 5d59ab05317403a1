"""Bylaw SDK: the guest agent's API, and the verification of what others say they are."""

from .answers import (
    AttestAnswer,
    GpuInfoAnswer,
    InfoAnswer,
    KeyAnswer,
    QuoteAnswer,
    SignAnswer,
    TcbInfo,
    TlsKeyAnswer,
    VersionAnswer,
)
from .appraisal import Appraisal, Expect, KeyProvider, Measurements
from .certificate import VerifiedCertificate, verify_certificate, verify_certificate_async
from .client import AsyncClient, Client
from .collateral import (
    INTEL_PCS,
    CachedCollateral,
    Collateral,
    CollateralSource,
    FixedCollateral,
    Pccs,
)
from .compose import canonical_compose, compose_hash
from .encoding import Evidence
from .env import encrypt_env, encrypt_env_signed
from .env_key import verify_env_key, verify_env_key_legacy
from .errors import (
    AnswerError,
    ApiError,
    BylawError,
    EndpointError,
    InputError,
    TransportError,
    VerificationCode,
    VerificationError,
)
from .event_log import RuntimeEvent, TdxEvent, parse_event_log, replay_rtmrs
from .key_chain import (
    KmsRoot,
    derived_public_key,
    verify_key,
    verify_key_answer,
    verify_signature,
)
from .kms_root import fetch_kms_root, fetch_kms_root_async, parse_kms_info
from .report_data import padded_report_data, report_data_for_tls_key
from .secret import Secret
from .tls import attested_context, connect_attested, peer_chain, verify_tls_peer
from .trust import Trust
from .verifier import Verifier

__version__ = "0.1.0"

__all__ = [
    "INTEL_PCS",
    "AnswerError",
    "ApiError",
    "Appraisal",
    "AsyncClient",
    "AttestAnswer",
    "BylawError",
    "CachedCollateral",
    "Client",
    "Collateral",
    "CollateralSource",
    "EndpointError",
    "Evidence",
    "Expect",
    "FixedCollateral",
    "GpuInfoAnswer",
    "InfoAnswer",
    "InputError",
    "KeyAnswer",
    "KeyProvider",
    "KmsRoot",
    "Measurements",
    "Pccs",
    "QuoteAnswer",
    "RuntimeEvent",
    "Secret",
    "SignAnswer",
    "TcbInfo",
    "TdxEvent",
    "TlsKeyAnswer",
    "TransportError",
    "Trust",
    "VerificationCode",
    "VerificationError",
    "VerifiedCertificate",
    "Verifier",
    "VersionAnswer",
    "attested_context",
    "canonical_compose",
    "compose_hash",
    "connect_attested",
    "derived_public_key",
    "encrypt_env",
    "encrypt_env_signed",
    "fetch_kms_root",
    "fetch_kms_root_async",
    "padded_report_data",
    "parse_event_log",
    "parse_kms_info",
    "peer_chain",
    "replay_rtmrs",
    "report_data_for_tls_key",
    "verify_certificate",
    "verify_certificate_async",
    "verify_env_key",
    "verify_env_key_legacy",
    "verify_key",
    "verify_key_answer",
    "verify_signature",
    "verify_tls_peer",
]
