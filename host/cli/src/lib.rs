//! bylaw: deploy, govern, verify, explain.
