//! A kernel whose TEE driver is a closure: a real file tree, real file operations,
//! and the driver's reaction to each of them.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bylaw_attest::TdxEvent;
use bylaw_attest::event_log::{RUNTIME_REGISTER, extend};
use bylaw_types::{Register, ReportData};
use rustix::io::Errno;

use crate::kernel::{HostKernel, Kernel, Roots};
use crate::rtmr::Measurement;

type Quoting = Box<dyn Fn(&ReportData) -> Vec<u8> + Send>;

/// How the driver behaves; tests change it while it runs.
pub(crate) struct Driver {
    /// `None`: no driver registered.
    pub(crate) provider: Option<&'static str>,
    pub(crate) quoting: Quoting,
    /// `None`: the attribute is not shown.
    pub(crate) aux: Option<Vec<u8>>,
    /// How many requests another process still disturbs.
    pub(crate) disturbances: u32,
    /// Answers to come, each once: file name, `mkdir` for the directory itself.
    pub(crate) faults: Vec<(&'static str, Errno)>,
    /// The process dies as soon as a register is extended.
    pub(crate) dies_after_extending: bool,
    /// What was written to `privlevel`.
    pub(crate) levels: Vec<Vec<u8>>,
}

impl Driver {
    pub(crate) fn new(
        provider: &'static str,
        quoting: impl Fn(&ReportData) -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self {
            provider: Some(provider),
            quoting: Box::new(quoting),
            aux: None,
            disturbances: 0,
            faults: vec![],
            dies_after_extending: false,
            levels: vec![],
        }
    }
}

pub(crate) struct FakeKernel {
    pub(crate) roots: Roots,
    driver: Mutex<Driver>,
}

impl std::fmt::Debug for FakeKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeKernel").finish_non_exhaustive()
    }
}

impl FakeKernel {
    /// A tree with a report directory and nothing else.
    pub(crate) fn new(root: &Path, driver: Driver) -> Self {
        let kernel = Self::open(root, driver);
        std::fs::create_dir_all(kernel.reports()).unwrap();
        kernel
    }

    /// The driver over a tree that another process left.
    pub(crate) fn open(root: &Path, driver: Driver) -> Self {
        Self {
            roots: Roots::under(root),
            driver: Mutex::new(driver),
        }
    }

    pub(crate) fn driver(&self) -> std::sync::MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reports(&self) -> PathBuf {
        self.roots.configfs.join("tsm/report")
    }

    /// Entries that nobody removed.
    pub(crate) fn entries(&self) -> usize {
        std::fs::read_dir(self.reports()).unwrap().count()
    }

    /// Registers as a TD has them before its first runtime event.
    pub(crate) fn add_registers(&self) {
        for measurement in [Measurement::Mrtd, Measurement::Rtmr3] {
            put(&measurement.path(&self.roots), &[0; 48]);
        }
    }

    pub(crate) fn add_dmi(&self, vendor: &str, product: &str) {
        let dmi = self.roots.sysfs.join("class/dmi/id");
        put(&dmi.join("sys_vendor"), format!("{vendor}\n").as_bytes());
        put(&dmi.join("product_name"), format!("{product}\n").as_bytes());
    }

    pub(crate) fn ccel(&self) -> PathBuf {
        self.roots.sysfs.join("firmware/acpi/tables/data/CCEL")
    }

    fn fault(&self, name: &str) -> io::Result<()> {
        let faults = &mut self.driver().faults;
        match faults.iter().position(|(at, _)| *at == name) {
            Some(index) => Err(faults.remove(index).1.into()),
            None => Ok(()),
        }
    }

    fn entry(&self, path: &Path) -> Option<PathBuf> {
        let parent = path.parent()?;
        (parent.parent()? == self.reports()).then(|| parent.to_owned())
    }

    fn bump(entry: &Path) {
        let path = entry.join("generation");
        let generation: u64 = std::fs::read_to_string(&path)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        put(&path, format!("{}\n", generation + 1).as_bytes());
    }

    fn make_report(&self, entry: &Path) -> io::Result<()> {
        let asked = std::fs::read(entry.join("inblob")).unwrap();
        let Ok(asked) = ReportData::try_from(asked.as_slice()) else {
            return Err(Errno::INVAL.into());
        };
        let mut driver = self.driver();
        if driver.disturbances > 0 {
            driver.disturbances -= 1;
            Self::bump(entry);
            put(
                &entry.join("outblob"),
                &(driver.quoting)(&ReportData::new([0xee; 64])),
            );
        } else {
            put(&entry.join("outblob"), &(driver.quoting)(&asked));
        }
        Ok(())
    }
}

impl Kernel for FakeKernel {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.fault("mkdir")?;
        if path.parent() != Some(&self.reports()) || !self.reports().exists() {
            return HostKernel.make_dir(path);
        }
        let driver = self.driver();
        let Some(provider) = driver.provider else {
            return Err(Errno::NXIO.into());
        };
        HostKernel.make_dir(path)?;
        put(&path.join("provider"), format!("{provider}\n").as_bytes());
        put(&path.join("generation"), b"0\n");
        for name in ["inblob", "outblob", "privlevel"] {
            put(&path.join(name), b"");
        }
        if let Some(aux) = &driver.aux {
            put(&path.join("auxblob"), aux);
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        // Attributes go with their directory.
        std::fs::remove_dir_all(path)
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let name = path.file_name().unwrap().to_str().unwrap();
        self.fault(name)?;
        if let ("outblob", Some(entry)) = (name, self.entry(path)) {
            self.make_report(&entry)?;
        }
        HostKernel.read(path, limit)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap();
        self.fault(name)?;
        if path == Measurement::Rtmr3.path(&self.roots) {
            let before = HostKernel.read(path, 48)?;
            if bytes.len() != 48 {
                return Err(Errno::INVAL.into());
            }
            let after = extend(&Register::try_from(before.as_slice()).unwrap(), bytes);
            HostKernel.write(path, after.as_bytes())?;
            if self.driver().dies_after_extending {
                std::process::abort();
            }
            return Ok(());
        }
        HostKernel.write(path, bytes)?;
        if let Some(entry) = self.entry(path) {
            Self::bump(&entry);
        }
        if name == "privlevel" {
            self.driver().levels.push(bytes.to_vec());
        }
        Ok(())
    }
}

/// Writes a file and the directories above it.
pub(crate) fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

/// The firmware's part of an event log as the CCEL table holds it.
pub(crate) fn encode_ccel(events: &[TdxEvent]) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&length[..], bytes].concat()
    };
    let no_action = 3u32;
    let mut table = [&[0; 4][..], &no_action.to_le_bytes(), &[0; 20]].concat();
    table.extend(sized(b"Spec ID Event03\0"));
    for event in events.iter().filter(|event| event.imr != RUNTIME_REGISTER) {
        table.extend((event.imr + 1).to_le_bytes());
        table.extend(event.event_type.to_le_bytes());
        table.extend(1u32.to_le_bytes());
        table.extend(0x000cu16.to_le_bytes());
        table.extend(&event.digest);
        table.extend(sized(&event.event_payload));
    }
    table.resize(64 * 1024, 0xff);
    table
}
