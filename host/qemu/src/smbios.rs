//! What SMBIOS tells the guest.

use std::ffi::OsString;

type Value<'a> = (&'static str, &'a Option<String>);

/// Values of SMBIOS structures 0 to 3; `None` is QEMU's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Product {
    /// Manufacturer of the system.
    pub sys_vendor: Option<String>,
    /// Product.
    pub product_name: Option<String>,
    /// Its version.
    pub product_version: Option<String>,
    /// Its serial number.
    pub product_serial: Option<String>,
    /// SKU.
    pub product_sku: Option<String>,
    /// Family.
    pub product_family: Option<String>,
    /// Vendor of the firmware.
    pub bios_vendor: Option<String>,
    /// Version of the firmware.
    pub bios_version: Option<String>,
    /// Date of the firmware.
    pub bios_date: Option<String>,
    /// Manufacturer of the board.
    pub board_vendor: Option<String>,
    /// Product name of the board.
    pub board_name: Option<String>,
    /// Version of the board.
    pub board_version: Option<String>,
    /// Serial number of the board.
    pub board_serial: Option<String>,
    /// Asset tag of the board.
    pub board_asset_tag: Option<String>,
    /// Manufacturer of the chassis.
    pub chassis_vendor: Option<String>,
    /// Version of the chassis.
    pub chassis_version: Option<String>,
    /// Serial number of the chassis.
    pub chassis_serial: Option<String>,
    /// Asset tag of the chassis.
    pub chassis_asset_tag: Option<String>,
}

impl Product {
    /// Values for `-smbios`, one a structure that says something.
    pub(crate) fn structures(&self) -> Vec<OsString> {
        let structures: [(u8, &[Value<'_>]); 4] = [
            (
                0,
                &[
                    ("vendor", &self.bios_vendor),
                    ("version", &self.bios_version),
                    ("date", &self.bios_date),
                ],
            ),
            (
                1,
                &[
                    ("manufacturer", &self.sys_vendor),
                    ("product", &self.product_name),
                    ("version", &self.product_version),
                    ("serial", &self.product_serial),
                    ("sku", &self.product_sku),
                    ("family", &self.product_family),
                ],
            ),
            (
                2,
                &[
                    ("manufacturer", &self.board_vendor),
                    ("product", &self.board_name),
                    ("version", &self.board_version),
                    ("serial", &self.board_serial),
                    ("asset", &self.board_asset_tag),
                ],
            ),
            (
                3,
                &[
                    ("manufacturer", &self.chassis_vendor),
                    ("version", &self.chassis_version),
                    ("serial", &self.chassis_serial),
                    ("asset", &self.chassis_asset_tag),
                ],
            ),
        ];
        structures
            .iter()
            .filter(|(_, values)| values.iter().any(|(_, value)| value.is_some()))
            .map(|(kind, values)| {
                let mut text = format!("type={kind}");
                for (key, value) in *values {
                    if let Some(value) = value {
                        text.push_str(&format!(",{key}={}", value.replace(',', ",,")));
                    }
                }
                text.into()
            })
            .collect()
    }
}
