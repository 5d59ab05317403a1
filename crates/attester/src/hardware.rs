//! What a VM runs on, by its own word.

use std::fmt;

use bylaw_types::TeeVariant;

/// What this VM runs on.
///
/// Nothing here is proven: whoever decides something verifies evidence instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// The TEE.
    pub tee: TeeVariant,
    /// Through what it is asked.
    pub interface: Interface,
    /// DMI system vendor; empty where unknown.
    pub vendor: String,
    /// DMI product name; empty where unknown.
    pub product: String,
    /// Whether events reach a register that evidence covers. `false` on SEV-SNP, and
    /// on TDX under a kernel without measurement registers.
    pub measures_events: bool,
    /// Whether the interface is the simulator's. An agent cannot tell this of
    /// itself: only verifying its evidence against the vendors' roots does.
    pub simulated: bool,
}

/// Through what a TEE is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface {
    /// The socket of a guest agent.
    Agent,
    /// The socket of a simulated TD.
    Simulator,
    /// The kernel's report interface.
    ConfigfsTsm {
        /// Its driver, e.g. `tdx_guest`.
        provider: String,
    },
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("guest agent"),
            Self::Simulator => f.write_str("simulator"),
            Self::ConfigfsTsm { provider } => write!(f, "configfs-tsm, {provider}"),
        }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.tee, self.interface)?;
        for name in [&self.vendor, &self.product] {
            if !name.is_empty() {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}
