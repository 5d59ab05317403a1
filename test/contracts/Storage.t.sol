// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {BylawTest} from "./support/BylawTest.sol";
import {vm} from "./support/TestVm.sol";

/// @notice The slots of dstack's contracts, as the compiler assigns them and as the chain holds them.
contract StorageTest is BylawTest {
    bytes32 private constant OWNER_SLOT = 0x9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300;
    bytes32 private constant PENDING_OWNER_SLOT =
        0x237e158222e3e6968b72b9db0d8043aacf074ad9f650f0d1606b4d82ee432c00;
    bytes32 private constant INITIALIZABLE_SLOT =
        0xf0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00;

    string private json;
    uint256 private expected;

    function test_layout_of_kms() public {
        _open("KmsAuth");
        _variable("kmsInfo", 0, 0, "t_struct(KmsInfo)");
        _variable("gatewayAppId", 4, 0, "t_string_storage");
        _variable("registeredApps", 5, 0, "t_mapping(t_address,t_bool)");
        _variable("kmsAllowedAggregatedMrs", 6, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("kmsAllowedDeviceIds", 7, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("allowedOsImages", 8, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("appImplementation", 9, 0, "t_address");
        _variable("__gap", 10, 0, "t_array(t_uint256)50_storage");
        _noOtherVariables();
    }

    function test_layout_of_app() public {
        _open("AppAuth");
        _variable("allowedComposeHashes", 0, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("_upgradesDisabled", 1, 0, "t_bool");
        _variable("allowAnyDevice", 1, 1, "t_bool");
        _variable("allowedDeviceIds", 2, 0, "t_mapping(t_bytes32,t_bool)");
        _variable("requireTcbUpToDate", 3, 0, "t_bool");
        _variable("__gap", 4, 0, "t_array(t_uint256)49_storage");
        _noOtherVariables();
    }

    function test_slots_of_kms() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(IKmsAuth.KmsInfo({k256Pubkey: "a", caPubkey: "b", quote: "c", eventlog: "d"}));
        kms.setGatewayAppId("gateway");
        kms.registerApp(address(0xA99));
        kms.addKmsAggregatedMr("mr");
        kms.addKmsDevice("device");
        kms.addOsImageHash("image");
        kms.transferOwnership(STRANGER);
        vm.stopPrank();

        address target = address(kms);
        vm.assertEq(_slot(target, 0), _short("a"));
        vm.assertEq(_slot(target, 1), _short("b"));
        vm.assertEq(_slot(target, 2), _short("c"));
        vm.assertEq(_slot(target, 3), _short("d"));
        vm.assertEq(_slot(target, 4), _short("gateway"));
        vm.assertEq(_entry(target, 5, _word(address(0xA99))), bytes32(uint256(1)));
        vm.assertEq(_entry(target, 6, "mr"), bytes32(uint256(1)));
        vm.assertEq(_entry(target, 7, "device"), bytes32(uint256(1)));
        vm.assertEq(_entry(target, 8, "image"), bytes32(uint256(1)));
        vm.assertEq(_slot(target, 9), _word(address(appImplementation)));
        for (uint256 slot = 10; slot < 60; slot++) {
            vm.assertEq(_slot(target, slot), bytes32(0));
        }
        _assertNamespaces(target);
    }

    function test_slots_of_app() public {
        vm.startPrank(OWNER);
        app.addComposeHash("compose");
        app.addDevice("device");
        app.disableUpgrades();
        app.transferOwnership(STRANGER);
        vm.assertEq(_slot(address(app), 1), bytes32(uint256(0x0001)));
        app.setAllowAnyDevice(true);
        vm.assertEq(_slot(address(app), 1), bytes32(uint256(0x0101)));
        app.setRequireTcbUpToDate(true);
        vm.stopPrank();

        address target = address(app);
        vm.assertEq(_entry(target, 0, "compose"), bytes32(uint256(1)));
        vm.assertEq(_entry(target, 2, "device"), bytes32(uint256(1)));
        vm.assertEq(_slot(target, 3), bytes32(uint256(1)));
        for (uint256 slot = 4; slot < 53; slot++) {
            vm.assertEq(_slot(target, slot), bytes32(0));
        }
        _assertNamespaces(target);
    }

    function _assertNamespaces(address target) private view {
        vm.assertEq(vm.load(target, OWNER_SLOT), _word(OWNER));
        vm.assertEq(vm.load(target, PENDING_OWNER_SLOT), _word(STRANGER));
        vm.assertEq(vm.load(target, INITIALIZABLE_SLOT), bytes32(uint256(1)));
    }

    function _slot(address target, uint256 slot) private view returns (bytes32) {
        return vm.load(target, bytes32(slot));
    }

    function _entry(address target, uint256 slot, bytes32 key) private view returns (bytes32) {
        return vm.load(target, keccak256(abi.encode(key, slot)));
    }

    /// @dev How a slot holds up to 31 bytes: the text from the left, twice its length in the last byte.
    function _short(string memory text) private pure returns (bytes32) {
        return bytes32(bytes(text)) | bytes32(2 * bytes(text).length);
    }

    function _open(string memory name) private {
        json = _artifact(name);
        expected = 0;
    }

    function _variable(string memory label, uint256 slot, uint256 offset, string memory kind) private {
        string memory path = string.concat(".storageLayout.storage[", vm.toString(expected), "]");
        vm.assertEq(vm.parseJsonString(json, string.concat(path, ".label")), label);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".slot")), slot, label);
        vm.assertEq(vm.parseJsonUint(json, string.concat(path, ".offset")), offset, label);
        // The compiler numbers structs, `t_struct(KmsInfo)1234_storage`: compare what comes before.
        string memory actual = vm.parseJsonString(json, string.concat(path, ".type"));
        vm.assertTrue(_startsWith(actual, kind), actual);
        expected++;
    }

    function _noOtherVariables() private view {
        string memory next = string.concat(".storageLayout.storage[", vm.toString(expected), "]");
        vm.assertFalse(vm.keyExistsJson(json, next), next);
    }

    function _startsWith(string memory text, string memory prefix) private pure returns (bool) {
        if (bytes(text).length < bytes(prefix).length) return false;
        for (uint256 i = 0; i < bytes(prefix).length; i++) {
            if (bytes(text)[i] != bytes(prefix)[i]) return false;
        }
        return true;
    }
}
