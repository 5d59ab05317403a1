//! What a docker-compose.yaml asks for, as far as it matters before it runs in a VM.
//!
//! Docker itself reads the file in the guest; here it is only looked at, so what is
//! not understood is no error.

use std::collections::BTreeSet;

use serde_yaml_ng::Value;

use crate::output::Failure;

/// The parts that are looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Containers {
    /// Service and image.
    pub(crate) images: Vec<(String, String)>,
    /// TCP ports that services publish in the VM.
    pub(crate) published: Vec<u16>,
    /// Whether a service may listen on any port of the VM.
    pub(crate) host_network: bool,
    /// Variables the file takes from the environment, without a default.
    pub(crate) variables: BTreeSet<String>,
    /// What will not work, or not mean what it seems to.
    pub(crate) warnings: Vec<String>,
}

impl Containers {
    /// # Errors
    /// What no guest could run.
    pub(crate) fn read(yaml: &str) -> Result<Self, Failure> {
        let unusable = |reason: String| Failure::Unusable(format!("docker-compose file: {reason}"));
        let file: Value = serde_yaml_ng::from_str(yaml)
            .map_err(|error| unusable(format!("not YAML: {error}")))?;
        let services = file
            .get("services")
            .and_then(Value::as_mapping)
            .filter(|services| !services.is_empty())
            .ok_or_else(|| unusable("it has no services".to_owned()))?;
        let mut found = Self {
            variables: variables(yaml),
            ..Self::default()
        };
        for (name, service) in services {
            let name = name.as_str().unwrap_or_default();
            if service.get("build").is_some() {
                return Err(unusable(format!(
                    "service {name} is built from source; a VM has only registries: build and \
                     push it, then name the image by digest"
                )));
            }
            found.look_at(name, service);
        }
        Ok(found)
    }

    fn look_at(&mut self, name: &str, service: &Value) {
        match service.get("image").and_then(Value::as_str) {
            Some(image) => self.images.push((name.to_owned(), image.to_owned())),
            None => self.warnings.push(format!("service {name} names no image")),
        }
        let text = |key: &str| service.get(key).and_then(Value::as_str);
        self.host_network |= text("network_mode") == Some("host");
        if service.get("env_file").is_some() {
            self.warnings.push(format!(
                "service {name} reads an env_file that is not in the VM; use --env-file"
            ));
        }
        let list = |key: &str| service.get(key).and_then(Value::as_sequence);
        for volume in list("volumes").into_iter().flatten() {
            let source = volume.get("source").unwrap_or(volume).as_str();
            if source.is_some_and(|source| source.starts_with('.') || source.starts_with('~')) {
                self.warnings.push(format!(
                    "service {name} mounts {:?}, which is not in the VM",
                    source.unwrap_or_default()
                ));
            }
        }
        let ports = list("ports").into_iter().flatten();
        self.published.extend(ports.filter_map(published));
    }

    /// Services whose image a registry could exchange: named by tag, not by content.
    pub(crate) fn unpinned(&self) -> Vec<&(String, String)> {
        let by_tag = |(_, image): &&(String, String)| !image.contains("@sha256:");
        self.images.iter().filter(by_tag).collect()
    }
}

/// The VM's port of one entry of `ports`, where it is a single TCP one.
fn published(entry: &Value) -> Option<u16> {
    if let Some(entry) = entry.as_mapping() {
        let tcp = |protocol: &Value| protocol.as_str() == Some("tcp");
        let published = entry.get("published")?;
        let number = match published {
            Value::Number(number) => number.to_string(),
            other => other.as_str()?.to_owned(),
        };
        return entry
            .get("protocol")
            .is_none_or(tcp)
            .then(|| number.parse().ok())?;
    }
    // `[address:]published:target[/tcp]`; a lone target gets a port of Docker's choice.
    let text = entry.as_str()?;
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, _target) = text.rsplit_once(':')?;
    let published = rest.rsplit_once(':').map_or(rest, |(_, port)| port);
    (protocol == "tcp").then(|| published.parse().ok())?
}

/// `$NAME` and `${NAME}`; not `$$`, nor what brings its own default.
fn variables(yaml: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    let mut rest = yaml;
    while let Some((_, after)) = rest.split_once('$') {
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
            continue;
        }
        let (braced, after) = match after.strip_prefix('{') {
            Some(after) => (true, after),
            None => (false, after),
        };
        let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        // ${NAME:-default}, ${NAME-default} and ${NAME:+other} do without it.
        let needed =
            !braced || after.starts_with('}') || after.starts_with('?') || after.starts_with(":?");
        if needed && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            found.insert(name.to_owned());
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINNED: &str = "nginx@sha256:aa";

    #[test]
    fn what_matters_is_found() {
        let yaml = r#"
services:
  web:
    image: nginx@sha256:aa
    env_file: .env
    ports: ["8080:80", "127.0.0.1:9000:90/tcp", "53:53/udp", "3000", {target: 1, published: 7000}, {target: 2, published: "53", protocol: udp}]
    volumes: ["./data:/data", "named:/x", {type: bind, source: "~/y", target: /y}]
    environment:
      TOKEN: ${TOKEN}
      OTHER: ${OTHER:-none}
      MUST: ${MUST:?is needed}
      PLAIN: $PLAIN
      PRICE: $$5
  db:
    image: postgres:16
    network_mode: host
"#;
        let found = Containers::read(yaml).unwrap();
        assert_eq!(found.published, [8080, 9000, 7000]);
        assert!(found.host_network);
        let names: Vec<&str> = found.variables.iter().map(String::as_str).collect();
        assert_eq!(names, ["MUST", "PLAIN", "TOKEN"]);
        assert_eq!(
            found.unpinned(),
            [&("db".to_owned(), "postgres:16".to_owned())]
        );
        assert_eq!(found.images.first().unwrap().1, PINNED);
        assert_eq!(found.warnings.len(), 3, "{:?}", found.warnings);
    }

    #[test]
    fn what_no_vm_can_run_is_refused() {
        for (yaml, says) in [
            ("services: [", "not YAML"),
            ("version: '3'", "no services"),
            ("services: {}", "no services"),
            ("services: {web: {build: .}}", "built from source"),
        ] {
            let Err(Failure::Unusable(text)) = Containers::read(yaml) else {
                panic!("{yaml} was accepted");
            };
            assert!(text.contains(says), "{text}");
        }
    }
}
