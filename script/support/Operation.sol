// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuthBasicManagement} from "../../contracts/interfaces/IAppAuthBasicManagement.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {PolicyLabels} from "../../contracts/PolicyLog.sol";
import {BylawScript} from "./BylawScript.sol";
import {Vm, vm} from "./Vm.sol";

/// @dev What tells a Safe from other contracts.
interface ISafeReading {
    function getThreshold() external view returns (uint256);
    function getOwners() external view returns (address[] memory);
}

/// @dev OpenZeppelin's TimelockController, as far as a script speaks of it.
interface ITimelock {
    function getMinDelay() external view returns (uint256);
    function schedule(
        address target,
        uint256 value,
        bytes calldata data,
        bytes32 predecessor,
        bytes32 salt,
        uint256 delay
    ) external;
    function execute(address target, uint256 value, bytes calldata data, bytes32 predecessor, bytes32 salt)
        external
        payable;
}

/// @title One call that changes something, sent or handed to whoever may send it
/// @dev Whoever signs may make the call: it is sent. A contract may: nothing is sent, and what it must execute is
/// printed. Only somebody else's key may: the script fails and says whose. Each says afterwards whether the
/// change is in effect, or from when it will be.
abstract contract Operation is BylawScript {
    /// @dev A call that only the owner may make.
    /// @param meaning What the contract's state is after it, for people.
    function _asOwner(address target, bytes memory data, string memory meaning) internal returns (bool sent) {
        address[] memory callers = new address[](1);
        callers[0] = _ownerOf(target);
        return _perform(callers, "owner", target, data, meaning);
    }

    /// @dev A call that the guardian may make, too.
    function _asGuardian(address target, bytes memory data, string memory meaning)
        internal
        returns (bool sent)
    {
        _requireGoverned(target);
        address[] memory callers = new address[](2);
        callers[0] = _ownerOf(target);
        callers[1] = IGoverned(target).guardian();
        return _perform(callers, "owner or guardian", target, data, meaning);
    }

    /// @dev A call that anyone may make.
    function _asAnyone(address target, bytes memory data, string memory meaning)
        internal
        returns (bool sent)
    {
        address[] memory callers = new address[](1);
        callers[0] = _signer();
        return _perform(callers, "signer", target, data, meaning);
    }

    /// @dev Sends the call when the signer is one of the callers; prints it for the callers that are contracts.
    /// @param role What the callers are.
    function _perform(
        address[] memory callers,
        string memory role,
        address target,
        bytes memory data,
        string memory meaning
    ) internal returns (bool sent) {
        if (_isSignerOrContract(callers, role, target)) {
            _send(target, data, meaning);
            return true;
        }
        _print(callers, role, target, data, meaning);
    }

    /// @dev Fails unless something can be done.
    /// @return isSigner The signer may make the call; false: a contract may.
    function _isSignerOrContract(address[] memory callers, string memory role, address target)
        internal
        returns (bool isSigner)
    {
        address signer = _signer();
        bool isContract = false;
        string memory keys = "";
        for (uint256 i = 0; i < callers.length; i++) {
            if (callers[i] == address(0)) continue;
            if (callers[i] == signer) return true;
            if (_isContract(callers[i])) isContract = true;
            keys = string.concat(keys, bytes(keys).length == 0 ? "" : " or ", vm.toString(callers[i]));
        }
        if (isContract) return false;
        require(bytes(keys).length != 0, string.concat(vm.toString(target), " has no ", role));
        revert(
            string.concat(
                "the signer is ",
                vm.toString(signer),
                ", but only the ",
                role,
                " of ",
                vm.toString(target),
                " may do this: the key of ",
                keys,
                " is needed"
            )
        );
    }

    /// @dev For calls that dstack's contracts do not know.
    function _requireGoverned(address target) internal view {
        require(_isGoverned(target), _text("a dstack contract, without delay and guardian:", target));
    }

    function _ownerOf(address target) internal view returns (address) {
        (bool success, bytes memory answer) = target.staticcall(abi.encodeWithSignature("owner()"));
        require(
            success && answer.length == 32, string.concat(vm.toString(target), " does not tell its owner")
        );
        return abi.decode(answer, (address));
    }

    /// @dev An account with delegated code (EIP-7702) signs with a key all the same.
    function _isContract(address account) internal view returns (bool) {
        bytes memory code = account.code;
        // forge-lint: disable-next-line(unsafe-typecast)
        return code.length != 0 && !(code.length == 23 && bytes3(code) == 0xef0100);
    }

    // ------------------------------------------------------------ sending

    function _send(address target, bytes memory data, string memory meaning) private {
        vm.recordLogs();
        _startBroadcast();
        (bool success, bytes memory answer) = target.call(data);
        vm.stopBroadcast();
        if (!success) _revertWith(answer);
        if (_sayEffect(target, data, meaning)) {
            _say("It counts from the block that has the transaction: GetPending tells the time exactly.");
        }
    }

    /// @dev Says what the call did whose logs were recorded.
    /// @return waits Something of it waits.
    function _sayEffect(address target, bytes memory data, string memory meaning)
        private
        returns (bool waits)
    {
        IGoverned.PendingChange[] memory pending = new IGoverned.PendingChange[](0);
        if (_isGoverned(target)) pending = IGoverned(target).pendingChanges();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        bool[] memory isNew = new bool[](pending.length);
        for (uint256 i = 0; i < pending.length; i++) {
            isNew[i] = _isLogged(logs, target, IGoverned.ChangeScheduled.selector, pending[i].id)
                || _isAskedAgain(pending[i], data);
            if (isNew[i]) waits = true;
        }
        _say(waits ? string.concat("Scheduled: ", meaning) : meaning);
        for (uint256 i = 0; i < pending.length; i++) {
            if (!isNew[i]) continue;
            _say("Pending until:", pending[i].activatesAt);
            _say("Change id:", pending[i].id);
        }
        if (!waits) _say("In effect: now");
        for (uint256 i = 0; i < logs.length; i++) {
            bool isDrop = logs[i].emitter == target && logs[i].topics.length > 1
                && logs[i].topics[0] == IGoverned.ChangeDropped.selector;
            if (isDrop) _say("Dropped change id:", logs[i].topics[1]);
        }
    }

    function _isLogged(Vm.Log[] memory logs, address emitter, bytes32 topic, bytes32 id)
        private
        pure
        returns (bool)
    {
        for (uint256 i = 0; i < logs.length; i++) {
            Vm.Log memory log = logs[i];
            bool isIt = log.emitter == emitter && log.topics.length > 1 && log.topics[0] == topic;
            if (isIt && log.topics[1] == id) return true;
        }
        return false;
    }

    /// @dev dstack's call is silent about a version that waits already.
    function _isAskedAgain(IGoverned.PendingChange memory change, bytes memory data)
        private
        pure
        returns (bool)
    {
        return change.policy == PolicyLabels.COMPOSE_HASH
            && keccak256(data)
                == keccak256(abi.encodeCall(IAppAuthBasicManagement.addComposeHash, (change.value)));
    }

    function _revertWith(bytes memory reason) private pure {
        require(reason.length != 0, "the call failed without a reason: the contract may not know it");
        assembly {
            revert(add(reason, 32), mload(reason))
        }
    }

    // ------------------------------------------------------------ printing

    function _print(
        address[] memory callers,
        string memory role,
        address target,
        bytes memory data,
        string memory meaning
    ) private {
        _say(string.concat("Nothing is sent: the ", role, " is a contract, which must execute this call."));
        address caller = address(0);
        for (uint256 i = 0; i < callers.length; i++) {
            if (callers[i] == address(0)) continue;
            _say(string.concat("Caller: ", vm.toString(callers[i]), " (", _kindOf(callers[i]), ")"));
            if (caller == address(0) && _isContract(callers[i])) caller = callers[i];
        }
        _say("Target:", target);
        _say("Value: 0");
        _say(string.concat("Calldata: ", vm.toString(data)));
        _say(string.concat("Meaning: ", meaning));
        if (_isTimelock(caller)) _printForTimelock(ITimelock(caller), target, data);

        vm.recordLogs();
        vm.prank(caller);
        (bool success, bytes memory answer) = target.call(data);
        if (success) {
            _say("Executed now, it would give:");
            _sayEffect(target, data, meaning);
        } else {
            _say(string.concat("Executed now, it would FAIL: ", _reason(answer)));
        }
    }

    /// @dev A timelock is told twice; its salt tells repetitions of the same call apart.
    function _printForTimelock(ITimelock timelock, address target, bytes memory data) private view {
        bytes32 salt = vm.envOr("TIMELOCK_SALT", bytes32(0));
        uint256 delay = timelock.getMinDelay();
        bytes memory schedule = abi.encodeCall(timelock.schedule, (target, 0, data, 0, salt, delay));
        bytes memory execute = abi.encodeCall(timelock.execute, (target, 0, data, 0, salt));
        _say("Through the timelock, for its proposer and then its executor to send to it:");
        _say(string.concat("Timelock schedule calldata: ", vm.toString(schedule)));
        _say(string.concat("Timelock execute calldata: ", vm.toString(execute)));
    }

    function _kindOf(address account) private view returns (string memory) {
        if (!_isContract(account)) return "a key";
        if (_isTimelock(account)) {
            return string.concat("a timelock of ", vm.toString(ITimelock(account).getMinDelay()), " seconds");
        }
        if (!_isSafe(account)) return "a contract of unknown kind";
        return string.concat(
            "a Safe, ",
            vm.toString(ISafeReading(account).getThreshold()),
            " of ",
            vm.toString(ISafeReading(account).getOwners().length),
            " signatures"
        );
    }

    function _isSafe(address account) internal view returns (bool) {
        return _answers(account, abi.encodeCall(ISafeReading.getThreshold, ()))
            && _answers(account, abi.encodeCall(ISafeReading.getOwners, ()));
    }

    function _isTimelock(address account) private view returns (bool) {
        return _answers(account, abi.encodeCall(ITimelock.getMinDelay, ()));
    }

    /// @dev A revert with text as text, any other as the bytes that a decoder of errors takes.
    function _reason(bytes memory answer) private pure returns (string memory) {
        if (answer.length == 0) return "no reason given, the contract may not know the call";
        // forge-lint: disable-next-line(unsafe-typecast)
        if (answer.length < 68 || bytes4(answer) != 0x08c379a0) return vm.toString(answer);
        bytes memory text = new bytes(answer.length - 4);
        for (uint256 i = 0; i < text.length; i++) {
            text[i] = answer[i + 4];
        }
        return abi.decode(text, (string));
    }
}
