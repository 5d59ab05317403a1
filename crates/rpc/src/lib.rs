//! The prpc conventions: messages, server and client.
