//! A software TEE: TDX formats under its own root certificate.
