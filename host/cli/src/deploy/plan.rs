//! `--dry-run`: what would be done.

use serde_json::{Value, json};

use super::{Deploy, Prepared};
use crate::output::{Failure, Output};

pub(super) fn show(deploy: &Deploy, prepared: &Prepared, output: &Output) -> Result<(), Failure> {
    let app = match (deploy.app, deploy.create_app) {
        (Some(app), _) => format!("0x{app}"),
        (None, true) => "created by the factory".to_owned(),
        (None, false) => {
            let hash = prepared.compose.hash();
            format!("0x{}", bylaw_types::AppId::from_compose_hash(&hash))
        }
    };
    let vm = deploy.configuration(prepared, deploy.app, &[])?;
    let image = deploy.machine.image.clone();
    let image_text = image
        .clone()
        .unwrap_or_else(|| "the node's only one".to_owned());
    let ports = deploy.ports(&prepared.containers);
    let mut actions = vec![format!("write {}", prepared.file.display())];
    if deploy.create_app {
        actions.push("create the app's contract, which allows this manifest".to_owned());
    } else if deploy.settle.allow {
        actions.push(format!("allow the manifest in app {app}, unless it is"));
    }
    if let Some(variables) = &prepared.variables {
        actions.push(format!("encrypt {}", variables.describe()));
    }
    actions.push(format!(
        "create VM {}: image {image_text}, {} vCPU, {} MiB memory, {} GiB disk, {} ports",
        vm.name,
        vm.vcpu,
        vm.memory,
        vm.disk_size,
        ports.len()
    ));
    if !vm.stopped {
        actions.push("start it and wait until it answers".to_owned());
    }
    let mut request = serde_json::to_value(&vm)?;
    request["image"] = json!(image);
    if let Value::Object(fields) = &mut request {
        // Both are shown elsewhere, or not made yet.
        fields.remove("compose_file");
        fields.remove("encrypted_env");
    }
    let mut lines = vec![
        ("compose hash", prepared.compose.hash().to_string()),
        ("app", app.clone()),
    ];
    lines.extend(actions.iter().map(|action| ("would", action.clone())));
    output.result(
        &lines,
        &json!({
            "dry_run": true, "name": vm.name, "compose_hash": prepared.compose.hash(),
            "app_id": app, "app_compose": prepared.compose.raw(),
            "app_compose_file": prepared.file, "actions": actions, "vm": request,
            "warnings": prepared.warnings,
        }),
    );
    Ok(())
}
