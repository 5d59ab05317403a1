//! Reading evidence in whatever form people have it, and what to verify it with.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bylaw_attest::collateral::{AMD_KDS, Directory, Fixed, Kds, Pccs};
use bylaw_attest::{
    Attestation, Collateral, CollateralSource, GetQuoteAnswer, MAX_LEN, TrustAnchors, Verifier,
};
use bylaw_ratls::RaTlsCert;
use bylaw_ratls::tls::{ServerTrust, client};
use bylaw_rpc::{Client, ClientError};
use bylaw_types::clock::Clock;
use clap::Args;

use crate::output::Failure;

/// What evidence is verified with.
#[derive(Args, Debug, Clone)]
pub(crate) struct TrustArgs {
    /// Collateral: a JSON file, a directory of them, or a PCCS URL.
    #[arg(
        long,
        env = "BYLAW_COLLATERAL",
        default_value = "https://pccs.phala.network"
    )]
    collateral: String,
    /// AMD's certificates and revocation lists: a KDS URL, or a directory of its answers.
    #[arg(long, env = "BYLAW_AMD_KDS", default_value = AMD_KDS)]
    amd_kds: String,
    /// Verify as of this Unix time instead of now.
    #[arg(long)]
    at: Option<u64>,
    /// Trust this TDX root (PEM) instead of Intel's: for simulated evidence.
    #[arg(long, env = "BYLAW_ROOT_CA")]
    root_ca: Option<PathBuf>,
    /// Trust these SEV-SNP roots (PEM, named ARK-Milan and so on) instead of AMD's.
    #[arg(long, env = "BYLAW_AMD_ROOT_CA")]
    amd_root_ca: Option<PathBuf>,
}

impl TrustArgs {
    pub(crate) fn verifier(&self) -> Result<Verifier, Failure> {
        let clock = self.at.map_or_else(Clock::system, Clock::fixed);
        let amd = Kds::new(&self.amd_kds).map_err(|error| Failure::Unusable(error.to_string()))?;
        Ok(Verifier::new(self.anchors()?, self.source()?, clock).with_amd(Arc::new(amd)))
    }

    fn anchors(&self) -> Result<TrustAnchors, Failure> {
        TrustAnchors::from_files(self.root_ca.as_deref(), self.amd_root_ca.as_deref())
            .map_err(|error| Failure::Unusable(error.to_string()))
    }

    fn source(&self) -> Result<Arc<dyn CollateralSource>, Failure> {
        let unusable = |error: bylaw_attest::CollateralError| Failure::Unusable(error.to_string());
        let place = &self.collateral;
        if place.starts_with("http://") || place.starts_with("https://") {
            return Ok(Arc::new(Pccs::new(place).map_err(unusable)?));
        }
        let path = Path::new(place);
        if path.is_dir() {
            return Ok(Arc::new(Directory::new(path)));
        }
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        Ok(Arc::new(Fixed::new(
            Collateral::from_json(&text, place).map_err(unusable)?,
        )))
    }
}

/// Evidence, by what was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// A TDX quote alone.
    Quote(Vec<u8>),
    /// With event log and configuration.
    Attestation(Box<Attestation>),
    /// In a certificate.
    Certificate(Box<RaTlsCert>),
}

impl Found {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Quote(quote) => {
                let version = quote.first().copied().unwrap_or_default();
                format!("TDX quote, version {version}, without event log")
            }
            Self::Attestation(evidence) => describe(evidence),
            Self::Certificate(cert) => {
                let subject = cert.subject.as_deref().unwrap_or("nobody");
                let inside = cert
                    .attestation
                    .as_ref()
                    .map_or("no evidence".to_owned(), describe);
                format!("RA-TLS certificate of `{subject}` with {inside}")
            }
        }
    }
}

fn describe(evidence: &Attestation) -> String {
    let platform = evidence.platform.kind();
    let events = evidence.stack.runtime_events.len();
    format!("{platform} attestation with {events} runtime events")
}

/// The whole file, which may be a pipe: its length is not known before it ends.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unusable = |reason: String| Failure::Unusable(format!("{}: {reason}", path.display()));
    let limit = 4 * MAX_LEN as u64;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| unusable(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(unusable(format!(
            "it is longer than {limit} bytes, too long for evidence"
        )));
    }
    Ok(bytes)
}

/// Evidence from a file, the TLS certificate at an https URL, or a document at an http URL.
pub(crate) async fn load(source: &str) -> Result<Found, Failure> {
    if source.starts_with("https://") {
        return peer_certificate(source).await;
    }
    if source.starts_with("http://") {
        let client = Client::new(source).map_err(unreachable)?;
        let path = source.splitn(4, '/').nth(3).unwrap_or_default();
        let mut connection = client.connect().await.map_err(unreachable)?;
        let text = connection
            .get(&format!("/{path}"))
            .await
            .map_err(unreachable)?;
        return parse(source, text.as_bytes());
    }
    parse(source, &read(Path::new(source))?)
}

fn unreachable(error: ClientError) -> Failure {
    Failure::Unreachable(error.to_string())
}

async fn peer_certificate(url: &str) -> Result<Found, Failure> {
    let client = Client::new(url)
        .map_err(unreachable)?
        .with_tls(client(ServerTrust::FirstContact, None)?);
    let connection = client.connect().await.map_err(unreachable)?;
    let der = connection
        .peer_certificates()
        .first()
        .ok_or_else(|| Failure::Unusable(format!("{url} presents no certificate")))?;
    certificate(url, der)
}

fn certificate(source: &str, bytes: &[u8]) -> Result<Found, Failure> {
    RaTlsCert::parse(bytes)
        .map(|cert| Found::Certificate(Box::new(cert)))
        .map_err(|error| Failure::Unusable(format!("{source}: {error}")))
}

/// Recognises the form by its beginning.
fn parse(source: &str, bytes: &[u8]) -> Result<Found, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::Unusable(format!("{source}: {error}"));
    let trimmed = bytes.trim_ascii();
    if trimmed.is_empty() {
        return Err(unusable(&"it is empty"));
    }
    if trimmed.starts_with(b"-----BEGIN") {
        return certificate(source, trimmed);
    }
    // Binary: the last byte of a signature may look like white space.
    if bytes.starts_with(&[0x30, 0x82]) {
        return certificate(source, bytes);
    }
    if trimmed.starts_with(b"{") {
        let answer: GetQuoteAnswer =
            serde_json::from_slice(trimmed).map_err(|error| unusable(&error))?;
        if answer.attestation.is_empty() && answer.quote.is_empty() {
            return Err(unusable(&"it has neither `quote` nor `attestation`"));
        }
        if answer.attestation.is_empty() && answer.event_log.is_empty() {
            let quote = hex::decode(answer.quote.trim_start_matches("0x"))
                .map_err(|error| unusable(&format!("`quote` is not hexadecimal: {error}")))?;
            return binary(source, &quote);
        }
        return Attestation::try_from(answer)
            .map(|evidence| Found::Attestation(Box::new(evidence)))
            .map_err(|error| unusable(&error));
    }
    let text = std::str::from_utf8(trimmed)
        .ok()
        .map(|text| text.trim_start_matches("0x"));
    match text.and_then(|text| hex::decode(text).ok()) {
        Some(decoded) => binary(source, &decoded),
        None => binary(source, bytes),
    }
}

/// A quote starts with its version (4 or 5, little-endian); an attestation does not.
fn binary(source: &str, bytes: &[u8]) -> Result<Found, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::Unusable(format!("{source}: {error}"));
    if bytes.len() == bylaw_attest::snp::REPORT_LEN {
        return Err(unusable(
            &"an SEV-SNP report alone says neither what was launched nor for whom: give the \
              attestation that holds it",
        ));
    }
    if let [version, 0, ..] = bytes
        && *version != 0
    {
        // Parsing decides whether this can be used; verifying comes later.
        bylaw_attest::tdx::report(bytes).map_err(|error| unusable(&error))?;
        return Ok(Found::Quote(bytes.to_vec()));
    }
    Attestation::decode(bytes)
        .map(|evidence| Found::Attestation(Box::new(evidence)))
        .map_err(|error| unusable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTE: &[u8] = include_bytes!("../../../test/vectors/attest/tdx/dcapqvl-v4/quote.bin");
    const ATTESTATION: &[u8] =
        include_bytes!("../../../test/vectors/attest/attestation-v0-full.bin");

    fn found(bytes: &[u8]) -> Found {
        parse("test", bytes).unwrap()
    }

    fn unusable(bytes: &[u8]) -> String {
        match parse("test", bytes) {
            Err(Failure::Unusable(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_of_a_quote_is_the_same_quote() {
        let hex = hex::encode(QUOTE);
        for form in [
            QUOTE.to_vec(),
            hex.clone().into_bytes(),
            format!("0x{}\n", hex.to_uppercase()).into_bytes(),
            format!(r#"{{"quote":"{hex}"}}"#).into_bytes(),
            format!(r#"  {{"quote":"0x{hex}","event_log":""}}"#).into_bytes(),
        ] {
            assert!(matches!(found(&form), Found::Quote(quote) if quote == QUOTE));
        }
    }

    #[test]
    fn every_form_of_an_attestation_is_the_same_attestation() {
        let hex = hex::encode(ATTESTATION);
        let expected = Attestation::decode(ATTESTATION).unwrap();
        for form in [
            ATTESTATION.to_vec(),
            hex.clone().into_bytes(),
            format!(r#"{{"attestation":"{hex}"}}"#).into_bytes(),
        ] {
            assert!(matches!(found(&form), Found::Attestation(evidence) if *evidence == expected));
        }
    }

    /// About one DER certificate in 43 ends with a byte that is white space as text.
    #[test]
    fn a_certificate_keeps_its_last_byte() {
        let (der, pem) = (0..10_000)
            .map(|_| rcgen::generate_simple_self_signed(["a".repeat(300)]).unwrap())
            .map(|made| (made.cert.der().to_vec(), made.cert.pem()))
            .find(|(der, _)| der.last().is_some_and(u8::is_ascii_whitespace))
            .unwrap();
        assert!(matches!(found(&der), Found::Certificate(cert) if cert.der == der));
        assert!(matches!(found(pem.as_bytes()), Found::Certificate(cert) if cert.der == der));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (bytes, why) in [
            (&b" \n"[..], "it is empty"),
            (b"{}", "neither `quote` nor `attestation`"),
            (br#"{"quote":"zz"}"#, "`quote` is not hexadecimal"),
            (br#"{"quote":"0400""#, "EOF"),
            (
                b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
                "no CERTIFICATE",
            ),
            (&QUOTE[..600], "not a TDX quote"),
        ] {
            let text = unusable(bytes);
            assert!(text.contains(why), "{text}");
        }
    }

    #[test]
    fn too_long_is_refused_before_it_is_read_whole() {
        match read(Path::new("/dev/zero")) {
            Err(Failure::Unusable(text)) => assert!(text.contains("too long"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
