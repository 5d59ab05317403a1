// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {KmsAuth} from "../../../contracts/KmsAuth.sol";
import {IKmsAuth} from "../../../contracts/interfaces/IKmsAuth.sol";
import {vm} from "../support/TestVm.sol";
import {timeVm} from "./support/TimeVm.sol";

/// @dev The lists and the registry of a KMS contract, proved for every caller and every later time.
contract KmsSymbolic {
    uint64 private constant START = 1_800_000_000;
    uint32 private constant DELAY = 1 days;

    address private constant OWNER = address(0xA11CE);
    address private constant GUARDIAN = address(0x6A4D);
    address private constant APP = address(0xA99);
    bytes32 private constant WORD = bytes32(uint256(0x11));

    IKmsAuth private kms;

    function setUp() public {
        timeVm.warp(START);
        bytes memory call = abi.encodeWithSignature(
            "initialize(address,address,uint32,address)", OWNER, address(0x1), DELAY, GUARDIAN
        );
        kms = IKmsAuth(address(new ERC1967Proxy(address(new KmsAuth()), call)));
    }

    /// @dev What is added to a list is on it exactly when the delay is over, and by the owner only.
    function check_addedAfterTheDelay(address caller, uint8 list, uint32 later) public {
        vm.assume(list < 3);
        vm.prank(caller);
        (bool success,) = address(kms).call(abi.encodeWithSelector(_adder(list), WORD));
        assert(success == (caller == OWNER));
        timeVm.warp(uint256(START) + later);
        assert(_isListed(list) == (success && later >= DELAY));
    }

    /// @dev What is removed is off it at once and stays so, whether it was there or waited.
    function check_removedAtOnce(uint8 list, uint32 waited, uint32 later) public {
        vm.assume(list < 3);
        vm.prank(OWNER);
        (bool added,) = address(kms).call(abi.encodeWithSelector(_adder(list), WORD));
        timeVm.warp(uint256(START) + waited);
        vm.prank(OWNER);
        (bool removed,) = address(kms).call(abi.encodeWithSelector(_remover(list), WORD));
        assert(added && removed && !_isListed(list));
        timeVm.warp(uint256(START) + waited + later);
        assert(!_isListed(list));
    }

    /// @dev A deregistered app comes back by its owner's word and after the delay, or not at all.
    function check_deregisteredComesBackAfterTheDelay(address caller, uint32 later) public {
        kms.registerApp(APP);
        vm.prank(OWNER);
        kms.deregisterApp(APP);
        assert(!kms.registeredApps(APP));
        vm.prank(caller);
        (bool success,) = address(kms).call(abi.encodeCall(kms.registerApp, (APP)));
        assert(success == (caller == OWNER));
        timeVm.warp(uint256(START) + later);
        assert(kms.registeredApps(APP) == (success && later >= DELAY));
        assert(kms.deregisteredApps(APP) != kms.registeredApps(APP));
    }

    /// @dev Whom owner or guardian paused goes on by the owner's word and after the delay.
    function check_pausedGoesOnAfterTheDelay(address caller, address other, uint32 later) public {
        vm.prank(caller);
        (bool paused,) = address(kms).call(abi.encodeCall(kms.pauseApp, (APP)));
        vm.assume(caller != address(0) && other != address(0));
        assert(paused == (caller == OWNER || caller == GUARDIAN));
        assert(kms.pausedApps(APP) == paused);
        vm.prank(other);
        (bool success,) = address(kms).call(abi.encodeCall(kms.unpauseApp, (APP)));
        assert(success == (other == OWNER));
        timeVm.warp(uint256(START) + later);
        assert(kms.pausedApps(APP) == (paused && !(success && later >= DELAY)));
    }

    function check_upgradesStayDisabled(address caller, uint32 later) public {
        vm.prank(OWNER);
        kms.disableUpgrades();
        timeVm.warp(uint256(START) + later);
        vm.prank(caller);
        (bool success,) = address(kms).call(abi.encodeCall(kms.upgradeToAndCall, (address(kms), "")));
        assert(!success && kms.upgradesDisabled());
    }

    // ------------------------------------------------------------ private

    function _adder(uint8 list) private view returns (bytes4) {
        if (list == 0) return kms.addOsImageHash.selector;
        return list == 1 ? kms.addKmsAggregatedMr.selector : kms.addKmsDevice.selector;
    }

    function _remover(uint8 list) private view returns (bytes4) {
        if (list == 0) return kms.removeOsImageHash.selector;
        return list == 1 ? kms.removeKmsAggregatedMr.selector : kms.removeKmsDevice.selector;
    }

    function _isListed(uint8 list) private view returns (bool) {
        if (list == 0) return kms.allowedOsImages(WORD);
        return list == 1 ? kms.kmsAllowedAggregatedMrs(WORD) : kms.kmsAllowedDeviceIds(WORD);
    }
}
