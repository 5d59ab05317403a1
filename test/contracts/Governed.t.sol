// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {TestVm, vm} from "./support/TestVm.sol";

/// @notice Delay, guardian and pending changes, which both contracts have in common.
abstract contract GovernedTest is GovernanceTest {
    uint32 private constant MAX_DELAY = 365 days;
    uint256 private constant MAX_PENDING = 32;
    bytes32 private constant VALUE = keccak256("value");

    IGoverned internal governed;

    /// @dev A widening of the contract's, from a list.
    function _widen(bytes32 value) internal virtual;

    function _narrow(bytes32 value) internal virtual;

    function _holds(bytes32 value) internal view virtual returns (bool);

    function _label() internal pure virtual returns (string memory);

    // ------------------------------------------------------------ delay

    function test_limits() public view {
        (, bytes memory answer) = address(governed).staticcall(abi.encodeWithSignature("MAX_DELAY()"));
        vm.assertEq(abi.decode(answer, (uint256)), MAX_DELAY);
        (, answer) = address(governed).staticcall(abi.encodeWithSignature("MAX_PENDING()"));
        vm.assertEq(abi.decode(answer, (uint256)), MAX_PENDING);
    }

    function test_longer_delay_holds_at_once() public {
        vm.recordLogs();
        vm.prank(OWNER);
        governed.setDelay(2 * DELAY);
        _assertChange(
            address(governed),
            OWNER,
            IGoverned.DelaySet.selector,
            abi.encode(2 * DELAY),
            "delay",
            bytes32(uint256(2 * DELAY)),
            true
        );
        vm.assertEq(governed.delay(), 2 * DELAY);
        _assertCount(governed, 0);
    }

    function test_shorter_delay_waits() public {
        vm.recordLogs();
        vm.prank(OWNER);
        governed.setDelay(1);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertScheduled(logs[0], address(governed), "delay", 0, bytes32(uint256(1)), _due(), "");
        _assertPending(governed, "delay", 0, bytes32(uint256(1)), _due(), "");

        _pass(DELAY - 1);
        vm.assertEq(governed.delay(), DELAY);
        _pass(1);
        vm.assertEq(governed.delay(), 1);
        _assertCount(governed, 0);

        vm.recordLogs();
        governed.settle();
        logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertNamed(logs[0], address(governed), IGoverned.DelaySet.selector, abi.encode(1));
        _assertPolicy(logs[1], address(governed), address(this), "delay", bytes32(uint256(1)), true);
        _assertApplied(logs[2], address(governed), "delay", 0, bytes32(uint256(1)));
        vm.assertEq(governed.delay(), 1);
    }

    /// @dev What is asked for afterwards waits as long as the new delay says, settled or not.
    function test_shorter_delay_counts_from_its_time_on() public {
        vm.startPrank(OWNER);
        governed.setDelay(0);
        _pass(DELAY - 1);
        _widen(VALUE);
        vm.assertFalse(_holds(VALUE));
        _pass(1);
        _widen("other");
        vm.assertTrue(_holds("other"));
        vm.assertFalse(_holds(VALUE));
        _pass(DELAY - 1);
        vm.assertTrue(_holds(VALUE));
    }

    function test_same_delay_withdraws_a_shorter_one() public {
        vm.startPrank(OWNER);
        governed.setDelay(1);
        vm.recordLogs();
        governed.setDelay(DELAY);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertDropped(logs[0], address(governed), "delay", 0, bytes32(uint256(1)), OWNER);
        _pass(DELAY);
        vm.assertEq(governed.delay(), DELAY);
    }

    function test_longest_delay() public {
        vm.startPrank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(IGoverned.DelayTooLong.selector, MAX_DELAY + 1, MAX_DELAY));
        governed.setDelay(MAX_DELAY + 1);
        governed.setDelay(MAX_DELAY);
        vm.assertEq(governed.delay(), MAX_DELAY);
    }

    function testFuzz_delay(uint32 newDelay) public {
        vm.startPrank(OWNER);
        if (newDelay > MAX_DELAY) {
            vm.expectRevert(abi.encodeWithSelector(IGoverned.DelayTooLong.selector, newDelay, MAX_DELAY));
        }
        governed.setDelay(newDelay);
        if (newDelay > MAX_DELAY) return;
        vm.assertEq(governed.delay(), newDelay < DELAY ? DELAY : newDelay);
        _pass(DELAY);
        vm.assertEq(governed.delay(), newDelay);
    }

    // ------------------------------------------------------------ guardian

    function test_first_guardian_at_once() public {
        governed = _ungoverned();
        vm.recordLogs();
        vm.startPrank(OWNER);
        governed.setDelay(DELAY);
        vm.getRecordedLogs();
        governed.setGuardian(GUARDIAN);
        _assertChange(
            address(governed),
            OWNER,
            IGoverned.GuardianSet.selector,
            abi.encode(GUARDIAN),
            "guardian",
            _word(GUARDIAN),
            true
        );
        vm.assertEq(governed.guardian(), GUARDIAN);
    }

    function test_another_guardian_waits() public {
        vm.prank(OWNER);
        governed.setGuardian(STRANGER);
        _assertPending(governed, "guardian", 0, _word(STRANGER), _due(), "");
        _pass(DELAY - 1);
        vm.assertEq(governed.guardian(), GUARDIAN);
        _pass(1);
        vm.assertEq(governed.guardian(), STRANGER);
        _widenAsOwner(VALUE);
        bytes32 id = _changeId(_label(), VALUE);
        vm.prank(GUARDIAN);
        _expectNeither(GUARDIAN);
        governed.veto(id);
        vm.prank(STRANGER);
        governed.veto(id);
        vm.assertEq(governed.guardian(), STRANGER);
    }

    function test_no_guardian_waits() public {
        vm.prank(OWNER);
        governed.setGuardian(address(0));
        _pass(DELAY - 1);
        vm.assertEq(governed.guardian(), GUARDIAN);
        _pass(1);
        vm.assertEq(governed.guardian(), address(0));
        governed.settle();
        vm.assertEq(governed.guardian(), address(0));
    }

    function test_guardian_vetoes_the_own_replacement() public {
        vm.prank(OWNER);
        governed.setGuardian(STRANGER);
        vm.prank(GUARDIAN);
        governed.veto(_changeId("guardian", 0));
        _pass(DELAY);
        vm.assertEq(governed.guardian(), GUARDIAN);
    }

    function test_same_guardian_withdraws_another() public {
        vm.startPrank(OWNER);
        governed.setGuardian(STRANGER);
        governed.setGuardian(GUARDIAN);
        _assertCount(governed, 0);
        _pass(DELAY);
        vm.assertEq(governed.guardian(), GUARDIAN);
    }

    function test_guardian_of_nobody_is_not_everybody() public {
        governed = _ungoverned();
        bytes32 id = _changeId("delay", 0);
        vm.assertEq(governed.guardian(), address(0));
        vm.prank(STRANGER);
        _expectNeither(STRANGER);
        governed.veto(id);
    }

    // ------------------------------------------------------------ waiting

    function test_widening_waits_and_narrowing_does_not() public {
        vm.startPrank(OWNER);
        vm.recordLogs();
        _widen(VALUE);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertScheduled(logs[0], address(governed), _label(), VALUE, VALUE, _due(), "");
        _pass(DELAY - 1);
        vm.assertFalse(_holds(VALUE));
        _assertPending(governed, _label(), VALUE, VALUE, uint64(block.timestamp) + 1, "");
        _pass(1);
        vm.assertTrue(_holds(VALUE));
        _assertCount(governed, 0);

        vm.recordLogs();
        _narrow(VALUE);
        logs = vm.getRecordedLogs();
        // Settled first, so that the log has the whole story.
        vm.assertEq(logs.length, 5);
        _assertPolicy(logs[1], address(governed), OWNER, _label(), VALUE, true);
        _assertApplied(logs[2], address(governed), _label(), VALUE, VALUE);
        _assertPolicy(logs[4], address(governed), OWNER, _label(), VALUE, false);
        vm.assertFalse(_holds(VALUE));
    }

    function test_narrowing_drops_the_widening_that_waits() public {
        vm.startPrank(OWNER);
        _widen(VALUE);
        vm.recordLogs();
        _narrow(VALUE);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertDropped(logs[0], address(governed), _label(), VALUE, VALUE, OWNER);
        _pass(DELAY);
        vm.assertFalse(_holds(VALUE));
    }

    function test_what_holds_already_does_not_wait() public {
        vm.startPrank(OWNER);
        _widen(VALUE);
        _pass(DELAY);
        _widen(VALUE);
        vm.assertTrue(_holds(VALUE));
        _assertCount(governed, 0);
    }

    function test_asking_again_does_not_restart_the_time() public {
        uint64 due = _due();
        vm.startPrank(OWNER);
        _widen(VALUE);
        _pass(DELAY / 2);
        vm.recordLogs();
        _widen(VALUE);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertScheduled(logs[0], address(governed), _label(), VALUE, VALUE, due, "");
        _assertPending(governed, _label(), VALUE, VALUE, due, "");
        vm.warp(due);
        vm.assertTrue(_holds(VALUE));
    }

    function test_asking_for_something_else_does_restart_it() public {
        vm.startPrank(OWNER);
        governed.setDelay(1);
        _pass(DELAY / 2);
        vm.recordLogs();
        governed.setDelay(2);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertDropped(logs[0], address(governed), "delay", 0, bytes32(uint256(1)), OWNER);
        _assertScheduled(logs[1], address(governed), "delay", 0, bytes32(uint256(2)), _due(), "");
        _assertCount(governed, 1);
    }

    function test_longer_delay_does_not_hold_up_what_waits() public {
        vm.startPrank(OWNER);
        _widen(VALUE);
        uint64 due = _due();
        governed.setDelay(10 * DELAY);
        _assertPending(governed, _label(), VALUE, VALUE, due, "");
        _widen(VALUE);
        _assertPending(governed, _label(), VALUE, VALUE, due, "");
        _widen("other");
        _assertPending(governed, _label(), "other", "other", uint64(block.timestamp) + 10 * DELAY, "");
    }

    /// @dev With a shorter delay, asking again may bring it forward.
    function test_asking_again_may_bring_it_forward() public {
        vm.startPrank(OWNER);
        governed.setDelay(0);
        _pass(DELAY - 1);
        _widen(VALUE);
        _pass(1);
        _widen(VALUE);
        vm.assertTrue(_holds(VALUE));
        _assertCount(governed, 0);
    }

    // ------------------------------------------------------------ pendingChanges and settle

    function test_pending_changes_are_those_that_wait() public {
        vm.startPrank(OWNER);
        _widen("first");
        _pass(1);
        governed.setDelay(1);
        governed.setGuardian(STRANGER);
        _widen("second");
        _assertCount(governed, 4);
        _assertPending(governed, _label(), "first", "first", _due() - 1, "");
        _assertPending(governed, "delay", 0, bytes32(uint256(1)), _due(), "");
        _assertPending(governed, "guardian", 0, _word(STRANGER), _due(), "");
        _assertPending(governed, _label(), "second", "second", _due(), "");
        _pass(DELAY - 1);
        _assertCount(governed, 3);
        _assertNotPending(governed, _label(), "first");
        _pass(1);
        _assertCount(governed, 0);
    }

    function test_anybody_settles_and_no_answer_changes() public {
        vm.startPrank(OWNER);
        _widen("first");
        _widen("second");
        governed.setDelay(7);
        governed.setGuardian(STRANGER);
        _pass(DELAY - 1);
        _widen("third");
        vm.stopPrank();
        _pass(1);
        for (uint256 round = 0; round < 3; round++) {
            vm.assertTrue(_holds("first"));
            vm.assertTrue(_holds("second"));
            vm.assertFalse(_holds("third"));
            vm.assertEq(governed.delay(), 7);
            vm.assertEq(governed.guardian(), STRANGER);
            _assertCount(governed, 1);
            vm.recordLogs();
            vm.prank(address(0xABCD));
            governed.settle();
            // Two events and ChangeApplied each, once.
            vm.assertEq(vm.getRecordedLogs().length, round == 0 ? 12 : 0);
        }
    }

    function test_no_more_than_so_many_wait() public {
        vm.startPrank(OWNER);
        for (uint256 i = 0; i < MAX_PENDING; i++) {
            _widen(bytes32(i));
        }
        vm.expectRevert(abi.encodeWithSelector(IGoverned.TooManyPending.selector, MAX_PENDING));
        _widen(VALUE);
        // Asking again for one of them, or narrowing, is possible all the same.
        _widen(0);
        _narrow(bytes32(uint256(1)));
        _widen(VALUE);
        _assertCount(governed, MAX_PENDING);
        _pass(DELAY);
        // They make room by themselves, and even all at once that is affordable.
        uint256 before = gasleft();
        _widen("more");
        vm.assertLt(before - gasleft(), 3_000_000);
        _assertCount(governed, 1);
        vm.assertTrue(_holds(VALUE));
        vm.assertFalse(_holds(bytes32(uint256(1))));
    }

    // ------------------------------------------------------------ veto

    function test_owner_vetoes() public {
        _assertVetoed(OWNER);
    }

    function test_guardian_vetoes() public {
        _assertVetoed(GUARDIAN);
    }

    function testFuzz_stranger_does_not_veto(address caller) public {
        vm.assume(caller != OWNER && caller != GUARDIAN);
        _widenAsOwner(VALUE);
        vm.prank(caller);
        _expectNeither(caller);
        governed.veto(_changeId(_label(), VALUE));
        _pass(DELAY);
        vm.assertTrue(_holds(VALUE));
    }

    function test_what_is_in_effect_is_not_vetoed() public {
        _widenAsOwner(VALUE);
        bytes32 id = _changeId(_label(), VALUE);
        _pass(DELAY);
        vm.prank(GUARDIAN);
        _expectNotPending(id);
        governed.veto(id);
        vm.assertTrue(_holds(VALUE));
    }

    function test_what_does_not_wait_is_not_vetoed() public {
        vm.prank(OWNER);
        _expectNotPending("no such change");
        governed.veto("no such change");
        _widenAsOwner(VALUE);
        vm.startPrank(GUARDIAN);
        governed.veto(_changeId(_label(), VALUE));
        _expectNotPending(_changeId(_label(), VALUE));
        governed.veto(_changeId(_label(), VALUE));
    }

    function test_what_was_vetoed_waits_anew() public {
        _widenAsOwner(VALUE);
        _pass(DELAY - 1);
        vm.prank(GUARDIAN);
        governed.veto(_changeId(_label(), VALUE));
        _widenAsOwner(VALUE);
        _assertPending(governed, _label(), VALUE, VALUE, _due(), "");
    }

    // ------------------------------------------------------------ access

    function testFuzz_only_the_owner_governs(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        _assertRefused(address(governed), caller, abi.encodeCall(governed.setDelay, (2 * DELAY)));
        _assertRefused(address(governed), caller, abi.encodeCall(governed.setGuardian, (caller)));
        vm.assertEq(governed.delay(), DELAY);
        vm.assertEq(governed.guardian(), GUARDIAN);
    }

    // ------------------------------------------------------------ helpers

    function _ungoverned() internal virtual returns (IGoverned);

    function _assertVetoed(address by) private {
        _widenAsOwner(VALUE);
        vm.recordLogs();
        vm.prank(by);
        governed.veto(_changeId(_label(), VALUE));
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertDropped(logs[0], address(governed), _label(), VALUE, VALUE, by);
        _assertCount(governed, 0);
        _pass(DELAY);
        vm.assertFalse(_holds(VALUE));
    }

    function _widenAsOwner(bytes32 value) private {
        vm.prank(OWNER);
        _widen(value);
    }

    function _expectNeither(address caller) private {
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NeitherOwnerNorGuardian.selector, caller));
    }
}

contract GovernedKmsTest is GovernedTest {
    function setUp() public override {
        super.setUp();
        governed = kms;
    }

    function _widen(bytes32 value) internal override {
        kms.addOsImageHash(value);
    }

    function _narrow(bytes32 value) internal override {
        kms.removeOsImageHash(value);
    }

    function _holds(bytes32 value) internal view override returns (bool) {
        return kms.allowedOsImages(value);
    }

    function _label() internal pure override returns (string memory) {
        return "os-image";
    }

    function _ungoverned() internal override returns (IGoverned) {
        return _newKms(OWNER, address(0));
    }
}

contract GovernedAppTest is GovernedTest {
    function setUp() public override {
        super.setUp();
        governed = app;
    }

    function _widen(bytes32 value) internal override {
        app.addDevice(value);
    }

    function _narrow(bytes32 value) internal override {
        app.removeDevice(value);
    }

    function _holds(bytes32 value) internal view override returns (bool) {
        return app.allowedDeviceIds(value);
    }

    function _label() internal pure override returns (string memory) {
        return "device";
    }

    function _ungoverned() internal override returns (IGoverned) {
        return _newApp(OWNER, false);
    }
}
