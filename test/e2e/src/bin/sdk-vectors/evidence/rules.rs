//! Evidence that holds and says something else than expected, and what the vendor says.

use super::*;

const DAY: u64 = 24 * 60 * 60;

impl Cases<'_> {
    pub(super) fn expectations(&mut self) -> anyhow::Result<()> {
        let usual = self.usual.clone();
        let other_report = json!(ReportData::new([0xd2; 64]));
        let mut expected = |name: &str, field: &str, value: Value, code: &str| {
            let expect = self.expecting(field, value);
            self.bad(name, &usual, &[code], json!({ "expect": expect }));
        };
        expected(
            "another challenge",
            "report_data",
            other_report.clone(),
            "report_data_mismatch",
        );
        expected("another app", "app_id", json!("33".repeat(20)), "app_id");
        expected(
            "another manifest",
            "compose_hash",
            json!("33".repeat(32)),
            "compose_hash",
        );
        expected(
            "another machine",
            "device_ids",
            json!(["33".repeat(32)]),
            "device_id",
        );
        expected(
            "another KMS",
            "key_provider_id",
            json!("33".repeat(91)),
            "key_provider",
        );
        expected(
            "status not listed",
            "tcb_statuses",
            json!(["OutOfDate"]),
            "tcb_status",
        );
        for register in ["mrtd", "rtmr0", "rtmr1", "rtmr2"] {
            let mut measurements = self.expect["measurements"].clone();
            measurements[1][register] = json!("33".repeat(48));
            let expect = self.expecting("measurements", measurements);
            self.bad(
                &format!("another {register}"),
                &usual,
                &["measurement"],
                json!({ "expect": expect }),
            );
        }
        let mut stated = usual.clone();
        stated.stack.report_data = ReportData::new([0xd2; 64]);
        let code = &["report_data_mismatch"][..];
        self.bad(
            "stated report data is not the quote's",
            &stated,
            code,
            json!({}),
        );
        let wished = self.expecting("report_data", other_report);
        self.bad(
            "stated report data is wanted, the quote's is not",
            &stated,
            code,
            json!({ "expect": wished }),
        );

        let late = self.vm(|vm| {
            vm.key_provider = None;
            let payload = KeyProviderInfo::kms(&self.tee.kms_spki()).to_payload();
            vm.after_ready = vec![named("key-provider", payload)];
        })?;
        self.bad(
            "key provider named after system-ready",
            &late,
            &["key_provider"],
            json!({}),
        );
        let pretend = self.vm(|vm| {
            vm.after_ready = vec![
                named("app-id", [0x33; 20]),
                named("compose-hash", [0x33; 32]),
            ];
        })?;
        let expect = self.expecting("app_id", json!("33".repeat(20)));
        self.bad(
            "app id measured again after system-ready",
            &pretend,
            &["app_id"],
            json!({ "expect": expect }),
        );
        let expect = self.expecting("compose_hash", json!("33".repeat(32)));
        self.bad(
            "manifest measured again after system-ready",
            &pretend,
            &["compose_hash"],
            json!({ "expect": expect }),
        );
        let twice = self.vm(|vm| vm.before_ready = vec![named("app-id", [0x33; 20])])?;
        let expect = self.expecting("app_id", json!("33".repeat(20)));
        self.bad(
            "the second app id is wanted, the first counts",
            &twice,
            &["app_id"],
            json!({ "expect": expect }),
        );
        for (name, payload) in [
            (
                "key provider of another kind",
                KeyProviderInfo {
                    name: "local-sgx".to_owned(),
                    id: hex::encode(self.tee.kms_spki()),
                }
                .to_payload(),
            ),
            (
                "key provider without id",
                KeyProviderInfo {
                    name: "kms".to_owned(),
                    id: String::new(),
                }
                .to_payload(),
            ),
            ("key provider that is no JSON", b"kms".to_vec()),
        ] {
            let provided = self.vm(|vm| vm.key_provider = Some(payload))?;
            self.bad(name, &provided, &["key_provider"], json!({}));
        }
        let old = self.vm(|vm| vm.outdated = true)?;
        self.bad("platform out of date", &old, &["tcb_status"], json!({}));
        Ok(())
    }

    pub(super) fn vendors(&mut self, collateral: &Value) -> anyhow::Result<()> {
        let usual = self.usual.clone();
        let code = &["collateral", "quote"][..];
        for (name, time) in [
            ("collateral has expired", TIME + 31 * DAY),
            ("collateral is of the future", TIME - DAY),
            ("before every certificate", 1_600_000_000),
        ] {
            self.bad(name, &usual, code, json!({ "time": time }));
        }
        let elsewhere = &["quote", "collateral", "chain"][..];
        let root = json!({ "root_ca": self.tee.other.root_pem() });
        self.bad("another trust root", &usual, elsewhere, root);
        self.bad(
            "the vendor's trust root",
            &usual,
            elsewhere,
            json!({ "root_ca": null }),
        );
        let here = self.tee;
        let mut with = |name: &str, collateral: &Value, codes: &[&str]| -> anyhow::Result<()> {
            let more = json!({ "collateral": collateral, "pccs": tee::pccs(collateral)? });
            self.bad(name, &usual, codes, more);
            Ok(())
        };
        let other = tee::collateral(&here.other, TIME)?;
        with("collateral under another root", &other, code)?;
        for (name, field, from, to) in [
            ("TCB info edited", "tcb_info", "OutOfDate", "UpToDate"),
            (
                "TCB info for another platform",
                "tcb_info",
                "513e7e000000",
                "513e7e000001",
            ),
            (
                "QE identity edited",
                "qe_identity",
                "\"isvsvn\":4",
                "\"isvsvn\":3",
            ),
        ] {
            let mut edited = collateral.clone();
            let text = edited[field]
                .as_str()
                .unwrap_or_default()
                .replacen(from, to, 1);
            anyhow::ensure!(edited[field] != json!(text), "{name} changes nothing");
            edited[field] = json!(text);
            with(name, &edited, code)?;
        }
        for field in [
            "root_ca_crl",
            "pck_crl",
            "tcb_info_signature",
            "tcb_info_issuer_chain",
        ] {
            let mut mixed = collateral.clone();
            mixed[field] = other[field].clone();
            with(&format!("{field} of another machine"), &mixed, code)?;
        }
        let stated = |options: Options| tee::collateral(&*here.with(options)?, TIME);
        for status in [
            "OutOfDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "Revoked",
        ] {
            let options = Options {
                tcb_status: status.to_owned(),
                ..Options::default()
            };
            let says = stated(options)?;
            with(&format!("the vendor says {status}"), &says, &["tcb_status"])?;
        }
        let revoked = stated(Options {
            revoke_pck: true,
            ..Options::default()
        })?;
        with(
            "platform's certificate revoked",
            &revoked,
            &["collateral", "quote", "tcb_status", "chain"],
        )?;
        let everything = json!({
            "tcb_statuses": ["UpToDate", "OutOfDate", "SWHardeningNeeded", "ConfigurationNeeded",
                "ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded", "Revoked"],
            "report_data": self.report_data,
        });
        let options = Options {
            tcb_status: "Revoked".to_owned(),
            ..Options::default()
        };
        let says = tee::collateral(&*self.tee.with(options)?, TIME)?;
        let more = json!({ "collateral": says, "pccs": tee::pccs(&says)?, "expect": everything });
        self.bad(
            "revoked, though the list names it",
            &usual,
            &["tcb_status"],
            more,
        );
        let mut absent = tee::pccs(collateral)?;
        absent["/tdx/certification/v4/tcb"] = json!({ "status": 404, "headers": {}, "body": "" });
        self.bad(
            "the source has no TCB info",
            &usual,
            &["collateral"],
            json!({ "collateral": null, "pccs": absent }),
        );
        Ok(())
    }
}
