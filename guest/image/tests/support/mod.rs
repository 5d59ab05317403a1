//! Images to test with, and machines to boot them in.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bylaw_image::{Binaries, Built, Cache, Flavor, Lock, Recipe, Settings};
use bylaw_measure::ImageDir;

/// Longest a machine may run; a boot takes about five seconds without KVM.
const LIMIT: Duration = Duration::from_secs(180);

/// In place of bylaw-boot: says what it finds, loads every module list, applies the settings, ends the machine.
const STAND_IN: &str = r#"#!/usr/bin/busybox sh
say() { echo "stand-in: $*"; }
say "running as $$ after $(cut -d' ' -f1 /proc/uptime) s"
busybox mount -t tmpfs tmpfs /run
for list in early disk network; do
  while read line; do
    path=${line#\?}
    busybox insmod "$path" 2>/run/why && continue
    [ "$path" != "$line" ] && grep -q 'No such device' /run/why && continue
    say "cannot load $(cat /run/why)"
  done < /usr/lib/bylaw/modules.$list
done
say "modules done after $(cut -d' ' -f1 /proc/uptime) s"
while IFS='= ' read -r key value; do
  case "$key" in ''|'#'*) continue ;; esac
  echo "$value" 2>/run/why >"/proc/sys/$(echo "$key" | busybox tr . /)" || say "cannot set $key"
done < /usr/lib/bylaw/sysctl.conf
busybox touch /usr/x 2>/dev/null && say "root can be written" || say "root is read-only"
[ -e /usr/lib/bylaw/console-shell ] && say "a shell" || say "no shell"
busybox poweroff -f
"#;

/// The production image, built once for all tests.
pub(crate) fn prod() -> &'static Built {
    static IMAGE: OnceLock<Built> = OnceLock::new();
    IMAGE.get_or_init(|| image(Flavor::Prod, &folder().join("prod")))
}

/// The development image, built once for all tests.
pub(crate) fn dev() -> &'static Built {
    static IMAGE: OnceLock<Built> = OnceLock::new();
    IMAGE.get_or_init(|| image(Flavor::Dev, &folder().join("dev")))
}

/// Cargo's folder for this crate's tests: the images of the last run are overwritten by the next.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Builds an image of `flavor` in `out`.
pub(crate) fn image(flavor: Flavor, out: &Path) -> Built {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    let binaries = BINARIES.get_or_init(|| {
        let folder = folder().join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let init = Binaries::build_init(&sources, &|_| {}).unwrap();
        std::fs::copy(init, folder.join("bylaw-init")).unwrap();
        for (name, content) in [
            ("bylaw-boot", STAND_IN),
            ("bylaw-agent", "#!/usr/bin/false\n"),
        ] {
            bylaw_types::file::write_atomic(&folder.join(name), content.as_bytes()).unwrap();
        }
        Binaries::in_folder(&folder).unwrap()
    });
    let (recipe, lock) = (Recipe::built_in().unwrap(), Lock::built_in().unwrap());
    let settings = Settings {
        overlay: None,
        recipe: &recipe,
        lock: &lock,
        flavor,
        binaries,
        cache: &Cache::of_user().unwrap(),
        out,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(bylaw_image::build(settings, &|_| {}))
        .unwrap()
}

/// A file of an image.
pub(crate) fn named(image: &Built, name: &str) -> PathBuf {
    let path = image.path.join(name);
    assert!(path.is_file(), "{}", path.display());
    path
}

/// The value of a word of an image's command line.
pub(crate) fn argument(image: &Built, name: &str) -> String {
    let image = ImageDir::open(&image.path).unwrap();
    image.metadata().argument(name).unwrap().to_owned()
}

/// `line` without its word that starts with `start`.
pub(crate) fn without_word(line: &str, start: &str) -> String {
    let kept: Vec<&str> = line
        .split(' ')
        .filter(|word| !word.starts_with(start))
        .collect();
    assert_ne!(kept.join(" "), line);
    kept.join(" ")
}

/// A copy of an image directory.
pub(crate) fn copy(image: &Built) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (name, _) in &image.files {
        std::fs::copy(image.path.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// What a program prints.
pub(crate) fn run(program: &str, arguments: &[&OsStr]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A machine that boots an image under QEMU's own processor.
pub(crate) struct Machine {
    kernel: PathBuf,
    initrd: PathBuf,
    command_line: String,
    roots: Vec<PathBuf>,
}

impl Machine {
    pub(crate) fn of(image: &Built) -> Self {
        let directory = ImageDir::open(&image.path).unwrap();
        Self {
            kernel: named(image, "bzImage"),
            initrd: named(image, "initramfs.cpio.gz"),
            command_line: directory.metadata().cmdline.clone().unwrap(),
            roots: vec![named(image, "rootfs.img.verity")],
        }
    }

    pub(crate) fn root(mut self, root: &Path) -> Self {
        self.roots = vec![root.to_owned()];
        self
    }

    pub(crate) fn second_root(mut self) -> Self {
        self.roots.extend(self.roots.clone());
        self
    }

    pub(crate) fn command_line(mut self, change: impl Fn(&str) -> String) -> Self {
        let changed = change(&self.command_line);
        assert_ne!(changed, self.command_line);
        self.command_line = changed;
        self
    }

    /// Runs it until it powers off or panics; answers what its serial console said.
    pub(crate) fn boot(&self) -> String {
        let console = tempfile::NamedTempFile::new().unwrap();
        let mut qemu = Command::new("qemu-system-x86_64");
        // Nehalem: the richest of QEMU's processors crash this kernel under emulation.
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "Nehalem",
            "-machine",
            "q35",
        ])
        .args([
            "-smp",
            "2",
            "-m",
            "1G",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(&self.kernel)
        .arg("-initrd")
        .arg(&self.initrd)
        .arg("-append")
        .arg(&self.command_line)
        .arg("-serial")
        .arg(format!("file:{}", console.path().display()));
        for (number, root) in self.roots.iter().enumerate() {
            qemu.arg("-drive")
                .arg(format!(
                    "file={},if=none,id=d{number},format=raw,readonly=on",
                    root.display()
                ))
                .arg("-device")
                .arg(format!("virtio-blk-pci,drive=d{number},serial=rootfs"));
        }
        let child = qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Running(child.expect("qemu-system-x86_64 is installed by script/setup")).wait();
        String::from_utf8_lossy(&std::fs::read(console.path()).unwrap()).into_owned()
    }
}

/// A machine that is gone when the test is.
struct Running(Child);

impl Running {
    fn wait(&mut self) {
        let began = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(
                began.elapsed() < LIMIT,
                "the machine neither powered off nor panicked"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
