// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IKmsAuth} from "../../../contracts/interfaces/IKmsAuth.sol";
import {IManagedAppAuth} from "../../../contracts/interfaces/IManagedAppAuth.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {AppAuth} from "../../../contracts/AppAuth.sol";
import {KmsAuth} from "../../../contracts/KmsAuth.sol";
import {IAppAuth} from "../../../contracts/interfaces/IAppAuth.sol";
import {TestVm, vm} from "./TestVm.sol";

/// @dev Both contracts behind proxies, an owner and a stranger, and what most tests ask of them.
abstract contract BylawTest {
    /// @dev By this forge tells tests from what is deployed.
    bool public constant IS_TEST = true;

    bytes32 internal constant IMPLEMENTATION_SLOT =
        0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;
    bytes32 internal constant POLICY_CHANGED =
        0x341d3bc64e32172fc5bcf27b0f7f69dc5adc19af64b7aa1dee361e5883c32375;

    address internal constant OWNER = address(0xA11CE);
    address internal constant STRANGER = address(0xBAD);

    IManagedAppAuth internal appImplementation;
    IKmsAuth internal kms;
    IManagedAppAuth internal app;

    function setUp() public virtual {
        appImplementation = IManagedAppAuth(address(new AppAuth()));
        kms = _newKms(OWNER, address(appImplementation));
        app = _newApp(OWNER, false);
    }

    function _newKms(address owner, address implementation) internal returns (IKmsAuth) {
        bytes memory call = abi.encodeWithSignature("initialize(address,address)", owner, implementation);
        return IKmsAuth(address(new ERC1967Proxy(address(new KmsAuth()), call)));
    }

    /// @dev An app that allows nothing yet.
    function _newApp(address owner, bool upgradesDisabled) internal returns (IManagedAppAuth) {
        return _initializedApp(
            abi.encodeWithSignature(
                "initialize(address,bool,bool,bool,bytes32,bytes32)",
                owner,
                upgradesDisabled,
                false,
                false,
                bytes32(0),
                bytes32(0)
            )
        );
    }

    function _initializedApp(bytes memory call) internal returns (IManagedAppAuth) {
        return IManagedAppAuth(address(new ERC1967Proxy(address(appImplementation), call)));
    }

    /// @dev What nothing allows yet; every field has a value of its own.
    function _bootInfo() internal view returns (IAppAuth.AppBootInfo memory) {
        return IAppAuth.AppBootInfo({
            appId: address(app),
            composeHash: keccak256("compose"),
            instanceId: address(0x1257),
            deviceId: keccak256("device id"),
            mrAggregated: keccak256("mr aggregated"),
            mrSystem: keccak256("mr system"),
            osImageHash: keccak256("os image hash"),
            tcbStatus: "UpToDate",
            advisoryIds: new string[](0)
        });
    }

    function _assertVerdict(bool isAllowed, string memory reason, string memory expected) internal pure {
        vm.assertEq(reason, expected);
        vm.assertEq(isAllowed, bytes(expected).length == 0);
    }

    function _assertKms(IAppAuth.AppBootInfo memory bootInfo, string memory expected) internal view {
        (bool isAllowed, string memory reason) = kms.isKmsAllowed(bootInfo);
        _assertVerdict(isAllowed, reason, expected);
    }

    /// @dev Through the KMS contract, as a KMS asks.
    function _assertApp(IAppAuth.AppBootInfo memory bootInfo, string memory expected) internal view {
        (bool isAllowed, string memory reason) = kms.isAppAllowed(bootInfo);
        _assertVerdict(isAllowed, reason, expected);
    }

    /// @dev Of the app's contract alone.
    function _assertOwnApp(IAppAuth.AppBootInfo memory bootInfo, string memory expected) internal view {
        (bool isAllowed, string memory reason) = app.isAppAllowed(bootInfo);
        _assertVerdict(isAllowed, reason, expected);
    }

    /// @dev The next call must revert with this reason and nothing else.
    function _expectReason(string memory reason) internal {
        vm.expectRevert(abi.encodeWithSelector(bytes4(0x08c379a0), reason));
    }

    function _expectUnauthorized(address caller) internal {
        vm.expectRevert(
            abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, caller)
        );
    }

    /// @dev The call was made by `actor` on `emitter` and logged exactly two things: the event that names the
    /// change, its only argument in data, then PolicyChanged.
    function _assertChange(
        address emitter,
        address actor,
        bytes32 topic,
        bytes memory data,
        string memory label,
        bytes32 value,
        bool enabled
    ) internal {
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        _assertNamed(logs[0], emitter, topic, data);
        _assertPolicy(logs[1], emitter, actor, label, value, enabled);
    }

    function _assertNamed(TestVm.Log memory log, address emitter, bytes32 topic, bytes memory data)
        internal
        pure
    {
        vm.assertEq(log.emitter, emitter);
        vm.assertEq(log.topics.length, 1);
        vm.assertEq(log.topics[0], topic);
        vm.assertEq(log.data, data);
    }

    function _assertPolicy(
        TestVm.Log memory log,
        address emitter,
        address actor,
        string memory label,
        bytes32 value,
        bool enabled
    ) internal pure {
        vm.assertEq(log.emitter, emitter);
        vm.assertEq(log.topics.length, 4);
        vm.assertEq(log.topics[0], POLICY_CHANGED);
        vm.assertEq(log.topics[1], _word(actor));
        vm.assertEq(log.topics[2], keccak256(bytes(label)));
        vm.assertEq(log.topics[3], value);
        vm.assertEq(log.data, abi.encode(enabled));
    }

    /// @dev The call fails because `caller` is not the owner, and nothing is logged.
    function _assertRefused(address target, address caller, bytes memory call) internal {
        vm.recordLogs();
        vm.prank(caller);
        (bool success, bytes memory refusal) = target.call(call);
        vm.assertFalse(success);
        vm.assertEq(
            refusal, abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, caller)
        );
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    /// @dev OWNER owns the contract. A transfer takes effect when the new owner accepts it, can be redirected or
    /// cancelled before, and can be given up for good.
    function _assertTwoStepOwnership(address target) internal {
        Ownable2StepUpgradeable ownable = Ownable2StepUpgradeable(target);
        address heir = address(0x4E14);
        _assertRefused(target, STRANGER, abi.encodeCall(ownable.transferOwnership, (STRANGER)));
        _assertRefused(target, STRANGER, abi.encodeCall(ownable.renounceOwnership, ()));

        // To a wrong address first, which is then redirected.
        vm.prank(OWNER);
        ownable.transferOwnership(STRANGER);
        vm.recordLogs();
        vm.prank(OWNER);
        ownable.transferOwnership(heir);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        vm.assertEq(logs[0].topics[0], Ownable2StepUpgradeable.OwnershipTransferStarted.selector);
        vm.assertEq(logs[0].topics[1], _word(OWNER));
        vm.assertEq(logs[0].topics[2], _word(heir));
        vm.assertEq(ownable.owner(), OWNER);
        vm.assertEq(ownable.pendingOwner(), heir);
        _assertRefused(target, STRANGER, abi.encodeCall(ownable.acceptOwnership, ()));

        vm.recordLogs();
        vm.prank(heir);
        ownable.acceptOwnership();
        logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        vm.assertEq(logs[0].topics[0], OwnableUpgradeable.OwnershipTransferred.selector);
        vm.assertEq(logs[0].topics[1], _word(OWNER));
        vm.assertEq(logs[0].topics[2], _word(heir));
        vm.assertEq(ownable.owner(), heir);
        vm.assertEq(ownable.pendingOwner(), address(0));
        _assertRefused(target, OWNER, abi.encodeCall(ownable.transferOwnership, (OWNER)));

        // Zero cancels a transfer under way.
        vm.startPrank(heir);
        ownable.transferOwnership(STRANGER);
        ownable.transferOwnership(address(0));
        vm.stopPrank();
        _assertRefused(target, STRANGER, abi.encodeCall(ownable.acceptOwnership, ()));

        vm.prank(heir);
        ownable.renounceOwnership();
        vm.assertEq(ownable.owner(), address(0));
        _assertRefused(target, heir, abi.encodeCall(ownable.transferOwnership, (heir)));
    }

    /// @dev What the compiler says of a contract, as JSON.
    function _artifact(string memory name) internal view returns (string memory) {
        return vm.readFile(string.concat(vm.projectRoot(), "/out/", name, ".sol/", name, ".json"));
    }

    function _word(address value) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(value)));
    }
}
