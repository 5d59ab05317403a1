//! Which TEE this VM has, and how it is reached.

use std::path::Path;

use bylaw_attest::EventVersion;
use bylaw_attester::{Attester, Roots, attester_from, fix_event_version};
use bylaw_types::TeeVariant;
use std::sync::Arc;

use crate::error::BootError;
use crate::shared::Shared;

/// No TEE that could be used.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// Nothing at all.
    #[error(
        "this VM has no confidential hardware and was given no software TEE: there is nobody to \
         measure what runs. Launch it on a host with TDX or SEV-SNP, or with simulated_tee"
    )]
    NoTee,
    /// A simulator beside a real TEE.
    #[error(
        "this VM has confidential hardware ({0}), yet the host offers a software TEE; such an \
         offer is refused there"
    )]
    SimulatorRefused(&'static str),
}

/// How this VM proves what it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tee {
    /// For the agent's `attester`.
    pub endpoint: String,
    /// What evidence will say.
    pub variant: TeeVariant,
    /// PEM of the simulator's root; `None` on hardware, where the vendors' roots count.
    pub simulator_root: Option<String>,
}

/// Signs of confidential hardware: flags of the CPU, which the host cannot hide from a
/// guest that runs on them, and devices.
const SIGNS: &[(&str, TeeVariant)] = &[
    ("tdx_guest", TeeVariant::Tdx),
    ("sev_snp", TeeVariant::SevSnp),
    ("sev_es", TeeVariant::SevSnp),
    ("sev", TeeVariant::SevSnp),
];
const DEVICES: &[(&str, TeeVariant)] = &[
    ("tdx_guest", TeeVariant::Tdx),
    ("sev-guest", TeeVariant::SevSnp),
];

impl Tee {
    /// Finds it. A software TEE counts only where there is no confidentiality to lose.
    ///
    /// # Errors
    /// [`PlatformError`].
    pub fn find(cpuinfo: &str, devices: &Path, shared: &Shared) -> Result<Self, PlatformError> {
        match (hardware(cpuinfo, devices), &shared.tee_simulator) {
            (Some((sign, _)), Some(_)) => Err(PlatformError::SimulatorRefused(sign)),
            (Some((_, variant)), None) => Ok(Self {
                endpoint: match variant {
                    TeeVariant::SevSnp => "linux:snp".to_owned(),
                    _ => "linux:tdx".to_owned(),
                },
                variant,
                simulator_root: None,
            }),
            (None, Some(simulator)) => Ok(Self {
                endpoint: format!("simtee:{}", simulator.endpoint),
                variant: TeeVariant::Tdx,
                simulator_root: Some(simulator.root_ca.clone()),
            }),
            (None, None) => Err(PlatformError::NoTee),
        }
    }

    /// The TEE, ready to be asked.
    ///
    /// # Errors
    /// What the kernel lacks.
    pub fn attester(
        &self,
        sys_config: &str,
        version: EventVersion,
    ) -> Result<Arc<dyn Attester>, BootError> {
        if self.simulator_root.is_none() {
            fix_event_version(&Roots::default(), version)
                .map_err(bylaw_attester::AttesterError::from)?;
        }
        Ok(attester_from(&self.endpoint, Some(sys_config))?)
    }
}

fn hardware(cpuinfo: &str, devices: &Path) -> Option<(&'static str, TeeVariant)> {
    let flags: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("flags")?.split_once(':'))
        .flat_map(|(_, flags)| flags.split_whitespace())
        .collect();
    let by_flag = SIGNS.iter().find(|(sign, _)| flags.contains(sign));
    let by_device = || DEVICES.iter().find(|(name, _)| devices.join(name).exists());
    by_flag.or_else(by_device).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::{APP_COMPOSE, SYS_CONFIG, TEE_SIMULATOR};

    fn shared(simulator: bool) -> Shared {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            bylaw_types::file::write_atomic(&dir.path().join(name), text.as_bytes()).unwrap();
        };
        put(APP_COMPOSE, "{}");
        put(SYS_CONFIG, r#"{"vm_config":"{}"}"#);
        if simulator {
            put(
                TEE_SIMULATOR,
                r#"{"endpoint":"http://h:1/td/t","root_ca":"pem"}"#,
            );
        }
        Shared::read(dir.path()).unwrap()
    }

    const PLAIN: &str = "processor : 0\nflags\t\t: fpu vme\nbugs\t\t: tdx_guest\n";

    #[test]
    fn hardware_is_recognised_by_flag_or_device() {
        let none = tempfile::tempdir().unwrap();
        for (flag, endpoint) in [("tdx_guest", "linux:tdx"), ("sev_snp", "linux:snp")] {
            let cpuinfo = format!("flags : fpu {flag}\n");
            let tee = Tee::find(&cpuinfo, none.path(), &shared(false)).unwrap();
            assert_eq!(
                (tee.endpoint.as_str(), tee.simulator_root),
                (endpoint, None)
            );
        }
        let devices = tempfile::tempdir().unwrap();
        bylaw_types::file::write_atomic(&devices.path().join("sev-guest"), b"").unwrap();
        let tee = Tee::find(PLAIN, devices.path(), &shared(false)).unwrap();
        assert_eq!(tee.variant, TeeVariant::SevSnp);
    }

    #[test]
    fn a_simulator_counts_only_where_there_is_no_hardware() {
        let none = tempfile::tempdir().unwrap();
        let tee = Tee::find(PLAIN, none.path(), &shared(true)).unwrap();
        assert_eq!(tee.endpoint, "simtee:http://h:1/td/t");
        assert_eq!(tee.simulator_root.as_deref(), Some("pem"));
        let refused = Tee::find("flags : tdx_guest\n", none.path(), &shared(true));
        assert!(matches!(refused, Err(PlatformError::SimulatorRefused(_))));
        let refused = Tee::find(PLAIN, none.path(), &shared(false));
        assert!(matches!(refused, Err(PlatformError::NoTee)));
    }
}
