//! The state a vCPU starts in, as QEMU and KVM set it up.

pub(super) const PAGE: usize = 4096;

/// The measured page of one vCPU that starts at `eip`.
pub(super) fn page(eip: u32, signature: u32, guest_features: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    for offset in [0x00, 0x20, 0x30, 0x40, 0x50] {
        segment(&mut page, offset, 0, 0x93, 0);
    }
    segment(&mut page, 0x10, 0xf000, 0x9b, eip & 0xffff_0000);
    for (descriptor_table, attributes) in [(0x60, 0), (0x70, 0x82), (0x80, 0), (0x90, 0x8b)] {
        segment(&mut page, descriptor_table, 0, attributes, 0);
    }
    for (offset, value) in [
        (0xd0, 0x1000),       // EFER: SVM
        (0x148, 0x40),        // CR4: machine checks
        (0x158, 0x10),        // CR0
        (0x160, 0x400),       // DR7
        (0x168, 0xffff_0ff0), // DR6
        (0x170, 2),           // RFLAGS
        (0x178, u64::from(eip & 0xffff)),
        (0x268, 0x0007_0406_0007_0406), // PAT
        (0x310, u64::from(signature)),  // RDX
        (0x3b0, guest_features),
        (0x3e8, 1), // XCR0
    ] {
        put(&mut page, offset, &u64::to_le_bytes(value));
    }
    put(&mut page, 0x408, &0x1f80u32.to_le_bytes()); // MXCSR
    put(&mut page, 0x410, &0x37fu16.to_le_bytes()); // x87 control word
    page
}

fn segment(page: &mut [u8; PAGE], offset: usize, selector: u16, attributes: u16, base: u32) {
    put(page, offset, &selector.to_le_bytes());
    put(page, offset + 2, &attributes.to_le_bytes());
    put(page, offset + 4, &0xffffu32.to_le_bytes());
    put(page, offset + 8, &u64::from(base).to_le_bytes());
}

fn put(page: &mut [u8; PAGE], offset: usize, bytes: &[u8]) {
    for (slot, byte) in page.iter_mut().skip(offset).zip(bytes) {
        *slot = *byte;
    }
}
