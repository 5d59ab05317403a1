// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IOwnedProxy} from "../../contracts/interfaces/IOwnedProxy.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {AppAuthV2, KmsAuthV2, NotUpgradeable, SilentApp, WrongSlot} from "./support/Mocks.sol";
import {TestVm, vm} from "./support/TestVm.sol";

/// @notice New owners and new implementations of both contracts: they wait too, and somebody carries them out.
abstract contract HandoverTest is GovernanceTest {
    address internal constant HEIR = address(0x4E14);

    IGoverned internal governed;
    IOwnedProxy internal owned;
    address internal next;

    function _newImplementation() internal virtual returns (address);

    function _disableUpgrades() internal virtual;

    /// @dev A call that the new implementation takes money for.
    function _payableCall() internal pure returns (bytes memory) {
        return abi.encodeWithSignature("takeMoney()");
    }

    // ------------------------------------------------------------ owner

    function test_new_owner_accepts_after_the_delay() public {
        vm.recordLogs();
        _offer(HEIR);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertEq(logs[0].topics[0], Ownable2StepUpgradeable.OwnershipTransferStarted.selector);
        _assertScheduled(logs[1], address(governed), "owner", 0, _word(HEIR), _due(), "");
        vm.assertEq(owned.pendingOwner(), HEIR);

        uint64 due = _due();
        _pass(DELAY - 1);
        vm.prank(HEIR);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotYet.selector, due));
        owned.acceptOwnership();
        _pass(1);
        // It waits for the new owner, so it is still on the list.
        _assertPending(governed, "owner", 0, _word(HEIR), due, "");
        governed.settle();
        vm.assertEq(owned.owner(), OWNER);

        vm.recordLogs();
        vm.prank(HEIR);
        owned.acceptOwnership();
        logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertApplied(logs[0], address(governed), "owner", 0, _word(HEIR));
        vm.assertEq(logs[1].topics[0], OwnableUpgradeable.OwnershipTransferred.selector);
        vm.assertEq(owned.owner(), HEIR);
        vm.assertEq(owned.pendingOwner(), address(0));
        _assertCount(governed, 0);
    }

    function testFuzz_nobody_else_accepts(address caller) public {
        vm.assume(caller != HEIR && caller != address(0));
        _offer(HEIR);
        _assertRefused(address(governed), caller, abi.encodeCall(owned.acceptOwnership, ()));
        _pass(DELAY);
        _assertRefused(address(governed), caller, abi.encodeCall(owned.acceptOwnership, ()));
        vm.assertEq(owned.owner(), OWNER);
    }

    function testFuzz_nobody_else_offers(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        _assertRefused(address(governed), caller, abi.encodeCall(owned.transferOwnership, (caller)));
        _assertRefused(address(governed), caller, abi.encodeCall(owned.renounceOwnership, ()));
    }

    function test_vetoed_owner_does_not_accept() public {
        _offer(HEIR);
        vm.recordLogs();
        vm.prank(GUARDIAN);
        governed.veto(_changeId("owner", 0));
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertDropped(logs[0], address(governed), "owner", 0, _word(HEIR), GUARDIAN);
        vm.assertEq(owned.pendingOwner(), address(0));
        _assertCount(governed, 0);
        _pass(DELAY);
        _assertRefused(address(governed), HEIR, abi.encodeCall(owned.acceptOwnership, ()));

        // Offered again, it begins anew.
        _offer(HEIR);
        vm.assertEq(owned.pendingOwner(), HEIR);
        _pass(DELAY);
        vm.prank(HEIR);
        owned.acceptOwnership();
        vm.assertEq(owned.owner(), HEIR);
    }

    function test_new_owner_is_vetoed_even_after_the_delay() public {
        _offer(HEIR);
        _pass(DELAY);
        vm.prank(GUARDIAN);
        governed.veto(_changeId("owner", 0));
        _assertRefused(address(governed), HEIR, abi.encodeCall(owned.acceptOwnership, ()));
    }

    function test_offer_is_redirected() public {
        _offer(STRANGER);
        _pass(DELAY);
        vm.recordLogs();
        _offer(HEIR);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertDropped(logs[1], address(governed), "owner", 0, _word(STRANGER), OWNER);
        _assertRefused(address(governed), STRANGER, abi.encodeCall(owned.acceptOwnership, ()));
        vm.prank(HEIR);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotYet.selector, _due()));
        owned.acceptOwnership();
    }

    function test_same_offer_does_not_restart_the_time() public {
        uint64 due = _due();
        _offer(HEIR);
        _pass(1);
        _offer(HEIR);
        _assertPending(governed, "owner", 0, _word(HEIR), due, "");
    }

    function test_offer_is_withdrawn_at_once() public {
        _offer(HEIR);
        _offer(address(0));
        _assertCount(governed, 0);
        vm.assertEq(owned.pendingOwner(), address(0));
        _pass(DELAY);
        _assertRefused(address(governed), HEIR, abi.encodeCall(owned.acceptOwnership, ()));
    }

    function test_offer_without_delay_takes_effect_at_once() public {
        _offer(HEIR);
        vm.startPrank(OWNER);
        governed.setDelay(0);
        _pass(DELAY);
        owned.transferOwnership(STRANGER);
        vm.stopPrank();
        _assertCount(governed, 0);
        vm.prank(STRANGER);
        owned.acceptOwnership();
        vm.assertEq(owned.owner(), STRANGER);
    }

    function test_renouncing_ends_an_offer() public {
        _offer(HEIR);
        vm.recordLogs();
        vm.prank(OWNER);
        owned.renounceOwnership();
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertDropped(logs[0], address(governed), "owner", 0, _word(HEIR), OWNER);
        vm.assertEq(owned.owner(), address(0));
        vm.assertEq(owned.pendingOwner(), address(0));
        _pass(DELAY);
        _assertRefused(address(governed), HEIR, abi.encodeCall(owned.acceptOwnership, ()));
    }

    function test_renouncing_drops_everything_that_waits() public {
        _upgrade(next, "");
        _offer(HEIR);
        vm.startPrank(OWNER);
        governed.setDelay(0);
        governed.setGuardian(STRANGER);
        _assertCount(governed, 4);
        owned.renounceOwnership();
        vm.stopPrank();
        _assertCount(governed, 0);
        _assertRefused(address(governed), OWNER, abi.encodeCall(governed.setDelay, (2 * DELAY)));
        _pass(DELAY);
        vm.assertEq(governed.delay(), DELAY);
        vm.assertEq(governed.guardian(), GUARDIAN);
        _assertRefused(address(governed), OWNER, abi.encodeCall(owned.upgradeToAndCall, (next, "")));
        vm.assertFalse(_isUpgraded());
    }

    /// @dev It was never on the list of what waits, so nobody could have dropped it.
    function test_offer_from_before_the_delay_is_made_again() public {
        vm.startPrank(OWNER);
        governed.setDelay(0);
        _pass(DELAY);
        owned.transferOwnership(HEIR);
        vm.assertEq(owned.pendingOwner(), HEIR);
        governed.setDelay(DELAY);
        vm.stopPrank();
        vm.assertEq(owned.pendingOwner(), address(0));
        _assertRefused(address(governed), HEIR, abi.encodeCall(owned.acceptOwnership, ()));
        _offer(HEIR);
        vm.assertEq(owned.pendingOwner(), HEIR);
        _pass(DELAY);
        vm.prank(HEIR);
        owned.acceptOwnership();
        vm.assertEq(owned.owner(), HEIR);
    }

    // ------------------------------------------------------------ upgrade

    function test_upgrade_is_scheduled_then_carried_out() public {
        bytes memory data = abi.encodeWithSignature("addedInV2()");
        bytes memory what = abi.encode(next.codehash, data);
        vm.recordLogs();
        _upgrade(next, data);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertScheduled(logs[0], address(governed), "implementation-upgrade", 0, _word(next), _due(), what);
        _assertPending(governed, "implementation-upgrade", 0, _word(next), _due(), what);
        vm.assertFalse(_isUpgraded());

        uint64 due = _due();
        _pass(DELAY - 1);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotYet.selector, due));
        _upgrade(next, data);

        // However long it takes.
        _pass(10 * DELAY);
        governed.settle();
        vm.assertFalse(_isUpgraded());
        _assertPending(governed, "implementation-upgrade", 0, _word(next), due, what);
        vm.recordLogs();
        _upgrade(next, data);
        logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertApplied(logs[0], address(governed), "implementation-upgrade", 0, _word(next));
        _assertPolicy(logs[1], address(governed), OWNER, "implementation-upgrade", _word(next), true);
        vm.assertEq(logs[2].topics[0], IERC1967.Upgraded.selector);
        vm.assertTrue(_isUpgraded());
        _assertCount(governed, 0);
    }

    function testFuzz_nobody_else_upgrades(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        bytes memory call = abi.encodeCall(owned.upgradeToAndCall, (next, ""));
        _assertRefused(address(governed), caller, call);
        _upgrade(next, "");
        _assertRefused(address(governed), caller, call);
        _pass(DELAY);
        _assertRefused(address(governed), caller, call);
        vm.assertFalse(_isUpgraded());
    }

    function test_upgrade_is_vetoed() public {
        _upgrade(next, "");
        _pass(DELAY);
        vm.prank(GUARDIAN);
        governed.veto(_changeId("implementation-upgrade", 0));
        // The same call begins anew.
        _upgrade(next, "");
        vm.assertFalse(_isUpgraded());
        _assertPending(
            governed, "implementation-upgrade", 0, _word(next), _due(), abi.encode(next.codehash, "")
        );
    }

    function test_another_upgrade_replaces_it() public {
        _upgrade(next, "");
        _pass(DELAY);
        address other = _newImplementation();
        _upgrade(other, "");
        vm.assertFalse(_isUpgraded());
        _assertCount(governed, 1);
        // So does another call.
        _pass(DELAY);
        bytes memory data = abi.encodeWithSignature("addedInV2()");
        _upgrade(other, data);
        vm.assertFalse(_isUpgraded());
        _assertPending(
            governed, "implementation-upgrade", 0, _word(other), _due(), abi.encode(other.codehash, data)
        );
    }

    function test_changed_code_is_not_upgraded_to() public {
        _upgrade(next, "");
        _pass(DELAY);
        vm.etch(next, address(new NotUpgradeable()).code);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.ImplementationChanged.selector, next));
        _upgrade(next, "");
        vm.assertFalse(_isUpgraded());
    }

    function test_upgrade_that_waits_is_dropped_when_upgrades_are_disabled() public {
        _upgrade(next, "");
        vm.prank(OWNER);
        _disableUpgrades();
        _assertCount(governed, 0);
        _pass(DELAY);
        _expectReason("Upgrades are permanently disabled");
        _upgrade(next, "");
    }

    function test_upgrade_without_delay_drops_the_one_that_waits() public {
        _upgrade(_newImplementation(), "");
        vm.prank(OWNER);
        governed.setDelay(0);
        _pass(DELAY);
        _upgrade(next, "");
        vm.assertTrue(_isUpgraded());
        _assertCount(governed, 0);
    }

    function test_upgrade_without_delay_is_refused_when_disabled() public {
        vm.startPrank(OWNER);
        governed.setDelay(0);
        _pass(DELAY);
        _disableUpgrades();
        vm.stopPrank();
        _expectReason("Upgrades are permanently disabled");
        _upgrade(next, "");
    }

    function test_scheduling_takes_no_money() public {
        vm.deal(OWNER, 1);
        vm.prank(OWNER);
        vm.expectRevert(IGoverned.NotPayable.selector);
        owned.upgradeToAndCall{value: 1}(next, _payableCall());
    }

    function test_carrying_out_takes_money_for_the_call() public {
        _upgrade(next, _payableCall());
        _pass(DELAY);
        vm.deal(OWNER, 1);
        vm.prank(OWNER);
        owned.upgradeToAndCall{value: 1}(next, _payableCall());
        vm.assertTrue(_isUpgraded());
        vm.assertEq(address(governed).balance, 1);
    }

    function test_carrying_out_without_a_call_takes_no_money() public {
        _upgrade(next, "");
        _pass(DELAY);
        vm.deal(OWNER, 1);
        vm.prank(OWNER);
        vm.expectRevert(ERC1967Utils.ERC1967NonPayable.selector);
        owned.upgradeToAndCall{value: 1}(next, "");
    }

    function test_what_is_no_implementation_is_not_scheduled() public {
        address[3] memory candidates =
            [address(0xE0A), address(new NotUpgradeable()), address(new WrongSlot())];
        for (uint256 i = 0; i < candidates.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IGoverned.NotAnImplementation.selector, candidates[i]));
            _upgrade(candidates[i], "");
        }
        // A proxy is none either: it would never get any further.
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotAnImplementation.selector, address(governed)));
        _upgrade(address(governed), "");
        address silent = address(new SilentApp());
        vm.expectRevert();
        _upgrade(silent, "");
        _assertCount(governed, 0);
    }

    function test_call_that_is_too_long_is_not_scheduled() public {
        bytes memory data = new bytes(2048);
        uint256 length = abi.encode(next.codehash, data).length;
        vm.expectRevert(abi.encodeWithSelector(IGoverned.DataTooLong.selector, length, 2048));
        _upgrade(next, data);
        _upgrade(next, new bytes(2048 - (length - data.length)));
        _assertCount(governed, 1);
    }

    function test_failing_call_leaves_the_upgrade_waiting() public {
        _upgrade(next, abi.encodeWithSignature("noSuchFunction()"));
        _pass(DELAY);
        vm.expectRevert();
        _upgrade(next, abi.encodeWithSignature("noSuchFunction()"));
        _assertCount(governed, 1);
        vm.assertFalse(_isUpgraded());
    }

    /// @dev Neither part does anything when it is called as itself.
    function test_parts_are_not_upgraded() public {
        address implementation = _implementation();
        (, bytes memory answer) = implementation.staticcall(abi.encodeWithSignature("management()"));
        address[2] memory parts = [implementation, abi.decode(answer, (address))];
        for (uint256 i = 0; i < parts.length; i++) {
            vm.expectRevert(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector);
            IOwnedProxy(parts[i]).upgradeToAndCall(next, "");
        }
    }

    // ------------------------------------------------------------ helpers

    function _offer(address newOwner) private {
        vm.prank(OWNER);
        owned.transferOwnership(newOwner);
    }

    function _upgrade(address implementation, bytes memory data) private {
        vm.prank(OWNER);
        owned.upgradeToAndCall(implementation, data);
    }

    function _implementation() private view returns (address) {
        return address(uint160(uint256(vm.load(address(governed), IMPLEMENTATION_SLOT))));
    }

    function _isUpgraded() private view returns (bool) {
        return _implementation() == next;
    }
}

contract HandoverKmsTest is HandoverTest {
    function setUp() public override {
        super.setUp();
        (governed, owned, next) = (kms, kms, _newImplementation());
    }

    function _newImplementation() internal override returns (address) {
        return address(new KmsAuthV2());
    }

    function _disableUpgrades() internal override {
        kms.disableUpgrades();
    }
}

contract HandoverAppTest is HandoverTest {
    function setUp() public override {
        super.setUp();
        (governed, owned, next) = (app, app, _newImplementation());
    }

    function _newImplementation() internal override returns (address) {
        return address(new AppAuthV2());
    }

    function _disableUpgrades() internal override {
        app.disableUpgrades();
    }
}
