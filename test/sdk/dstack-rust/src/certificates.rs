//! TLS keys: the certificates of the app, up to the root CA of the KMS.

use std::collections::BTreeSet;

use anyhow::{ensure, Context, Result};
use dstack_sdk::dstack_client::{DstackClient, TlsKeyConfig};
use p256::pkcs8::{DecodePrivateKey, EncodePublicKey};
use sha2::{Digest, Sha512};
use x509_parser::der_parser::asn1_rs::{FromDer, OctetString, Oid};
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::quote::Quote;
use crate::system::{equal, System};

const APP_ID: u8 = 3;
const SPECIAL_USAGE: u8 = 4;
const ATTESTATION: u8 = 8;

/// The content of one of our extensions: an OCTET STRING, as dstack's are.
fn extension(certificate: &X509Certificate<'_>, number: u8) -> Result<Option<Vec<u8>>> {
    let arc = [1, 3, 6, 1, 4, 1, 62397, 1, u64::from(number)];
    let oid = Oid::from(&arc).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let Some(found) = certificate.get_extension_unique(&oid)? else {
        return Ok(None);
    };
    ensure!(!found.critical, "extension {number} is not critical");
    let (rest, content) = OctetString::from_der(found.value)?;
    ensure!(rest.is_empty(), "extension {number} ends with its string");
    Ok(Some(content.as_cow().to_vec()))
}

/// What is asked about a leaf once its chain is checked.
pub struct Leaf {
    pub spki: Vec<u8>,
    pub subject: String,
    pub names: Vec<String>,
    pub usages: (bool, bool),
    pub evidence: Option<Vec<u8>>,
}

/// Check a chain from leaf to the root the contract names; answers the leaf.
pub fn chained(system: &System, pems: &[String]) -> Result<Leaf> {
    equal(pems.len(), 3, "certificates in a chain")?;
    let mut parsed = Vec::new();
    for pem in pems {
        let (pem, _) = Pem::read(std::io::Cursor::new(pem))?;
        parsed.push(pem);
    }
    let certificates = parsed
        .iter()
        .map(|pem| pem.parse_x509().context("a certificate"))
        .collect::<Result<Vec<_>>>()?;
    let [leaf, app_ca, root] = &certificates[..] else {
        anyhow::bail!("three certificates");
    };
    equal(
        root.public_key().raw,
        &system.ca_spki[..],
        "the key of the root CA",
    )?;
    for (issued, issuer) in [(leaf, app_ca), (app_ca, root), (root, root)] {
        equal(
            issued.issuer(),
            issuer.subject(),
            "the issuer a certificate names",
        )?;
        issued
            .verify_signature(Some(issuer.public_key()))
            .context("a certificate is signed by its issuer")?;
        ensure!(issued.validity().is_valid(), "a certificate is valid now");
    }
    equal(
        [leaf.is_ca(), app_ca.is_ca(), root.is_ca()],
        [false, true, true],
        "which are CAs",
    )?;
    for (certificate, usage) in [(app_ca, "app:ca"), (leaf, "app:custom")] {
        let app_id = extension(certificate, APP_ID)?;
        equal(
            app_id.as_ref(),
            Some(&system.app_id),
            "the app id of a certificate",
        )?;
        let special = extension(certificate, SPECIAL_USAGE)?;
        equal(
            special.as_deref(),
            Some(usage.as_bytes()),
            "its special usage",
        )?;
    }
    let usage = leaf.key_usage()?.context("a leaf has a key usage")?.value;
    equal(
        usage.flags,
        1,
        "a leaf's key usage: digital signature alone",
    )?;
    describe(leaf)
}

fn describe(leaf: &X509Certificate<'_>) -> Result<Leaf> {
    let names = leaf
        .subject_alternative_name()?
        .map_or_else(Vec::new, |found| {
            let names = found.value.general_names.iter();
            names.map(name).collect()
        });
    let usages = leaf.extended_key_usage()?.map_or((false, false), |found| {
        (found.value.server_auth, found.value.client_auth)
    });
    Ok(Leaf {
        spki: leaf.public_key().raw.to_vec(),
        subject: leaf.subject().to_string(),
        names,
        usages,
        evidence: extension(leaf, ATTESTATION)?,
    })
}

fn name(found: &GeneralName<'_>) -> String {
    match found {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(octets) => format!("ip {octets:?}"),
        other => format!("{other:?}"),
    }
}

/// The certificate is about the key beside it; answers the key's scalar.
pub fn own_key(pem: &str, leaf: &Leaf) -> Result<Vec<u8>> {
    ensure!(
        pem.starts_with("-----BEGIN PRIVATE KEY-----"),
        "the key is PKCS#8"
    );
    let key = p256::SecretKey::from_pkcs8_pem(pem).context("the key is on P-256")?;
    let public = key.public_key().to_public_key_der()?;
    equal(
        &leaf.spki[..],
        public.as_bytes(),
        "the public key of a leaf",
    )?;
    Ok(key.to_bytes().to_vec())
}

/// The evidence in a certificate is about the certificate's key.
fn attested(leaf: &Leaf) -> Result<()> {
    let evidence = leaf
        .evidence
        .as_ref()
        .context("a certificate with evidence")?;
    let bound = Sha512::new_with_prefix(b"ratls-cert:").chain_update(&leaf.spki);
    let bound = bound.finalize().to_vec();
    equal(
        Quote::within(evidence)?.report_data,
        bound,
        "the key the evidence names",
    )
}

/// `get_tls_key`: fresh keys, names, usages, evidence.
pub async fn issued(client: &DstackClient, system: &System) -> Result<()> {
    let plain = client.get_tls_key(TlsKeyConfig::builder().build()).await?;
    let leaf = chained(system, &plain.certificate_chain)?;
    own_key(&plain.key, &leaf)?;
    equal(
        leaf.usages,
        (true, false),
        "usages the SDK asks for unless told",
    )?;
    equal(leaf.names.len(), 0, "alternative names nobody asked for")?;
    ensure!(leaf.evidence.is_none(), "no evidence unless asked for");

    let mut keys = BTreeSet::new();
    for usages in [(false, false), (true, false), (false, true), (true, true)] {
        let names = ["z.example", "a.example", "127.0.0.1", "m.example"];
        let config = TlsKeyConfig::builder()
            .subject("app.example")
            .alt_names(names.map(String::from).to_vec())
            .usage_server_auth(usages.0)
            .usage_client_auth(usages.1)
            .build();
        let answer = client.get_tls_key(config).await?;
        let leaf = chained(system, &answer.certificate_chain)?;
        keys.insert(own_key(&answer.key, &leaf)?);
        equal(leaf.usages, usages, "extended key usages")?;
        equal(&*leaf.subject, "CN=app.example", "the subject")?;
        let (addresses, dns): (Vec<_>, Vec<_>) = leaf
            .names
            .into_iter()
            .partition(|name| name.starts_with("ip "));
        equal(
            dns,
            ["z.example", "a.example", "m.example"],
            "DNS names in order",
        )?;
        equal(
            addresses,
            ["ip [127, 0, 0, 1]"],
            "addresses among the names",
        )?;
    }
    equal(keys.len(), 4, "distinct keys of four requests")?;

    let config = TlsKeyConfig::builder().usage_ra_tls(true).build();
    let answer = client.get_tls_key(config).await?;
    attested(&chained(system, &answer.certificate_chain)?)
}

/// Info's certificate, which others read to learn about the app.
pub async fn demo(client: &DstackClient, system: &System) -> Result<()> {
    let text = client.info().await?.app_cert;
    let pems: Vec<_> = text
        .split_inclusive("-----END CERTIFICATE-----")
        .map(str::trim)
        .filter(|pem| !pem.is_empty())
        .map(String::from)
        .collect();
    attested(&chained(system, &pems)?)
}
