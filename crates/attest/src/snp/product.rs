//! Which processors there are, and what differs between them.

use std::fmt;

/// A line of processors: it has roots, and a layout of TCB versions, of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004, Bergamo and Siena among them.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name in AMD's certificates and addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.name() == name)
    }

    /// Of a CPUID family and model, both with their extensions added in.
    pub fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// How many bytes of CHIP_ID name the chip; the others are zero.
    pub(crate) fn hardware_id_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }

    /// Its name among trust anchors.
    pub(crate) fn anchor_name(self) -> &'static str {
        match self {
            Self::Milan => "sev-snp-milan",
            Self::Genoa => "sev-snp-genoa",
            Self::Turin => "sev-snp-turin",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Security versions of the firmware's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tcb {
    /// Turin alone has it.
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl Tcb {
    /// Reads the eight bytes of a report in the layout of this product.
    pub fn of(product: Product, bytes: [u8; 8]) -> Self {
        match (product, bytes) {
            (Product::Milan | Product::Genoa, [bootloader, tee, _, _, _, _, snp, microcode]) => {
                Self {
                    fmc: None,
                    bootloader,
                    tee,
                    snp,
                    microcode,
                }
            }
            (Product::Turin, [fmc, bootloader, tee, snp, _, _, _, microcode]) => Self {
                fmc: Some(fmc),
                bootloader,
                tee,
                snp,
                microcode,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_belong_to_one_product_or_none() {
        for (family, model, product) in [
            (0x19, 0x01, Some(Product::Milan)),
            (0x19, 0x11, Some(Product::Genoa)),
            (0x19, 0xa0, Some(Product::Genoa)),
            (0x1a, 0x02, Some(Product::Turin)),
            (0x19, 0x20, None),
            (0x1a, 0x50, None),
            (0x17, 0x01, None),
        ] {
            assert_eq!(Product::from_cpuid(family, model), product);
        }
        for product in Product::ALL {
            assert_eq!(Product::from_name(product.name()), Some(product));
        }
        assert_eq!(Product::from_name("milan"), None);
    }

    #[test]
    fn turin_orders_its_versions_differently() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let tcb = |fmc, bootloader, tee, snp| Tcb {
            fmc,
            bootloader,
            tee,
            snp,
            microcode: 8,
        };
        assert_eq!(Tcb::of(Product::Genoa, bytes), tcb(None, 1, 2, 7));
        assert_eq!(Tcb::of(Product::Turin, bytes), tcb(Some(1), 2, 3, 4));
    }
}
