// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppAuth} from "../../contracts/AppAuth.sol";
import {KmsAuth} from "../../contracts/KmsAuth.sol";
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

    function _kms() internal view returns (KmsAuth) {
        return KmsAuth(_contractFromEnv("KMS_CONTRACT_ADDR"));
    }

    function _app() internal view returns (AppAuth) {
        return AppAuth(_contractFromEnv("APP_CONTRACT_ADDR"));
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

    function _say(string memory line) internal view {
        // The address and signature that forge and anvil know as `console.log(string)`.
        (bool printed,) = 0x000000000000000000636F6e736F6c652e6c6f67
        .staticcall(abi.encodeWithSignature("log(string)", line));
        printed; // Nothing depends on it.
    }

    function _say(string memory label, address value) internal view {
        _say(string.concat(label, " ", vm.toString(value)));
    }

    function _say(string memory label, bytes32 value) internal view {
        _say(string.concat(label, " ", vm.toString(value)));
    }

    function _say(string memory label, bool value) internal view {
        _say(string.concat(label, " ", vm.toString(value)));
    }

    /// @dev Accepts 64 hex digits without 0x too, as wallets export them. `envUint` names the variable in its
    /// error and not the value.
    function _privateKey() private view returns (uint256) {
        bytes memory text = bytes(vm.envString("PRIVATE_KEY"));
        if (text.length == 64) return uint256(vm.parseBytes32(string.concat("0x", string(text))));
        return vm.envUint("PRIVATE_KEY");
    }
}
