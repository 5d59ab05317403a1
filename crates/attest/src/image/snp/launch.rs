//! The launch digest: one hash chained over every page that the guest starts with.

use bylaw_types::Register;
use sha2::{Digest, Sha256, Sha384};

use super::SnpDocument;
use super::vmsa::{self, PAGE};

const MAX_VCPUS: u32 = 512;
const MAX_SECTIONS: usize = 64;
const MAX_PAGES: u64 = 16_777_216;
const FIRST_EIP: u32 = 0xffff_fff0;
const VMSA_GPA: u64 = 0xFFFF_FFFF_F000;
const FOUR_GIB: u64 = 1 << 32;

const HASHES_HEADER: [u8; 16] = guid(0x06d63894224fc94cb479a793d411fd21);
const HASHES_CMDLINE: [u8; 16] = guid(0xd82dd09720bd944caa78e7714d36ab2a);
const HASHES_INITRD: [u8; 16] = guid(0x31f7ba442f3ad74b9af141e29169781d);
const HASHES_KERNEL: [u8; 16] = guid(0x3794e74dd2ab7f42b835d5b172d2045b);
const ENTRY_LENGTH: u16 = 50;
const TABLE_LENGTH: u16 = 168;

/// A launch that cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this SEV-SNP launch cannot be measured: {0}")]
pub struct LaunchError(String);

/// How a page enters the digest.
#[derive(Clone, Copy)]
enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Secrets = 5,
    Cpuid = 6,
}

struct Chain(Register);

impl Chain {
    /// Adds a page; `contents` is `None` for those that the firmware of the CPU fills.
    fn add(&mut self, kind: PageType, gpa: u64, contents: Option<&[u8]>) {
        let contents = contents.map_or([0; 48], |page| Sha384::digest(page).into());
        let next = Sha384::new()
            .chain_update(self.0)
            .chain_update(contents)
            .chain_update(0x70u16.to_le_bytes())
            .chain_update([kind as u8])
            .chain_update([0; 5])
            .chain_update(gpa.to_le_bytes());
        self.0 = Register::new(next.finalize().into());
    }
}

/// The digest after the firmware's own pages, which end at 4 GiB.
///
/// # Errors
/// [`LaunchError`] when it is empty, not whole pages, or larger than 4 GiB.
pub fn firmware_digest(firmware: &[u8]) -> Result<Register, LaunchError> {
    let size = firmware.len() as u64;
    if size == 0 || !firmware.len().is_multiple_of(PAGE) || size > FOUR_GIB {
        return Err(LaunchError(format!(
            "firmware of {size} bytes is not whole 4 KiB pages below 4 GiB"
        )));
    }
    let mut chain = Chain(Register::new([0; 48]));
    let addresses = (FOUR_GIB - size..FOUR_GIB).step_by(PAGE);
    for (page, gpa) in firmware.chunks(PAGE).zip(addresses) {
        chain.add(PageType::Normal, gpa, Some(page));
    }
    Ok(chain.0)
}

/// MEASUREMENT of a guest that QEMU launches from this image with these vCPUs.
///
/// # Errors
/// [`LaunchError`] for a vCPU model or sizes outside what the reference allows.
pub fn launch_digest(
    document: &SnpDocument,
    vcpus: u32,
    vcpu_type: &str,
    guest_features: u64,
) -> Result<Register, LaunchError> {
    let bad = |reason: String| Err(LaunchError(reason));
    if !(1..=MAX_VCPUS).contains(&vcpus) {
        return bad(format!("{vcpus} vCPUs; 1 to {MAX_VCPUS} are possible"));
    }
    if guest_features == 0 {
        return bad("guest_features is 0; a SEV-SNP guest has bit 0 set".to_owned());
    }
    if document.hashes_table_gpa == 0 || document.reset_eip == 0 {
        return bad("the firmware has no hashes table or no reset address".to_owned());
    }
    if document.sections.len() > MAX_SECTIONS {
        return bad(format!("more than {MAX_SECTIONS} firmware sections"));
    }
    let signature = signature(vcpu_type)?;

    let mut chain = Chain(document.ovmf_hash);
    add_sections(&mut chain, document)?;
    for eip in std::iter::once(FIRST_EIP)
        .chain(std::iter::repeat(document.reset_eip))
        .zip(0..vcpus)
        .map(|(eip, _)| eip)
    {
        let page = vmsa::page(eip, signature, guest_features);
        chain.add(PageType::Vmsa, VMSA_GPA, Some(&page));
    }
    Ok(chain.0)
}

fn add_sections(chain: &mut Chain, document: &SnpDocument) -> Result<(), LaunchError> {
    let mut pages = 0u64;
    let mut has_hashes = false;
    for section in &document.sections {
        let gpa = u64::from(section.gpa);
        let size = u64::from(section.size);
        if !size.is_multiple_of(PAGE as u64) || !gpa.is_multiple_of(PAGE as u64) {
            return Err(LaunchError(format!(
                "firmware section at {gpa:#x} of {size:#x} bytes is not whole pages"
            )));
        }
        match section.kind {
            1 | 4 => {
                pages += size / PAGE as u64;
                if pages > MAX_PAGES {
                    return Err(LaunchError(format!(
                        "firmware sections have more than {MAX_PAGES} pages"
                    )));
                }
                for page in (gpa..gpa + size).step_by(PAGE) {
                    chain.add(PageType::Zero, page, None);
                }
            }
            2 => chain.add(PageType::Secrets, gpa, None),
            3 => chain.add(PageType::Cpuid, gpa, None),
            0x10 => {
                has_hashes = true;
                chain.add(PageType::Normal, gpa, Some(&hashes_page(document)?));
            }
            other => {
                return Err(LaunchError(format!("firmware section of type {other:#x}")));
            }
        }
    }
    if has_hashes {
        Ok(())
    } else {
        Err(LaunchError(
            "the firmware has no section for kernel hashes (type 0x10), so the kernel would \
             not be measured; use a firmware built for SEV with direct kernel boot"
                .to_owned(),
        ))
    }
}

/// The page holding the hashes of what QEMU loads.
fn hashes_page(document: &SnpDocument) -> Result<Vec<u8>, LaunchError> {
    let mut line = document.cmdline.trim().as_bytes().to_vec();
    line.push(0);
    let cmdline: [u8; 32] = Sha256::digest(line).into();
    let mut page = vec![0; document.hashes_table_gpa as usize % PAGE];
    page.extend(HASHES_HEADER);
    page.extend(TABLE_LENGTH.to_le_bytes());
    for (name, hash) in [
        (HASHES_CMDLINE, &cmdline),
        (HASHES_INITRD, document.initrd_hash.as_bytes()),
        (HASHES_KERNEL, document.kernel_hash.as_bytes()),
    ] {
        page.extend(name);
        page.extend(ENTRY_LENGTH.to_le_bytes());
        page.extend(hash);
    }
    if page.len() > PAGE {
        return Err(LaunchError(format!(
            "the hashes table at {:#x} does not fit into its page",
            document.hashes_table_gpa
        )));
    }
    page.resize(PAGE, 0);
    Ok(page)
}

fn signature(vcpu_type: &str) -> Result<u32, LaunchError> {
    match vcpu_type.to_ascii_lowercase().as_str() {
        "epyc" | "epyc-v1" | "epyc-v2" | "epyc-v3" | "epyc-v4" | "epyc-ibpb" => Ok(0x80_0f12),
        "epyc-rome" | "epyc-rome-v1" | "epyc-rome-v2" | "epyc-rome-v3" | "epyc-rome-v4" => {
            Ok(0x83_0f10)
        }
        "epyc-milan" | "epyc-milan-v1" | "epyc-milan-v2" => Ok(0xa0_0f11),
        "epyc-genoa" | "epyc-genoa-v1" => Ok(0xa1_0f10),
        "epyc-turin" | "epyc-turin-v1" | "epyc-turin-v2" => Ok(0xb0_0f00),
        _ => Err(LaunchError(format!(
            "vCPU type {vcpu_type:?}; known are EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa \
             and EPYC-Turin, with QEMU's version suffixes"
        ))),
    }
}

/// Bytes of a GUID as they lie in memory.
const fn guid(bytes: u128) -> [u8; 16] {
    bytes.to_be_bytes()
}
