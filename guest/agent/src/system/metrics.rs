//! A [`SystemInfo`] for Prometheus, under upstream's names.

use std::sync::atomic::AtomicU64;

use bylaw_rpc::message::guest_api::SystemInfo;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Integer = Gauge<u64, AtomicU64>;
type Decimal = Gauge<f64, AtomicU64>;
/// A label that has its metric's name.
type Named = [(&'static str, String); 1];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Disk {
    name: String,
    mount_point: String,
}

/// The text exposition.
pub fn render(info: &SystemInfo) -> String {
    let mut registry = Registry::default();
    names(&mut registry, info);
    figures(&mut registry, info);
    disks(&mut registry, info);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode_registry(&mut text, &registry);
    text
}

fn names(registry: &mut Registry, info: &SystemInfo) {
    for (label, help, value) in [
        ("os_name", "Distribution", &info.os_name),
        (
            "os_version",
            "Version of the distribution",
            &info.os_version,
        ),
        (
            "kernel_version",
            "Release of the kernel",
            &info.kernel_version,
        ),
        ("cpu_model", "Model of the processors", &info.cpu_model),
    ] {
        let family = Family::<Named, Integer>::default();
        family.get_or_create(&[(label, value.clone())]).set(1);
        registry.register(format!("system_{label}"), help, family);
    }
}

fn figures(registry: &mut Registry, info: &SystemInfo) {
    for (name, help, value) in [
        ("num_cpus", "Logical processors", u64::from(info.num_cpus)),
        ("memory_total", "Memory in bytes", info.total_memory),
        (
            "memory_available",
            "Memory that programs can still get, in bytes",
            info.available_memory,
        ),
        (
            "memory_used",
            "Memory that is not available, in bytes",
            info.used_memory,
        ),
        (
            "memory_free",
            "Memory that holds nothing, in bytes",
            info.free_memory,
        ),
        ("swap_total", "Swap in bytes", info.total_swap),
        ("swap_used", "Swap in use, in bytes", info.used_swap),
        ("swap_free", "Swap not in use, in bytes", info.free_swap),
        ("uptime", "Seconds since boot", info.uptime),
        (
            "load_average_1m",
            "Load over one minute, times 100",
            u64::from(info.loadavg_one),
        ),
        (
            "load_average_5m",
            "Load over five minutes, times 100",
            u64::from(info.loadavg_five),
        ),
        (
            "load_average_15m",
            "Load over fifteen minutes, times 100",
            u64::from(info.loadavg_fifteen),
        ),
    ] {
        let gauge = Integer::default();
        gauge.set(value);
        registry.register(format!("system_{name}"), help, gauge);
    }
}

fn disks(registry: &mut Registry, info: &SystemInfo) {
    let [total, free, used] = [(); 3].map(|()| Family::<Disk, Integer>::default());
    let usage = Family::<Disk, Decimal>::default();
    for disk in &info.disks {
        let labels = Disk {
            name: disk.name.clone(),
            mount_point: disk.mount_point.clone(),
        };
        let in_use = disk.total_size.saturating_sub(disk.free_size);
        total.get_or_create(&labels).set(disk.total_size);
        free.get_or_create(&labels).set(disk.free_size);
        used.get_or_create(&labels).set(in_use);
        usage
            .get_or_create(&labels)
            .set(percentage(in_use, disk.total_size));
    }
    registry.register("disk_total_size", "Size of the file system in bytes", total);
    registry.register("disk_free_size", "Bytes left for programs", free);
    registry.register("disk_used_size", "Bytes not left for programs", used);
    registry.register(
        "disk_usage_percentage",
        "Used part of the size, in percent",
        usage,
    );
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs no 53 bits")]
fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

#[cfg(test)]
mod tests {
    use bylaw_rpc::message::guest_api::DiskInfo;

    use super::*;

    #[test]
    fn names_labels_and_values_are_upstreams() {
        let info = SystemInfo {
            os_name: "Bylaw \"guest\"".into(),
            os_version: "1\\2".into(),
            kernel_version: "6.9\n".into(),
            cpu_model: "Xeon".into(),
            num_cpus: 4,
            total_memory: u64::MAX,
            available_memory: 2,
            used_memory: 3,
            free_memory: 4,
            total_swap: 5,
            used_swap: 6,
            free_swap: 7,
            uptime: 8,
            loadavg_one: 9,
            loadavg_five: 10,
            loadavg_fifteen: 11,
            disks: vec![DiskInfo {
                name: "/dev/vda".into(),
                mount_point: "/".into(),
                total_size: 400,
                free_size: 100,
            }],
        };
        let text = render(&info);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"system_os_name{os_name="Bylaw \"guest\""} 1"#,
                r#"system_os_version{os_version="1\\2"} 1"#,
                r#"system_kernel_version{kernel_version="6.9\n"} 1"#,
                r#"system_cpu_model{cpu_model="Xeon"} 1"#,
                "system_num_cpus 4",
                "system_memory_total 18446744073709551615",
                "system_memory_available 2",
                "system_memory_used 3",
                "system_memory_free 4",
                "system_swap_total 5",
                "system_swap_used 6",
                "system_swap_free 7",
                "system_uptime 8",
                "system_load_average_1m 9",
                "system_load_average_5m 10",
                "system_load_average_15m 11",
                r#"disk_total_size{name="/dev/vda",mount_point="/"} 400"#,
                r#"disk_free_size{name="/dev/vda",mount_point="/"} 100"#,
                r#"disk_used_size{name="/dev/vda",mount_point="/"} 300"#,
                r#"disk_usage_percentage{name="/dev/vda",mount_point="/"} 75.0"#,
            ]
        );
        for sample in samples {
            let name = sample.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} gauge\n")), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
        assert!(text.ends_with('\n') && !text.contains("EOF"), "{text}");
    }

    #[test]
    fn an_empty_file_system_is_not_used_at_all() {
        let disks = vec![DiskInfo {
            name: "none".into(),
            mount_point: "/x".into(),
            ..DiskInfo::default()
        }];
        let text = render(&SystemInfo {
            disks,
            ..SystemInfo::default()
        });
        assert!(text.contains("disk_usage_percentage{name=\"none\",mount_point=\"/x\"} 0.0\n"));
    }
}
