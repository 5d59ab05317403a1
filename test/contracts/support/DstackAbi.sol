// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "../../../contracts/interfaces/IAppAuth.sol";

/// @dev Contracts that speak dstack's ABI and nothing besides, without storage or code of ours: what the scripts
/// ask of them must be part of it.
abstract contract DstackAbi {
    function owner() external pure returns (address) {
        return 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266; // anvil's first account
    }

    function pendingOwner() external pure returns (address) {
        return address(0);
    }

    function isAppAllowed(IAppAuth.AppBootInfo calldata) external pure returns (bool, string memory) {
        return (false, "dstack says no");
    }
}

contract DstackKmsAbi is DstackAbi {
    event OsImageHashAdded(bytes32 osImageHash);

    function isKmsAllowed(IAppAuth.AppBootInfo calldata) external pure returns (bool, string memory) {
        return (false, "dstack says no");
    }

    function kmsInfo() external pure returns (bytes memory, bytes memory, bytes memory, bytes memory) {
        return (hex"02", hex"04", "", "");
    }

    function appImplementation() external pure returns (address) {
        return address(0);
    }

    function gatewayAppId() external pure returns (string memory) {
        return "any";
    }

    function addOsImageHash(bytes32 osImageHash) external {
        emit OsImageHashAdded(osImageHash);
    }
}

contract DstackAppAbi is DstackAbi {
    function version() external pure returns (uint256) {
        return 2;
    }

    function allowAnyDevice() external pure returns (bool) {
        return false;
    }

    function requireTcbUpToDate() external pure returns (bool) {
        return true;
    }
}
