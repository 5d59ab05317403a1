//! Against a recorded machine.

use super::*;

/// A directory with the files a test needs; gone when dropped.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            bylaw_types::file::write_atomic(&path, text.as_bytes()).unwrap();
        }
        Self(dir)
    }

    pub(crate) fn system(&self) -> System {
        System::new([PathBuf::from("/")]).with_root(self.0.path())
    }
}

const MEMINFO: &str = "\
MemTotal:       24690200 kB
MemFree:        17027960 kB
MemAvailable:   23286532 kB
Buffers:          190280 kB
Cached:          5957320 kB
SwapCached:            0 kB
Active:          2170824 kB
Inactive:        4884672 kB
Active(anon):     912176 kB
Inactive(anon):        0 kB
Active(file):    1258648 kB
Inactive(file):  4884672 kB
Unevictable:           0 kB
Mlocked:               0 kB
SwapTotal:       1048576 kB
SwapFree:        1000000 kB
Dirty:               480 kB
Writeback:             0 kB
AnonPages:        907904 kB
Mapped:           254136 kB
Shmem:              4280 kB
KReclaimable:     354524 kB
Slab:             423516 kB
SReclaimable:     354524 kB
SUnreclaim:        68992 kB
KernelStack:        3152 kB
PageTables:         9836 kB
NFS_Unstable:          0 kB
Bounce:                0 kB
WritebackTmp:          0 kB
CommitLimit:    12345100 kB
Committed_AS:    3260840 kB
VmallocTotal:   34359738367 kB
VmallocUsed:        8588 kB
VmallocChunk:          0 kB
";

const CPUINFO: &str = "\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8581C CPU @ 2.60GHz
flags\t\t: fpu tdx_guest

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8581C CPU @ 2.60GHz
flags\t\t: fpu tdx_guest

";

fn machine() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "etc/os-release",
            "PRETTY_NAME=\"DStack (dev)\"\nNAME=\"Bylaw Guest\"\nVERSION_ID='0.5.6'\nID=bylaw\n",
        ),
        ("proc/cpuinfo", CPUINFO),
        ("proc/loadavg", "0.57 12.00 0.29 3/1009 12345\n"),
        ("proc/meminfo", MEMINFO),
        (
            "proc/mounts",
            "rootfs / rootfs rw 0 0\n/dev/vda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n",
        ),
        ("proc/sys/kernel/osrelease", "6.9.0-dstack\n"),
        ("proc/uptime", "3600.99 7000.11\n"),
    ]
}

#[test]
fn a_recorded_machine_is_told_as_it_was() {
    let tree = Tree::new(&machine());
    let mut info = tree.system().info().unwrap();
    let disks = std::mem::take(&mut info.disks);
    assert_eq!(
        info,
        SystemInfo {
            os_name: "Bylaw Guest".into(),
            os_version: "0.5.6".into(),
            kernel_version: "6.9.0-dstack".into(),
            cpu_model: "Intel(R) Xeon(R) Platinum 8581C CPU @ 2.60GHz".into(),
            num_cpus: 2,
            total_memory: 24_690_200 * 1024,
            available_memory: 23_286_532 * 1024,
            used_memory: 1_403_668 * 1024,
            free_memory: 17_027_960 * 1024,
            total_swap: 1_048_576 * 1024,
            used_swap: 48_576 * 1024,
            free_swap: 1_000_000 * 1024,
            uptime: 3600,
            loadavg_one: 57,
            loadavg_five: 1200,
            loadavg_fifteen: 29,
            disks: vec![],
        }
    );
    // The device is recorded, the sizes are those of the machine that runs this test.
    assert_eq!(disks.len(), 1);
    assert_eq!(
        (&*disks[0].name, &*disks[0].mount_point),
        ("/dev/vda1", "/")
    );
    assert!(disks[0].free_size <= disks[0].total_size && disks[0].total_size > 0);
}

#[test]
fn a_directory_that_is_no_mount_is_no_disk() {
    let tree = Tree::new(&machine());
    let system = System::new([PathBuf::from("/etc"), PathBuf::from("/nonexistent")]);
    let info = system.with_root(tree.0.path()).info().unwrap();
    assert!(info.disks.is_empty());
}

#[test]
fn an_image_without_os_release_has_no_name() {
    let files: Vec<_> = machine()
        .into_iter()
        .filter(|(path, _)| *path != "etc/os-release")
        .collect();
    let info = Tree::new(&files).system().info().unwrap();
    assert_eq!(
        (info.os_name, info.os_version),
        (String::new(), String::new())
    );
}

#[test]
fn each_file_of_the_kernel_is_needed_and_checked() {
    for broken in [
        "proc/cpuinfo",
        "proc/loadavg",
        "proc/meminfo",
        "proc/mounts",
        "proc/uptime",
    ] {
        let mut files = machine();
        files.retain(|(path, _)| *path != broken);
        let error = Tree::new(&files).system().info().unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read ") && error.contains(broken),
            "{error}"
        );
        if broken == "proc/cpuinfo" {
            // Any text is some machine's: its fields differ by architecture.
            continue;
        }
        files.push((broken, "nonsense\n"));
        let error = Tree::new(&files).system().info().unwrap_err().to_string();
        assert!(error.contains(broken), "{error}");
        assert!(error.contains("is not what it should be"), "{error}");
    }
}

#[test]
fn odd_processor_files_do_not_panic() {
    for text in ["", "\n", "\n\n\n", "processor", "processor:\n\n", ":::\n"] {
        let mut files = machine();
        files.retain(|(path, _)| *path != "proc/cpuinfo");
        files.push(("proc/cpuinfo", text));
        let _ = Tree::new(&files).system().info();
    }
}

#[tokio::test]
async fn this_machine_can_be_read() {
    let system = System::new([PathBuf::from("/")]);
    let info = system.info().unwrap();
    assert!(info.num_cpus > 0 && info.total_memory > 0 && info.uptime > 0);
    assert!(!info.kernel_version.is_empty());
    system.network().await.unwrap();
    let response = metrics_route(State(system)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], metrics::CONTENT_TYPE);
}

#[tokio::test]
async fn metrics_of_a_broken_machine_are_an_error() {
    let response = metrics_route(State(Tree::new(&[]).system())).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
