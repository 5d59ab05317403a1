// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {vm} from "./Vm.sol";

/// @title What every script needs: a signer, the contracts' addresses and a way to speak
/// @dev Inputs come from the environment and are checked before anything is sent: forge runs the whole script
/// locally first, so a revert means that no transaction leaves.
abstract contract BylawScript {
    /// @dev By this forge tells scripts from what is deployed.
    bool public constant IS_SCRIPT = true;

    /// @dev Slot of the implementation's address in an ERC-1967 proxy.
    bytes32 internal constant IMPLEMENTATION_SLOT =
        0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    // ------------------------------------------------------------ the signer

    /// @dev Transactions of the function go out signed by PRIVATE_KEY, or by forge's own wallet flags
    /// (`--account`, `--ledger`, …) when that is not set.
    modifier broadcasts() {
        _startBroadcast();
        _;
        vm.stopBroadcast();
    }

    /// @return signer Who signs the transactions that follow.
    function _startBroadcast() internal returns (address signer) {
        if (bytes(vm.envOr("PRIVATE_KEY", string(""))).length == 0) {
            vm.startBroadcast();
        } else {
            vm.startBroadcast(_privateKey());
        }
        (, signer,) = vm.readCallers();
    }

    /// @dev Who would sign.
    function _signer() internal returns (address signer) {
        signer = _startBroadcast();
        vm.stopBroadcast();
    }

    // ------------------------------------------------------------ the contracts

    function _kms() internal view returns (IKmsAuth) {
        return IKmsAuth(_contractFromEnv("KMS_CONTRACT_ADDR"));
    }

    function _app() internal view returns (IManagedAppAuth) {
        return IManagedAppAuth(_contractFromEnv("APP_CONTRACT_ADDR"));
    }

    /// @dev CONTRACT_ADDR, or whichever of KMS_CONTRACT_ADDR and APP_CONTRACT_ADDR is set alone.
    function _either() internal view returns (address) {
        if (_isSet("CONTRACT_ADDR")) return _contractFromEnv("CONTRACT_ADDR");
        bool kms = _isSet("KMS_CONTRACT_ADDR");
        require(
            kms != _isSet("APP_CONTRACT_ADDR"),
            "CONTRACT_ADDR: give the contract that is meant, the KMS's or an app's"
        );
        return _contractFromEnv(kms ? "KMS_CONTRACT_ADDR" : "APP_CONTRACT_ADDR");
    }

    function _contractFromEnv(string memory name) internal view returns (address target) {
        target = vm.envAddress(name);
        require(
            target.code.length != 0,
            string.concat(name, ": no contract at ", vm.toString(target), " on this chain")
        );
    }

    function _implementationOf(address proxy) internal view returns (address) {
        return address(uint160(uint256(vm.load(proxy, IMPLEMENTATION_SLOT))));
    }

    /// @dev Whether the contract has a delay, a guardian and pending changes; dstack's have not.
    function _isGoverned(address target) internal view returns (bool) {
        return _answers(target, abi.encodeCall(IGoverned.pendingChanges, ()));
    }

    /// @dev Whether the contract answers a call of a getter with these arguments.
    function _answers(address target, bytes memory call) internal view returns (bool) {
        (bool success, bytes memory answer) = target.staticcall(call);
        return success && answer.length != 0;
    }

    // ------------------------------------------------------------ the environment

    function _isSet(string memory name) internal view returns (bool) {
        return bytes(vm.envOr(name, string(""))).length != 0;
    }

    function _uint64(string memory name, uint64 otherwise) internal view returns (uint64) {
        return uint64(_atMost(name, otherwise, type(uint64).max));
    }

    function _uint32(string memory name, uint32 otherwise) internal view returns (uint32) {
        return uint32(_atMost(name, otherwise, type(uint32).max));
    }

    /// @dev Must be given.
    function _uint32(string memory name) internal view returns (uint32) {
        vm.envUint(name);
        return _uint32(name, 0);
    }

    /// @dev Hashes with commas between them; none when it is not set.
    function _hashes(string memory name) internal view returns (bytes32[] memory) {
        if (!_isSet(name)) return new bytes32[](0);
        return vm.envOr(name, ",", new bytes32[](0));
    }

    function _atMost(string memory name, uint256 otherwise, uint256 limit) private view returns (uint256) {
        uint256 value = vm.envOr(name, otherwise);
        require(value <= limit, string.concat(name, ": more than ", vm.toString(limit)));
        return value;
    }

    /// @dev Accepts 64 hex digits without 0x too, as wallets export them. `envUint` names the variable in its
    /// error and not the value.
    function _privateKey() private view returns (uint256) {
        bytes memory text = bytes(vm.envString("PRIVATE_KEY"));
        if (text.length == 64) return uint256(vm.parseBytes32(string.concat("0x", string(text))));
        return vm.envUint("PRIVATE_KEY");
    }

    // ------------------------------------------------------------ speaking

    function _say(string memory line) internal view {
        // The address and signature that forge and anvil know as `console.log(string)`.
        (bool printed,) = 0x000000000000000000636F6e736F6c652e6c6f67
        .staticcall(abi.encodeWithSignature("log(string)", line));
        printed; // Nothing depends on it.
    }

    function _say(string memory label, address value) internal view {
        _say(_text(label, value));
    }

    function _say(string memory label, bytes32 value) internal view {
        _say(_text(label, value));
    }

    function _say(string memory label, bool value) internal view {
        _say(_text(label, value));
    }

    function _say(string memory label, uint256 value) internal view {
        _say(_text(label, value));
    }

    function _text(string memory label, address value) internal pure returns (string memory) {
        return string.concat(label, " ", vm.toString(value));
    }

    function _text(string memory label, bytes32 value) internal pure returns (string memory) {
        return string.concat(label, " ", vm.toString(value));
    }

    function _text(string memory label, bool value) internal pure returns (string memory) {
        return string.concat(label, " ", vm.toString(value));
    }

    function _text(string memory label, uint256 value) internal pure returns (string memory) {
        return string.concat(label, " ", vm.toString(value));
    }

    /// @dev A time as Unix seconds; zero as words.
    function _time(uint64 time, string memory zero) internal pure returns (string memory) {
        return time == 0 ? zero : vm.toString(uint256(time));
    }
}
