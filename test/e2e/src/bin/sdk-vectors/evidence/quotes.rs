//! Encodings and quotes that are not what they must be.

use super::*;

/// Offsets in a quote of version 4.
const TD_ATTRIBUTES: usize = 168;
const MRTD: usize = 184;
const REPORT_DATA: usize = 568;
const SIGNATURE: usize = 636;
const ATTESTATION_KEY: usize = SIGNATURE + 64;
const QE_REPORT: usize = ATTESTATION_KEY + 64 + 6;
const QE_SIGNATURE: usize = QE_REPORT + 384;

impl Cases<'_> {
    pub(super) fn encodings(&mut self) {
        let bytes = self.usual.encode();
        let encoding = &["encoding"][..];
        self.bad_bytes("empty", &[], encoding, json!({}));
        self.bad_bytes("one byte", &[0], encoding, json!({}));
        for length in [2, 1000, bytes.len() / 2, bytes.len() - 1] {
            let cut = bytes.get(..length).unwrap_or_default();
            self.bad_bytes(&format!("cut to {length} bytes"), cut, encoding, json!({}));
        }
        let longer = [&bytes[..], &[0]].concat();
        self.bad_bytes("a byte follows", &longer, encoding, json!({}));
        let unknown = [&[1], bytes.get(1..).unwrap_or_default()].concat();
        self.bad_bytes("a version there is none of", &unknown, encoding, json!({}));
        let one = encode_v1(&self.usual).unwrap_or_default();
        for (name, bytes) in [
            (
                "MessagePack, cut",
                one.get(..one.len() / 2).unwrap_or_default().to_vec(),
            ),
            ("MessagePack, a byte follows", [&one[..], &[0]].concat()),
        ] {
            let form = json!({ "base": "attestation_v1", "bytes": hex::encode(bytes) });
            self.bad.push(case(name, &[form, verdict(encoding)]));
        }
        // A length of 2^30 - 1 for the quote.
        self.bad_bytes(
            "a length beyond the end",
            &[0, 0, 0xfe, 0xff, 0xff, 0xff],
            encoding,
            json!({}),
        );
        for (name, platform) in [
            (
                "Nitro enclave",
                Platform::NitroEnclave {
                    nsm_quote: vec![1; 8],
                },
            ),
            (
                "AWS Nitro TPM",
                Platform::AwsNitroTpm {
                    attestation_doc: vec![1; 8],
                },
            ),
            (
                "SEV-SNP",
                Platform::SevSnp {
                    report: vec![1; 1184],
                    cert_chain: vec![],
                    mr_config: String::new(),
                },
            ),
        ] {
            let other = Attestation {
                platform,
                stack: self.usual.stack.clone(),
            };
            self.bad(name, &other, &["unsupported_platform"], json!({}));
        }
    }

    pub(super) fn quotes(&mut self) -> anyhow::Result<()> {
        let quote = &["quote"][..];
        let usual = self.usual.clone();
        for (name, position) in [
            ("MRTD changed", MRTD),
            ("RTMR3 changed", REPORT_DATA - 1),
            ("signature changed", SIGNATURE + 1),
            ("attestation key changed", ATTESTATION_KEY + 1),
            ("quoting enclave's report changed", QE_REPORT + 70),
            ("quoting enclave's signature changed", QE_SIGNATURE + 1),
        ] {
            self.bad(name, &flip(&usual, position), quote, json!({}));
        }
        let mut claimed = flip(&usual, REPORT_DATA);
        let changed = ReportData::new({
            let mut bytes = self.report_data.to_bytes();
            bytes[0] ^= 1;
            bytes
        });
        claimed.stack.report_data = changed;
        let expect = self.expecting("report_data", json!(changed));
        self.bad(
            "report data changed everywhere, as the verifier wants it",
            &claimed,
            quote,
            json!({ "expect": expect }),
        );
        self.bad(
            "debug bit cleared after signing",
            &self.debug_cleared()?,
            quote,
            json!({}),
        );
        let mut short = usual.clone();
        if let Platform::Tdx { quote, .. } = &mut short.platform {
            quote.truncate(SIGNATURE);
        }
        self.bad(
            "quote cut before its signature",
            &short,
            &["quote", "encoding"],
            json!({}),
        );
        let mut none = usual.clone();
        if let Platform::Tdx { quote, .. } = &mut none.platform {
            quote.clear();
        }
        self.bad("no quote", &none, &["quote", "encoding"], json!({}));
        let debug = self.vm(|vm| vm.debug = true)?;
        self.bad("debug TD", &debug, &["debug"], json!({}));
        let seam = Options {
            mr_signer_seam: [1; 48],
            ..Options::default()
        };
        let foreign = self.tee.with(seam)?;
        let foreign = self.vm(|vm| vm.machine = foreign)?;
        self.bad(
            "TDX module not signed by Intel",
            &foreign,
            &["quote", "collateral"],
            json!({}),
        );
        let elsewhere = self.vm(|vm| vm.machine = self.tee.other.clone())?;
        self.bad(
            "a machine under another root",
            &elsewhere,
            &["quote", "collateral", "chain"],
            json!({}),
        );
        Ok(())
    }

    pub(super) fn debug_cleared(&self) -> anyhow::Result<Attestation> {
        Ok(flip(&self.vm(|vm| vm.debug = true)?, TD_ATTRIBUTES))
    }
}
