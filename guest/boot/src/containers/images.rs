//! Whether a docker-compose.yaml names every image by its digest.

use std::collections::BTreeMap;

use bylaw_types::AppCompose;
use serde::Deserialize;
use serde_yaml_ng::Value;

/// What of a docker-compose.yaml brings images in.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    services: BTreeMap<String, Service>,
    include: Option<Value>,
}

#[derive(Deserialize)]
struct Service {
    image: Option<String>,
    build: Option<Value>,
    extends: Option<Value>,
}

/// Whether the images are all pinned. Anything that is not understood is not.
pub(super) fn all_pinned(compose: &AppCompose) -> bool {
    let manifest = compose.manifest();
    if manifest.runner != "docker-compose" {
        return false;
    }
    let text = manifest.docker_compose_file.as_deref().unwrap_or_default();
    serde_yaml_ng::from_str::<File>(text).is_ok_and(|file| {
        file.include.is_none()
            && !file.services.is_empty()
            && file.services.values().all(Service::is_pinned)
    })
}

impl Service {
    fn is_pinned(&self) -> bool {
        self.build.is_none()
            && self.extends.is_none()
            && self.image.as_deref().is_some_and(|image| {
                image.split_once("@sha256:").is_some_and(|(name, digest)| {
                    !name.is_empty()
                        && !image.contains('$')
                        && digest.len() == 64
                        && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(services: &str) -> bool {
        let text = serde_json::json!({"manifest_version": 2, "name": "a",
            "runner": "docker-compose", "docker_compose_file": services});
        all_pinned(&AppCompose::parse(text.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn only_digests_pin() {
        let digest = "0a".repeat(32);
        let whole = format!("services:\n  a:\n    image: r:5000/x:1@sha256:{digest}\n");
        assert!(pinned(&whole));
        for other in [
            String::new(),
            "services: {}".to_owned(),
            "not yaml: [".to_owned(),
            format!("{whole}  b:\n    image: y:1\n"),
            format!("{whole}    build: .\n"),
            format!("{whole}    extends: {{file: x.yml, service: y}}\n"),
            format!("{whole}include: [x.yml]\n"),
            whole.replace("x:1", "${X}"),
            whole.replace(&digest, "0a"),
            whole.replace(&digest, &"zz".repeat(32)),
        ] {
            assert!(!pinned(&other), "{other}");
        }
    }
}
