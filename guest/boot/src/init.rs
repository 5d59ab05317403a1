//! PID 1: starts the sequence as a child, reaps whatever is left without a parent, passes
//! on the signal to stop, and in the end switches the VM off.
//!
//! Apart from the sequence because "wait for any child", which PID 1 owes the system,
//! would take the exit status of children that the sequence itself waits for.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sync};

use crate::command::{HOME, PATH};

/// Runs as PID 1; does not return while the VM is on.
///
/// # Errors
/// When the sequence cannot even be started, or the kernel refuses to switch off.
pub fn run() -> anyhow::Result<()> {
    // Ctrl-Alt-Del on the host's keyboard is a signal, not a reboot.
    let _ = set_cad_enabled(false);
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGPWR,
    ] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let child = Command::new(std::env::current_exe()?)
        .arg("run")
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", HOME)
        .process_group(0)
        .spawn()?;
    let sequence = Pid::from_raw(i32::try_from(child.id())?);
    let status = wait_for(sequence, &signals)?;
    eprintln!("bylaw-boot: the sequence ended ({status:?}); switching off");
    power_off()
}

/// Reaps everybody until the sequence itself has ended.
fn wait_for(sequence: Pid, signals: &SigSet) -> nix::Result<WaitStatus> {
    loop {
        if signals.wait()? != Signal::SIGCHLD {
            // It is the sequence that knows what to stop first.
            let _ = kill(sequence, Signal::SIGTERM);
            continue;
        }
        // Several children may have ended for one signal.
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(status) if status.pid() == Some(sequence) => return Ok(status),
                Ok(_) => {}
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn power_off() -> anyhow::Result<()> {
    // Whatever is left gets a moment.
    let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    sync();
    match reboot(RebootMode::RB_POWER_OFF)? {}
}

/// Takes signals again: PID 1 waits for them with them blocked, and its child, and
/// whatever that starts, would inherit it and never hear that they should stop.
///
/// # Errors
/// The kernel's.
pub fn unblock_signals() -> nix::Result<()> {
    SigSet::all().thread_unblock()
}

/// Asks PID 1 to end the VM cleanly.
///
/// # Errors
/// When the caller may not.
pub fn request_power_off() -> anyhow::Result<()> {
    kill(Pid::from_raw(1), Signal::SIGTERM)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alone in its process: it reaps every child.
    #[test]
    fn orphans_are_reaped_until_the_sequence_ends() {
        let name = "init::tests::the_child_of_the_test_below";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--test-threads=1"])
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    #[ignore = "run by the test above, in a process of its own"]
    fn the_child_of_the_test_below() {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.add(Signal::SIGTERM);
        signals.thread_block().unwrap();
        let mut other = Command::new("true").spawn().unwrap();
        #[expect(clippy::zombie_processes, reason = "reaping it is what is tested")]
        let child = Command::new("sh")
            .args(["-c", "sleep 0.2; exit 7"])
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        // Signals to a process with several threads may go to any of them.
        let status = waitpid_loop(pid, &signals);
        assert_eq!(status, WaitStatus::Exited(pid, 7));
        assert!(other.try_wait().is_err(), "it was reaped already");
    }

    fn waitpid_loop(pid: Pid, signals: &SigSet) -> WaitStatus {
        // SIGCHLD is the process's, and the harness's own thread may take it: this one is
        // woken as well.
        let this = nix::sys::pthread::pthread_self();
        std::thread::spawn(move || {
            for _ in 0..50 {
                std::thread::sleep(Duration::from_millis(20));
                let _ = nix::sys::pthread::pthread_kill(this, Signal::SIGCHLD);
            }
        });
        wait_for(pid, signals).unwrap()
    }
}
