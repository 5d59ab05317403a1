// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy, TcbStatuses, TeeVariants} from "../../contracts/governance/AppPolicies.sol";
import {BylawScript} from "./BylawScript.sol";
import {vm} from "./Vm.sol";

/// @dev An app's policy from the environment and in words. Platforms and TCB statuses are lists of names with
/// commas between them, `all`, or the number of their bits.
abstract contract PolicyText is BylawScript {
    /// @dev Env: ALLOW_ANY_DEVICE, TEE_VARIANTS, TCB_STATUSES, TCB_GRACE_PERIOD, ANY_ADVISORY, MAX_STATE_AGE,
    /// REQUIRE_GPU. What is not set stays as it is given.
    function _policyFromEnv(AppPolicy memory otherwise) internal view returns (AppPolicy memory policy) {
        policy.allowAnyDevice = vm.envOr("ALLOW_ANY_DEVICE", otherwise.allowAnyDevice);
        policy.teeVariants =
            _isSet("TEE_VARIANTS") ? _teeVariants(vm.envString("TEE_VARIANTS")) : otherwise.teeVariants;
        policy.tcbStatuses =
            _isSet("TCB_STATUSES") ? _tcbStatuses(vm.envString("TCB_STATUSES")) : otherwise.tcbStatuses;
        policy.tcbGracePeriod = _uint32("TCB_GRACE_PERIOD", otherwise.tcbGracePeriod);
        policy.anyAdvisory = vm.envOr("ANY_ADVISORY", otherwise.anyAdvisory);
        policy.maxStateAge = _uint32("MAX_STATE_AGE", otherwise.maxStateAge);
        policy.requireGpu = vm.envOr("REQUIRE_GPU", otherwise.requireGpu);
    }

    function _sayPolicy(AppPolicy memory policy) internal view {
        _say("Any device allowed:", policy.allowAnyDevice);
        _say(string.concat("TEE variants: ", _teeText(policy.teeVariants)));
        _say(string.concat("TCB statuses: ", _tcbText(policy.tcbStatuses)));
        _say("TCB grace period in seconds:", uint256(policy.tcbGracePeriod));
        _say("Any advisory tolerated:", policy.anyAdvisory);
        _say(
            string.concat(
                "Maximum age of the chain state in seconds: ", _time(policy.maxStateAge, "left to the KMS")
            )
        );
        _say("GPU attestation required:", policy.requireGpu);
    }

    function _oneLine(AppPolicy memory policy) internal pure returns (string memory) {
        string memory first = string.concat(
            _text("anyDevice", policy.allowAnyDevice),
            ", teeVariants ",
            _teeText(policy.teeVariants),
            ", tcbStatuses ",
            _tcbText(policy.tcbStatuses)
        );
        return string.concat(
            first,
            _text(", tcbGracePeriod", uint256(policy.tcbGracePeriod)),
            _text(", anyAdvisory", policy.anyAdvisory),
            _text(", maxStateAge", uint256(policy.maxStateAge)),
            _text(", requireGpu", policy.requireGpu)
        );
    }

    function _teeVariants(string memory list) internal pure returns (uint8) {
        if (_isNumber(list)) {
            uint256 bits = vm.parseUint(list);
            require(bits <= type(uint8).max, string.concat("TEE variants beyond 8 bits: ", list));
            // forge-lint: disable-next-line(unsafe-typecast)
            return uint8(bits);
        }
        return uint8(_bits(list, _teeNames(), TeeVariants.ALL, "TEE variant"));
    }

    function _tcbStatuses(string memory list) internal pure returns (uint16) {
        if (_isNumber(list)) {
            uint256 bits = vm.parseUint(list);
            require(bits <= type(uint16).max, string.concat("TCB statuses beyond 16 bits: ", list));
            // forge-lint: disable-next-line(unsafe-typecast)
            return uint16(bits);
        }
        return uint16(_bits(list, _tcbNames(), TcbStatuses.ALL, "TCB status"));
    }

    function _bits(string memory list, string[] memory names, uint256 all, string memory what)
        private
        pure
        returns (uint256 bits)
    {
        if (_same(list, "all")) return all;
        string[] memory chosen = vm.split(list, ",");
        for (uint256 i = 0; i < chosen.length; i++) {
            uint256 before = bits;
            for (uint256 bit = 0; bit < names.length; bit++) {
                if (_same(chosen[i], names[bit])) bits |= 2 ** bit;
            }
            bool isRepeated = false;
            for (uint256 j = 0; j < i; j++) {
                if (_same(chosen[i], chosen[j])) isRepeated = true;
            }
            require(bits != before || isRepeated, string.concat("unknown ", what, ": ", chosen[i]));
        }
    }

    function _teeText(uint8 bits) private pure returns (string memory) {
        return _names(bits, _teeNames(), TeeVariants.ALL);
    }

    function _tcbText(uint16 bits) private pure returns (string memory) {
        return _names(bits, _tcbNames(), TcbStatuses.ALL);
    }

    function _names(uint256 bits, string[] memory names, uint256 all)
        private
        pure
        returns (string memory list)
    {
        if (bits == all) return "all";
        uint256 known = 2 ** names.length - 1;
        for (uint256 bit = 0; bit < names.length; bit++) {
            if (bits & (2 ** bit) == 0) continue;
            list = string.concat(list, bytes(list).length == 0 ? "" : ",", names[bit]);
        }
        if (bits & known != bits) list = _text(string.concat(list, " and bits"), bits & ~known);
        if (bytes(list).length == 0) return "none";
    }

    /// @dev In the order of the bits of {TeeVariants}.
    function _teeNames() private pure returns (string[] memory names) {
        names = new string[](5);
        names[0] = "tdx";
        names[1] = "gcp-tdx";
        names[2] = "nitro-enclave";
        names[3] = "sev-snp";
        names[4] = "aws-nitro-tpm";
    }

    /// @dev In the order of the bits of {TcbStatuses}, as the vendor spells them.
    function _tcbNames() private pure returns (string[] memory names) {
        names = new string[](10);
        names[0] = "UpToDate";
        names[1] = "SWHardeningNeeded";
        names[2] = "ConfigurationNeeded";
        names[3] = "ConfigurationAndSWHardeningNeeded";
        names[4] = "OutOfDate";
        names[5] = "OutOfDateConfigurationNeeded";
        names[6] = "TDRelaunchAdvised";
        names[7] = "TDRelaunchAdvisedConfigurationNeeded";
        names[8] = "NotReported";
        names[9] = "unknown";
    }

    function _isNumber(string memory text) private pure returns (bool) {
        bytes1 first = bytes(text)[0];
        return first >= "0" && first <= "9";
    }

    function _same(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }
}
