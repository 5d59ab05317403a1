//! The policy as the chain states it.
