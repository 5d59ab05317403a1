//! Chains that do not lead to the KMS.

use super::*;

impl Cases<'_> {
    pub(super) fn chains(&mut self, good: &[String]) -> anyhow::Result<()> {
        let code = &["chain"][..];
        let stranger = P256Key::random()?;
        let spki = json!({ "kms_ca_spki": hex::encode(stranger.spki_der()) });
        self.bad(
            "another KMS is wanted",
            good,
            &["chain", "key_provider"],
            spki,
        );
        type Change = fn(&mut Cert<'_>, &mut Cert<'_>, &mut Cert<'_>);
        let changes: [(&str, Change); 14] = [
            ("leaf expired", |leaf, _, _| leaf.until = TIME - 1),
            ("leaf not yet valid", |leaf, _, _| leaf.from = TIME + 1),
            ("app CA expired", |_, ca, _| ca.until = TIME - 1),
            ("app CA not yet valid", |_, ca, _| ca.from = TIME + 1),
            ("root expired", |_, _, root| root.until = TIME - 1),
            ("root not yet valid", |_, _, root| root.from = TIME + 1),
            ("app CA that is no CA", |_, ca, _| ca.ca = None),
            ("root that is no CA", |_, _, root| root.ca = None),
            ("root that allows no CA below it", |_, _, root| {
                root.ca = Some(0)
            }),
            ("app CA without usage", |_, ca, _| {
                drop(ca.extensions.remove(1))
            }),
            ("app CA for TLS of a KMS", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"kms:rpc");
            }),
            ("app CA for leaves", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"app:custom");
            }),
            ("usage of the app CA in another case", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"APP:CA");
            }),
            ("usage of the app CA and more", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"app:ca:x");
            }),
        ];
        for (name, change) in changes {
            let chain = self.chain(change)?;
            self.bad(name, &chain, code, json!({}));
        }
        let [leaf, ca, root] = good else {
            anyhow::bail!("three certificates");
        };
        let list = |items: &[&String]| items.iter().map(|pem| (*pem).clone()).collect::<Vec<_>>();
        self.bad("app CA missing", &list(&[leaf, root]), code, json!({}));
        self.bad("leaf alone", &list(&[leaf]), code, json!({}));
        self.bad(
            "leaf three times",
            &list(&[leaf, leaf, leaf]),
            code,
            json!({}),
        );
        self.bad(
            "a CA in place of the leaf",
            &list(&[ca, root]),
            &["encoding", "chain", "report_data_mismatch"],
            json!({}),
        );

        let imitation = Cert {
            key: &stranger,
            ..self.root()
        };
        let app_key = self.tee.kms.app_ca(&APP)?;
        let app_ca = |key| {
            Cert::ca("Dstack App CA", key, 0)
                .with(APP_ID, APP.as_ref())
                .with(USAGE, b"app:ca")
        };
        let subject = Cert::leaf(&self.key)
            .with(APP_ID, APP.as_ref())
            .with(ATTESTATION, &self.evidence.clone().stripped().encode());
        let genuine = app_ca(&app_key);
        let forged = app_ca(&stranger);
        let cases = [
            (
                "root of the same name, another key",
                vec![
                    subject.signed_by(&genuine)?,
                    genuine.signed_by(&imitation)?,
                    imitation.self_signed()?,
                ],
            ),
            (
                "signed by an imitation, shown with the root",
                vec![
                    subject.signed_by(&genuine)?,
                    genuine.signed_by(&imitation)?,
                    root.clone(),
                ],
            ),
            (
                "leaf signed by another CA of the same name",
                vec![subject.signed_by(&forged)?, ca.clone(), root.clone()],
            ),
            (
                "leaf signs itself",
                vec![subject.self_signed()?, ca.clone(), root.clone()],
            ),
            (
                "leaf signed by the root itself",
                vec![subject.signed_by(&self.root())?, root.clone()],
            ),
            ("leaf signed by a leaf", {
                let middle = Cert::leaf(&stranger).with(USAGE, b"app:custom");
                vec![
                    subject.signed_by(&middle)?,
                    middle.signed_by(&genuine)?,
                    ca.clone(),
                    root.clone(),
                ]
            }),
            ("a CA below the app CA", {
                let below = app_ca(&stranger);
                vec![
                    subject.signed_by(&below)?,
                    below.signed_by(&genuine)?,
                    ca.clone(),
                    root.clone(),
                ]
            }),
        ];
        let other_key = self.tee.kms.app_ca(&OTHER_APP)?;
        let other_ca = Cert::ca("Dstack App CA", &other_key, 0)
            .with(APP_ID, OTHER_APP.as_ref())
            .with(USAGE, b"app:ca");
        let stolen = vec![
            subject.signed_by(&other_ca)?,
            other_ca.signed_by(&self.root())?,
            root.clone(),
        ];
        for (name, chain) in cases {
            self.bad(name, &chain, code, json!({}));
        }
        self.bad(
            "leaf signed by another app's CA",
            &stolen,
            &["app_id", "chain"],
            json!({}),
        );
        Ok(())
    }
}
