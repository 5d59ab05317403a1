//! Builds the guest OS image: pinned packages, verified root, measurements.
