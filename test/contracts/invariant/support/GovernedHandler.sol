// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IGoverned} from "../../../../contracts/interfaces/IGoverned.sol";
import {IOwnedProxy} from "../../../../contracts/interfaces/IOwnedProxy.sol";
import {vm} from "../../support/TestVm.sol";
import {timeVm} from "./TimeVm.sol";

/// @dev Calls a contract as everybody who may meet it, and watches from outside what it answers. What it keeps
/// about delay, guardian, owner and implementation is worked out here from the calls that succeeded, not read off.
///
/// A probe is a question whose answer is true when somebody gets access.
abstract contract GovernedHandler {
    enum Rule {
        // Access came about at a moment that no successful call of the owner had announced.
        Announced,
        // A call of the owner gave access before the delay was over.
        Delayed,
        // A call of anybody else gave access, now or later.
        OthersWidenNothing,
        // A narrowing did not hold at once.
        NarrowsAtOnce,
        // Settling changed an answer.
        SettlingChangesNothing,
        // An answer about the future did not come true.
        Predicted,
        // What is over for good came back.
        Final,
        // Specific to a contract.
        Strict
    }

    struct Scheduled {
        bool waits;
        bytes32 value;
        uint64 at;
    }

    bytes32 private constant IMPLEMENTATION_SLOT =
        0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;
    bytes32 private constant DELAY_ID = keccak256(abi.encode(keccak256("delay"), bytes32(0)));
    bytes32 private constant GUARDIAN_ID = keccak256(abi.encode(keccak256("guardian"), bytes32(0)));
    bytes32 private constant OWNER_ID = keccak256(abi.encode(keccak256("owner"), bytes32(0)));
    bytes32 private constant UPGRADE_ID =
        keccak256(abi.encode(keccak256("implementation-upgrade"), bytes32(0)));

    address internal constant STRANGER = address(0xBAD);

    uint256 private constant TIMES = 5;

    address internal immutable target;
    address[2] private implementations;
    address[3] private owners = [address(0xA11CE), address(0xB0B), address(0xCA401)];
    address[2] private guardians = [address(0x6A4D), address(0x6A4E)];

    // What holds, by these tests' own reckoning.
    address public owner = owners[0];
    address public guardian = guardians[0];
    uint32 public delay;
    address public implementation;
    bool public upgradesDisabled;
    Scheduled private nextDelay;
    Scheduled private nextGuardian;
    Scheduled private nextOwner;
    Scheduled private nextImplementation;

    // When access may widen, by the calls of the owner that succeeded.
    uint64[] private moments;
    bool[] private seen;
    uint64 private seenAt;

    /// @notice How often each rule was broken, and by what at first.
    mapping(Rule => uint256) public broken;
    mapping(Rule => bytes) public culprit;

    /// @notice That the runs do something: calls made while somebody owned the target.
    uint256 public calls;
    uint256 public successes;
    mapping(bytes4 selector => uint256) public succeeded;

    constructor(address target_, address other, uint32 delay_) {
        target = target_;
        delay = delay_;
        implementation = address(uint160(uint256(vm.load(target_, IMPLEMENTATION_SLOT))));
        implementations = [implementation, other];
        seenAt = _now();
    }

    // ------------------------------------------------------------ what both contracts have in common

    function setDelay(uint256 who, uint256 choice) external {
        uint32[8] memory delays = [uint32(0), 1 hours, 5 hours, 1 days, 1 days, 2 days, 3 days, 7 days];
        uint32 value = delays[choice % 8];
        if (!_call(_actor(who), abi.encodeCall(IGoverned.setDelay, (value)))) return;
        if (value >= delay) {
            delay = value;
            nextDelay.waits = false;
            if (IGoverned(target).delay() != value) _break(Rule.NarrowsAtOnce, "setDelay");
        } else {
            _schedule(nextDelay, bytes32(uint256(value)));
        }
        _tick();
    }

    function setGuardian(uint256 who, uint256 choice) external {
        address value = choice % 5 == 0 ? address(0) : guardians[choice % 2];
        if (!_call(_actor(who), abi.encodeCall(IGoverned.setGuardian, (value)))) return;
        if (guardian == address(0) || guardian == value) {
            guardian = value;
            nextGuardian.waits = false;
        } else {
            _schedule(nextGuardian, _word(value));
        }
        _tick();
    }

    function veto(uint256 who, uint256 choice) external {
        IGoverned.PendingChange[] memory pending = IGoverned(target).pendingChanges();
        bytes32 id = pending.length == 0 ? bytes32(choice) : pending[choice % pending.length].id;
        if (!_call(_actor(who), abi.encodeCall(IGoverned.veto, (id)))) return;
        if (id == DELAY_ID) nextDelay.waits = false;
        if (id == GUARDIAN_ID) nextGuardian.waits = false;
        if (id == OWNER_ID) nextOwner.waits = false;
        if (id == UPGRADE_ID) nextImplementation.waits = false;
        _vetoed(id);
        pending = IGoverned(target).pendingChanges();
        for (uint256 i = 0; i < pending.length; i++) {
            if (pending[i].id == id) _break(Rule.NarrowsAtOnce, "veto");
        }
    }

    function settle(uint256 who, uint64 later) external {
        _settle(who % 2 == 0 ? STRANGER : owner, _now() + later % 10 days);
    }

    /// @dev Time passes, with or without somebody tidying up on the way.
    function wait(uint256 choice, uint256 part) external {
        uint64 from = _now();
        uint64 to = _later(choice);
        bytes32 predicted = _answers(to);
        if (part % 3 != 0) {
            timeVm.warp(from + part % (to - from + 1));
            _tick();
            _observe();
            _look();
            if (part % 3 == 1) _settle(STRANGER, to);
        }
        timeVm.warp(to);
        _tick();
        _observe();
        _look();
        if (_answers(0) != predicted || _answers(to) != predicted) _break(Rule.Predicted, "wait");
        if (part % 2 == 0) _settle(STRANGER, to);
        if (_answers(0) != predicted) _break(Rule.Predicted, "wait");
    }

    function transferOwnership(uint256 who, uint256 choice) external {
        address value = choice % 5 == 0 ? address(0) : owners[choice % 3];
        if (!_call(_actor(who), abi.encodeCall(IOwnedProxy.transferOwnership, (value)))) return;
        if (value == address(0)) {
            nextOwner.waits = false;
        } else if (delay == 0) {
            nextOwner = Scheduled(true, _word(value), 0);
        } else {
            if (nextOwner.at == 0) nextOwner.waits = false;
            _schedule(nextOwner, _word(value));
        }
    }

    function acceptOwnership(uint256 who) external {
        address caller = who % 8 == 0 ? STRANGER : owners[who % 3];
        bool may = _offered() == caller && nextOwner.at <= _now();
        bool done = _call(caller, abi.encodeCall(IOwnedProxy.acceptOwnership, ()));
        if (done != may) _break(Rule.Delayed, "acceptOwnership");
        if (!done) return;
        owner = caller;
        nextOwner.waits = false;
    }

    /// @dev Rare, since it ends most of what can happen.
    function renounceOwnership(uint256 who) external {
        if (who % 40 != 0) return;
        if (!_call(owner, abi.encodeWithSignature("renounceOwnership()"))) return;
        owner = address(0);
        nextDelay.waits = false;
        nextGuardian.waits = false;
        nextOwner.waits = false;
        nextImplementation.waits = false;
        _renounced();
        if (IGoverned(target).pendingChanges().length != 0) _break(Rule.NarrowsAtOnce, "renounceOwnership");
    }

    function upgrade(uint256 who, uint256 choice) external {
        address value = implementations[choice % 2];
        if (!_call(_actor(who), abi.encodeCall(IOwnedProxy.upgradeToAndCall, (value, "")))) return;
        if (upgradesDisabled) _break(Rule.Final, "upgrade");
        bool waits = nextImplementation.waits && nextImplementation.value == _word(value);
        if (delay == 0 || (waits && nextImplementation.at <= _now())) {
            implementation = value;
            nextImplementation.waits = false;
        } else {
            if (waits) _break(Rule.Delayed, "upgrade");
            _schedule(nextImplementation, _word(value));
        }
    }

    function disableUpgrades(uint256 who) external {
        if (who % 10 != 0) return;
        if (!_call(_actor(who / 10), abi.encodeWithSignature("disableUpgrades()"))) return;
        upgradesDisabled = true;
        nextImplementation.waits = false;
    }

    /// @notice What the contract says of itself is what was worked out here.
    function mismatch() external view returns (string memory) {
        if (IOwnedProxy(target).owner() != owner) return "owner";
        if (IOwnedProxy(target).pendingOwner() != _offered()) return "pending owner";
        if (IGoverned(target).guardian() != guardian) return "guardian";
        if (IGoverned(target).delay() != delay) return "delay";
        if (vm.load(target, IMPLEMENTATION_SLOT) != _word(implementation)) return "implementation";
        return "";
    }

    /// @notice Whether the list of pending changes is in order.
    function disorder() external view returns (string memory) {
        IGoverned.PendingChange[] memory pending = IGoverned(target).pendingChanges();
        if (pending.length > 32) return "too many";
        for (uint256 i = 0; i < pending.length; i++) {
            bool settles = pending[i].id != OWNER_ID && pending[i].id != UPGRADE_ID;
            if (settles && pending[i].activatesAt <= _now()) return "matured";
            for (uint256 j = 0; j < i; j++) {
                if (pending[i].id == pending[j].id) return "twice";
            }
        }
        return "";
    }

    // ------------------------------------------------------------ for the inheriting contracts

    function _probes() internal view virtual returns (uint256);

    /// @dev The answer to a probe as it will be at that time.
    function _isAllowed(uint256 probe, uint64 time) internal view virtual returns (bool);

    /// @dev Everything the contract answers about that time, in one word; 0 for now.
    function _answers(uint64 time) internal view virtual returns (bytes32);

    /// @dev Everything it answers only about now.
    function _present() internal view virtual returns (bytes32);

    /// @dev Whether a narrowing of something else that waits stands against this probe: access goes on if that is
    /// dropped.
    function _isAboutToEnd(uint256 probe, IGoverned.PendingChange[] memory pending)
        internal
        pure
        virtual
        returns (bool);

    /// @dev Whatever else to look at between calls.
    function _look() internal virtual;

    function _vetoed(bytes32 id) internal virtual;

    function _renounced() internal virtual;

    /// @dev Takes what is allowed now for granted.
    function _see() internal {
        for (uint256 i = 0; i < seen.length; i++) {
            seen[i] = _isAllowed(i, 0);
        }
    }

    /// @dev Calls and compares what was going to be with what is going to be now.
    function _call(address actor, bytes memory data) internal returns (bool success) {
        return _call(actor, data, 0);
    }

    function _call(address actor, bytes memory data, uint64 notBefore) internal returns (bool success) {
        _look();
        IGoverned.PendingChange[] memory pending = IGoverned(target).pendingChanges();
        uint64[TIMES] memory times = _times(pending, uint256(keccak256(data)));
        bool[] memory before = _matrix(times);

        bool isOwned = owner != address(0);
        if (isOwned) calls++;
        vm.prank(actor);
        (success,) = target.call(data);
        if (!success) return false;
        if (isOwned) successes++;
        succeeded[bytes4(data)]++;

        bool byOwner = actor == owner;
        uint64 end = _now() + delay;
        if (byOwner) moments.push(notBefore > end ? notBefore : end);
        bool[] memory then = _matrix(times);
        for (uint256 i = 0; i < then.length; i++) {
            if (!then[i] || before[i] || _isAboutToEnd(i / TIMES, pending)) continue;
            if (!byOwner) _break(Rule.OthersWidenNothing, data);
            else if (times[i % TIMES] < end) _break(Rule.Delayed, data);
        }
        _observe();
    }

    /// @dev Mostly the owner.
    function _actor(uint256 who) internal view returns (address) {
        uint256 choice = who % 12;
        if (choice == 0) return STRANGER;
        if (choice == 1) return owners[who / 12 % 3];
        if (choice <= 3 && guardian != address(0)) return guardian;
        return owner == address(0) ? STRANGER : owner;
    }

    function _isOneOf(address caller) internal view returns (bool) {
        return caller == owner || caller == guardian;
    }

    function _break(Rule rule, bytes memory by) internal {
        if (broken[rule]++ == 0) culprit[rule] = by;
    }

    /// @dev Read anew each time, which the compiler would not do after a warp.
    function _now() internal view returns (uint64) {
        return uint64(timeVm.getBlockTimestamp());
    }

    function _word(address value) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(value)));
    }

    // ------------------------------------------------------------ private

    function _settle(address actor, uint64 later) private {
        bytes32 present = keccak256(abi.encode(_answers(0), _present()));
        bytes32 future = _answers(later);
        if (!_call(actor, abi.encodeCall(IGoverned.settle, ()))) {
            _break(Rule.SettlingChangesNothing, "revert");
        }
        if (keccak256(abi.encode(_answers(0), _present())) != present || _answers(later) != future) {
            _break(Rule.SettlingChangesNothing, "settle");
        }
    }

    function _schedule(Scheduled storage change, bytes32 value) private {
        uint64 at = _now() + delay;
        if (change.waits && change.value == value && change.at <= at) return;
        (change.waits, change.value, change.at) = (true, value, at);
    }

    /// @dev An offer that was made without a delay, and so announced nothing, holds only without one.
    function _offered() private view returns (address) {
        bool holds = nextOwner.waits && (nextOwner.at != 0 || delay == 0);
        return holds ? address(uint160(uint256(nextOwner.value))) : address(0);
    }

    /// @dev What took effect by itself.
    function _tick() private {
        if (nextDelay.waits && nextDelay.at <= _now()) {
            delay = uint32(uint256(nextDelay.value));
            nextDelay.waits = false;
        }
        if (nextGuardian.waits && nextGuardian.at <= _now()) {
            guardian = address(uint160(uint256(nextGuardian.value)));
            nextGuardian.waits = false;
        }
    }

    /// @dev Times to ask about: now, the last moment of the delay, one in between, one when something that waits
    /// takes effect, and one long after.
    function _times(IGoverned.PendingChange[] memory pending, uint256 seed)
        private
        view
        returns (uint64[TIMES] memory times)
    {
        times[0] = _now();
        times[1] = delay == 0 ? _now() : _now() + delay - 1;
        times[2] = _now() + uint64(seed % (uint256(delay) + 1));
        times[3] = pending.length == 0 ? _now() + delay : pending[seed % pending.length].activatesAt;
        times[4] = _now() + 400 days;
    }

    function _matrix(uint64[TIMES] memory times) private view returns (bool[] memory matrix) {
        matrix = new bool[](_probes() * TIMES);
        for (uint256 i = 0; i < matrix.length; i++) {
            matrix[i] = _isAllowed(i / TIMES, times[i % TIMES]);
        }
    }

    function _later(uint256 choice) private view returns (uint64) {
        uint64 by = uint64(choice >> 8);
        if (choice % 4 == 0) return _now() + by % 2 hours;
        if (choice % 4 == 1) return _now() + by % 3 days;
        if (choice % 4 == 2) return _now() + delay;
        IGoverned.PendingChange[] memory pending = IGoverned(target).pendingChanges();
        if (pending.length == 0) return _now() + by % 1 days;
        uint64 at = pending[by % pending.length].activatesAt - uint64(choice >> 100) % 2;
        return at < _now() ? _now() : at;
    }

    /// @dev Access that there was not at the last look must have been announced for a moment since then.
    function _observe() private {
        bool isFirst = seen.length == 0;
        bool isAnnounced = moments.length != 0 && moments[moments.length - 1] == _now();
        for (uint256 i = 0; i < moments.length; i++) {
            if (seenAt < moments[i] && moments[i] <= _now()) isAnnounced = true;
        }
        for (uint256 i = 0; i < _probes(); i++) {
            bool allowed = _isAllowed(i, 0);
            if (isFirst) seen.push(allowed);
            if (allowed && !seen[i] && !isAnnounced) _break(Rule.Announced, abi.encode(i));
            seen[i] = allowed;
        }
        seenAt = _now();
    }
}
