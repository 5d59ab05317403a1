//! From evidence to what it proves.

use std::sync::Arc;

use bylaw_attest::collateral::{Fixed, Pccs};
use bylaw_attest::event_log::field;
use bylaw_attest::{
    Collateral, CollateralError, CollateralSource, Platform, TrustAnchors, mr_config, report_data,
};
use bylaw_types::clock::Clock;
use bylaw_types::{
    AppId, ComposeHash, DeviceId, InstanceId, KeyProviderInfo, Register, ReportData, TcbStatus,
    TrustAnchorSet,
};

use crate::{Appraisal, Evidence, VerifyError};

/// Registers that an OS image and a shape of VM amount to; `None` is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measurement {
    /// Firmware.
    pub mrtd: Option<Register>,
    /// Configuration of the VM.
    pub rtmr0: Option<Register>,
    /// Kernel.
    pub rtmr1: Option<Register>,
    /// Command line and initial file system.
    pub rtmr2: Option<Register>,
}

/// What evidence must say. What is `None` is not asked for, except that either
/// `report_data` or `tls_key` must be given: evidence for nobody's challenge proves nothing
/// about who showed it.
#[derive(Debug, Clone)]
pub struct Expect {
    /// Exactly this report data.
    pub report_data: Option<ReportData>,
    /// The TLS key with this DER SubjectPublicKeyInfo.
    pub tls_key: Option<Vec<u8>>,
    /// How current the platform may be; up to date and nothing else unless said otherwise.
    pub tcb_statuses: Vec<TcbStatus>,
    /// The app.
    pub app_id: Option<AppId>,
    /// Its manifest.
    pub compose_hash: Option<ComposeHash>,
    /// One of these machines.
    pub device_ids: Option<Vec<DeviceId>>,
    /// One of these. Without them the OS image is not known, and with it everything that
    /// the events say: the image is what measures them.
    pub measurements: Option<Vec<Measurement>>,
    /// Keys must come from the KMS whose root CA has this DER SubjectPublicKeyInfo.
    pub key_provider_id: Option<Vec<u8>>,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            report_data: None,
            tls_key: None,
            tcb_statuses: vec![TcbStatus::UpToDate],
            app_id: None,
            compose_hash: None,
            device_ids: None,
            measurements: None,
            key_provider_id: None,
        }
    }
}

/// Verifies evidence under a trust root, with a source of collateral.
///
/// Making one costs nothing; asking the source does. `bylaw_attest::collateral::Cached`
/// wraps a source that should not be asked each time.
#[derive(Debug, Clone)]
pub struct Verifier {
    anchors: TrustAnchors,
    collateral: Arc<dyn CollateralSource>,
    clock: Clock,
}

impl Verifier {
    /// Trusts Intel, and asks the service at `collateral_url`
    /// (`https://api.trustedservices.intel.com` or any PCCS).
    ///
    /// # Errors
    /// [`CollateralError`] when TLS cannot be set up.
    pub fn intel(collateral_url: &str) -> Result<Self, CollateralError> {
        let source = Arc::new(Pccs::new(collateral_url)?);
        Ok(Self::new(TrustAnchors::vendor(), source))
    }

    /// Trusts these anchors, and asks this source.
    ///
    /// With a development root in place of Intel's ([`TrustAnchors::with_tdx_root`]) nothing
    /// is proven about hardware.
    pub fn new(anchors: TrustAnchors, collateral: Arc<dyn CollateralSource>) -> Self {
        Self {
            anchors,
            collateral,
            clock: Clock::system(),
        }
    }

    /// Trusts these anchors, with collateral at hand.
    pub fn with_collateral(anchors: TrustAnchors, collateral: Collateral) -> Self {
        Self::new(anchors, Arc::new(Fixed::new(collateral)))
    }

    /// Verifies as of another time than now.
    #[must_use]
    pub fn at(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now_unix()
    }

    pub(crate) fn anchors(&self) -> TrustAnchorSet {
        self.anchors.set()
    }

    /// Verifies evidence and what it says. Refuses debug TDs, revoked platforms and TDX
    /// modules that are not Intel's, whatever is expected; reads nothing that was measured
    /// after the system handed over to the app.
    ///
    /// # Errors
    /// [`VerifyError`] names the rule.
    pub async fn verify_evidence(
        &self,
        evidence: &Evidence,
        expect: &Expect,
    ) -> Result<Appraisal, VerifyError> {
        let platform = &evidence.platform;
        if !matches!(platform, Platform::Tdx { .. }) {
            return Err(VerifyError::UnsupportedPlatform(platform.kind().to_owned()));
        }
        let bound = expect.bound()?;
        let challenge = bound.first().ok_or_else(unbound)?;
        let inner = bylaw_attest::Verifier::new(
            self.anchors.clone(),
            Arc::clone(&self.collateral),
            self.clock.clone(),
        )
        .appraise(evidence, bylaw_attest::Expect::ReportData(challenge))
        .await?;
        if bound.iter().any(|data| data != inner.report_data()) {
            return Err(VerifyError::ReportData(
                "it was made for another key than the expected report data names".to_owned(),
            ));
        }
        let appraisal = read(inner)?;
        expect.check(&appraisal)?;
        Ok(appraisal)
    }
}

fn unbound() -> VerifyError {
    VerifyError::ReportData(
        "say which report data or which TLS key the evidence must be for".to_owned(),
    )
}

/// What report data must be for evidence to be for this TLS key.
pub fn report_data_for_tls_key(spki_der: &[u8]) -> ReportData {
    report_data::ratls(spki_der)
}

fn read(inner: bylaw_attest::Appraisal) -> Result<Appraisal, VerifyError> {
    let td = inner
        .td()
        .ok_or_else(|| VerifyError::UnsupportedPlatform(inner.tee_variant().to_string()))?;
    let events = inner.runtime_events();
    let malformed = |name: &str, error: &dyn std::fmt::Display| {
        VerifyError::EventLog(format!("measured event `{name}`: {error}"))
    };
    let app_id = field(events, "app-id")
        .map(|bytes| AppId::try_from(bytes).map_err(|error| malformed("app-id", &error)))
        .transpose()?;
    let compose_hash = field(events, "compose-hash")
        .map(|bytes| {
            ComposeHash::try_from(bytes).map_err(|error| malformed("compose-hash", &error))
        })
        .transpose()?;
    let instance_id = field(events, "instance-id")
        .filter(|bytes| !bytes.is_empty())
        .map(|bytes| InstanceId::try_from(bytes).map_err(|error| malformed("instance-id", &error)))
        .transpose()?;
    if let Some(hash) = &compose_hash {
        mr_config::check(&td.mr_config_id, hash).map_err(|error| VerifyError::ComposeHash {
            expected: format!("what MRCONFIGID {} binds", error.register),
            actual: hash.to_string(),
        })?;
    }
    let provider = field(events, "key-provider").unwrap_or_default();
    Ok(Appraisal {
        tcb_status: inner.tcb_status(),
        advisory_ids: inner.advisory_ids().to_vec(),
        device_id: inner.device_id(),
        mrtd: td.mrtd,
        rtmr: td.rtmr,
        report_data: *inner.report_data(),
        app_id,
        compose_hash,
        instance_id,
        // A provider that is not what is measured today is no provider that can be expected.
        key_provider: serde_json::from_slice::<KeyProviderInfo>(provider).ok(),
        mr_system: td.mr_system(provider),
        mr_aggregated: td.mr_aggregated(&td.rtmr[3]),
        inner,
    })
}

impl Expect {
    /// Everything the report data must equal; at least one.
    fn bound(&self) -> Result<Vec<ReportData>, VerifyError> {
        let key = self.tls_key.as_deref().map(report_data_for_tls_key);
        let bound: Vec<_> = key.into_iter().chain(self.report_data).collect();
        if bound.is_empty() {
            return Err(unbound());
        }
        Ok(bound)
    }

    fn check(&self, found: &Appraisal) -> Result<(), VerifyError> {
        self.check_platform(found)?;
        self.check_app(found)
    }

    fn check_platform(&self, found: &Appraisal) -> Result<(), VerifyError> {
        if !self.tcb_statuses.contains(&found.tcb_status) {
            return Err(VerifyError::TcbStatus {
                actual: found.tcb_status.to_string(),
                allowed: self.tcb_statuses.clone(),
                advisories: found.advisory_ids.clone(),
            });
        }
        if let Some(allowed) = &self.device_ids
            && !allowed.contains(&found.device_id)
        {
            return Err(VerifyError::DeviceId(found.device_id.to_string()));
        }
        if let Some(allowed) = &self.measurements
            && !allowed.iter().any(|measurement| measurement.matches(found))
        {
            let [rtmr0, rtmr1, rtmr2, _] = found.rtmr;
            let found = format!("{}, {rtmr0}, {rtmr1}, {rtmr2}", found.mrtd);
            return Err(VerifyError::Measurement(found));
        }
        Ok(())
    }

    fn check_app(&self, found: &Appraisal) -> Result<(), VerifyError> {
        if let Some(expected) = self.app_id
            && found.app_id != Some(expected)
        {
            return Err(VerifyError::AppId {
                expected: expected.to_string(),
                actual: or_none(found.app_id),
            });
        }
        if let Some(expected) = self.compose_hash
            && found.compose_hash != Some(expected)
        {
            return Err(VerifyError::ComposeHash {
                expected: expected.to_string(),
                actual: or_none(found.compose_hash),
            });
        }
        if let Some(expected) = &self.key_provider_id
            && found.key_provider.as_ref() != Some(&KeyProviderInfo::kms(expected))
        {
            return Err(VerifyError::KeyProvider {
                expected: hex::encode(expected),
                actual: found.key_provider.as_ref().map_or_else(
                    || "none".to_owned(),
                    |provider| format!("{} {}", provider.name, provider.id),
                ),
            });
        }
        Ok(())
    }
}

fn or_none(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "not measured".to_owned(), |value| value.to_string())
}

impl Measurement {
    fn matches(&self, found: &Appraisal) -> bool {
        let [rtmr0, rtmr1, rtmr2, _] = found.rtmr;
        [
            (self.mrtd, found.mrtd),
            (self.rtmr0, rtmr0),
            (self.rtmr1, rtmr1),
            (self.rtmr2, rtmr2),
        ]
        .iter()
        .all(|(expected, found)| expected.is_none_or(|expected| expected == *found))
    }
}
