//! Where a TDX v4 quote keeps what these checks read.

use anyhow::{ensure, Context, Result};
use sha2::{Digest, Sha256};

/// Version 4, ECDSA P-256, TEE type TDX: how every quote of this kind starts.
const HEADER: [u8; 8] = [4, 0, 2, 0, 0x81, 0, 0, 0];

/// Registers and report data of a quote.
pub struct Quote {
    pub mrtd: Vec<u8>,
    config: Vec<u8>,
    pub rtmrs: [String; 4],
    pub report_data: Vec<u8>,
}

impl Quote {
    /// The TD report inside a quote.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        ensure!(raw.starts_with(&HEADER), "the quote is TDX version 4");
        let at = |start: usize, length: usize| {
            raw.get(start..start + length)
                .map(<[u8]>::to_vec)
                .context("the quote is whole")
        };
        Ok(Self {
            mrtd: at(184, 48)?,
            config: at(232, 144)?,
            rtmrs: [
                hex::encode(at(376, 48)?),
                hex::encode(at(424, 48)?),
                hex::encode(at(472, 48)?),
                hex::encode(at(520, 48)?),
            ],
            report_data: at(568, 64)?,
        })
    }

    /// The quote inside a versioned attestation of the first form (SCALE).
    pub fn within(evidence: &[u8]) -> Result<Self> {
        ensure!(
            evidence.starts_with(&[0, 0]),
            "the attestation is version 0, TDX"
        );
        // A length of one, two or four bytes stands between.
        let start = (3..=6)
            .find(|start| {
                evidence
                    .get(*start..)
                    .is_some_and(|b| b.starts_with(&HEADER))
            })
            .context("the attestation starts with the quote")?;
        Self::parse(&evidence[start..])
    }

    /// The aggregated measurement of a machine with this RTMR3.
    pub fn aggregated(&self, rtmr3: &str) -> Result<String> {
        let mut hash = Sha256::new_with_prefix(&self.mrtd);
        for register in self.rtmrs[..3].iter().map(String::as_str).chain([rtmr3]) {
            hash.update(hex::decode(register)?);
        }
        if self.config.iter().any(|byte| *byte != 0) {
            hash.update(&self.config);
        }
        Ok(hex::encode(hash.finalize()))
    }
}

/// Report data as a quote carries it.
pub fn padded(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(64, 0);
    padded
}
