//! What certificates carry, and what is expected of them.

use super::*;

impl Cases<'_> {
    pub(super) fn extensions(&mut self, good: &[String]) -> anyhow::Result<()> {
        let encoding = &["encoding"][..];
        let stripped = self.evidence.clone().stripped().encode();
        let none = self.chain(|leaf, _, _| drop(leaf.extensions.pop()))?;
        self.bad("no evidence", &none, encoding, json!({}));
        let (quote, log) = self.legacy()?;
        for (name, number, content) in [
            ("app id twice", APP_ID, APP.as_ref()),
            ("usage twice", USAGE, b"app:custom".as_slice()),
            ("evidence twice", ATTESTATION, &stripped),
        ] {
            let twice = self.chain(|leaf, _, _| *leaf = leaf.clone().with(number, content))?;
            self.bad(name, &twice, encoding, json!({}));
        }
        let twice = self.chain(|leaf, _, _| {
            leaf.extensions.pop();
            *leaf = leaf
                .clone()
                .with(QUOTE, &quote)
                .with(QUOTE, &quote)
                .with(EVENT_LOG, log.as_bytes());
        })?;
        self.bad("older evidence twice", &twice, encoding, json!({}));
        let twice = self.chain(|_, ca, _| *ca = ca.clone().with(USAGE, b"app:ca"))?;
        self.bad(
            "usage of the app CA twice",
            &twice,
            &["encoding", "chain"],
            json!({}),
        );
        let unlogged = self.chain(|leaf, _, _| {
            leaf.extensions.pop();
            *leaf = leaf.clone().with(QUOTE, &quote);
        })?;
        self.bad(
            "older evidence without an event log",
            &unlogged,
            &["event_log", "encoding"],
            json!({}),
        );
        let bare = self.chain(|leaf, _, _| {
            leaf.extensions.pop();
            leaf.extensions.push(raw(ATTESTATION, stripped.clone()));
        })?;
        self.bad(
            "evidence not in an OCTET STRING",
            &bare,
            encoding,
            json!({}),
        );
        let cut = stripped.get(..stripped.len() - 1).unwrap_or_default();
        let longer = [&stripped[..], &[0]].concat();
        for (name, content) in [
            ("evidence cut", cut),
            ("a byte after the evidence", &longer),
        ] {
            let chain = self.chain(|leaf, _, _| {
                leaf.extensions.pop();
                *leaf = leaf.clone().with(ATTESTATION, content);
            })?;
            self.bad(name, &chain, encoding, json!({}));
        }
        for (name, id) in [
            ("app id of 19 bytes", &[0x11; 19][..]),
            ("empty app id", &[]),
        ] {
            let chain = self.chain(|leaf, _, _| {
                leaf.extensions.remove(0);
                *leaf = leaf.clone().with(APP_ID, id);
            })?;
            self.bad(name, &chain, &["encoding", "app_id"], json!({}));
        }
        let pretended = self.chain(|leaf, _, _| {
            leaf.extensions.remove(0);
            *leaf = leaf.clone().with(APP_ID, OTHER_APP.as_ref());
        })?;
        self.bad(
            "the certificate says another app than the evidence",
            &pretended,
            &["app_id"],
            json!({}),
        );

        self.bad("no certificates", &[], &["encoding", "chain"], json!({}));
        let [leaf, rest @ ..] = good else {
            anyhow::bail!("a leaf");
        };
        let with_leaf = |leaf: String| [&[leaf], rest].concat();
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        self.bad(
            "leaf that is no certificate",
            &with_leaf(broken.to_owned()),
            encoding,
            json!({}),
        );
        self.bad(
            "leaf that is no PEM",
            &with_leaf("certificate".to_owned()),
            encoding,
            json!({}),
        );
        let mut lines: Vec<&str> = leaf.lines().collect();
        lines.remove(lines.len() / 2);
        self.bad(
            "leaf with a line missing",
            &with_leaf(lines.join("\n")),
            encoding,
            json!({}),
        );
        Ok(())
    }

    pub(super) fn expectations(&mut self, good: &[String], expect: &Value) {
        for (name, field, value, code) in [
            ("another app", "app_id", json!("33".repeat(20)), "app_id"),
            (
                "another manifest",
                "compose_hash",
                json!("33".repeat(32)),
                "compose_hash",
            ),
            (
                "another machine",
                "device_ids",
                json!(["33".repeat(32)]),
                "device_id",
            ),
            (
                "another measurement",
                "measurements",
                json!([{ "mrtd": "33".repeat(48) }]),
                "measurement",
            ),
            (
                "another key provider",
                "key_provider_id",
                json!("33".repeat(91)),
                "key_provider",
            ),
            (
                "another report data",
                "report_data",
                json!("33".repeat(64)),
                "report_data_mismatch",
            ),
            (
                "status not listed",
                "tcb_statuses",
                json!(["OutOfDate"]),
                "tcb_status",
            ),
        ] {
            let mut wanted = expect.clone();
            wanted[field] = value;
            self.bad(name, good, &[code], json!({ "expect": wanted }));
        }
        self.bad(
            "collateral has expired",
            good,
            &["collateral", "quote"],
            json!({ "time": TIME + 31 * DAY }),
        );
        let root = json!({ "root_ca": self.tee.other.root_pem() });
        self.bad(
            "another trust root",
            good,
            &["quote", "collateral", "chain"],
            root,
        );
    }
}
