//! Identifiers, hashes, app-compose and boot info.
//!
//! Everything here is a value: exact-length newtypes that either hold a valid
//! value or do not exist, with one lower-case hexadecimal form in and out. The
//! only code that touches the outside world is [`clock`] (what time is it) and
//! [`mod@file`] (write a file so that a crash leaves the old one or the new one).

pub mod boot_info;
pub mod clock;
pub mod compose;
pub mod file;
mod id;
mod trust;

pub use boot_info::{BootInfo, KeyProviderInfo, PlatformFacts, TcbStatus, TeeVariant};
pub use compose::AppCompose;
pub use id::{
    AppId, BlockHash, ChainId, ComposeHash, ContractAddress, DeviceId, InstanceId, MrAggregated,
    MrSystem, OsImageHash, ParseIdError, Register, ReportData, Sha256Digest, SignerAddress,
    TrustAnchorDigest,
};
pub use trust::TrustAnchorSet;
