//! Messages of `HostApi`, which a guest calls (VMM API reference, section 3).

use serde::{Deserialize, Serialize};

use crate::message::message;

/// Something the guest tells its host.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// What, e.g. `boot.progress`.
    #[prost(string, tag = "1")]
    pub event: String,
    /// A sentence, without secrets.
    #[prost(string, tag = "2")]
    pub payload: String,
}
message!(Notification);
