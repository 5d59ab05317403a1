//! The sealing enclave of a machine: a key for a TD, from its quote.
