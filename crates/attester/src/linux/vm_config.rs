//! How the VM is described to itself.

use serde::Deserialize;

use crate::error::PlatformError;

/// What the host says this VM was launched with. Evidence proves it or refutes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VmDescription {
    /// JSON.
    pub(super) vm_config: String,
    /// The version 3 document, its exact bytes.
    pub(super) mr_config: Option<String>,
}

#[derive(Deserialize)]
struct Fields {
    vm_config: Option<String>,
    mr_config: Option<String>,
}

impl VmDescription {
    /// Parses vm_config, or the whole sys-config around it.
    pub(super) fn parse(text: &str) -> Result<Self, PlatformError> {
        let outer = fields(text)?;
        let Some(vm_config) = outer.vm_config else {
            return Ok(Self {
                vm_config: text.to_owned(),
                mr_config: outer.mr_config,
            });
        };
        let inner = fields(&vm_config)?;
        Ok(Self {
            vm_config,
            mr_config: outer.mr_config.or(inner.mr_config),
        })
    }
}

fn fields(text: &str) -> Result<Fields, PlatformError> {
    serde_json::from_str(text).map_err(|error| PlatformError::VmConfig(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sys_config_is_unwrapped_and_its_own_document_wins() {
        let inner = r#"{"cpu_count":2,"mr_config":"inner"}"#;
        let plain = VmDescription::parse(inner).unwrap();
        assert_eq!(plain.vm_config, inner);
        assert_eq!(plain.mr_config.as_deref(), Some("inner"));
        let sys = serde_json::json!({"kms_urls": [], "vm_config": inner});
        assert_eq!(VmDescription::parse(&sys.to_string()).unwrap(), plain);
        let sys = serde_json::json!({"vm_config": inner, "mr_config": "outer"});
        let both = VmDescription::parse(&sys.to_string()).unwrap();
        assert_eq!(both.mr_config.as_deref(), Some("outer"));
        for bad in ["", "[1]", "7", r#"{"vm_config":7}"#, r#"{"vm_config":"x"}"#] {
            assert!(VmDescription::parse(bad).is_err(), "{bad}");
        }
    }
}
