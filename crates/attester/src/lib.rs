//! Asking the TEE this process runs in: quote, extend, seal.
