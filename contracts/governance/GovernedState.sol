// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

import {PolicyLabels} from "../PolicyLog.sol";

/// @title Delay, guardian and pending changes: what is stored, and what it means at a time
abstract contract GovernedState {
    struct Change {
        bytes32 policy;
        bytes32 value;
        // 0: no such change.
        uint64 activatesAt;
        bytes data;
    }

    /// @custom:storage-location erc7201:bylaw.storage.Governed
    struct GovernedStorage {
        uint32 delay;
        address guardian;
        // The pending owner that OpenZeppelin keeps was vetoed and may not accept.
        bool newOwnerVetoed;
        EnumerableSet.Bytes32Set queue;
        mapping(bytes32 id => Change) changes;
    }

    // keccak256(abi.encode(uint256(keccak256("bylaw.storage.Governed")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant GOVERNED_STORAGE =
        0xe99604df3d82284bd8c3178c753cf23b8947de0ba835bcfbd2a77d1cddbd1100;

    function _delay() internal view returns (uint32) {
        bytes32 id = _id(PolicyLabels.DELAY, 0);
        return _matured(id, _now()) ? uint32(uint256(_change(id).value)) : _governed().delay;
    }

    function _guardian() internal view returns (address) {
        bytes32 id = _id(PolicyLabels.GUARDIAN, 0);
        return _matured(id, _now()) ? _address(_change(id).value) : _governed().guardian;
    }

    /// @dev Whether the change is in effect at `time` although it was not applied yet.
    function _matured(bytes32 id, uint64 time) internal view returns (bool) {
        uint64 activatesAt = _change(id).activatesAt;
        return activatesAt != 0 && activatesAt <= time;
    }

    function _change(bytes32 id) internal view returns (Change storage) {
        return _governed().changes[id];
    }

    function _id(bytes32 policy, bytes32 key) internal pure returns (bytes32) {
        return keccak256(abi.encode(policy, key));
    }

    function _now() internal view returns (uint64) {
        return uint64(block.timestamp);
    }

    /// @dev The time asked about: 0 stands for now, and so does the past, which is not kept.
    function _atOrNow(uint64 time) internal view returns (uint64) {
        return time < _now() ? _now() : time;
    }

    function _address(bytes32 word) internal pure returns (address) {
        return address(uint160(uint256(word)));
    }

    function _governed() internal pure returns (GovernedStorage storage $) {
        assembly {
            $.slot := GOVERNED_STORAGE
        }
    }
}
