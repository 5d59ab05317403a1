//! dm-verity through the kernel's device-mapper, without libdevmapper.
//!
//! Three requests make a device: create it, load its table, resume it. Each is one buffer whose start is
//! `struct dm_ioctl` and which the kernel reads up to its `data_size` and writes back no further.
//! Source: kernel include/uapi/linux/dm-ioctl.h, version 4.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use rustix::ioctl::{Opcode, Updater, opcode};

use crate::arguments::Arguments;

/// Bytes of `struct dm_ioctl`, and of `struct dm_target_spec`.
const HEADER: usize = 312;
const TARGET: usize = 40;
/// Room for one target with its parameters; a verity table takes about 160 bytes.
const BUFFER: usize = 1024;

/// Offsets in `struct dm_ioctl`.
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const DEV: usize = 40;
const NAME: usize = 48;
/// Offsets in `struct dm_target_spec`, which follows.
const LENGTH: usize = HEADER + 8;
const TYPE: usize = HEADER + 24;

const DM_READONLY_FLAG: u32 = 1;

type Request = [u8; BUFFER];

const fn request_code(number: u8) -> Opcode {
    opcode::read_write::<[u8; HEADER]>(0xfd, number)
}
const DEV_CREATE: Opcode = request_code(3);
const DEV_SUSPEND: Opcode = request_code(6);
const TABLE_LOAD: Opcode = request_code(9);

/// Why there is no verified device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MapperError {
    #[error("cannot open /dev/mapper/control: {0}")]
    Control(#[source] io::Error),
    #[error("the request to the device-mapper would not fit its buffer")]
    TooLong,
    #[error("the device-mapper refused to {step} the verity device: {source}")]
    Refused {
        step: &'static str,
        source: rustix::io::Errno,
    },
}

/// Opens `disk` (`major:minor`) as the read-only device `name`, checked by dm-verity on every read; answers
/// its path.
///
/// # Errors
/// [`MapperError`]. That the content matches shows only when it is read: then the kernel panics if not.
pub(crate) fn open_verity(
    name: &str,
    disk: &str,
    arguments: &Arguments,
) -> Result<PathBuf, MapperError> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/mapper/control")
        .map_err(MapperError::Control)?;

    let mut create = header(name, DM_READONLY_FLAG)?;
    send::<DEV_CREATE>(&control, "create", &mut create)?;
    let minor = minor(&create);

    let mut table = header(name, DM_READONLY_FLAG)?;
    put_target(
        &mut table,
        arguments.sectors(),
        &arguments.verity_table(disk),
    )?;
    send::<TABLE_LOAD>(&control, "load the table of", &mut table)?;

    // Without the suspend flag the request resumes, which makes the table live.
    let mut resume = header(name, 0)?;
    send::<DEV_SUSPEND>(&control, "resume", &mut resume)?;

    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

/// A request about the device `name`, no target in it.
fn header(name: &str, flags: u32) -> Result<Request, MapperError> {
    let mut request = [0; BUFFER];
    for (index, part) in [4_u32, 0, 0].into_iter().enumerate() {
        put(&mut request, index * 4, &part.to_ne_bytes())?;
    }
    put_u32(&mut request, DATA_SIZE, BUFFER)?;
    put_u32(&mut request, DATA_START, HEADER)?;
    put(&mut request, FLAGS, &flags.to_ne_bytes())?;
    // Zeros follow: the name ends.
    put(&mut request, NAME, name.as_bytes())?;
    Ok(request)
}

/// Adds the one target, from sector 0 for `sectors`.
fn put_target(request: &mut Request, sectors: u64, parameters: &str) -> Result<(), MapperError> {
    put_u32(request, TARGET_COUNT, 1)?;
    put(request, LENGTH, &sectors.to_ne_bytes())?;
    put(request, TYPE, b"verity")?;
    // One byte more than the text: its end.
    put(request, HEADER + TARGET + parameters.len(), &[0])?;
    put(request, HEADER + TARGET, parameters.as_bytes())
}

fn put_u32(request: &mut Request, offset: usize, value: usize) -> Result<(), MapperError> {
    let value = u32::try_from(value).map_err(|_| MapperError::TooLong)?;
    put(request, offset, &value.to_ne_bytes())
}

fn put(request: &mut Request, offset: usize, bytes: &[u8]) -> Result<(), MapperError> {
    request
        .get_mut(offset..offset + bytes.len())
        .ok_or(MapperError::TooLong)?
        .copy_from_slice(bytes);
    Ok(())
}

/// Minor number of the device in an answer: the kernel packs `dev` as major << 8 | minor with the minor's
/// high bits above (`huge_encode_dev`).
fn minor(answer: &Request) -> u64 {
    let mut dev = [0; 8];
    for (to, from) in dev.iter_mut().zip(answer.iter().skip(DEV)) {
        *to = *from;
    }
    let dev = u64::from_ne_bytes(dev);
    (dev & 0xff) | ((dev >> 12) & 0xf_ff00)
}

fn send<const CODE: Opcode>(
    control: &File,
    step: &'static str,
    request: &mut Request,
) -> Result<(), MapperError> {
    // SAFETY: CODE is one of the three device-mapper requests above, on the open control device. The kernel
    // reads and writes at most `data_size` bytes at the pointer; `header` set that to BUFFER, the size of
    // the array that `request` borrows exclusively for the call. Any bytes are a valid array.
    #[expect(unsafe_code, reason = "the one system call without a safe form")]
    let done = unsafe { rustix::ioctl::ioctl(control, Updater::<CODE, Request>::new(request)) };
    done.map_err(|source| MapperError::Refused { step, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_codes_are_those_of_the_kernel() {
        // As `strace dmsetup` shows them.
        assert_eq!(DEV_CREATE, 0xc138_fd03);
        assert_eq!(DEV_SUSPEND, 0xc138_fd06);
        assert_eq!(TABLE_LOAD, 0xc138_fd09);
    }

    #[test]
    fn a_table_request_has_its_parts_where_the_kernel_looks() {
        let mut request = header("rootfs", DM_READONLY_FLAG).unwrap();
        put_target(&mut request, 16, "1 254:0").unwrap();
        assert_eq!(&request[..12], [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(request[12..16], 1024_u32.to_ne_bytes());
        assert_eq!(request[16..20], 312_u32.to_ne_bytes());
        assert_eq!(request[20..24], 1_u32.to_ne_bytes());
        assert_eq!(request[28..32], 1_u32.to_ne_bytes());
        assert_eq!(&request[48..55], b"rootfs\0");
        assert_eq!(request[312..320], 0_u64.to_ne_bytes());
        assert_eq!(request[320..328], 16_u64.to_ne_bytes());
        assert_eq!(&request[336..343], b"verity\0");
        assert_eq!(&request[352..360], b"1 254:0\0");
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        let mut request = header("rootfs", 0).unwrap();
        let most = BUFFER - HEADER - TARGET - 1;
        assert!(put_target(&mut request, 8, &"x".repeat(most)).is_ok());
        assert!(matches!(
            put_target(&mut request, 8, &"x".repeat(most + 1)),
            Err(MapperError::TooLong)
        ));
    }

    #[test]
    fn minor_numbers_above_255_are_read_whole() {
        let mut answer = [0; BUFFER];
        for (dev, expected) in [(0xfe00_u64, 0), (0xfe07, 7), (0x0010_fe01, 257)] {
            answer[DEV..DEV + 8].copy_from_slice(&dev.to_ne_bytes());
            assert_eq!(minor(&answer), expected);
        }
    }
}
