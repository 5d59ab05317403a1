// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @notice What an app demands of the VMs it gives keys to, besides compose hash and device lists.
/// @param allowAnyDevice The device list is ignored.
/// @param teeVariants Platforms that may run it: bit set, see {TeeVariants}.
/// @param tcbStatuses TCB statuses that will do: bit set, see {TcbStatuses}.
/// @param tcbGracePeriod For how long after its vendor published a new TCB level a platform that lacks it will do
/// all the same, in seconds; 0 for not at all.
/// @param anyAdvisory Security advisories do not matter; else each must be on the list of those tolerated.
/// @param maxStateAge How old the chain state may be that a KMS decides on, in seconds; 0 leaves it to the KMS.
/// @param requireGpu The evidence must prove that the VM's GPUs were attested.
struct AppPolicy {
    bool allowAnyDevice;
    uint8 teeVariants;
    uint16 tcbStatuses;
    uint32 tcbGracePeriod;
    bool anyAdvisory;
    uint32 maxStateAge;
    bool requireGpu;
}

/// @title Kinds of confidential VMs, one bit each
library TeeVariants {
    uint8 internal constant TDX = 1 << 0;
    uint8 internal constant GCP_TDX = 1 << 1;
    uint8 internal constant NITRO_ENCLAVE = 1 << 2;
    uint8 internal constant SEV_SNP = 1 << 3;
    uint8 internal constant AWS_NITRO_TPM = 1 << 4;
    uint8 internal constant ALL = type(uint8).max;
}

/// @title What a vendor says of a platform's TCB, one bit each
library TcbStatuses {
    uint16 internal constant UP_TO_DATE = 1 << 0;
    uint16 internal constant SW_HARDENING_NEEDED = 1 << 1;
    uint16 internal constant CONFIGURATION_NEEDED = 1 << 2;
    uint16 internal constant CONFIGURATION_AND_SW_HARDENING_NEEDED = 1 << 3;
    uint16 internal constant OUT_OF_DATE = 1 << 4;
    uint16 internal constant OUT_OF_DATE_CONFIGURATION_NEEDED = 1 << 5;
    uint16 internal constant RELAUNCH_ADVISED = 1 << 6;
    uint16 internal constant RELAUNCH_ADVISED_CONFIGURATION_NEEDED = 1 << 7;
    uint16 internal constant NOT_REPORTED = 1 << 8;
    /// @dev Any other text.
    uint16 internal constant UNKNOWN = 1 << 9;
    uint16 internal constant ALL = type(uint16).max;

    /// @dev Those that a grace period can excuse.
    uint16 internal constant OUTDATED = OUT_OF_DATE | OUT_OF_DATE_CONFIGURATION_NEEDED;

    /// @dev The bit of a status as the vendor spells it; no text at all means that none was reported.
    function bitOf(string memory status) internal pure returns (uint16) {
        bytes32 text = keccak256(bytes(status));
        if (text == keccak256("UpToDate")) return UP_TO_DATE;
        if (text == keccak256("SWHardeningNeeded")) return SW_HARDENING_NEEDED;
        if (text == keccak256("ConfigurationNeeded")) return CONFIGURATION_NEEDED;
        if (text == keccak256("ConfigurationAndSWHardeningNeeded")) {
            return CONFIGURATION_AND_SW_HARDENING_NEEDED;
        }
        if (text == keccak256("OutOfDate")) return OUT_OF_DATE;
        if (text == keccak256("OutOfDateConfigurationNeeded")) return OUT_OF_DATE_CONFIGURATION_NEEDED;
        if (text == keccak256("TDRelaunchAdvised")) return RELAUNCH_ADVISED;
        if (text == keccak256("TDRelaunchAdvisedConfigurationNeeded")) {
            return RELAUNCH_ADVISED_CONFIGURATION_NEEDED;
        }
        if (text == keccak256("NotReported") || text == keccak256("")) return NOT_REPORTED;
        return UNKNOWN;
    }
}

/// @title The order of policies: which allows more
library AppPolicies {
    /// @dev Allows what both allow: as strict as the stricter one in everything.
    function meet(AppPolicy memory a, AppPolicy memory b) internal pure returns (AppPolicy memory) {
        return AppPolicy({
            allowAnyDevice: a.allowAnyDevice && b.allowAnyDevice,
            teeVariants: a.teeVariants & b.teeVariants,
            tcbStatuses: a.tcbStatuses & b.tcbStatuses,
            tcbGracePeriod: a.tcbGracePeriod < b.tcbGracePeriod ? a.tcbGracePeriod : b.tcbGracePeriod,
            anyAdvisory: a.anyAdvisory && b.anyAdvisory,
            maxStateAge: _shorter(a.maxStateAge, b.maxStateAge),
            requireGpu: a.requireGpu || b.requireGpu
        });
    }

    function equals(AppPolicy memory a, AppPolicy memory b) internal pure returns (bool) {
        return pack(a) == pack(b);
    }

    /// @dev One word, so that a pending policy is an ordinary pending change: from the lowest bit, any device (8),
    /// TEE variants (8), TCB statuses (16), grace period (32), any advisory (8), maximum age (32), GPU (8).
    function pack(AppPolicy memory policy) internal pure returns (bytes32) {
        uint256 word = policy.allowAnyDevice ? 1 : 0;
        word |= uint256(policy.teeVariants) << 8;
        word |= uint256(policy.tcbStatuses) << 16;
        word |= uint256(policy.tcbGracePeriod) << 32;
        word |= uint256(policy.anyAdvisory ? 1 : 0) << 64;
        word |= uint256(policy.maxStateAge) << 72;
        word |= uint256(policy.requireGpu ? 1 : 0) << 104;
        return bytes32(word);
    }

    /// @dev The inverse of {pack}.
    function unpack(bytes32 packed) internal pure returns (AppPolicy memory) {
        uint256 word = uint256(packed);
        return AppPolicy({
            allowAnyDevice: uint8(word) != 0,
            teeVariants: uint8(word >> 8),
            tcbStatuses: uint16(word >> 16),
            tcbGracePeriod: uint32(word >> 32),
            anyAdvisory: uint8(word >> 64) != 0,
            maxStateAge: uint32(word >> 72),
            requireGpu: uint8(word >> 104) != 0
        });
    }

    /// @dev Zero is no limit.
    function _shorter(uint32 a, uint32 b) private pure returns (uint32) {
        if (a == 0) return b;
        if (b == 0) return a;
        return a < b ? a : b;
    }
}
