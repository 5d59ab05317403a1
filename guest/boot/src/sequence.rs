//! The whole start, top to bottom.

use std::path::Path;
use std::time::Duration;

use bylaw_attest::EventVersion;
use bylaw_types::compose::KeyProvider;
use bylaw_types::{AppCompose, ReportData};

use crate::app::App;
use crate::binding::{self, Configuration};
use crate::error::{BootError, file};
use crate::host::Host;
use crate::instance::Identity;
use crate::kernel::Stage;
use crate::platform::Tee;
use crate::requirements::{self, Facts};
use crate::shared::{self, DIRECTORY, INSTANCE_INFO, SYS_CONFIG, Shared};
use crate::supervise::{Program, Supervisor};
use crate::{
    agent, clock, containers, disk, environment, kernel, measure, mounts, network, shutdown,
};

/// A shell on the console, in development images alone.
const CONSOLE_SHELL: &str = "/usr/lib/bylaw/console-shell";
/// What the image consists of, with its version.
const IMAGE_MANIFEST: &str = "/usr/lib/bylaw/manifest.json";
/// How long a failure stays on the console before the VM is switched off.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Boots, waits for the signal to stop, and ends cleanly. Returns when PID 1 may switch off.
///
/// # Errors
/// Why the boot failed; the host was told.
pub async fn run(stop: impl Future<Output = ()>) -> Result<(), BootError> {
    let mut supervisor = Supervisor::default();
    let mut host = Host::default();
    let mut stop = std::pin::pin!(stop);
    let booted = tokio::select! {
        booted = boot(&mut supervisor, &mut host) => booted,
        () = &mut stop => {
            shutdown::run(&mut supervisor, &host).await;
            return Ok(());
        }
    };
    if let Err(error) = &booted {
        host.error(&error.to_string()).await;
    }
    match booted.is_err() && !Path::new(CONSOLE_SHELL).exists() {
        true => tokio::time::sleep(LAST_LOOK).await,
        false => stop.await,
    }
    shutdown::run(&mut supervisor, &host).await;
    booted
}

/// The start: each step once, each refusal final.
///
/// # Errors
/// [`BootError`] of the step that failed.
pub async fn boot(supervisor: &mut Supervisor, host: &mut Host) -> Result<(), BootError> {
    // The machine.
    mounts::mount_all()?;
    if Path::new(CONSOLE_SHELL).exists() {
        supervisor.start(Program::new("console", [CONSOLE_SHELL]));
    }
    kernel::load_modules(Stage::Early)?;
    mounts::mount_after_modules()?;
    kernel::apply_settings()?;
    let cards = network::cards(Path::new("/sys"))?;
    network::prepare().await?;
    for card in &cards {
        supervisor.start(Program::new("udhcpc", network::client(card)));
    }
    // Encryption and container networking are needed later, and take their time.
    let modules = tokio::task::spawn_blocking(|| {
        kernel::load_modules(Stage::Disk)?;
        kernel::load_modules(Stage::Network)
    });

    // What the host says, once, and what the app is.
    shared::copy()?;
    let shared = Shared::read(Path::new(DIRECTORY))?;
    shared::link_for_apps(Path::new("/dstack"))?;
    network::wait_for_lease(&cards).await?;
    *host = Host::new(&shared.sys_config.host_api_url);
    host.progress("booting").await;
    let compose = AppCompose::parse(&shared.app_compose)?;
    let fields = compose.boot_fields()?;

    // May it run here, and is it what was launched?
    let tee = Tee::find(&text("/proc/cpuinfo")?, Path::new("/dev"), &shared)?;
    let os_version = image_version(&text(IMAGE_MANIFEST)?);
    let facts = Facts {
        os_version: &os_version,
        variant: tee.variant,
        sys_config: &shared.sys_config,
        user_config: &shared.user_config,
        gpus: nvidia_devices(Path::new("/sys")),
    };
    requirements::check(compose.manifest(), &fields, &facts)?;
    let identity = Identity::settle(&shared.instance_info, &compose)?;
    let sys_config = Path::new(DIRECTORY).join(SYS_CONFIG).display().to_string();
    let version = EventVersion::of_manifest(compose.manifest().event_log_version);
    let attester = tee.attester(&text(&sys_config)?, version)?;
    let document = shared.sys_config.mr_config_document();
    let configuration = Configuration {
        compose: &compose,
        fields: &fields,
        identity: &identity,
        document: document.as_deref(),
    };
    let evidence = attester.attest(&ReportData::new([0; 64])).await?;
    binding::check(&evidence, &configuration)?;

    // Measured, and remembered.
    let events = measure::launch_events(&compose, &fields, &identity);
    measure::extend_all(&*attester, &events).await?;
    let info = serde_json::to_string(&identity.info).unwrap_or_default();
    let info_path = Path::new(DIRECTORY).join(INSTANCE_INFO);
    bylaw_types::file::write_atomic(&info_path, info.as_bytes()).map_err(file(&info_path))?;
    host.notify("instance.info", &info).await;

    // Keys.
    if compose.manifest().secure_time {
        host.progress("setting the clock").await;
        supervisor.start(clock::daemon()?);
        clock::wait_until_set().await?;
    }
    host.progress("requesting app keys").await;
    agent::start(&tee, &shared.sys_config, supervisor).await?;

    // The disk, and what was kept secret until now.
    modules.await.map_err(|_| BootError::File {
        path: kernel::LISTS.into(),
        source: std::io::ErrorKind::Interrupted.into(),
    })??;
    let is_ephemeral = compose.manifest().key_provider() == KeyProvider::None;
    disk::open(&agent::disk_passphrase()?, is_ephemeral, host).await?;
    disk::enable_swap(fields.swap_size).await?;
    host.progress("data disk ready").await;
    let variables = environment::open(&identity.app_id).await?;

    // The app.
    let app = App::new(&compose, &fields, &shared.sys_config, variables)?;
    app.init(host).await?;
    host.progress("setting up docker").await;
    let has_scripts = App::has_scripts(&compose, &fields);
    let mirror = &shared.sys_config.docker_registry;
    containers::start(&compose, has_scripts, mirror, supervisor)?;
    containers::wait_until_ready(host).await?;
    // Before the app's own script, which may run for ever.
    kernel::seal_modules()?;
    app.start(host).await?;
    host.progress("done").await;
    Ok(())
}

fn text(path: &str) -> Result<String, BootError> {
    std::fs::read_to_string(path).map_err(file(Path::new(path)))
}

/// Empty where the manifest has none: then no requirement on the version holds.
fn image_version(manifest: &str) -> String {
    serde_json::from_str::<serde_json::Value>(manifest)
        .ok()
        .and_then(|manifest| manifest.get("version")?.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// 3D controllers and displays of NVIDIA.
fn nvidia_devices(sys: &Path) -> usize {
    let Ok(devices) = std::fs::read_dir(sys.join("bus/pci/devices")) else {
        return 0;
    };
    devices
        .flatten()
        .filter(|device| {
            let fact =
                |name: &str| std::fs::read_to_string(device.path().join(name)).unwrap_or_default();
            fact("vendor").trim() == "0x10de" && fact("class").starts_with("0x03")
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_images_own() {
        assert_eq!(
            image_version(r#"{"version":"0.6.0","flavor":"prod"}"#),
            "0.6.0"
        );
        assert_eq!(image_version("{}"), "");
        assert_eq!(image_version("nonsense"), "");
    }

    #[test]
    fn gpus_are_nvidias_display_devices() {
        let sys = tempfile::tempdir().unwrap();
        for (name, vendor, class) in [
            ("a", "0x10de\n", "0x030200\n"),
            ("b", "0x10de\n", "0x068000\n"),
            ("c", "0x1af4\n", "0x030000\n"),
        ] {
            let device = sys.path().join("bus/pci/devices").join(name);
            std::fs::create_dir_all(&device).unwrap();
            for (file, text) in [("vendor", vendor), ("class", class)] {
                bylaw_types::file::write_atomic(&device.join(file), text.as_bytes()).unwrap();
            }
        }
        assert_eq!(nvidia_devices(sys.path()), 1);
        assert_eq!(nvidia_devices(Path::new("/nowhere")), 0);
    }
}
