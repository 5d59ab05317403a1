//! QEMU's qtest protocol: one line asks for one access to ports or memory, one answers.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::reader::Reader;

const SELECTOR_PORT: u16 = 0x510;
const DATA_PORT: u16 = 0x511;
const DMA_PORT: u16 = 0x514;
const FILE_DIRECTORY: u16 = 0x19;
const MAX_FILES: u32 = 1024;
const ENTRY: usize = 64;
/// Memory of the paused machine that nothing uses: the control block of a transfer, and
/// what is transferred.
const CONTROL_ADDRESS: u64 = 0x10_0000;
const BUFFER_ADDRESS: u64 = 0x10_1000;
const PCI_ADDRESS_PORT: u16 = 0xcf8;
const PCI_DATA_PORT: u16 = 0xcfc;

/// A conversation that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum QtestError {
    #[error("no answer in time")]
    Deadline,
    #[error("it is gone")]
    Gone,
    #[error("it answered {0}")]
    Answer(String),
    #[error("it gives its firmware no {0}")]
    Missing(&'static str),
}

impl From<io::Error> for QtestError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Deadline,
            _ => Self::Gone,
        }
    }
}

/// A file that QEMU gives to firmware.
pub(super) struct FirmwareFile {
    pub(super) name: String,
    pub(super) size: u32,
    pub(super) selector: u16,
}

/// A connection to a paused machine.
pub(super) struct Qtest {
    stream: BufReader<UnixStream>,
    until: Instant,
}

pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Qtest {
    /// Waits for QEMU to connect, as long as `has_ended` says that it has not given up.
    pub(super) fn accept(
        listener: &UnixListener,
        until: Instant,
        mut has_ended: impl FnMut() -> bool,
    ) -> Result<Self, QtestError> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Self {
                        stream: BufReader::new(stream),
                        until,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if has_ended() {
                return Err(QtestError::Gone);
            }
            if Instant::now() >= until {
                return Err(QtestError::Deadline);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What follows `OK` in the answer.
    fn ask(&mut self, command: &str) -> Result<String, QtestError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(QtestError::Deadline);
        }
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(left))?;
        stream.set_write_timeout(Some(left))?;
        writeln!(stream, "{command}")?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(QtestError::Gone);
            }
            let line = line.trim_end();
            if let Some(answer) = line.strip_prefix("OK") {
                return Ok(answer.trim_start().to_owned());
            }
            // Interrupts are announced between answers.
            if !line.starts_with("IRQ ") {
                return Err(QtestError::Answer(line.to_owned()));
            }
        }
    }

    /// Firmware places the PCI Express configuration window and the power management
    /// ports before it asks for the tables, and QEMU describes them as it finds them. The
    /// addresses are OVMF's choice. Where firmware will map 64-bit BARs depends on the
    /// processor and is left as QEMU has it.
    pub(super) fn place_as_firmware(&mut self) -> Result<(), QtestError> {
        const HOST_BRIDGE: u32 = 0x8000_0000;
        const LPC: u32 = 0x8000_f800;
        for (register, value) in [
            (HOST_BRIDGE | 0x64, 0u32),
            (HOST_BRIDGE | 0x60, 0xe000_0001),
            (LPC | 0x40, 0x600),
            (LPC | 0x44, 0x80),
        ] {
            self.ask(&format!("outl {PCI_ADDRESS_PORT:#x} {register:#x}"))?;
            self.ask(&format!("outl {PCI_DATA_PORT:#x} {value:#x}"))?;
        }
        Ok(())
    }

    pub(super) fn firmware_files(&mut self) -> Result<Vec<FirmwareFile>, QtestError> {
        self.ask(&format!("outw {SELECTOR_PORT:#x} {FILE_DIRECTORY:#x}"))?;
        let mut count = 0u32;
        for _ in 0..4 {
            let byte = self.ask(&format!("inb {DATA_PORT:#x}"))?;
            let byte = u8::from_str_radix(byte.trim_start_matches("0x"), 16)
                .map_err(|_| QtestError::Answer(byte))?;
            count = count << 8 | u32::from(byte);
        }
        if count > MAX_FILES {
            return Err(QtestError::Answer(format!("{count} firmware files")));
        }
        // Reading from its start again: the count, then the entries.
        let size = 4 + count * 64;
        let directory = self.read_firmware_file(FILE_DIRECTORY, size)?;
        let malformed = |_| QtestError::Answer("a short directory of firmware files".to_owned());
        let reader = Reader::new(&directory);
        (0..count as usize)
            .map(|index| {
                let entry = 4 + index * ENTRY;
                let name = reader.bytes(entry + 8, 56).map_err(malformed)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(FirmwareFile {
                    size: u32::from_be_bytes(reader.array(entry).map_err(malformed)?),
                    selector: u16::from_be_bytes(reader.array(entry + 4).map_err(malformed)?),
                    name: String::from_utf8_lossy(name).into_owned(),
                })
            })
            .collect()
    }

    /// Lets the machine's firmware configuration device copy a file into memory, and
    /// reads it there.
    pub(super) fn read_firmware_file(
        &mut self,
        selector: u16,
        size: u32,
    ) -> Result<Vec<u8>, QtestError> {
        const SELECT_AND_READ: u32 = 0x08 | 0x02;
        let mut control = Vec::new();
        control.extend((u32::from(selector) << 16 | SELECT_AND_READ).to_be_bytes());
        control.extend(size.to_be_bytes());
        control.extend(BUFFER_ADDRESS.to_be_bytes());
        let hex = hex::encode(&control);
        let length = control.len();
        self.ask(&format!("write {CONTROL_ADDRESS:#x} {length:#x} 0x{hex}"))?;
        // The address register is big-endian, and writing its lower half starts the copy.
        let address = CONTROL_ADDRESS.to_be_bytes();
        let [high, low] = [&address[..4], &address[4..]].map(|half| {
            half.iter()
                .rev()
                .fold(0u32, |value, byte| value << 8 | u32::from(*byte))
        });
        self.ask(&format!("outl {DMA_PORT:#x} {high:#x}"))?;
        self.ask(&format!("outl {:#x} {low:#x}", DMA_PORT + 4))?;
        let state = self.ask(&format!("readl {CONTROL_ADDRESS:#x}"))?;
        if state
            .trim_start_matches("0x")
            .bytes()
            .any(|digit| digit != b'0')
        {
            return Err(QtestError::Answer(format!("transfer state {state}")));
        }
        let encoded = self.ask(&format!("b64read {BUFFER_ADDRESS:#x} {size:#x}"))?;
        match STANDARD.decode(&encoded) {
            Ok(bytes) if bytes.len() == size as usize => Ok(bytes),
            _ => Err(QtestError::Answer(
                "a memory read of another length".to_owned(),
            )),
        }
    }
}
