//! Measured start-up of a confidential VM, from host-shared files to containers.
