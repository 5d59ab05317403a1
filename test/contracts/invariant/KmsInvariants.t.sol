// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {AppAuth} from "../../../contracts/AppAuth.sol";
import {KmsAuth} from "../../../contracts/KmsAuth.sol";
import {GovernedHandler} from "./support/GovernedHandler.sol";
import {InvariantTest} from "./support/InvariantTest.sol";
import {KmsHandler} from "./support/KmsHandler.sol";
import {timeVm} from "./support/TimeVm.sol";

/// @dev Something to upgrade to.
contract NextKmsAuth is KmsAuth {}

/// @notice What holds for a KMS contract, whoever calls what in which order, whenever.
/// @dev Each has a depth of its own: the seed is fixed, and with one depth all would see the same calls.
contract KmsInvariantsTest is InvariantTest {
    function setUp() public {
        timeVm.warp(1_800_000_000);
        address appImplementation = address(new AppAuth());
        bytes memory call = abi.encodeWithSignature(
            "initialize(address,address,uint32,address)",
            address(0xA11CE),
            appImplementation,
            uint32(1 days),
            address(0x6A4D)
        );
        address kms = address(new ERC1967Proxy(address(new KmsAuth()), call));
        KmsHandler handler = new KmsHandler(
            kms, address(new NextKmsAuth()), 1 days, appImplementation, address(new AppAuth())
        );
        governed = handler;
        _actOnGovernance();
        for (uint256 i = 0; i < 2; i++) {
            _act(handler.addOsImageHash.selector);
            _act(handler.registerApp.selector);
            _act(handler.deregisterApp.selector);
            _act(handler.unpauseApp.selector);
            _act(handler.setGatewayAppId.selector);
        }
        _act(handler.removeOsImageHash.selector);
        _act(handler.addKmsAggregatedMr.selector);
        _act(handler.removeKmsAggregatedMr.selector);
        _act(handler.addKmsDevice.selector);
        _act(handler.removeKmsDevice.selector);
        _act(handler.pauseApp.selector);
        _act(handler.createApp.selector);
        _act(handler.deployAndRegisterApp.selector);
        _act(handler.setAppImplementation.selector);
        _act(handler.setKmsInfo.selector);
        _act(handler.setKmsEvidence.selector);
        _act(handler.setKmsNode.selector);
        _act(handler.removeKmsNode.selector);
    }

    /// forge-config: default.invariant.depth = 41
    /// @notice What was not allowed becomes allowed only at a moment that a call of the owner had announced, its
    /// delay before.
    function invariant_access_widens_only_when_announced() public view {
        _assertHolds(GovernedHandler.Rule.Announced);
    }

    /// forge-config: default.invariant.depth = 43
    /// @notice No call makes anything allowed sooner than the delay in force at the call.
    function invariant_no_call_widens_before_the_delay() public view {
        _assertHolds(GovernedHandler.Rule.Delayed);
    }

    /// forge-config: default.invariant.depth = 47
    /// @notice Guardian, stranger and new owner make nothing allowed that was not going to be.
    function invariant_others_widen_nothing() public view {
        _assertHolds(GovernedHandler.Rule.OthersWidenNothing);
    }

    /// forge-config: default.invariant.depth = 53
    function invariant_narrowing_holds_at_once() public view {
        _assertHolds(GovernedHandler.Rule.NarrowsAtOnce);
    }

    /// forge-config: default.invariant.depth = 59
    function invariant_settling_changes_no_answer() public view {
        _assertHolds(GovernedHandler.Rule.SettlingChangesNothing);
    }

    /// forge-config: default.invariant.depth = 61
    /// @notice What is answered about the future comes true if nobody decides anything.
    function invariant_answers_about_the_future_come_true() public view {
        _assertHolds(GovernedHandler.Rule.Predicted);
    }

    /// forge-config: default.invariant.depth = 67
    /// @notice What was retired or frozen stays so.
    function invariant_final_is_final() public view {
        _assertHolds(GovernedHandler.Rule.Final);
    }

    /// forge-config: default.invariant.depth = 71
    /// @notice Nothing matured is listed, nothing twice, and not too much.
    function invariant_pending_changes_are_in_order() public view {
        _assertOrder();
    }

    /// forge-config: default.invariant.depth = 73
    /// @notice Delay, guardian, owner and implementation are what the calls that succeeded made them, each after
    /// the delay of its time.
    function invariant_governance_itself_waits() public view {
        _assertGovernance();
    }

    /// forge-config: default.invariant.depth = 79
    /// @notice What identifies the KMS, its gateway and its factory is replaced only after the delay.
    function invariant_identity_is_replaced_only_after_the_delay() public view {
        _assertHolds(GovernedHandler.Rule.Strict);
    }
}
