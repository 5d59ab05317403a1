// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {PendingReport} from "./PendingReport.sol";
import {vm} from "./Vm.sol";

/// @dev What is to say about a contract as a whole, for the scripts that say it.
abstract contract AppReport is PendingReport {
    string internal constant DSTACK = "a dstack contract: no delay, no guardian";

    function _report(IManagedAppAuth app) internal view {
        _say("App:", address(app));
        _say("Implementation:", _implementationOf(address(app)));
        _say("Owner:", app.owner());
        _say("Pending owner:", app.pendingOwner());
        _say("Any device allowed:", app.allowAnyDevice());
        // Contracts of version 1 have neither.
        try app.version() returns (uint256 version) {
            _say(string.concat("Version: ", vm.toString(version)));
            _say("TCB must be up to date:", app.requireTcbUpToDate());
        } catch {
            _say("Version: 1");
        }
        // dstack's contract has no getter: byte 0 of slot 1.
        _say("Upgrades disabled:", uint8(uint256(vm.load(address(app), bytes32(uint256(1))))) != 0);
        if (!_reportGovernance(address(app))) return;
        _say("Paused:", app.paused());
        _say("Versions:", uint256(app.versionCount()));
        _say("Smallest version that may run:", uint256(app.minVersion()));
        _say("Versions frozen:", app.versionsFrozen());
    }

    /// @return isGoverned False for dstack's contracts, which have nothing to report.
    function _reportGovernance(address target) internal view returns (bool isGoverned) {
        if (!_saidGoverned(target)) return false;
        _say("Delay in seconds:", uint256(IManagedAppAuth(target).delay()));
        _say("Guardian:", IManagedAppAuth(target).guardian());
        _say("Pending changes:", IManagedAppAuth(target).pendingChanges().length);
        return true;
    }

    /// @dev Says so when it is not.
    function _saidGoverned(address target) internal view returns (bool isGoverned) {
        isGoverned = _isGoverned(target);
        if (!isGoverned) _say(string.concat(vm.toString(target), " is ", DSTACK));
    }
}
