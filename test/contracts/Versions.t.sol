// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {IAppAuthBasicManagement} from "../../contracts/interfaces/IAppAuthBasicManagement.sol";
import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {Facts} from "../../contracts/interfaces/IAppPolicy.sol";
import {IAppReading} from "../../contracts/interfaces/IAppReading.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {TestVm, vm} from "./support/TestVm.sol";

/// @notice Versions of an app: when they begin, how they end, and what is said of them.
contract VersionsTest is GovernanceTest {
    bytes32 private constant A = keccak256("a");
    bytes32 private constant B = keccak256("b");
    bytes32 private constant C = keccak256("c");
    string private constant NOTE = "https://notes.example/1";

    function setUp() public override {
        super.setUp();
        vm.prank(OWNER);
        app.addDevice(_bootInfo().deviceId);
        _pass(DELAY);
        app.settle();
        vm.startPrank(OWNER);
    }

    // ------------------------------------------------------------ adding

    function test_version_waits() public {
        vm.recordLogs();
        app.addVersion(A, 0, 0, NOTE);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertScheduled(logs[0], address(app), "compose-hash", A, A, _due(), abi.encode(bytes32(0)));
        _assertVersionAdded(logs[1], 1, A, _due(), 0, NOTE);
        _assertVersion(A, 1, _due(), 0, "pending", NOTE);
        _assertReason(A, string.concat("Version 1 is pending until ", vm.toString(_due())));
        vm.assertEq(app.versionCount(), 1);

        _pass(DELAY - 1);
        vm.assertFalse(app.allowedComposeHashes(A));
        _pass(1);
        for (uint256 round = 0; round < 2; round++) {
            _assertReason(A, "");
            _assertVersion(A, 1, uint64(block.timestamp), 0, "active", NOTE);
            app.settle();
        }
        vm.recordLogs();
        app.settle();
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_settling_logs_what_dstacks_tools_look_for() public {
        app.addComposeHash(A);
        _pass(DELAY);
        vm.recordLogs();
        app.settle();
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertNamed(logs[0], address(app), IAppAuthBasicManagement.ComposeHashAdded.selector, abi.encode(A));
        _assertPolicy(logs[1], address(app), OWNER, "compose-hash", A, true);
        _assertApplied(logs[2], address(app), "compose-hash", A, A);
    }

    function test_version_begins_no_earlier_than_the_delay() public {
        app.addVersion(A, uint64(block.timestamp) + 1, 0, "");
        _assertVersion(A, 1, _due(), 0, "pending", "");
    }

    function test_version_begins_later_if_wanted() public {
        uint64 notBefore = _due() + 1;
        app.addVersion(A, notBefore, 0, "");
        _assertPending(app, "compose-hash", A, A, notBefore, abi.encode(bytes32(0)));
        _pass(DELAY);
        _assertReason(A, string.concat("Version 1 is pending until ", vm.toString(notBefore)));
        _pass(1);
        _assertReason(A, "");
    }

    function test_version_begins_later_without_delay_too() public {
        app.setDelay(0);
        _pass(DELAY);
        app.addVersion(A, uint64(block.timestamp) + 1, 0, "");
        vm.assertFalse(app.allowedComposeHashes(A));
        app.addVersion(B, uint64(block.timestamp), 0, "");
        vm.assertTrue(app.allowedComposeHashes(B));
        _pass(1);
        vm.assertTrue(app.allowedComposeHashes(A));
    }

    function test_version_exists_once() public {
        app.addVersion(A, 0, 0, "");
        _expectExists(1, A);
        app.addVersion(A, 0, 0, "");
        _pass(DELAY);
        _expectExists(1, A);
        app.addVersion(A, 0, 0, "");
        vm.assertEq(app.versionCount(), 1);
    }

    /// @dev dstack's call never minds.
    function test_compose_hash_is_added_again_and_again() public {
        app.addComposeHash(A);
        uint64 due = _due();
        _pass(1);
        app.addComposeHash(A);
        _assertPending(app, "compose-hash", A, A, due, abi.encode(bytes32(0)));
        _pass(DELAY);
        app.addComposeHash(A);
        vm.assertEq(app.versionCount(), 1);
        // But it does not make a version last longer.
        app.setVersionExpiry(A, uint64(block.timestamp) + 1);
        _expectExists(1, A);
        app.addComposeHash(A);
    }

    function test_vetoed_version_never_begins() public {
        app.addVersion(A, 0, 0, NOTE);
        vm.startPrank(GUARDIAN);
        app.veto(_changeId("compose-hash", A));
        _pass(DELAY);
        _assertReason(A, "Compose hash not allowed");
        vm.startPrank(OWNER);
        app.addVersion(A, 0, 0, "");
        // The note is replaced with the version.
        _assertVersion(A, 2, _due(), 0, "pending", "");
    }

    // ------------------------------------------------------------ expiry

    function test_version_ends() public {
        uint64 end = _due() + 10;
        app.addVersion(A, 0, end, "");
        _pass(DELAY + 9);
        _assertReason(A, "");
        _assertVersion(A, 1, end - 10, end, "active", "");
        _pass(1);
        for (uint256 round = 0; round < 2; round++) {
            _assertReason(A, string.concat("Version 1 ended at ", vm.toString(end)));
            _assertVersion(A, 1, end - 10, end, "expired", "");
            app.settle();
        }
        // As a new version it may come back.
        app.addVersion(A, 0, 0, "");
        _assertVersion(A, 2, _due(), 0, "pending", "");
        _pass(DELAY);
        _assertReason(A, "");
    }

    function test_version_does_not_end_before_it_begins() public {
        _expectBadExpiry(_due());
        app.addVersion(A, 0, _due(), "");
        _expectBadExpiry(_due() + 1);
        app.addVersion(A, _due() + 1, _due() + 1, "");
        _expectBadExpiry(1);
        app.addVersion(A, 0, 1, "");
        app.addVersion(A, 0, _due() + 1, "");
    }

    function test_end_is_moved_to_an_earlier_time_only() public {
        app.addVersion(A, 0, 0, "");
        _expectBadExpiry(0);
        app.setVersionExpiry(A, 0);
        uint64 end = _due() + 10;
        vm.recordLogs();
        app.setVersionExpiry(A, end);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertPolicy(logs[1], address(app), OWNER, "version-expiry", A, true);
        vm.assertEq(logs[0].topics[0], IAppManagement.VersionExpirySet.selector);
        vm.assertEq(logs[0].topics[1], bytes32(uint256(1)));
        vm.assertEq(logs[0].topics[2], A);
        vm.assertEq(logs[0].data, abi.encode(end));
        _expectBadExpiry(end + 1);
        app.setVersionExpiry(A, end + 1);
        _expectBadExpiry(0);
        app.setVersionExpiry(A, 0);
        app.setVersionExpiry(A, end);
        app.setVersionExpiry(A, end - 1);
        // Not before it begins: then it is to be retired.
        _expectBadExpiry(_due());
        app.setVersionExpiry(A, _due());
        _pass(DELAY + 9);
        _assertReason(A, string.concat("Version 1 ended at ", vm.toString(end - 1)));
    }

    function test_end_of_what_does_not_exist() public {
        _expectUnknown(A);
        app.setVersionExpiry(A, 1);
    }

    function testFuzz_end(uint64 first, uint64 second) public {
        vm.assume(first > _due());
        app.addVersion(A, 0, first, "");
        bool isEarlier = second != 0 && second <= first && second > _due();
        if (!isEarlier) _expectBadExpiry(second);
        app.setVersionExpiry(A, second);
        vm.assertEq(app.versionOf(A, 0).expiresAt, isEarlier ? second : first);
    }

    // ------------------------------------------------------------ superseding

    function test_successor_takes_over_in_one_moment() public {
        _addActive(A);
        vm.recordLogs();
        app.supersede(A, B, 0, NOTE);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertScheduled(logs[0], address(app), "compose-hash", B, B, _due(), abi.encode(A));
        _assertVersionAdded(logs[1], 2, B, _due(), 0, NOTE);
        uint64 due = _due();
        _pass(DELAY - 1);
        _assertReason(A, "");
        _assertReason(B, string.concat("Version 2 is pending until ", vm.toString(due)));
        _assertReasonAt(A, due, "Version 1 is retired");
        _assertReasonAt(B, due, "");
        _pass(1);
        for (uint256 round = 0; round < 2; round++) {
            _assertReason(A, "Version 1 is retired");
            _assertReason(B, "");
            vm.recordLogs();
            app.settle();
            // ComposeHashAdded, VersionRetired, a PolicyChanged after each, ChangeApplied.
            vm.assertEq(vm.getRecordedLogs().length, round == 0 ? 5 : 0);
        }
        _expectRetired(1, A);
        app.addVersion(A, 0, 0, "");
    }

    function test_vetoed_successor_leaves_everything_as_it_is() public {
        _addActive(A);
        app.supersede(A, B, 0, "");
        vm.startPrank(GUARDIAN);
        app.veto(_changeId("compose-hash", B));
        vm.startPrank(OWNER);
        _pass(DELAY);
        _assertReason(A, "");
        _assertReason(B, "Compose hash not allowed");
        // Another one may try, the same one too.
        app.supersede(A, B, 0, "");
        app.veto(_changeId("compose-hash", B));
        app.supersede(A, C, 0, "");
        _pass(DELAY);
        _assertReason(A, "Version 1 is retired");
        _assertReason(C, "");
        _assertReason(B, "Compose hash not allowed");
    }

    function test_retired_version_is_not_superseded() public {
        _addActive(A);
        app.retire(A);
        _expectRetired(1, A);
        app.supersede(A, B, 0, "");
    }

    /// @dev The vetoed successor may still be added for itself, and then retires nothing.
    function test_vetoed_successor_added_alone_retires_nothing() public {
        _addActive(A);
        app.supersede(A, B, 0, "");
        app.veto(_changeId("compose-hash", B));
        app.addVersion(B, 0, 0, "");
        _pass(DELAY);
        _assertReason(A, "");
        _assertReason(B, "");
        app.settle();
        _assertReason(A, "");
    }

    function test_version_has_one_successor_at_a_time() public {
        _addActive(A);
        app.supersede(A, B, 0, "");
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.AlreadySuperseded.selector, 2));
        app.supersede(A, C, 0, "");
        _pass(DELAY);
        app.supersede(B, C, 0, "");
        _pass(DELAY);
        _assertReason(B, "Version 2 is retired");
        _assertReason(C, "");
    }

    function test_superseding_without_delay() public {
        app.setDelay(0);
        _pass(DELAY);
        app.addVersion(A, 0, 0, "");
        app.supersede(A, B, uint64(block.timestamp) + 1, "");
        _assertReason(A, "Version 1 is retired");
        _assertVersion(B, 2, uint64(block.timestamp), uint64(block.timestamp) + 1, "active", "");
        _assertReason(B, "");
    }

    function test_superseding_is_refused() public {
        _expectUnknown(A);
        app.supersede(A, B, 0, "");
        app.addVersion(A, 0, 0, "");
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.SupersedesItself.selector, A));
        app.supersede(A, A, 0, "");
        // It must run already: else nothing would run in between.
        _expectUnknown(A);
        app.supersede(A, B, 0, "");
        _pass(DELAY);
        _addActive(B);
        _expectExists(2, B);
        app.supersede(A, B, 0, "");
        _expectBadExpiry(_due());
        app.supersede(A, C, _due(), "");
        app.retire(B);
        _expectRetired(2, B);
        app.supersede(A, B, 0, "");
        app.removeComposeHash(A);
        _expectUnknown(A);
        app.supersede(A, C, 0, "");
    }

    // ------------------------------------------------------------ retiring

    function test_retired_version_never_returns() public {
        _addActive(A);
        vm.recordLogs();
        app.retire(A);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertEq(logs[0].topics[0], IAppManagement.VersionRetired.selector);
        vm.assertEq(logs[0].topics[1], bytes32(uint256(1)));
        vm.assertEq(logs[0].topics[2], A);
        _assertPolicy(logs[1], address(app), OWNER, "retired", A, true);
        _assertReason(A, "Version 1 is retired");
        vm.assertEq(app.versionOf(A, 0).state, "retired");
        _expectRetired(1, A);
        app.addComposeHash(A);
        _expectRetired(1, A);
        app.addVersion(A, 0, 0, "");
        app.removeComposeHash(A);
        _expectRetired(1, A);
        app.addComposeHash(A);
    }

    function test_pending_version_is_retired() public {
        app.addVersion(A, 0, 0, "");
        app.retire(A);
        _assertCount(app, 0);
        _pass(DELAY);
        _assertReason(A, "Version 1 is retired");
    }

    function test_retiring_what_does_not_exist() public {
        _expectUnknown(A);
        app.retire(A);
    }

    function test_version_from_before_numbering() public {
        // As dstack's contract left it behind.
        vm.store(address(app), keccak256(abi.encode(A, uint256(0))), bytes32(uint256(1)));
        _assertReason(A, "");
        _assertVersion(A, 0, 0, 0, "active", "");
        app.addComposeHash(A);
        vm.assertEq(app.versionCount(), 0);
        app.setVersionExpiry(A, uint64(block.timestamp));
        _assertReason(
            A, string.concat("Version from before numbering ended at ", vm.toString(block.timestamp))
        );
        app.retire(A);
        _assertReason(A, "Version from before numbering is retired");
    }

    // ------------------------------------------------------------ minimum

    function test_minimum_version_retires_those_before() public {
        _addActive(A);
        _addActive(B);
        vm.recordLogs();
        app.setMinVersion(2);
        _assertChange(
            address(app),
            OWNER,
            IAppManagement.MinVersionSet.selector,
            abi.encode(2),
            "min-version",
            bytes32(uint256(2)),
            true
        );
        vm.assertEq(app.minVersion(), 2);
        _assertReason(A, "Version 1 is retired");
        _assertReason(B, "");
        _expectRetired(1, A);
        app.addComposeHash(A);
    }

    function test_minimum_version_only_rises() public {
        _addActive(A);
        _expectBadMinimum(3, 0, 1);
        app.setMinVersion(3);
        app.setMinVersion(0);
        app.setMinVersion(2);
        app.setMinVersion(2);
        _expectBadMinimum(1, 2, 1);
        app.setMinVersion(1);
        _assertReason(A, "Version 1 is retired");
        _addActive(B);
        _assertReason(B, "");
    }

    function test_minimum_version_retires_what_waits() public {
        app.addVersion(A, 0, 0, "");
        app.addVersion(B, 0, 0, "");
        app.addDevice("device");
        _assertCount(app, 3);
        app.setMinVersion(2);
        // Others wait on.
        _assertCount(app, 2);
        _assertNotPending(app, "compose-hash", A);
        _assertReason(A, "Version 1 is retired");
        _pass(DELAY);
        _assertReason(B, "");
        _assertReason(A, "Version 1 is retired");
        app.settle();
        _assertReason(A, "Version 1 is retired");
    }

    // ------------------------------------------------------------ freezing

    function test_frozen_list_takes_no_version() public {
        _addActive(A);
        app.addVersion(B, 0, 0, "");
        vm.recordLogs();
        app.freezeVersions();
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertDropped(logs[0], address(app), "compose-hash", B, B, OWNER);
        vm.assertEq(logs[1].topics[0], IAppManagement.VersionsFrozen.selector);
        _assertPolicy(logs[2], address(app), OWNER, "versions-frozen", 0, true);
        vm.assertTrue(app.versionsFrozen());
        _pass(DELAY);
        _assertReason(B, "Compose hash not allowed");
        vm.expectRevert(IAppManagement.VersionListIsFrozen.selector);
        app.addVersion(C, 0, 0, "");
        vm.expectRevert(IAppManagement.VersionListIsFrozen.selector);
        app.addComposeHash(B);
        vm.expectRevert(IAppManagement.VersionListIsFrozen.selector);
        app.supersede(A, B, 0, "");
        // What is there stays and can end.
        app.addComposeHash(A);
        _assertReason(A, "");
        app.removeComposeHash(A);
        vm.expectRevert(IAppManagement.VersionListIsFrozen.selector);
        app.addComposeHash(A);
    }

    /// @dev Freezing drops versions, nothing else.
    function test_freezing_leaves_other_changes() public {
        app.addDevice("device");
        app.addVersion(A, 0, 0, "");
        app.addVersion(B, 0, 0, "");
        app.freezeVersions();
        _assertCount(app, 1);
        _assertPending(app, "device", "device", "device", _due(), "");
    }

    // ------------------------------------------------------------ helpers

    function _addActive(bytes32 composeHash) private {
        app.addVersion(composeHash, 0, 0, "");
        _pass(DELAY);
        app.settle();
    }

    function _assertVersion(
        bytes32 composeHash,
        uint32 number,
        uint64 activatesAt,
        uint64 expiresAt,
        string memory state,
        string memory noteUri
    ) private view {
        IAppReading.VersionInfo memory version = app.versionOf(composeHash, 0);
        vm.assertEq(version.number, number);
        vm.assertEq(version.composeHash, composeHash);
        vm.assertEq(version.activatesAt, activatesAt);
        vm.assertEq(version.expiresAt, expiresAt);
        vm.assertEq(version.state, state);
        vm.assertEq(version.noteUri, noteUri);
        vm.assertEq(version.allowed, keccak256(bytes(state)) == keccak256("active"));
    }

    function _assertReason(bytes32 composeHash, string memory expected) private view {
        IAppAuth.AppBootInfo memory boot = _bootInfo();
        boot.composeHash = composeHash;
        _assertOwnApp(boot, expected);
        vm.assertEq(app.allowedComposeHashes(composeHash), bytes(expected).length == 0);
        _assertReasonAt(composeHash, 0, expected);
    }

    function _assertReasonAt(bytes32 composeHash, uint64 time, string memory expected) private view {
        IAppAuth.AppBootInfo memory boot = _bootInfo();
        boot.composeHash = composeHash;
        (bool isAllowed, string memory reason) = app.decide(boot, Facts(0, 0, 0, false), time);
        _assertVerdict(isAllowed, reason, expected);
    }

    function _assertVersionAdded(
        TestVm.Log memory log,
        uint256 number,
        bytes32 composeHash,
        uint64 activatesAt,
        uint64 expiresAt,
        string memory noteUri
    ) private view {
        vm.assertEq(log.emitter, address(app));
        vm.assertEq(log.topics.length, 3);
        vm.assertEq(log.topics[0], IAppManagement.VersionAdded.selector);
        vm.assertEq(log.topics[1], bytes32(number));
        vm.assertEq(log.topics[2], composeHash);
        vm.assertEq(log.data, abi.encode(activatesAt, expiresAt, noteUri));
    }

    function _expectUnknown(bytes32 composeHash) private {
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.UnknownVersion.selector, composeHash));
    }

    function _expectExists(uint32 number, bytes32 composeHash) private {
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.VersionExists.selector, number, composeHash));
    }

    function _expectRetired(uint32 number, bytes32 composeHash) private {
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.VersionIsRetired.selector, number, composeHash));
    }

    function _expectBadExpiry(uint64 expiresAt) private {
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.BadExpiry.selector, expiresAt));
    }

    function _expectBadMinimum(uint32 number, uint32 present, uint32 latest) private {
        vm.expectRevert(
            abi.encodeWithSelector(IAppManagement.BadMinVersion.selector, number, present, latest)
        );
    }
}
