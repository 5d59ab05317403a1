//! What of a manifest only the start of a VM needs, read strictly.

use serde::Deserialize;
use serde_json::Value;

use super::{AppCompose, ComposeError, field};

/// Most swap that is made, in bytes.
pub const MAX_SWAP: u64 = 1 << 44;

/// Scripts, swap and the rest that the start of a VM acts on.
///
/// Made by [`AppCompose::boot_fields`]. A top-level field that nobody knows is refused:
/// a misspelt `secure_time` would silently mean its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFields {
    /// Runs before the containers, in the shell that starts them.
    pub pre_launch_script: Option<String>,
    /// What the runner `bash` runs.
    pub bash_script: Option<String>,
    /// Bytes; 0 is none.
    pub swap_size: u64,
    /// The policy as it is written, canonicalised and hashed by the guest; `{}` when absent.
    pub gpu_policy: Value,
    /// Number of verity volumes that the manifest asks for.
    pub verity_volumes: usize,
}

/// Every top-level field of upstream's and ours. Types of those that [`super::Manifest`]
/// has are checked there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "most fields are here to be known, not to be read")]
struct Known {
    manifest_version: Value,
    name: Value,
    runner: Value,
    #[serde(default)]
    docker_compose_file: Value,
    #[serde(default)]
    snapshotter: Value,
    #[serde(default)]
    init_script: Value,
    #[serde(default)]
    pre_launch_script: Option<String>,
    #[serde(default)]
    bash_script: Option<String>,
    #[serde(default)]
    docker_config: Value,
    #[serde(default)]
    features: Value,
    #[serde(default)]
    kms_enabled: Value,
    #[serde(default)]
    gateway_enabled: Value,
    #[serde(default)]
    tproxy_enabled: Value,
    #[serde(default)]
    local_key_provider_enabled: Value,
    #[serde(default)]
    no_instance_id: Value,
    #[serde(default)]
    public_logs: Value,
    #[serde(default)]
    public_sysinfo: Value,
    #[serde(default)]
    public_tcbinfo: Value,
    #[serde(default)]
    secure_time: Value,
    #[serde(default)]
    key_provider: Value,
    #[serde(default)]
    key_provider_id: Value,
    #[serde(default)]
    allowed_envs: Value,
    #[serde(default)]
    storage_fs: Value,
    #[serde(default)]
    swap_size: Option<Size>,
    #[serde(default)]
    event_log_version: Value,
    #[serde(default)]
    port_policy: Value,
    #[serde(default)]
    verity_volumes: Vec<Value>,
    #[serde(default)]
    requirements: Option<RawRequirements>,
    /// Written by upstream's command line; `requirements.launch_token_hash` is what counts.
    #[serde(default)]
    launch_token_hash: Value,
    /// Makes compose files with equal content differ.
    #[serde(default)]
    salt: Value,
    #[serde(default)]
    description: Value,
    #[serde(default)]
    version: Value,
    #[serde(default)]
    governance: Value,
    #[serde(default)]
    encrypted_env: Value,
}

/// Checked by [`super::Requirements`]; here for the policy's exact members.
#[derive(Deserialize)]
struct RawRequirements {
    #[serde(default)]
    gpu_policy: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

impl AppCompose {
    /// What the start of a VM needs.
    ///
    /// # Errors
    /// [`ComposeError`] for an unknown field, or a size that is none.
    pub fn boot_fields(&self) -> Result<BootFields, ComposeError> {
        let known: Known = serde_json::from_str(self.raw())?;
        let swap_size = match known.swap_size {
            None => 0,
            Some(Size::Bytes(bytes)) => bytes,
            Some(Size::Text(text)) => {
                size(&text).ok_or_else(|| field("swap_size", bad_size(&text)))?
            }
        };
        if swap_size > MAX_SWAP {
            return Err(field("swap_size", format!("at most {MAX_SWAP} bytes")));
        }
        Ok(BootFields {
            pre_launch_script: known.pre_launch_script,
            bash_script: known.bash_script,
            swap_size,
            gpu_policy: known
                .requirements
                .and_then(|requirements| requirements.gpu_policy)
                .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            verity_volumes: known.verity_volumes.len(),
        })
    }
}

fn bad_size(text: &str) -> String {
    format!("{text:?} is not a size such as 1073741824, \"512M\" or \"2GiB\"")
}

/// A number, then perhaps K, M, G or T, powers of 1024, with or without `iB` or `B`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(rest: &str) -> Result<BootFields, String> {
        let text =
            format!(r#"{{"manifest_version":"3","name":"a","runner":"docker-compose"{rest}}}"#);
        let compose = AppCompose::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        compose.boot_fields().map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_field_is_named() {
        for (rest, name) in [
            (r#","secure_tme":false"#, "secure_tme"),
            (r#","requirements":{"os":"1"}"#, "os"),
        ] {
            let error = fields(rest).unwrap_err();
            assert!(error.contains(name), "{rest}: {error}");
        }
    }

    #[test]
    fn what_upstreams_clients_write_is_known() {
        let upstream = include_str!("../../../../test/vectors/simulator/app-compose.json");
        let parsed = AppCompose::parse(upstream.as_bytes()).unwrap();
        assert!(
            parsed
                .boot_fields()
                .unwrap()
                .pre_launch_script
                .unwrap()
                .starts_with("docker run")
        );
        // vmm-cli.py writes these.
        fields(r#","launch_token_hash":"00","pre_launch_script":"x","docker_config":{}"#).unwrap();
    }

    #[test]
    fn sizes_are_bytes_or_text() {
        for (text, bytes) in [
            ("7", 7),
            (r#""7""#, 7),
            (r#""2G""#, 2 << 30),
            (r#""2 GiB""#, 2 << 30),
            (r#""512mb""#, 512 << 20),
            (r#""1k""#, 1024),
        ] {
            let parsed = fields(&format!(r#","swap_size":{text}"#)).unwrap();
            assert_eq!(parsed.swap_size, bytes, "{text}");
        }
        for bad in [
            r#""G""#,
            r#""2X""#,
            r#""-1""#,
            "-1",
            r#""99999999999T""#,
            r#""64T""#,
        ] {
            assert!(fields(&format!(r#","swap_size":{bad}"#)).is_err(), "{bad}");
        }
        assert_eq!(fields("").unwrap().swap_size, 0);
    }

    #[test]
    fn the_gpu_policy_is_kept_as_written() {
        let written = fields(r#","requirements":{"gpu_policy":{"allow_debug":true}}"#).unwrap();
        assert_eq!(written.gpu_policy.to_string(), r#"{"allow_debug":true}"#);
        assert_eq!(fields("").unwrap().gpu_policy.to_string(), "{}");
    }
}
