//! A VM's hardware as QEMU arguments: TEE, disks, network, devices of the host.
