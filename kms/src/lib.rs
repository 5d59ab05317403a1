//! The key management service.
