// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IGoverned} from "../../../contracts/interfaces/IGoverned.sol";
import {BylawTest} from "./BylawTest.sol";
import {TestVm, vm} from "./TestVm.sol";

/// @dev Both contracts with a delay and a guardian, at a time that is not zero.
abstract contract GovernanceTest is BylawTest {
    uint32 internal constant DELAY = 1 days;
    uint64 internal constant START = 1_800_000_000;
    address internal constant GUARDIAN = address(0x6A4D);

    function setUp() public virtual override {
        super.setUp();
        vm.warp(START);
        _govern(IGoverned(address(kms)));
        _govern(IGoverned(address(app)));
    }

    function _govern(IGoverned governed) internal {
        vm.startPrank(OWNER);
        governed.setGuardian(GUARDIAN);
        governed.setDelay(DELAY);
        vm.stopPrank();
    }

    /// @dev A widening's time, when it was asked for now.
    function _due() internal view returns (uint64) {
        return uint64(block.timestamp) + DELAY;
    }

    function _pass(uint256 time) internal {
        vm.warp(block.timestamp + time);
    }

    function _changeId(string memory label, bytes32 key) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(label)), key));
    }

    function _find(IGoverned governed, bytes32 id)
        internal
        view
        returns (bool found, IGoverned.PendingChange memory change)
    {
        IGoverned.PendingChange[] memory pending = governed.pendingChanges();
        for (uint256 i = 0; i < pending.length; i++) {
            if (pending[i].id == id) return (true, pending[i]);
        }
    }

    function _assertPending(
        IGoverned governed,
        string memory label,
        bytes32 key,
        bytes32 value,
        uint64 activatesAt,
        bytes memory data
    ) internal view {
        (bool found, IGoverned.PendingChange memory change) = _find(governed, _changeId(label, key));
        vm.assertTrue(found, label);
        vm.assertEq(change.policy, keccak256(bytes(label)));
        vm.assertEq(change.value, value);
        vm.assertEq(change.activatesAt, activatesAt);
        vm.assertEq(change.data, data);
    }

    function _assertNotPending(IGoverned governed, string memory label, bytes32 key) internal view {
        (bool found,) = _find(governed, _changeId(label, key));
        vm.assertFalse(found, label);
    }

    function _assertCount(IGoverned governed, uint256 count) internal view {
        vm.assertEq(governed.pendingChanges().length, count);
    }

    function _expectNotPending(bytes32 id) internal {
        vm.expectRevert(abi.encodeWithSelector(IGoverned.NotPending.selector, id));
    }

    function _assertScheduled(
        TestVm.Log memory log,
        address emitter,
        string memory label,
        bytes32 key,
        bytes32 value,
        uint64 activatesAt,
        bytes memory data
    ) internal pure {
        _assertAbout(log, emitter, IGoverned.ChangeScheduled.selector, label, key, value);
        vm.assertEq(log.data, abi.encode(activatesAt, data));
    }

    function _assertDropped(
        TestVm.Log memory log,
        address emitter,
        string memory label,
        bytes32 key,
        bytes32 value,
        address by
    ) internal pure {
        _assertAbout(log, emitter, IGoverned.ChangeDropped.selector, label, key, value);
        vm.assertEq(log.data, abi.encode(by));
    }

    function _assertApplied(
        TestVm.Log memory log,
        address emitter,
        string memory label,
        bytes32 key,
        bytes32 value
    ) internal pure {
        _assertAbout(log, emitter, IGoverned.ChangeApplied.selector, label, key, value);
        vm.assertEq(log.data, "");
    }

    function _assertAbout(
        TestVm.Log memory log,
        address emitter,
        bytes32 topic,
        string memory label,
        bytes32 key,
        bytes32 value
    ) private pure {
        vm.assertEq(log.emitter, emitter);
        vm.assertEq(log.topics.length, 4);
        vm.assertEq(log.topics[0], topic);
        vm.assertEq(log.topics[1], _changeId(label, key));
        vm.assertEq(log.topics[2], keccak256(bytes(label)));
        vm.assertEq(log.topics[3], value);
    }
}
