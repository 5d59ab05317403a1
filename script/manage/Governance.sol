// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IOwnedProxy} from "../../contracts/interfaces/IOwnedProxy.sol";
import {Operation} from "../support/Operation.sol";
import {vm} from "../support/Vm.sol";

// Both contracts: delay, guardian, pending changes, ownership. Run them as script/Manage.s.sol:NAME.

/// @notice How long widenings wait. Longer holds at once, shorter after the present delay.
/// @dev Env: DELAY, in seconds.
abstract contract SetDelay is Operation {
    function run() external {
        address target = _either();
        uint32 delay = _uint32("DELAY");
        bytes memory call = abi.encodeCall(IGoverned.setDelay, (delay));
        _asOwner(target, call, _text("Delay in seconds:", uint256(delay)));
    }
}

/// @notice Who may veto and pause besides the owner. The first one holds at once, another after the delay.
/// @dev Env: GUARDIAN; 0 for nobody.
abstract contract SetGuardian is Operation {
    function run() external {
        address target = _either();
        address guardian = vm.envAddress("GUARDIAN");
        _asOwner(target, abi.encodeCall(IGoverned.setGuardian, (guardian)), _text("Guardian:", guardian));
    }
}

/// @notice Drops a pending change; Query's GetPending lists them. The guardian may, too.
/// @dev Env: CHANGE_ID.
abstract contract Veto is Operation {
    function run() external {
        address target = _either();
        bytes32 id = vm.envBytes32("CHANGE_ID");
        _asGuardian(target, abi.encodeCall(IGoverned.veto, (id)), _text("Change vetoed:", id));
    }
}

/// @notice Writes down what took effect by itself; changes no answer. Anyone may.
abstract contract Settle is Operation {
    function run() external {
        address target = _either();
        _asAnyone(target, abi.encodeCall(IGoverned.settle, ()), _text("Settled:", target));
    }
}

/// @notice Names a new owner, who accepts with AcceptOwnership after the delay.
/// @dev Env: NEW_OWNER; 0 withdraws the offer.
abstract contract TransferOwnership is Operation {
    function run() external {
        address target = _either();
        address newOwner = vm.envAddress("NEW_OWNER");
        bytes memory call = abi.encodeCall(IOwnedProxy.transferOwnership, (newOwner));
        _asOwner(target, call, _text("Ownership offered to:", newOwner));
    }
}

/// @notice Completes a transfer of the ownership, as the new owner.
abstract contract AcceptOwnership is Operation {
    function run() external {
        address target = _either();
        address[] memory callers = new address[](1);
        callers[0] = IOwnedProxy(target).pendingOwner();
        bytes memory call = abi.encodeCall(IOwnedProxy.acceptOwnership, ());
        _perform(callers, "pending owner", target, call, _text("Owner:", callers[0]));
    }
}
