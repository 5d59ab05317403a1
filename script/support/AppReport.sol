// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppAuth} from "../../contracts/AppAuth.sol";
import {BylawScript} from "./BylawScript.sol";
import {vm} from "./Vm.sol";

/// @dev What is to say about an app's contract, for the scripts that say it.
abstract contract AppReport is BylawScript {
    function _report(AppAuth app) internal view {
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
        // No getter: byte 0 of slot 1.
        _say("Upgrades disabled:", uint8(uint256(vm.load(address(app), bytes32(uint256(1))))) != 0);
    }
}
