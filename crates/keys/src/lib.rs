//! The key hierarchy: pure functions, known-answer tested.
