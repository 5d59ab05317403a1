// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ERC165Checker} from "@openzeppelin/contracts/utils/introspection/ERC165Checker.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";

import {IAppAuth} from "../interfaces/IAppAuth.sol";
import {IGoverned} from "../interfaces/IGoverned.sol";
import {PolicyLabels, PolicyLog} from "../PolicyLog.sol";
import {GovernedState} from "./GovernedState.sol";

/// @title Delay, guardian, pending changes and the upgrade gate of both contracts
/// @dev How a rule uses it: a narrowing calls {_settle}, then {_drop} for the widening it contradicts, then writes.
/// A widening calls {_settle}, then {_widen}; {_apply} of the inheriting contract writes it, now or when its time
/// has come. A view that may run before anybody settled adds what {_matured} says to what is written.
///
/// A change's id is made of its policy and its key, so there is at most one change for one thing and the order in
/// which matured changes are applied does not matter.
abstract contract Governed is GovernedState, Ownable2StepUpgradeable, UUPSUpgradeable, PolicyLog, IGoverned {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    /// @notice Longest delay, in seconds.
    uint32 public constant MAX_DELAY = 365 days;

    /// @notice Most changes that may wait at a time.
    uint256 public constant MAX_PENDING = 32;

    /// @notice Most data that a pending change may carry, in bytes. Every call that changes something first writes
    /// down what has taken effect: that must never cost more than a block allows.
    uint256 public constant MAX_DATA = 2048;

    /// @dev The management part of an implementation, see {TwoParts}.
    address private immutable _part = address(this);

    // ------------------------------------------------------------ reading

    /// @inheritdoc IGoverned
    function delay() external view returns (uint32) {
        return _delay();
    }

    /// @inheritdoc IGoverned
    function guardian() external view returns (address) {
        return _guardian();
    }

    /// @inheritdoc IGoverned
    function pendingChanges() external view returns (PendingChange[] memory pending) {
        bytes32[] memory ids = _governed().queue.values();
        pending = new PendingChange[](ids.length);
        uint256 count = 0;
        for (uint256 i = 0; i < ids.length; i++) {
            Change storage change = _change(ids[i]);
            if (change.activatesAt <= _now() && _settles(change.policy)) continue;
            pending[count++] =
                PendingChange(ids[i], change.policy, change.value, change.activatesAt, change.data);
        }
        // Forget the room that was not needed.
        assembly {
            mstore(pending, count)
        }
    }

    /// @notice Who may accept the ownership; zero also when that was vetoed.
    function pendingOwner() public view override returns (address) {
        // An offer from before there was a delay was never announced: it has to be made again.
        bool isUnannounced = _delay() != 0 && _change(_id(PolicyLabels.OWNER, 0)).activatesAt == 0;
        return isUnannounced || _governed().newOwnerVetoed ? address(0) : super.pendingOwner();
    }

    // ------------------------------------------------------------ changing

    /// @inheritdoc IGoverned
    function setDelay(uint32 newDelay) external onlyOwner {
        _settle();
        _checkDelay(newDelay);
        if (newDelay >= _governed().delay) {
            _drop(_id(PolicyLabels.DELAY, 0));
            _setDelay(newDelay);
        } else {
            _widen(PolicyLabels.DELAY, bytes32(uint256(newDelay)), "");
        }
    }

    /// @inheritdoc IGoverned
    function setGuardian(address newGuardian) external onlyOwner {
        _settle();
        address current = _governed().guardian;
        if (current == address(0) || current == newGuardian) {
            _drop(_id(PolicyLabels.GUARDIAN, 0));
            _setGuardian(newGuardian);
        } else {
            _widen(PolicyLabels.GUARDIAN, _word(newGuardian), "");
        }
    }

    /// @inheritdoc IGoverned
    function veto(bytes32 id) external onlyOwnerOrGuardian {
        _settle();
        if (!_drop(id)) revert NotPending(id);
    }

    /// @inheritdoc IGoverned
    function settle() external {
        _settle();
    }

    /// @notice Names a new owner, who accepts after the delay. Zero withdraws the offer at once.
    function transferOwnership(address newOwner) public override onlyOwner {
        _settle();
        super.transferOwnership(newOwner);
        if (newOwner == address(0) || _governed().delay == 0) {
            _drop(_id(PolicyLabels.OWNER, 0));
        } else {
            _schedule(PolicyLabels.OWNER, 0, _word(newOwner), "", _now());
        }
        _governed().newOwnerVetoed = false;
    }

    /// @notice Completes a transfer of the ownership once the delay is over.
    function acceptOwnership() public override {
        uint64 activatesAt = _change(_id(PolicyLabels.OWNER, 0)).activatesAt;
        if (pendingOwner() == _msgSender() && activatesAt > _now()) revert NotYet(activatesAt);
        super.acceptOwnership();
    }

    /// @notice Leaves the contract without an owner, and drops everything that waits: nothing is widened any more.
    function renounceOwnership() public override onlyOwner {
        _settle();
        bytes32[] memory ids = _pendingIds();
        for (uint256 i = 0; i < ids.length; i++) {
            _drop(ids[i]);
        }
        super.renounceOwnership();
    }

    /// @notice Replaces the implementation. With a delay, the first call schedules it and the same call carries it
    /// out when the delay is over; it waits until then, however long, unless it is dropped.
    /// @dev The code behind the address must stay what it was: the hash of it is part of the pending change.
    function upgradeToAndCall(address newImplementation, bytes memory data)
        public
        payable
        override
        onlyProxy
    {
        _settle();
        bool atOnce = _governed().delay == 0;
        if (atOnce) _drop(_id(PolicyLabels.IMPLEMENTATION_UPGRADE, 0));
        if (atOnce || _takeDue(newImplementation, data)) {
            super.upgradeToAndCall(newImplementation, data);
            return;
        }
        _checkOwner();
        _checkUpgradable();
        if (msg.value != 0) revert NotPayable();
        if (!_isImplementation(newImplementation)) revert NotAnImplementation(newImplementation);
        bytes memory what = abi.encode(newImplementation.codehash, data);
        _schedule(PolicyLabels.IMPLEMENTATION_UPGRADE, 0, _word(newImplementation), what, _now());
    }

    // ------------------------------------------------------------ for the inheriting contracts

    modifier onlyOwnerOrGuardian() {
        if (msg.sender != owner() && msg.sender != _guardian()) revert NeitherOwnerNorGuardian(msg.sender);
        _;
    }

    /// @dev At creation: takes effect at once.
    function _initializeGovernance(uint32 initialDelay, address initialGuardian) internal onlyInitializing {
        _checkDelay(initialDelay);
        _setDelay(initialDelay);
        if (initialGuardian != address(0)) _setGuardian(initialGuardian);
    }

    /// @dev Writes a widening that has taken effect, with the rule's own events. An inheriting contract adds its
    /// own rules; it must not touch the queue here.
    function _apply(bytes32 policy, bytes32 value, bytes memory) internal virtual {
        if (policy == PolicyLabels.DELAY) _setDelay(uint32(uint256(value)));
        else _setGuardian(_address(value));
    }

    /// @dev Reverts when the implementation may not be replaced any more.
    function _checkUpgradable() internal view virtual;

    /// @dev Carries out a widening now, or schedules it when there is a delay or it is wanted later.
    function _widen(bytes32 policy, bytes32 key, bytes32 value, bytes memory data, uint64 notBefore)
        internal
    {
        if (_governed().delay == 0 && notBefore <= _now()) {
            _drop(_id(policy, key));
            _apply(policy, value, data);
        } else {
            _schedule(policy, key, value, data, notBefore);
        }
    }

    /// @dev A rule that there is one of.
    function _widen(bytes32 policy, bytes32 value, bytes memory data) internal {
        _widen(policy, 0, value, data, _now());
    }

    /// @dev A list: the value is its own key.
    function _widen(bytes32 policy, bytes32 value) internal {
        _widen(policy, value, value, "", _now());
    }

    /// @dev Applies every change whose time has come. Call it before anything is decided or written.
    function _settle() internal {
        GovernedStorage storage $ = _governed();
        // From the end: removing moves the last one into the gap.
        for (uint256 i = $.queue.length(); i > 0; i--) {
            bytes32 id = $.queue.at(i - 1);
            if ($.changes[id].activatesAt > _now() || !_settles($.changes[id].policy)) continue;
            Change memory change = $.changes[id];
            _forget(id);
            _apply(change.policy, change.value, change.data);
            emit ChangeApplied(id, change.policy, change.value);
        }
    }

    /// @dev Forgets a pending change, if there is one.
    function _drop(bytes32 id) internal returns (bool dropped) {
        Change memory change = _change(id);
        if (change.activatesAt == 0) return false;
        _forget(id);
        if (change.policy == PolicyLabels.OWNER) _governed().newOwnerVetoed = true;
        emit ChangeDropped(id, change.policy, change.value, msg.sender);
        return true;
    }

    /// @dev Forgets every pending change of one policy.
    function _dropAll(bytes32 policy) internal {
        bytes32[] memory ids = _pendingIds();
        for (uint256 i = 0; i < ids.length; i++) {
            if (_change(ids[i]).policy == policy) _drop(ids[i]);
        }
    }

    function _pendingIds() internal view returns (bytes32[] memory) {
        return _governed().queue.values();
    }

    // ------------------------------------------------------------ private

    function _schedule(bytes32 policy, bytes32 key, bytes32 value, bytes memory data, uint64 notBefore)
        private
    {
        GovernedStorage storage $ = _governed();
        if (data.length > MAX_DATA) revert DataTooLong(data.length, MAX_DATA);
        bytes32 id = _id(policy, key);
        Change storage change = $.changes[id];
        uint64 activatesAt = _now() + $.delay;
        if (notBefore > activatesAt) activatesAt = notBefore;
        // Asking again for what waits already does not make it wait longer.
        bool same = change.activatesAt != 0 && change.activatesAt <= activatesAt && change.value == value
            && keccak256(change.data) == keccak256(data);
        if (!same) {
            _drop(id);
            if ($.queue.length() == MAX_PENDING) revert TooManyPending(MAX_PENDING);
            $.queue.add(id);
            $.changes[id] = Change(policy, value, activatesAt, data);
        }
        emit ChangeScheduled(id, policy, value, change.activatesAt, data);
    }

    function _forget(bytes32 id) private {
        GovernedStorage storage $ = _governed();
        $.queue.remove(id);
        delete $.changes[id];
    }

    /// @dev All but those that somebody has to carry out.
    function _settles(bytes32 policy) private pure returns (bool) {
        return policy != PolicyLabels.IMPLEMENTATION_UPGRADE && policy != PolicyLabels.OWNER;
    }

    /// @dev Takes the upgrade off the queue, if it is the one that waits; reverts when that is too early.
    function _takeDue(address newImplementation, bytes memory data) private returns (bool) {
        bytes32 id = _id(PolicyLabels.IMPLEMENTATION_UPGRADE, 0);
        Change memory change = _change(id);
        if (change.activatesAt == 0 || change.value != _word(newImplementation)) return false;
        (bytes32 codehash, bytes memory scheduled) = abi.decode(change.data, (bytes32, bytes));
        if (keccak256(scheduled) != keccak256(data)) return false;
        _checkOwner();
        if (change.activatesAt > _now()) revert NotYet(change.activatesAt);
        if (newImplementation.codehash != codehash) revert ImplementationChanged(newImplementation);
        _forget(id);
        emit ChangeApplied(id, change.policy, change.value);
        return true;
    }

    /// @dev An upgradeable implementation that answers what a KMS asks; a management part alone does not.
    function _isImplementation(address candidate) private view returns (bool) {
        return
            _isUpgradeable(candidate)
                && ERC165Checker.supportsInterface(candidate, type(IAppAuth).interfaceId);
    }

    function _isUpgradeable(address candidate) private view returns (bool) {
        if (candidate.code.length == 0) return false;
        try UUPSUpgradeable(candidate).proxiableUUID() returns (bytes32 slot) {
            return slot == ERC1967Utils.IMPLEMENTATION_SLOT;
        } catch {
            return false;
        }
    }

    function _checkDelay(uint32 newDelay) private pure {
        if (newDelay > MAX_DELAY) revert DelayTooLong(newDelay, MAX_DELAY);
    }

    function _setDelay(uint32 newDelay) private {
        _governed().delay = newDelay;
        emit DelaySet(newDelay);
        _recordPolicy(PolicyLabels.DELAY, bytes32(uint256(newDelay)), true);
    }

    function _setGuardian(address newGuardian) private {
        _governed().guardian = newGuardian;
        emit GuardianSet(newGuardian);
        _recordPolicy(PolicyLabels.GUARDIAN, newGuardian);
    }

    /// @dev Accepting, renouncing and creation all end here. A transfer that still waits is the one accepted:
    /// {renounceOwnership} dropped it.
    function _transferOwnership(address newOwner) internal override {
        bytes32 id = _id(PolicyLabels.OWNER, 0);
        if (_change(id).activatesAt != 0) {
            _forget(id);
            emit ChangeApplied(id, PolicyLabels.OWNER, _word(newOwner));
        }
        _governed().newOwnerVetoed = false;
        super._transferOwnership(newOwner);
    }

    /// @dev A proxy's implementation is the answering part, so OpenZeppelin's comparison with this part would fail.
    function _checkProxy() internal view override {
        if (address(this) == _part || ERC1967Utils.getImplementation() == address(0)) {
            revert UUPSUnauthorizedCallContext();
        }
    }

    /// @dev OpenZeppelin emits `Upgraded` when this has passed.
    function _authorizeUpgrade(address newImplementation) internal override onlyOwner {
        _checkUpgradable();
        // What cannot be upgraded to at all, OpenZeppelin refuses in its own words.
        if (_isUpgradeable(newImplementation) && !_isImplementation(newImplementation)) {
            revert NotAnImplementation(newImplementation);
        }
        _recordPolicy(PolicyLabels.IMPLEMENTATION_UPGRADE, newImplementation);
    }
}
