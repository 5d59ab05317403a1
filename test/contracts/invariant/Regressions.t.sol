// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy} from "../../../contracts/governance/AppPolicies.sol";
import {IAppManagement} from "../../../contracts/interfaces/IAppManagement.sol";
import {BylawTest} from "../support/BylawTest.sol";
import {vm} from "../support/TestVm.sol";
import {timeVm} from "./support/TimeVm.sol";

/// @notice Sequences of calls that once broke what the invariants say, each as short as it can be.
contract RegressionsTest is BylawTest {
    uint32 private constant DELAY = 1 days;
    bytes32 private constant OLD = keccak256("old version");
    bytes32 private constant NEW = keccak256("new version");

    function setUp() public override {
        super.setUp();
        timeVm.warp(1_800_000_000);
    }

    /// @dev What was removed and added again while its successor waits is retired in the same moment by a view
    /// as by settling.
    function test_superseded_version_added_again_is_retired_before_settling() public {
        vm.startPrank(OWNER);
        app.addComposeHash(OLD);
        app.setDelay(DELAY);
        app.supersede(OLD, NEW, 0, "");
        app.removeComposeHash(OLD);
        app.addComposeHash(OLD);
        vm.stopPrank();
        vm.assertFalse(app.versionOf(OLD, uint64(block.timestamp + DELAY)).allowed);

        timeVm.warp(block.timestamp + DELAY);
        vm.assertFalse(app.allowedComposeHashes(OLD));
        app.settle();
        vm.assertFalse(app.allowedComposeHashes(OLD));
        vm.assertTrue(app.allowedComposeHashes(NEW));
    }

    function test_retired_hash_from_before_numbering_stays_retired() public {
        _allowAsDstack(OLD);
        vm.startPrank(OWNER);
        app.retire(OLD);
        app.removeComposeHash(OLD);
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.VersionIsRetired.selector, 0, OLD));
        app.addComposeHash(OLD);
        vm.stopPrank();
    }

    function test_hash_from_before_numbering_stays_under_the_minimum_version() public {
        _allowAsDstack(OLD);
        vm.startPrank(OWNER);
        app.setMinVersion(1);
        vm.assertFalse(app.allowedComposeHashes(OLD));
        app.removeComposeHash(OLD);
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.VersionIsRetired.selector, 0, OLD));
        app.addComposeHash(OLD);
        vm.stopPrank();
    }

    function test_superseded_hash_from_before_numbering_is_retired_although_removed() public {
        _allowAsDstack(OLD);
        vm.startPrank(OWNER);
        app.setDelay(DELAY);
        app.supersede(OLD, NEW, 0, "");
        app.removeComposeHash(OLD);
        vm.stopPrank();
        timeVm.warp(block.timestamp + DELAY);
        vm.assertEq(app.versionOf(OLD, 0).state, "retired");
        app.settle();
        vm.assertEq(app.versionOf(OLD, 0).state, "retired");
    }

    /// @dev Zero stands for "supersedes nothing" in a pending change, so nothing supersedes it.
    function test_zero_hash_is_not_superseded() public {
        vm.startPrank(OWNER);
        app.addComposeHash(0);
        vm.expectRevert(abi.encodeWithSelector(IAppManagement.UnknownVersion.selector, bytes32(0)));
        app.supersede(0, NEW, 0, "");
        vm.stopPrank();
    }

    /// @dev The address of an app is known before the app exists, and so may its end be.
    function test_deregistered_address_is_not_registered_by_the_factory() public {
        IAppManagement.AppConfig memory config;
        config.owner = STRANGER;
        address appId = kms.predictApp(STRANGER, "salt");
        vm.prank(OWNER);
        kms.deregisterApp(appId);

        vm.expectRevert();
        vm.prank(STRANGER);
        kms.createApp(config, "salt");
        vm.assertFalse(kms.registeredApps(appId));

        vm.startPrank(OWNER);
        kms.registerApp(appId);
        vm.stopPrank();
        vm.prank(STRANGER);
        vm.assertEq(kms.createApp(config, "salt"), appId);
    }

    function test_deregistered_address_is_not_registered_by_the_older_factory() public {
        address appId = vm.computeCreateAddress(address(kms), vm.getNonce(address(kms)));
        vm.prank(OWNER);
        kms.deregisterApp(appId);

        vm.expectRevert();
        vm.prank(STRANGER);
        kms.deployAndRegisterApp(STRANGER, false, false, bytes32(0), bytes32(0));
        vm.assertFalse(kms.registeredApps(appId));
    }

    /// @dev Nor by way of no gateway at all.
    function test_another_gateway_waits() public {
        vm.startPrank(OWNER);
        kms.setDelay(DELAY);
        kms.setGatewayAppId("first");
        vm.assertEq(kms.gatewayAppId(), "first");
        kms.setGatewayAppId("");
        vm.assertEq(kms.gatewayAppId(), "");
        kms.setGatewayAppId("second");
        vm.stopPrank();
        vm.assertEq(kms.gatewayAppId(), "");
        timeVm.warp(block.timestamp + DELAY);
        vm.assertEq(kms.gatewayAppId(), "second");
        kms.settle();
        vm.assertEq(kms.gatewayAppId(), "second");
    }

    /// @dev As dstack's contract left it behind: listed, and nothing else.
    function _allowAsDstack(bytes32 composeHash) private {
        vm.store(address(app), keccak256(abi.encode(composeHash, uint256(0))), bytes32(uint256(1)));
    }
}
