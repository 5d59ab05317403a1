// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {AppAuth} from "../../../contracts/AppAuth.sol";
import {IAppManagement} from "../../../contracts/interfaces/IAppManagement.sol";
import {AppPolicy, TcbStatuses, TeeVariants} from "../../../contracts/governance/AppPolicies.sol";
import {vm} from "../support/TestVm.sol";
import {AppHandler} from "./support/AppHandler.sol";
import {GovernedHandler} from "./support/GovernedHandler.sol";
import {InvariantTest} from "./support/InvariantTest.sol";
import {timeVm} from "./support/TimeVm.sol";

/// @dev Something to upgrade to.
contract NextAppAuth is AppAuth {}

/// @notice What holds for an app's contract, whoever calls what in which order, whenever.
/// @dev Each has a depth of its own: the seed is fixed, and with one depth all would see the same calls.
contract AppInvariantsTest is InvariantTest {
    function setUp() public {
        timeVm.warp(1_800_000_000);
        IAppManagement.AppConfig memory config;
        config.owner = address(0xA11CE);
        config.guardian = address(0x6A4D);
        config.delay = 1 days;
        config.policy = AppPolicy(false, TeeVariants.ALL, TcbStatuses.ALL, 0, true, 0, false);
        config.devices = new bytes32[](1);
        config.devices[0] = bytes32(uint256(0x21));
        config.composeHash = bytes32(uint256(0x11));
        bytes memory call = abi.encodeWithSelector(_initialize(), config);
        address app = address(new ERC1967Proxy(address(new AppAuth()), call));
        // As dstack's contract left it behind: listed, and nothing else.
        vm.store(app, keccak256(abi.encode(uint256(0x14), uint256(0))), bytes32(uint256(1)));

        AppHandler handler = new AppHandler(app, address(new NextAppAuth()), config.delay);
        governed = handler;
        _actOnGovernance();
        for (uint256 i = 0; i < 2; i++) {
            _act(handler.addComposeHash.selector);
            _act(handler.addVersion.selector);
            _act(handler.supersede.selector);
            _act(handler.addDevice.selector);
            _act(handler.setPolicy.selector);
            _act(handler.unpause.selector);
        }
        _act(handler.removeComposeHash.selector);
        _act(handler.retire.selector);
        _act(handler.setVersionExpiry.selector);
        _act(handler.setMinVersion.selector);
        _act(handler.freezeVersions.selector);
        _act(handler.removeDevice.selector);
        _act(handler.setAllowAnyDevice.selector);
        _act(handler.setRequireTcbUpToDate.selector);
        _act(handler.setAdvisoryTolerated.selector);
        _act(handler.pause.selector);
    }

    /// forge-config: default.invariant.depth = 43
    /// @notice What was not allowed becomes allowed only at a moment that a call of the owner had announced, its
    /// delay before.
    function invariant_access_widens_only_when_announced() public view {
        _assertHolds(GovernedHandler.Rule.Announced);
    }

    /// forge-config: default.invariant.depth = 47
    /// @notice No call makes anything allowed sooner than the delay in force at the call.
    function invariant_no_call_widens_before_the_delay() public view {
        _assertHolds(GovernedHandler.Rule.Delayed);
    }

    /// forge-config: default.invariant.depth = 53
    /// @notice Guardian, stranger and new owner make nothing allowed that was not going to be.
    function invariant_others_widen_nothing() public view {
        _assertHolds(GovernedHandler.Rule.OthersWidenNothing);
    }

    /// forge-config: default.invariant.depth = 59
    function invariant_narrowing_holds_at_once() public view {
        _assertHolds(GovernedHandler.Rule.NarrowsAtOnce);
    }

    /// forge-config: default.invariant.depth = 61
    function invariant_settling_changes_no_answer() public view {
        _assertHolds(GovernedHandler.Rule.SettlingChangesNothing);
    }

    /// forge-config: default.invariant.depth = 67
    /// @notice What is answered about the future comes true if nobody decides anything.
    function invariant_answers_about_the_future_come_true() public view {
        _assertHolds(GovernedHandler.Rule.Predicted);
    }

    /// forge-config: default.invariant.depth = 71
    /// @notice What was retired or frozen stays so.
    function invariant_final_is_final() public view {
        _assertHolds(GovernedHandler.Rule.Final);
    }

    /// forge-config: default.invariant.depth = 73
    /// @notice Nothing matured is listed, nothing twice, and not too much.
    function invariant_pending_changes_are_in_order() public view {
        _assertOrder();
    }

    /// forge-config: default.invariant.depth = 79
    /// @notice Delay, guardian, owner and implementation are what the calls that succeeded made them, each after
    /// the delay of its time.
    function invariant_governance_itself_waits() public view {
        _assertGovernance();
    }

    /// forge-config: default.invariant.depth = 83
    /// @notice Who is asked without facts denies whatever it would deny with them.
    function invariant_without_facts_is_stricter() public view {
        _assertHolds(GovernedHandler.Rule.Strict);
    }

    function _initialize() private pure returns (bytes4) {
        return bytes4(
            keccak256(
                "initialize((address,address,uint32,bool,(bool,uint8,uint16,uint32,bool,uint32,bool),bytes32[],bytes32,string))"
            )
        );
    }
}
