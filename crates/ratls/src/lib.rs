//! RA-TLS: X.509 certificates with evidence inside (attestation reference, section 11).
//!
//! [`CertSpec`] issues, [`RaTlsCert`] parses, [`verify_attested`] binds a parsed
//! certificate to an appraisal of its evidence, [`csr`] is the request form of
//! `SignCert`, and [`tls`] builds rustls configurations for each kind of peer.

mod attested;
pub mod csr;
mod issue;
mod oid;
mod parse;
pub mod tls;

pub use attested::{AttestedCert, AttestedError, verify_attested};
pub use issue::{Cert, CertSpec, Issuer};
pub use oid::{USAGE_APP_CA, USAGE_CUSTOM, USAGE_KMS};
pub use parse::{RaTlsCert, der_of};

/// A certificate that cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// Not one X.509 certificate.
    #[error("not an X.509 certificate in PEM or DER: {0}")]
    Malformed(String),
    /// An extension of ours that is not what it must be.
    #[error("certificate extension {oid}: {reason}")]
    Extension {
        /// Dotted.
        oid: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate that cannot be issued.
    #[error("cannot issue certificate: {0}")]
    Issue(String),
    /// The end is not after the start.
    #[error("not_before must be earlier than not_after")]
    Validity,
}
