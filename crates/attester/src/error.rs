//! What a kernel can lack, and what to enable.

use std::io;
use std::path::PathBuf;

use bylaw_attest::event_log::EventLogError;
use bylaw_attest::tdx::QuoteError;
use bylaw_types::{Register, ReportData};

use crate::events::LogError;

/// The kernel of this VM, or what it drives, lacks something.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// No report interface.
    #[error(
        "there is no {path}: mount configfs (mount -t configfs none /sys/kernel/config), run \
         kernel 6.7 or newer with CONFIG_TSM_REPORTS, and load the module tdx_guest or sev_guest"
    )]
    NoTsm {
        /// Where it should be.
        path: PathBuf,
    },
    /// The report interface has no driver.
    #[error(
        "{path} has no driver behind it: load the module tdx_guest or sev_guest; if it does not \
         load, this is not a confidential VM, or the host launched it as an ordinary one"
    )]
    NoProvider {
        /// The report directory.
        path: PathBuf,
    },
    /// Not for this user.
    #[error(
        "{path}: {source}. Run as root, and in a container mount the host's /sys with \
         /sys/kernel/config writable"
    )]
    NotPermitted {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another TEE than the endpoint demands.
    #[error(
        "the endpoint demands the driver {expected}, this VM has {actual}: \
         use the endpoint `linux`, which detects it"
    )]
    OtherProvider {
        /// Driver of the demanded TEE.
        expected: &'static str,
        /// What the kernel says.
        actual: String,
    },
    /// A TEE that is not supported.
    #[error("the TEE driver {0:?} is not supported: only tdx_guest and sev_guest are")]
    UnsupportedProvider(String),
    /// A cloud whose evidence has its own form.
    #[error(
        "{0} is not supported: its evidence needs a vTPM or an NSM beside the CPU's. \
         Supported are TDX and SEV-SNP where dstack or QEMU launches the VM"
    )]
    UnsupportedCloud(&'static str),
    /// The driver says no, again and again.
    #[error(
        "{path}: {source} (after {attempts} attempts). Something else holds the TEE's mailbox: \
         look for other programs that quote, and try again"
    )]
    Busy {
        /// Which attribute.
        path: PathBuf,
        /// How often.
        attempts: u32,
        /// The last answer.
        source: io::Error,
    },
    /// The driver or the firmware failed.
    #[error(
        "{path}: {source}. The TEE driver failed; see `dmesg`. TDX needs the host's quote \
         generation service (QGS) to answer, SEV-SNP an AMD firmware that is not throttled"
    )]
    Driver {
        /// Which attribute.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The generation counted other writes than ours.
    #[error(
        "the report entry's generation is {actual} where our writes make it {expected} (after \
         {attempts} attempts): another process writes to it, or the driver ignores the request"
    )]
    Generation {
        /// How often it was tried.
        attempts: u32,
        /// Before our writes, plus our writes.
        expected: u64,
        /// As the kernel says.
        actual: u64,
    },
    /// An attribute holds something that is not of its form.
    #[error("{path} holds {value:?}; expected {expected}")]
    Attribute {
        /// Which.
        path: PathBuf,
        /// As read.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A blob of another length.
    #[error("{what} is {actual} bytes; expected {expected}")]
    Size {
        /// Which.
        what: &'static str,
        /// As read; one more than the limit for anything longer.
        actual: usize,
        /// What it should be.
        expected: String,
    },
    /// No quote at all.
    #[error(
        "the driver gave an empty quote: the host's quote generation service (QGS) does not \
         answer; start it on the host, and configure the VM's quote-generation-socket or vsock"
    )]
    EmptyQuote,
    /// The quote does not parse.
    #[error("the driver's quote: {0}")]
    Quote(#[from] QuoteError),
    /// The evidence answers somebody else's challenge.
    #[error("the driver quoted {actual} where {expected} was asked")]
    OtherReportData {
        /// What was asked.
        expected: ReportData,
        /// What was quoted.
        actual: ReportData,
    },
    /// No boot log.
    #[error(
        "there is no {path}: boot the VM with TDX firmware (TDVF) that keeps a confidential \
         computing event log, and with ACPI on"
    )]
    NoBootLog {
        /// Where it should be.
        path: PathBuf,
    },
    /// The boot log does not parse.
    #[error("{path}: {source}")]
    BootLog {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: EventLogError,
    },
    /// No measurement registers.
    #[error(
        "there is no {path}: extending RTMR3 needs kernel 6.16 or newer with \
         CONFIG_TSM_MEASUREMENTS and the module tdx_guest"
    )]
    NoRegister {
        /// Where it should be.
        path: PathBuf,
    },
    /// Log and register say different things.
    #[error(
        "RTMR3 is {register}, but {path} replays to {replayed}: a program stopped between \
         extending the register and logging the event, or something extends it without logging. \
         No verifier accepts this VM any more: restart the VM"
    )]
    LogMismatch {
        /// The log.
        path: PathBuf,
        /// What the hardware says.
        register: Register,
        /// What the log says.
        replayed: Register,
    },
    /// The register has an event that the log has not.
    #[error(
        "RTMR3 was extended with event {event:?}, but {path} could not be appended to: {source}. \
         No verifier accepts this VM any more: restart the VM"
    )]
    NotLogged {
        /// Which.
        event: String,
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log holds something else than events.
    #[error("{path}: {source}")]
    Log {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        source: LogError,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another event version was fixed at boot.
    #[error(
        "{path} fixes event version {fixed} for this boot; version {asked} was asked. \
         event_log_version of app-compose.json decides it, once"
    )]
    VersionFixed {
        /// The version file.
        path: PathBuf,
        /// What it says.
        fixed: u32,
        /// What was asked.
        asked: u32,
    },
    /// An event that must not be extended.
    #[error("event {event:?}: {reason}")]
    Event {
        /// Its name.
        event: String,
        /// What is allowed.
        reason: &'static str,
    },
    /// Nobody described the VM.
    #[error(
        "this process was given no vm_config, which says what this VM was launched with: the guest \
         agent reads it from the host's sys-config, other programs use the endpoint agent:<socket>"
    )]
    NoVmConfig,
    /// The description is not one.
    #[error("vm_config is not a JSON object: {0}")]
    VmConfig(String),
    /// The launch document of an SEV-SNP VM is missing.
    #[error(
        "neither sys-config nor vm_config has mr_config, the document that HOST_DATA of an \
         SEV-SNP VM commits to; launch the VM with a VMM that writes it"
    )]
    NoMrConfig,
    /// A privilege level that does not exist.
    #[error("privilege level {0} does not exist: SEV-SNP has VMPL 0 to 3")]
    PrivilegeLevel(u8),
    /// No randomness.
    #[error("no randomness for a report entry's name: {0}")]
    Random(getrandom::Error),
    /// The process ends.
    #[error("this process is shutting down")]
    ShuttingDown,
}
