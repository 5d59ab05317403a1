// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {vm} from "../../support/TestVm.sol";
import {GovernedHandler} from "./GovernedHandler.sol";

/// @notice What holds for both contracts, whoever calls what in which order, whenever.
abstract contract InvariantTest {
    /// @dev What forge asks a test for.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    bool public constant IS_TEST = true;

    GovernedHandler internal governed;

    bytes4[] private actions;

    /// @dev Forge calls these functions of the handler and nothing else.
    function targetSelectors() public view returns (FuzzSelector[] memory selectors) {
        selectors = new FuzzSelector[](1);
        selectors[0] = FuzzSelector(address(governed), actions);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(governed);
    }

    /// @dev A run in which next to nothing succeeded would prove nothing.
    function afterInvariant() public view {
        uint256 calls = governed.calls();
        vm.assertTrue(calls < 20 || governed.successes() * 10 > calls, "hardly any call succeeded");
    }

    /// @dev Matured changes are not listed, ids are unique and there are not too many.
    function _assertOrder() internal view {
        vm.assertEq(governed.disorder(), "");
    }

    /// @dev Delay, guardian, owner and implementation are what the calls that succeeded made them, each after the
    /// delay of its time.
    function _assertGovernance() internal view {
        vm.assertEq(governed.mismatch(), "");
    }

    function _act(bytes4 selector) internal {
        actions.push(selector);
    }

    /// @dev Some occur more often.
    function _actOnGovernance() internal {
        _act(governed.setDelay.selector);
        _act(governed.setGuardian.selector);
        _act(governed.veto.selector);
        _act(governed.settle.selector);
        for (uint256 i = 0; i < 5; i++) {
            _act(governed.wait.selector);
        }
        _act(governed.transferOwnership.selector);
        _act(governed.acceptOwnership.selector);
        _act(governed.renounceOwnership.selector);
        _act(governed.upgrade.selector);
        _act(governed.disableUpgrades.selector);
    }

    function _assertHolds(GovernedHandler.Rule rule) internal view {
        vm.assertTrue(governed.broken(rule) == 0, string(governed.culprit(rule)));
    }
}
