//! From a TD's quote to its key.

use std::sync::Arc;

use bylaw_attest::tdx::{self, QuoteError};
use bylaw_attest::{CollateralError, CollateralSource, TrustAnchors, sgx};
use bylaw_types::ReportData;
use bylaw_types::clock::Clock;
use crypto_box::aead::OsRng;
use sha2::{Digest, Sha256};

use crate::derive::{seal, td_key};
use crate::enclave::{Enclave, EnclaveError};
use crate::protocol::SealedKey;

/// Why a TD gets no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its quote does not hold.
    #[error("the TD's quote: {0}")]
    Quote(QuoteError),
    /// Nobody says whether the platform is revoked.
    #[error("the TD's quote cannot be verified: {0}")]
    Collateral(CollateralError),
    /// It was made for something else.
    #[error(
        "the TD's quote was not made for a sealing key: its report data must be an X25519 public \
         key and 32 zero bytes"
    )]
    ReportData,
    /// The box would be open to everyone.
    #[error("the TD's X25519 public key has a low order: anyone could open the box")]
    PublicKey,
    /// The TD runs elsewhere.
    #[error(
        "the TD runs on another machine: quoting enclave {td} signed for it, {own} for this provider"
    )]
    OtherMachine {
        /// Hex.
        td: String,
        /// Hex.
        own: String,
    },
    /// The enclave itself fails.
    #[error(transparent)]
    Enclave(#[from] EnclaveError),
    /// The enclave's own quote is unusable.
    #[error("this provider's own quote: {0}")]
    Own(QuoteError),
}

/// The service, without its wire.
#[derive(Debug)]
pub struct Provider {
    enclave: Arc<dyn Enclave>,
    anchors: TrustAnchors,
    collateral: Arc<dyn CollateralSource>,
    clock: Clock,
}

impl Provider {
    /// A provider for TDs under these roots.
    pub fn new(
        enclave: Arc<dyn Enclave>,
        anchors: TrustAnchors,
        collateral: Arc<dyn CollateralSource>,
        clock: Clock,
    ) -> Self {
        Self {
            enclave,
            anchors,
            collateral,
            clock,
        }
    }

    /// Measurement of the enclave: apps pin it as `key_provider_id`.
    ///
    /// # Errors
    /// [`Refusal::Enclave`]; [`Refusal::Own`] for a debug enclave, whose keys the host reads.
    pub async fn measurement(&self) -> Result<[u8; 32], Refusal> {
        let quote = self.enclave.quote(&ReportData::new([0; 64])).await?;
        Ok(sgx::report(&quote).map_err(Refusal::Own)?.mr_enclave)
    }

    /// The key of the TD that this quote is of, sealed to the key in its report data.
    ///
    /// The TCB status is logged, not judged: the guest's verifiers judge it. Revoked
    /// platforms and debug TDs get nothing.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn key_for(&self, quote: &[u8]) -> Result<SealedKey, Refusal> {
        let now = self.clock.now_unix();
        let family = tdx::collateral_key(quote).map_err(Refusal::Quote)?;
        let collateral = self
            .collateral
            .collateral(&family, now)
            .await
            .map_err(Refusal::Collateral)?;
        let td = tdx::verify(quote, &self.anchors, &collateral, now).map_err(Refusal::Quote)?;
        tracing::info!(tcb_status = %td.tcb_status, device_id = %td.device_id, "TD verified");
        let recipient = recipient(&td.report.report_data).ok_or(Refusal::ReportData)?;

        let sealing_key = self.enclave.sealing_key().await?;
        let key = td_key(&sealing_key, &td.report);
        let encrypted_key = seal(&key, &recipient, &mut OsRng).ok_or(Refusal::PublicKey)?;

        let provider_quote = self.enclave.quote(&report_data(&encrypted_key)).await?;
        let own = sgx::report(&provider_quote).map_err(Refusal::Own)?;
        let of_td = tdx::qe_id(quote).map_err(Refusal::Quote)?;
        if own.qe_id != of_td {
            return Err(Refusal::OtherMachine {
                td: hex::encode(of_td),
                own: hex::encode(own.qe_id),
            });
        }
        Ok(SealedKey {
            encrypted_key,
            provider_quote,
        })
    }
}

/// A quote for anything else fills all 64 bytes with a hash.
fn recipient(report_data: &ReportData) -> Option<[u8; 32]> {
    let (key, rest) = report_data.as_bytes().split_first_chunk::<32>()?;
    rest.iter().all(|byte| *byte == 0).then_some(*key)
}

/// `SHA-256(encrypted key) || 0^32`.
fn report_data(encrypted_key: &[u8]) -> ReportData {
    let mut bytes = [0; 64];
    for (slot, byte) in bytes.iter_mut().zip(Sha256::digest(encrypted_key)) {
        *slot = byte;
    }
    ReportData::new(bytes)
}
