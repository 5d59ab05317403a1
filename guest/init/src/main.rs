//! First process of the guest: opens the verified root and hands over.
//!
//! What it trusts is what the launch measured: the kernel command line, and the initramfs this program and
//! its modules come from. The disk belongs to the host. No byte of it is looked at before dm-verity checks
//! it against the root hash of the command line: sizes and parameters come from there or are constants.
//!
//! There is no way out but forward: whatever fails is said in one line, and the machine powers off. No shell.

mod arguments;
mod disk;
mod mapper;
mod switch;

use std::io::Write;
use std::path::Path;

use arguments::{Arguments, BadArguments};
use disk::DiskError;
use mapper::MapperError;
use rustix::system::RebootCommand;
use switch::SwitchError;

/// Who takes over, on the verified root.
const NEXT: &str = "/usr/lib/bylaw/bylaw-boot";

/// Why the root was not opened.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error("cannot read /proc/cmdline: {0}")]
    CommandLine(#[source] std::io::Error),
    #[error(transparent)]
    Arguments(#[from] BadArguments),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Mapper(#[from] MapperError),
}

fn main() {
    // A path that runs only as the machine's first process: on a developer's machine it would unmount things.
    if std::process::id() != 1 {
        eprintln!("bylaw-init: runs only as the first process of a virtual machine");
        std::process::exit(2);
    }
    let error = match hand_over() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    say(&format!("cannot start: {error}; powering off"));
    // The line must leave the serial port before the machine goes.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let refused = rustix::system::reboot(RebootCommand::PowerOff);
    // The first process that ends makes the kernel panic, which stops the machine too.
    say(&format!("cannot power off: {refused:?}"));
}

/// From the initramfs to [`NEXT`] on the verified root; returns only if that fails.
fn hand_over() -> Result<std::convert::Infallible, InitError> {
    switch::mount_kernel_filesystems()?;
    let text = std::fs::read_to_string("/proc/cmdline").map_err(InitError::CommandLine)?;
    let arguments = Arguments::parse(&text)?;
    disk::load_modules(Path::new("/modules"))?;
    say("modules loaded");
    let disk = disk::find("rootfs")?;
    let device = mapper::open_verity("rootfs", &disk, &arguments)?;
    say("verity device open");
    switch::mount_root(&device)?;
    say("root verified and mounted");
    Ok(switch::enter(NEXT)?)
}

/// One line on the console, with the machine's uptime.
fn say(line: &str) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let mut console = std::io::stdout();
    // A console that takes no line must not stop the boot.
    let _ = writeln!(
        console,
        "bylaw-init {}.{:02} {line}",
        now.tv_sec,
        now.tv_nsec / 10_000_000
    );
    let _ = console.flush();
}
