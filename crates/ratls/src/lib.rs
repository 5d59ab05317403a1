//! X.509 certificates with evidence inside: issue, extract, verify.
