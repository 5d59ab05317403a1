//! A machine as QEMU's command line.
//!
//! The order of `-device` matters: QEMU gives PCI slots in that order, slots show in the
//! ACPI tables, and a TD's RTMR0 measures the tables (measurements reference, section 5.2).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::machine::{Accel, DiskRole, Machine, SnpLaunch, TdxLaunch, Tee, Vfio};
use crate::network::{Backend, Nic, UserNetwork};
use crate::{Disk, Hugepages, QemuError};

/// Id of the main memory.
const MEMORY: &str = "mem0";
/// Slot on `pcie.0` of the first root bus of a NUMA node; later ones follow.
const NODE_BUS_SLOT: u32 = 0x10;
/// Number of the first such bus; each has room for this many below it.
const NODE_BUS_NUMBER: u32 = 5;
const NODE_BUS_ROOM: u32 = 40;

impl Machine {
    /// Program and arguments, with the CPUs it is pinned to.
    ///
    /// # Errors
    /// As [`Machine::arguments`].
    pub fn command(&self) -> Result<(OsString, Vec<OsString>), QemuError> {
        let arguments = self.arguments()?;
        let qemu = self.qemu.path.clone().into_os_string();
        Ok(match &self.pin {
            None => (qemu, arguments),
            Some(cpus) => {
                let mut pinned: Vec<OsString> = vec!["-c".into(), cpus.to_string().into(), qemu];
                pinned.extend(arguments);
                ("taskset".into(), pinned)
            }
        })
    }

    /// QEMU's arguments.
    ///
    /// # Errors
    /// [`QemuError::Description`] names the field that QEMU could not honour.
    pub fn arguments(&self) -> Result<Vec<OsString>, QemuError> {
        self.check()?;
        let mut line = Line::default();
        self.process(&mut line);
        self.processor(&mut line);
        line.option("-m", format!("{}M", self.memory_mib));
        self.memory(&mut line);
        line.option("-chardev", self.serial());
        line.option("-serial", "chardev:serial");
        if let Some(socket) = &self.qmp_socket {
            line.option(
                "-chardev",
                prop("socket,id=qmp,path=", socket, ",server=on,wait=off"),
            );
            line.option("-qmp", "chardev:qmp");
        }
        if let Some(firmware) = &self.firmware {
            line.option("-bios", firmware);
        }
        line.option("-kernel", &self.kernel);
        line.option("-initrd", &self.initrd);
        line.option("-append", &self.cmdline);
        for structure in self.product.structures() {
            line.option("-smbios", structure);
        }

        let mut disks: Vec<&Disk> = self.disks.iter().collect();
        disks.sort_by(|a, b| a.role.cmp(&b.role));
        let after_nics = disks.partition_point(|disk| disk.role < DiskRole::Share);
        let (before, after) = disks.split_at(after_nics);
        for disk in before {
            attach_disk(&mut line, disk);
        }
        for (index, nic) in self.nics.iter().enumerate() {
            attach_nic(&mut line, index, nic);
        }
        match &self.tee {
            Tee::None | Tee::Simulated => {}
            Tee::Tdx(launch) => line.option("-object", tdx_object(launch)),
            Tee::SevSnp(launch) => line.option("-object", snp_object(launch)),
        }
        if let Some(cid) = self.vsock_cid {
            line.option("-device", format!("vhost-vsock-pci,guest-cid={cid}"));
        }
        for disk in after {
            attach_disk(&mut line, disk);
        }
        line.option("-machine", self.machine());
        self.pass_through(&mut line);
        if self.hotplug_off {
            line.option(
                "-global",
                "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
            );
        }
        if let Some(mib) = self.pci_hole64_mib {
            line.option(
                "-global",
                format!("q35-pcihost.pci-hole64-size={:#x}", mib << 20),
            );
        }
        Ok(line.0)
    }

    fn process(&self, line: &mut Line) {
        line.option("-name", format!("{0},process={0}", self.name));
        line.flag("-no-user-config");
        line.flag("-nodefaults");
        line.option("-display", "none");
        // A reboot would keep what TEE and shared files were set up for this start only.
        line.flag("-no-reboot");
        line.option("-sandbox", self.sandbox());
        if let Some(user) = &self.user {
            if self.qemu.version.has_run_with_user() {
                line.option("-run-with", format!("user={user}"));
            } else {
                line.option("-runas", user);
            }
        }
    }

    /// QEMU parses what the guest sends: what it never needs, the kernel refuses it.
    fn sandbox(&self) -> String {
        let bridged = |nic: &Nic| matches!(nic.backend, Backend::Bridge { .. });
        // The bridge helper is a setuid program that QEMU starts; giving up rights for a
        // user's is itself a change of user, done once the sandbox stands.
        let bridged = self.nics.iter().any(bridged);
        let spawn = if bridged { "allow" } else { "deny" };
        let privileges = if bridged || self.user.is_some() {
            "allow"
        } else {
            "deny"
        };
        // Binding memory to a node counts as resource control.
        let resources = if self.hugepages.is_some() {
            "allow"
        } else {
            "deny"
        };
        format!(
            "on,obsolete=deny,elevateprivileges={privileges},spawn={spawn},resourcecontrol={resources}"
        )
    }

    fn processor(&self, line: &mut Line) {
        let (accel, model) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            // The oldest x86-64-v2 model: what Debian's programs need, and no feature that
            // translation emulates at great cost.
            Accel::Tcg => ("tcg,thread=multi", "Nehalem"),
        };
        let model = match &self.tee {
            Tee::SevSnp(launch) => &launch.cpu_model,
            Tee::None | Tee::Simulated | Tee::Tdx(_) => model,
        };
        line.option("-accel", accel);
        line.option("-cpu", model);
        line.option("-smp", self.cpus.to_string());
    }

    fn memory(&self, line: &mut Line) {
        match (&self.hugepages, &self.tee) {
            (Some(hugepages), _) => self.memory_from_hugepages(line, hugepages),
            (None, Tee::None | Tee::Simulated) => {}
            (None, Tee::Tdx(_)) => line.option(
                "-object",
                format!("memory-backend-ram,id={MEMORY},size={}M", self.memory_mib),
            ),
            (None, Tee::SevSnp(_)) => line.option(
                "-object",
                format!(
                    "memory-backend-memfd,id={MEMORY},size={}M,share=true,prealloc=false",
                    self.memory_mib
                ),
            ),
        }
    }

    /// One guest node for each node of the host, CPUs and memory in equal shares.
    fn memory_from_hugepages(&self, line: &mut Line, hugepages: &Hugepages) {
        let (Ok(nodes), mut first_cpu) = (u32::try_from(hugepages.host_nodes.len()), 0) else {
            return;
        };
        for (guest_node, host_node) in (0..nodes).zip(&hugepages.host_nodes) {
            let share = u64::from(nodes);
            let size = self.memory_mib / share
                + if guest_node == 0 {
                    self.memory_mib % share
                } else {
                    0
                };
            line.option(
                "-object",
                prop(
                    &format!("memory-backend-file,id=mem{guest_node},size={size}M,mem-path="),
                    &hugepages.path,
                    &format!(",share=on,prealloc=off,host-nodes={host_node},policy=bind"),
                ),
            );
            let last_cpu = self.cpus * (guest_node + 1) / nodes - 1;
            line.option(
                "-numa",
                format!(
                    "node,nodeid={guest_node},cpus={first_cpu}-{last_cpu},memdev=mem{guest_node}"
                ),
            );
            first_cpu = last_cpu + 1;
        }
    }

    fn machine(&self) -> String {
        let memory = match self.hugepages {
            // NUMA nodes name their memory themselves.
            Some(_) => String::new(),
            None => format!(",memory-backend={MEMORY}"),
        };
        let on = |on: bool| if on { "on" } else { "off" };
        match &self.tee {
            Tee::None | Tee::Simulated => "q35".to_owned(),
            Tee::Tdx(launch) => format!(
                "q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off,smm=off,pic={}{memory}",
                on(launch.pic)
            ),
            Tee::SevSnp(_) => {
                format!("q35,kernel-irqchip=split,confidential-guest-support=sev0{memory}")
            }
        }
    }

    fn pass_through(&self, line: &mut Line) {
        let devices = &self.passthrough;
        if devices.gpus.is_empty() && devices.bridges.is_empty() {
            return;
        }
        line.option("-object", "iommufd,id=iommufd0");
        let nodes = self
            .hugepages
            .as_ref()
            .map_or(&[][..], |pages| &pages.host_nodes);
        for (index, _) in (0u32..).zip(nodes) {
            line.option(
                "-device",
                format!(
                    "pxb-pcie,id=pcie.node{index},bus=pcie.0,addr={:x},numa_node={index},bus_nr={}",
                    NODE_BUS_SLOT + index,
                    NODE_BUS_NUMBER + index * NODE_BUS_ROOM
                ),
            );
        }
        for (port, device) in (1u32..).zip(devices.gpus.iter().chain(&devices.bridges)) {
            let bus = root_bus(device, nodes);
            line.option(
                "-device",
                format!("pcie-root-port,id=pci.{port},bus={bus},chassis={port}"),
            );
            line.option(
                "-device",
                format!(
                    "vfio-pci,host={},bus=pci.{port},iommufd=iommufd0",
                    device.address
                ),
            );
        }
        if let Some(mib) = devices.mmio64_mib {
            line.option(
                "-fw_cfg",
                format!("name=opt/ovmf/X-PciMmio64Mb,string={mib}"),
            );
        }
    }
}

fn attach_disk(line: &mut Line, disk: &Disk) {
    let (id, serial, read_only) = match disk.role {
        DiskRole::Data => ("data".to_owned(), "data".to_owned(), false),
        DiskRole::Volume(number) => (format!("vol{number}"), format!("vol{number}"), true),
        DiskRole::Share => ("share".to_owned(), "DSTACKSHR".to_owned(), true),
        DiskRole::Root => ("rootfs".to_owned(), "rootfs".to_owned(), true),
    };
    let mode = if read_only {
        ",format=raw,if=none,readonly=on"
    } else {
        // The guest's discards make the sparse file smaller again.
        ",format=raw,if=none,discard=unmap,detect-zeroes=unmap"
    };
    line.option("-drive", prop(&format!("id={id},file="), &disk.path, mode));
    line.option(
        "-device",
        format!("virtio-blk-pci,drive={id},serial={serial}"),
    );
}

fn attach_nic(line: &mut Line, index: usize, nic: &Nic) {
    let backend = match &nic.backend {
        Backend::User(network) => user_backend(index, network),
        Backend::Bridge { name } => format!("bridge,id=net{index},br={name}"),
    };
    line.option("-netdev", backend);
    // No option ROM: the guest never boots from the network.
    line.option(
        "-device",
        format!("virtio-net-pci,netdev=net{index},mac={},romfile=", nic.mac),
    );
}

fn user_backend(index: usize, network: &UserNetwork) -> String {
    let mut text = format!(
        "user,id=net{index},net={},dhcpstart={},restrict={}",
        network.subnet,
        network.dhcp_start,
        if network.restrict { "on" } else { "off" }
    );
    for forward in &network.forwards {
        text.push_str(&format!(
            ",hostfwd={}:{}:{}-:{}",
            forward.protocol, forward.address, forward.host_port, forward.vm_port
        ));
    }
    text
}

/// JSON, as the socket's address is an object within the object.
fn tdx_object(launch: &TdxLaunch) -> String {
    let object = TdxGuest {
        qom_type: "tdx-guest",
        id: "tdx",
        mrconfigid: launch.mr_config_id.map(|id| STANDARD.encode(id)),
        quote_generation_socket: launch.qgs_port.map(|port| VsockAddress {
            kind: "vsock",
            cid: "2",
            port: port.to_string(),
        }),
    };
    // Text and nothing else always has a JSON form.
    serde_json::to_string(&object).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TdxGuest {
    qom_type: &'static str,
    id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mrconfigid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote_generation_socket: Option<VsockAddress>,
}

/// QEMU wants numbers as text here.
#[derive(Serialize)]
struct VsockAddress {
    #[serde(rename = "type")]
    kind: &'static str,
    cid: &'static str,
    port: String,
}

fn snp_object(launch: &SnpLaunch) -> String {
    format!(
        "sev-snp-guest,id=sev0,policy={:#x},cbitpos={},reduced-phys-bits={},kernel-hashes=on,host-data={}",
        launch.policy,
        launch.c_bit_position,
        launch.reduced_phys_bits,
        STANDARD.encode(launch.host_data)
    )
}

/// The bus nearest to the device.
fn root_bus(device: &Vfio, nodes: &[u32]) -> String {
    let near = |node: &u32| Some(*node) == device.numa_node;
    match (nodes.iter().position(near), nodes.is_empty()) {
        (Some(index), _) => format!("pcie.node{index}"),
        (None, false) => "pcie.node0".to_owned(),
        (None, true) => "pcie.0".to_owned(),
    }
}

impl Machine {
    /// Where the serial console leads: to its log, and to who is connected.
    fn serial(&self) -> OsString {
        let Some(socket) = &self.console_socket else {
            return prop("file,id=serial,path=", &self.serial_log, ",append=on");
        };
        let mut value = prop("socket,id=serial,path=", socket, ",server=on,wait=off");
        value.push(prop(",logfile=", &self.serial_log, ",logappend=on"));
        value
    }
}

/// `before`, the path with its commas doubled as QEMU wants, `after`.
fn prop(before: &str, path: &Path, after: &str) -> OsString {
    let mut bytes = before.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    bytes.extend(after.as_bytes());
    OsString::from_vec(bytes)
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }
}
