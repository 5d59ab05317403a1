// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {BylawTest} from "../support/BylawTest.sol";
import {vm} from "../support/TestVm.sol";

/// @dev What only the owner may do, proved for every caller and every argument (`script/symbolic`).
contract OwnershipSymbolic is BylawTest {
    /// @dev No stranger adds an OS image: the call reverts and the image stays as it was.
    function check_onlyOwnerAddsOsImage(address caller, bytes32 osImageHash, bytes32 other) public {
        vm.assume(caller != OWNER);
        bool before = kms.allowedOsImages(other);

        vm.prank(caller);
        (bool success,) = address(kms).call(abi.encodeCall(kms.addOsImageHash, (osImageHash)));

        assert(!success);
        assert(kms.allowedOsImages(other) == before);
    }

    /// @dev The owner can: what is proved above is not that every call reverts.
    function check_ownerAddsOsImage(bytes32 osImageHash) public {
        vm.prank(OWNER);
        kms.addOsImageHash(osImageHash);
        assert(kms.allowedOsImages(osImageHash));
    }
}
