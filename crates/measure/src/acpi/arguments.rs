//! The arguments of a machine that only its tables are wanted of.

/// Options with a value that shape nothing, or that two QEMUs cannot share.
const DROPPED: [&str; 18] = [
    "-bios",
    "-kernel",
    "-initrd",
    "-append",
    "-accel",
    "-qmp",
    "-monitor",
    "-mon",
    "-serial",
    "-pidfile",
    "-D",
    "-chardev",
    "-name",
    "-display",
    "-vnc",
    "-sandbox",
    "-run-with",
    "-runas",
];
/// Options without a value that do.
const DROPPED_FLAGS: [&str; 7] = [
    "-enable-kvm",
    "-daemonize",
    "-nographic",
    "-no-reboot",
    "-nodefaults",
    "-no-user-config",
    "-S",
];
/// Objects that exist only on hardware.
const HARDWARE_OBJECTS: [&str; 4] = ["tdx-guest", "sev-snp-guest", "sev-guest", "iommufd"];
/// Devices that take something from the host; any device in that slot gives the same tables.
const HOST_DEVICES: [&str; 3] = ["vfio-pci", "vhost-vsock-pci", "vhost-user-fs-pci"];
/// Members of `-machine` that need KVM or a dropped object.
const HARDWARE_MEMBERS: [&str; 3] = ["accel", "kernel-irqchip", "confidential-guest-support"];

/// What of `args` shapes the tables, for a machine without accelerator.
pub(super) fn paused(args: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut args = args.iter();
    while let Some(option) = args.next() {
        if DROPPED_FLAGS.contains(&option.as_str()) {
            continue;
        }
        let takes_value = ["-machine", "-M", "-cpu", "-object", "-device", "-netdev"];
        if DROPPED.contains(&option.as_str()) {
            args.next();
            continue;
        }
        kept.push(option.clone());
        if !takes_value.contains(&option.as_str()) {
            continue;
        }
        let Some(value) = args.next() else { continue };
        match replacement(option, value) {
            Some(value) => kept.push(value),
            None => {
                kept.pop();
            }
        }
    }
    kept
}

fn replacement(option: &str, value: &str) -> Option<String> {
    let kind = value.split(',').next().unwrap_or_default();
    match option {
        "-object" if HARDWARE_OBJECTS.contains(&kind) || is_hardware_json(value) => None,
        // Tables name no processor model, and `host` needs KVM.
        "-cpu" if kind == "host" => Some("qemu64".to_owned()),
        "-machine" | "-M" => Some(without(value, |name| HARDWARE_MEMBERS.contains(&name))),
        "-device" if HOST_DEVICES.contains(&kind) => {
            let place = without(value, |name| !matches!(name, "id" | "bus" | "addr"));
            Some(place.replacen(kind, "virtio-rng-pci", 1))
        }
        // Neither ports nor interfaces of the host.
        "-netdev" => {
            let id = without(value, |name| name != "id");
            Some(id.replacen(kind, "user", 1))
        }
        _ => Some(value.to_owned()),
    }
}

/// The same objects written as JSON.
fn is_hardware_json(value: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Object {
        #[serde(rename = "qom-type")]
        kind: String,
    }
    serde_json::from_str::<Object>(value)
        .is_ok_and(|object| HARDWARE_OBJECTS.contains(&object.kind.as_str()))
}

/// `value` without those `name=…` members; the first member is kept.
fn without(value: &str, is_dropped: impl Fn(&str) -> bool) -> String {
    let mut members = value.split(',');
    let first = members.next().unwrap_or_default();
    let kept = members.filter(|member| {
        let name = member.split('=').next().unwrap_or_default();
        !is_dropped(name)
    });
    std::iter::once(first)
        .chain(kept)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused_line(line: &str) -> String {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        paused(&args).join(" ")
    }

    #[test]
    fn what_shapes_the_machine_stays() {
        let line = "-machine q35,pic=off,smm=off -m 2048M -smp 4 -cpu Nehalem \
                    -device virtio-blk-pci,drive=d,serial=rootfs -drive id=d,file=x";
        assert_eq!(paused_line(line), line);
    }

    #[test]
    fn what_needs_the_host_goes_or_is_replaced_in_its_slot() {
        for (given, expected) in [
            ("-accel kvm -smp 2", "-smp 2"),
            ("-daemonize -nographic -smp 2", "-smp 2"),
            ("-serial file:x -smp 2", "-smp 2"),
            ("-cpu host,-kvm-steal-time", "-cpu qemu64"),
            (
                "-machine q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off",
                "-machine q35,hpet=off",
            ),
            ("-object tdx-guest,id=tdx -smp 2", "-smp 2"),
            (
                r#"-object {"qom-type":"tdx-guest","id":"tdx"} -smp 2"#,
                "-smp 2",
            ),
            ("-bios b -kernel k -initrd i -append c -smp 2", "-smp 2"),
            ("-sandbox on,spawn=deny -runas u -smp 2", "-smp 2"),
            (
                "-object memory-backend-ram,id=m,size=1G",
                "-object memory-backend-ram,id=m,size=1G",
            ),
            (
                "-device vhost-vsock-pci,guest-cid=3",
                "-device virtio-rng-pci",
            ),
            (
                "-device vfio-pci,host=01:00.0,bus=pci.1,addr=2,iommufd=i",
                "-device virtio-rng-pci,bus=pci.1,addr=2",
            ),
            (
                "-netdev user,id=n0,hostfwd=tcp:127.0.0.1:80-:80",
                "-netdev user,id=n0",
            ),
            ("-netdev tap,ifname=t,id=n0", "-netdev user,id=n0"),
        ] {
            assert_eq!(paused_line(given), expected);
        }
    }
}
