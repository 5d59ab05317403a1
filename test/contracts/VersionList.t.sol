// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppReading} from "../../contracts/interfaces/IAppReading.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {vm} from "./support/TestVm.sol";

/// @notice What anyone can read of an app's versions, page by page, now and of later; who may change them.
contract VersionListTest is GovernanceTest {
    bytes32 private constant A = keccak256("a");
    bytes32 private constant B = keccak256("b");
    bytes32 private constant C = keccak256("c");

    // ------------------------------------------------------------ removing

    function test_removed_version_returns_as_a_new_one() public {
        vm.startPrank(OWNER);
        app.addVersion(A, 0, 0, "first");
        _pass(DELAY);
        app.removeComposeHash(A);
        vm.assertFalse(app.allowedComposeHashes(A));
        vm.assertEq(app.versionOf(A, 0).state, "removed");
        app.addComposeHash(A);
        vm.assertEq(app.versionCount(), 2);
        _pass(DELAY);
        vm.assertTrue(app.allowedComposeHashes(A));

        IAppReading.VersionInfo[] memory page = app.versions(1, 10, 0);
        vm.assertEq(page.length, 2);
        _assertEntry(page[0], 1, A, "removed");
        _assertEntry(page[1], 2, A, "active");
    }

    function test_removing_drops_what_waits() public {
        vm.startPrank(OWNER);
        app.addComposeHash(A);
        app.removeComposeHash(A);
        _assertCount(app, 0);
        _pass(DELAY);
        vm.assertFalse(app.allowedComposeHashes(A));
        vm.assertEq(app.versionOf(A, 0).state, "removed");
    }

    function test_removing_what_is_not_there() public {
        vm.prank(OWNER);
        app.removeComposeHash(A);
        vm.assertEq(app.versionOf(A, 0).state, "unknown");
    }

    // ------------------------------------------------------------ versionOf

    function test_unknown_version() public view {
        IAppReading.VersionInfo memory version = app.versionOf(A, 0);
        _assertEntry(version, 0, A, "unknown");
        vm.assertEq(version.activatesAt, 0);
        vm.assertEq(version.expiresAt, 0);
        vm.assertEq(version.noteUri, "");
    }

    function test_version_at_later_times() public {
        uint64 begin = _due();
        vm.prank(OWNER);
        app.addVersion(A, 0, begin + 10, "");
        // The past is not kept: it stands for now.
        vm.assertEq(app.versionOf(A, 1).state, "pending");
        vm.assertEq(app.versionOf(A, START).state, "pending");
        vm.assertEq(app.versionOf(A, begin - 1).state, "pending");
        vm.assertEq(app.versionOf(A, begin).state, "active");
        vm.assertTrue(app.versionOf(A, begin).allowed);
        vm.assertEq(app.versionOf(A, begin + 9).state, "active");
        vm.assertEq(app.versionOf(A, begin + 10).state, "expired");
        vm.assertEq(app.versionOf(A, type(uint64).max).state, "expired");
        vm.warp(begin + 5);
        vm.assertEq(app.versionOf(A, begin - 1).state, "active");
    }

    function test_superseded_version_at_later_times() public {
        vm.startPrank(OWNER);
        app.addVersion(A, 0, 0, "");
        _pass(DELAY);
        app.supersede(A, B, 0, "");
        vm.assertEq(app.versionOf(A, _due() - 1).state, "active");
        vm.assertEq(app.versionOf(A, _due()).state, "retired");
        vm.assertEq(app.versionOf(B, _due() - 1).state, "pending");
        vm.assertEq(app.versionOf(B, _due()).state, "active");
    }

    // ------------------------------------------------------------ versions

    function test_versions_page_by_page() public {
        vm.startPrank(OWNER);
        app.addComposeHash(A);
        _pass(DELAY);
        app.addComposeHash(B);
        app.addComposeHash(C);
        vm.stopPrank();

        vm.assertEq(app.versions(1, 0, 0).length, 0);
        vm.assertEq(app.versions(4, 10, 0).length, 0);
        vm.assertEq(app.versions(type(uint32).max, type(uint32).max, 0).length, 0);
        IAppReading.VersionInfo[] memory page = app.versions(0, type(uint32).max, 0);
        vm.assertEq(page.length, 3);
        _assertEntry(page[0], 1, A, "active");
        _assertEntry(page[1], 2, B, "pending");
        _assertEntry(page[2], 3, C, "pending");
        page = app.versions(2, 1, _due());
        vm.assertEq(page.length, 1);
        _assertEntry(page[0], 2, B, "active");
        page = app.versions(3, 1, 0);
        vm.assertEq(page.length, 1);
        _assertEntry(page[0], 3, C, "pending");
    }

    function test_no_versions() public view {
        vm.assertEq(app.versions(0, 10, 0).length, 0);
        vm.assertEq(app.versionCount(), 0);
        vm.assertEq(app.minVersion(), 0);
        vm.assertFalse(app.versionsFrozen());
    }

    function testFuzz_pages_are_the_list(uint8 count, uint32 from, uint32 size) public {
        count %= 8;
        vm.startPrank(OWNER);
        for (uint256 i = 1; i <= count; i++) {
            app.addComposeHash(bytes32(i));
        }
        from %= 12;
        size %= 12;
        IAppReading.VersionInfo[] memory page = app.versions(from, size, 0);
        uint256 first = from == 0 ? 1 : from;
        uint256 wanted = first > count ? 0 : count - first + 1;
        vm.assertEq(page.length, wanted < size ? wanted : size);
        for (uint256 i = 0; i < page.length; i++) {
            _assertEntry(page[i], uint32(first + i), bytes32(first + i), "pending");
        }
    }

    // ------------------------------------------------------------ access

    function testFuzz_only_the_owner_changes_versions(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        vm.startPrank(OWNER);
        app.addComposeHash(A);
        _pass(DELAY);
        vm.stopPrank();
        bytes[] memory calls = new bytes[](8);
        calls[0] = abi.encodeCall(app.addVersion, (B, 0, 0, ""));
        calls[1] = abi.encodeCall(app.addComposeHash, (B));
        calls[2] = abi.encodeCall(app.supersede, (A, B, 0, ""));
        calls[3] = abi.encodeCall(app.retire, (A));
        calls[4] = abi.encodeCall(app.removeComposeHash, (A));
        calls[5] = abi.encodeCall(app.setVersionExpiry, (A, 1));
        calls[6] = abi.encodeCall(app.setMinVersion, (1));
        calls[7] = abi.encodeCall(app.freezeVersions, ());
        for (uint256 i = 0; i < calls.length; i++) {
            _assertRefused(address(app), caller, calls[i]);
        }
        vm.assertTrue(app.allowedComposeHashes(A));
    }

    function _assertEntry(
        IAppReading.VersionInfo memory version,
        uint32 number,
        bytes32 composeHash,
        string memory state
    ) private pure {
        vm.assertEq(version.number, number);
        vm.assertEq(version.composeHash, composeHash);
        vm.assertEq(version.state, state);
        vm.assertEq(version.allowed, keccak256(bytes(state)) == keccak256("active"));
    }
}
